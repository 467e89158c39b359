//! The test programs: which, where cargo has built them, and what they say.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::kinds::Kind;
use crate::shell::{Failure, command, execute, root, target};

/// A test program's source in the workspace, and those of its tests that are run where it is emulated as
/// part of all tests: others take minutes there. Empty for all of them.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("edge-runtime/video/tests/processors.rs", &[]),
    ("edge-runtime/inference/tests/processors.rs", &[]),
    ("edge-runtime/inference/tests/golden.rs", &[]),
    (
        "model-export/tests/arbiter/main.rs",
        &["_net_has_the_arbiters_integers", "odd_shapes", "planted_layer", "neighbours"],
    ),
    (
        "model-export/tests/quantize/main.rs",
        &["depthwise_net", "two_dimensional_residual_net", "three_dimensional_inception_net"],
    ),
];

/// The programs as built.
pub struct Built {
    pub programs: Vec<Program>,
    /// Says what the processor has.
    pub processor: PathBuf,
}

/// A test program.
pub struct Program {
    pub source: &'static str,
    executable: PathBuf,
    quick: &'static [&'static str],
}

/// What came of a run.
pub struct Outcome {
    pub passed: bool,
    /// In cargo's words.
    pub counts: String,
    /// What tests said that they skip.
    pub skipped: Vec<String>,
    /// What must be the same on every processor: names and values of lines `digest NAME VALUE`.
    pub digests: Vec<(String, String)>,
    pub output: String,
}

/// Builds them for this machine. Of the whole workspace, so that dependencies have the features that
/// everything else was built with.
pub fn build() -> Result<Built, Failure> {
    let words = ["build", "--release", "--locked", "--package", "lesser-processor"];
    execute(&mut command("cargo", words))?;
    let mut cargo = command("cargo", ["test", "--release", "--locked", "--workspace", "--no-run"]);
    cargo.args(targets());
    let processor = target().join("release/processor");
    Ok(Built { programs: built(&mut cargo)?, processor })
}

/// Cargo's words for the test programs.
pub fn targets() -> Vec<String> {
    let mut names: Vec<&str> = PROGRAMS.iter().map(|(source, _)| name(source)).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().flat_map(|name| ["--test".to_owned(), name.to_owned()]).collect()
}

/// A test target's name by its source: `tests/NAME.rs` or `tests/NAME/main.rs`.
fn name(source: &str) -> &str {
    let path = source.strip_suffix("/main.rs").or_else(|| source.strip_suffix(".rs"));
    path.unwrap_or(source).rsplit('/').next().unwrap_or(source)
}

/// Runs cargo; where it has put the programs.
pub fn built(cargo: &mut Command) -> Result<Vec<Program>, Failure> {
    eprintln!("Building the test programs");
    let out = cargo
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| Failure::unavailable(format!("cannot start cargo: {e}")))?;
    if !out.status.success() {
        return Err(Failure::work("the test programs cannot be built"));
    }
    let said = String::from_utf8_lossy(&out.stdout);
    PROGRAMS
        .iter()
        .map(|(source, quick)| {
            let executable = executable(&said, source)
                .ok_or_else(|| Failure::work(format!("cargo has built no program of {source}")))?;
            Ok(Program { source, executable, quick })
        })
        .collect()
}

/// The program of a source among cargo's messages, one JSON object a line.
fn executable(messages: &str, source: &str) -> Option<PathBuf> {
    let path = root().join(source);
    let line = messages.lines().find(|line| {
        line.contains("\"reason\":\"compiler-artifact\"")
            && string(line, "src_path").is_some_and(|found| Path::new(found) == path)
    })?;
    string(line, "executable").map(PathBuf::from)
}

/// A string of an object, by its name; none with characters that JSON escapes.
fn string<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let start = object.find(&format!("\"{name}\":\""))? + name.len() + 4;
    let rest = &object[start..];
    Some(&rest[..rest.find('"')?]).filter(|text| !text.contains('\\'))
}

impl Program {
    /// Runs it on a kind of processor; `quickly`, the slow tests are left out where it is emulated.
    pub fn run(&self, kind: &Kind, quickly: bool) -> Result<Outcome, Failure> {
        let mut command = kind.command(&self.executable);
        command.arg("--show-output");
        if quickly && kind.is_emulated() {
            command.args(self.quick);
        }
        // Where cargo would run it.
        let folder = root().join(self.source);
        if let Some(package) = folder.ancestors().find(|path| path.join("Cargo.toml").exists()) {
            command.current_dir(package);
        }
        let out = command.stdin(Stdio::null()).output().map_err(|e| {
            Failure::unavailable(format!("cannot start {}: {e}", command.get_program().display()))
        })?;
        let mut output = String::from_utf8_lossy(&out.stdout).into_owned();
        output.push_str(&String::from_utf8_lossy(&out.stderr));
        Ok(Outcome::read(out.status.success(), output))
    }
}

impl Outcome {
    fn read(success: bool, output: String) -> Self {
        let result = output.lines().find_map(|line| line.strip_prefix("test result: "));
        let counts = result.map(|line| {
            // "ok. 20 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out; finished in 5.10s"
            let parts = line.split(['.', ';']).map(str::trim);
            let counted = parts.filter(|part| {
                part.starts_with(|c: char| c.is_ascii_digit()) && !part.starts_with("0 ")
            });
            counted.filter(|part| part.contains(' ')).collect::<Vec<_>>().join(", ")
        });
        let mut skipped: Vec<String> = output
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("skipped"))
            .map(str::to_owned)
            .collect();
        skipped.dedup();
        let digests = output
            .lines()
            .filter_map(|line| {
                let (name, value) = line.trim().strip_prefix("digest ")?.split_once(' ')?;
                Some((name.to_owned(), value.to_owned()))
            })
            .collect();
        Self {
            passed: success && result.is_some_and(|line| line.starts_with("ok")),
            counts: counts.unwrap_or_else(|| "ended before its tests did".to_owned()),
            skipped,
            digests,
            output,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_among_cargos_messages() {
        let source = "model-export/tests/quantize/main.rs";
        let path = root().join(source);
        let line = |path: &Path, executable: &str| {
            format!(
                "{{\"reason\":\"compiler-artifact\",\"package_id\":\"x\",\"target\":{{\"kind\":\
                 [\"test\"],\"name\":\"quantize\",\"src_path\":\"{}\"}},\"executable\":{executable}}}",
                path.display()
            )
        };
        let other = root().join("model-export/src/lib.rs");
        let messages = [line(&other, "null"), line(&path, "\"/t/quantize-1\"")].join("\n");
        assert_eq!(executable(&messages, source), Some(PathBuf::from("/t/quantize-1")));
        assert_eq!(executable(&messages, "model-export/tests/graphs.rs"), None);
        assert_eq!(executable(&line(&path, "null"), source), None);
        assert_eq!([name(source), name("a/tests/golden.rs")], ["quantize", "golden"]);
    }

    #[test]
    fn a_programs_words_are_understood() {
        let said = "running 3 tests\ntest a ... ok\n\nsuccesses:\n---- a stdout ----\n\
                    digest video 0x12\nskipped: no weights\nskipped: no weights\n\n\
                    test result: ok. 20 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out; \
                    finished in 5.10s\n";
        let outcome = Outcome::read(true, said.to_owned());
        assert!(outcome.passed);
        assert_eq!(outcome.counts, "20 passed, 1 filtered out");
        assert_eq!(outcome.skipped, ["skipped: no weights"]);
        assert_eq!(outcome.digests, [("video".to_owned(), "0x12".to_owned())]);
        let failed = said.replace("ok. 20 passed; 0 failed", "FAILED. 19 passed; 1 failed");
        assert!(!Outcome::read(false, failed).passed);
        // A program that crashed says nothing of a result.
        assert!(!Outcome::read(true, "running 3 tests\n".to_owned()).passed);
    }
}
