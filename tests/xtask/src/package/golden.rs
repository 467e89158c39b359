//! The same bundle and the same clip here and in the root: the scores must be the same.

use std::path::{Path, PathBuf};

use super::io;
use crate::debian_root::{DebianRoot, done};
use crate::shell::{Failure, command, execute, root as workspace, target};
use crate::weights;

/// Largest difference of two programs' scores. INT8 graphs give the same integers on every processor
/// (`docs/design/quantization.md`); this is left to the float parts around them.
const TOLERANCE: f64 = 1e-4;
/// Scores that differ by less than this over the whole clip say nothing.
const SPREAD: f64 = 0.1;

/// A bundle, its key, a clip, and the scores of this machine's program.
pub struct Golden {
    folder: PathBuf,
}

impl Golden {
    /// Builds what makes them, and makes them unless they are there.
    pub fn prepare(no_install: bool) -> Result<Self, Failure> {
        weights::ensure(no_install)?;
        let mut build = command("cargo", ["build", "--release", "--locked", "--workspace"]);
        for program in ["edge-runtime", "trainer", "model-export", "golden"] {
            build.args(["--bin", program]);
        }
        execute(&mut build)?;
        let golden = Self { folder: workspace().join("target/package/golden") };
        if !golden.bundle().exists() {
            let program = target().join("release/golden");
            let mut make = command(&program.to_string_lossy(), ["--out"]);
            execute(make.arg(&golden.folder).envs(weights::environment()))?;
        }
        let program = target().join("release/edge-runtime");
        let mut replay = command(&program.to_string_lossy(), WORDS);
        replay.arg("--bundle").arg(golden.bundle()).arg("--public-key").arg(golden.key());
        replay.arg("--input").arg(golden.clip()).arg("--scores").arg(golden.recorded());
        done(replay.envs(weights::environment()))?;
        Ok(golden)
    }

    pub fn bundle(&self) -> PathBuf {
        self.folder.join("model.pavad")
    }

    pub fn key(&self) -> PathBuf {
        self.folder.join("model.pub")
    }

    pub fn clip(&self) -> PathBuf {
        self.folder.join("clip")
    }

    fn recorded(&self) -> PathBuf {
        self.folder.join("x86-64.csv")
    }

    /// Scores the clip in the root, where bundle, key and clip lie as [`super::check`] has put them,
    /// and compares.
    pub fn compare(&self, root: &DebianRoot) -> Result<String, Failure> {
        let there = "/var/lib/pavad/replay.csv";
        let mut words = vec!["/usr/bin/edge-runtime"];
        words.extend(WORDS);
        words.extend(["--ort-library", "/usr/lib/pavad-edge/libonnxruntime.so"]);
        words.extend(["--bundle", "/var/lib/pavad/model.pavad"]);
        words.extend(["--public-key", "/etc/pavad/model.pub"]);
        words.extend(["--input", "/srv/clip", "--scores", there]);
        done(&mut root.command(Some("pavad"), &words))?;
        let found = root.run(&["cat", there])?;
        let recorded = self.recorded();
        let text = std::fs::read_to_string(&recorded).map_err(|e| io(&recorded, &e))?;
        compare(&scores(&text, &recorded)?, &scores(&found, Path::new(there))?)
    }
}

/// INT8 is what the graphs for ONNX Runtime are packed as. One thread, as in the configuration.
const WORDS: [&str; 5] = ["replay", "--backend", "ort", "--threads", "1"];

/// Reads `frame,score`.
fn scores(text: &str, path: &Path) -> Result<Vec<f64>, Failure> {
    let mut lines = text.lines();
    if lines.next() != Some("frame,score") {
        return Err(Failure::work(format!("{}: no header frame,score", path.display())));
    }
    lines
        .enumerate()
        .map(|(i, line)| {
            let (frame, score) = line.split_once(',')?;
            (frame.parse() == Ok(i)).then_some(())?;
            score.parse().ok()
        })
        .collect::<Option<_>>()
        .ok_or_else(|| Failure::work(format!("{}: not one score for each frame", path.display())))
}

fn compare(recorded: &[f64], found: &[f64]) -> Result<String, Failure> {
    if recorded.len() != found.len() {
        let (one, other) = (recorded.len(), found.len());
        return Err(Failure::work(format!("{one} frames on x86-64, {other} here")));
    }
    let (low, high) = recorded
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &s| (low.min(s), high.max(s)));
    // Also where there is no score at all.
    if high - low < SPREAD || recorded.is_empty() {
        return Err(Failure::work(format!("the clip's scores lie between {low} and {high} only")));
    }
    let differences = recorded.iter().zip(found).map(|(a, b)| (a - b).abs());
    let mean = differences.clone().sum::<f64>() / recorded.len() as f64;
    let largest = differences.fold(0.0, f64::max);
    let said = format!(
        "{} frames, scores {low:.3} to {high:.3}, mean difference {mean:.1e}, largest {largest:.1e}",
        recorded.len()
    );
    // What is not a number passes over `max`, but not over the mean.
    if largest <= TOLERANCE && mean <= TOLERANCE {
        Ok(said)
    } else {
        Err(Failure::work(format!("{said}: more than {TOLERANCE}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_compared() {
        let here = [0.1, 0.2, 0.9];
        assert!(compare(&here, &here).is_ok());
        assert!(compare(&here, &[0.10005, 0.2, 0.9]).is_ok());
        for (recorded, found) in [
            (&here[..], &[0.1002, 0.2, 0.9][..]),
            (&here, &[0.1, 0.2]),
            (&here, &[0.1, f64::NAN, 0.9]),
            (&[0.1, 0.1], &[0.1, 0.1]),
            (&[], &[]),
        ] {
            assert!(compare(recorded, found).is_err(), "{recorded:?} {found:?}");
        }
    }

    #[test]
    fn a_table_of_scores_is_read() {
        let path = Path::new("a.csv");
        assert_eq!(scores("frame,score\n0,0.5\n1,0.25\n", path).unwrap(), [0.5, 0.25]);
        for wrong in ["", "0,0.5\n", "frame,score\n1,0.5\n", "frame,score\n0,x\n"] {
            assert!(scores(wrong, path).is_err(), "{wrong:?}");
        }
    }
}
