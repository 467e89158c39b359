//! Running the real programs and looking at how they end.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use tests::programs;

/// Longest time that a program may take. The longest work of a test, a training, takes a tenth of
/// it; what should have failed at once and does not must not train a whole model.
const LIMIT: Duration = Duration::from_secs(200);

/// What a program left behind.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A program of the workspace. It finds what `cargo xtask weights` has fetched, logs as it does for
/// a user, and would show a backtrace if it panicked.
pub fn command(program: &str) -> Command {
    let mut command = programs::command(program).unwrap_or_else(|message| panic!("{message}"));
    command.env_remove("RUST_LOG").env("RUST_BACKTRACE", "1");
    for (variable, path) in [("ORT_DYLIB_PATH", onnx_runtime()), ("PAVAD_WEIGHTS", weights())] {
        command.env(variable, path);
    }
    command
}

/// Runs a command to its end, or kills it when it takes too long, which leaves no exit code.
pub fn outcome(command: &mut Command) -> Outcome {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let id = child.id().to_string();
    let (ended, has_ended) = channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if has_ended.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
            Command::new("kill").args(["-KILL", &id]).status().unwrap();
        }
    });
    let output = child.wait_with_output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    drop(ended);
    watchdog.join().unwrap();
    output.into()
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Outcome {
    /// It ended well.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self.has_not_panicked();
        self
    }

    /// It ended with this code and said why in one line, which begins with the program's name and
    /// contains all of `parts`. Lines of the log may come before.
    #[track_caller]
    pub fn failed(&self, program: &str, code: i32, parts: &[&str]) {
        let said = &self.stderr;
        assert_eq!(self.code, Some(code), "{said}");
        self.has_not_panicked();
        let lines: Vec<&str> = said.lines().filter(|line| !is_log(line)).collect();
        assert_eq!(lines.len(), 1, "one line says why: {said}");
        assert!(lines[0].starts_with(&format!("{program}: ")), "{said}");
        assert_eq!(said.lines().last(), Some(lines[0]), "the reason comes last: {said}");
        for part in parts {
            assert!(lines[0].contains(part), "{part:?} is not in {:?}", lines[0]);
        }
    }

    #[track_caller]
    fn has_not_panicked(&self) {
        for word in ["panicked", "RUST_BACKTRACE", "stack backtrace"] {
            assert!(!self.stderr.contains(word), "{}", self.stderr);
        }
    }
}

/// Whether a line is env_logger's, such as `[2026-01-31T12:00:00Z INFO  trainer] ...`.
fn is_log(line: &str) -> bool {
    let levels = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];
    line.strip_prefix('[').and_then(|rest| rest.split_once("Z ")).is_some_and(|(time, rest)| {
        time.len() == 19 && levels.iter().any(|level| rest.starts_with(level))
    })
}

/// ONNX Runtime's library, where the environment or `cargo xtask weights` has put it.
pub fn onnx_runtime() -> PathBuf {
    fetched("ORT_DYLIB_PATH", "tools/onnxruntime/libonnxruntime.so")
}

/// The folder of the backbones' weights.
pub fn weights() -> PathBuf {
    fetched("PAVAD_WEIGHTS", "weights")
}

fn fetched(variable: &str, place: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    std::env::var_os(variable).map_or_else(|| root.join("target").join(place), PathBuf::from)
}

/// A path as a TOML string.
pub fn quoted(path: &Path) -> String {
    toml::Value::from(path.display().to_string()).to_string()
}
