//! The same work in PyTorch: `training_step.py` and `denoise.py`, which take a step for each line they are
//! sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::report::Outcome;

/// A Python with PyTorch, or why there is none.
pub struct PyTorch {
    found: Result<Found, String>,
}

struct Found {
    python: PathBuf,
    scripts: PathBuf,
    version: String,
    device: &'static str,
}

impl PyTorch {
    /// Looks for PyTorch, and for its use of the GPU if `cuda`.
    pub fn new(python: &Path, reference: Option<&Path>, cuda: bool) -> Self {
        Self { found: find(python, reference, cuda) }
    }

    /// Version and CUDA, or why it is not used.
    pub fn version(&self) -> String {
        match &self.found {
            Ok(found) => found.version.clone(),
            Err(why) => why.clone(),
        }
    }

    /// Adds to an outcome what `what` of a script takes in PyTorch, or why that was not measured;
    /// `steps` are those that are not counted, and those that are.
    pub fn beside(&self, script: &str, what: &str, steps: (usize, usize), outcome: &mut Outcome) {
        let measured = match &self.found {
            Ok(found) => steps_of(found, script, what, steps).map_err(|error| format!("{error:#}")),
            Err(why) => Err(why.clone()),
        };
        match measured {
            Ok((seconds, peak)) => {
                (outcome.pytorch_seconds, outcome.pytorch_peak_bytes) = (Some(seconds), peak);
            }
            Err(why) => outcome.why = format!("{}; not beside PyTorch: {why}", outcome.why),
        }
    }
}

fn find(python: &Path, reference: Option<&Path>, cuda: bool) -> Result<Found, String> {
    let Some(reference) = reference else {
        return Err("--reference was not given".to_owned());
    };
    if !reference.is_dir() {
        return Err(format!("{}: not there", reference.display()));
    }
    const ASK: &str = "import torch; print(torch.__version__, torch.version.cuda or 'without CUDA', \
                       torch.cuda.is_available())";
    let out = Command::new(python).args(["-c", ASK]).stderr(Stdio::null()).output();
    let out = match out {
        Ok(out) if out.status.success() => String::from_utf8_lossy(&out.stdout).into_owned(),
        Ok(_) => return Err(format!("{} cannot import torch", python.display())),
        Err(error) => return Err(format!("{}: {error}", python.display())),
    };
    let words: Vec<&str> = out.split_whitespace().collect();
    let version = words[..words.len().saturating_sub(1)].join(" CUDA ");
    if cuda && words.last() != Some(&"True") {
        return Err(format!("PyTorch {version} does not see the GPU"));
    }
    let device = if cuda { "cuda" } else { "cpu" };
    let scripts = reference.to_owned();
    Ok(Found { python: python.to_owned(), scripts, version, device })
}

/// Median seconds of a step, and the peak memory on a GPU.
fn steps_of(
    found: &Found,
    script: &str,
    what: &str,
    (warm_up, steps): (usize, usize),
) -> Result<(f64, Option<u64>)> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    let mut child = Command::new(&found.python)
        .arg(found.scripts.join(script))
        .args([what, &threads, found.device])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| found.python.display().to_string())?;
    let (Some(mut to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
        bail!("{} was started without its pipes", found.python.display());
    };
    let mut from = BufReader::new(from);
    let mut seconds = Vec::with_capacity(steps);
    let mut line = String::new();
    // The first steps compile kernels and grow buffers.
    for step in 0..steps + warm_up {
        line.clear();
        let asked = writeln!(to).and_then(|()| to.flush());
        match (asked.and_then(|()| from.read_line(&mut line)), line.trim().parse()) {
            (Ok(_), Ok(value)) if step >= warm_up => seconds.push(value),
            (Ok(_), Ok(_)) => {}
            _ => break,
        }
    }
    drop(to);
    let mut rest = String::new();
    let read = from.read_to_string(&mut rest);
    let out = child.wait_with_output()?;
    read?;
    if seconds.len() < steps {
        let message = String::from_utf8_lossy(&out.stderr).into_owned();
        bail!("PyTorch: {}", message.lines().last().unwrap_or("it ended before its step"));
    }
    let peak = rest.trim().strip_prefix("peak ").and_then(|bytes| bytes.parse().ok());
    Ok((median(seconds), peak))
}

/// The middle value, the upper of two.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Python without PyTorch's weight: a module named torch that answers what is asked.
    fn pretend(folder: &Path, script: &str) -> PyTorch {
        std::fs::write(folder.join("step.py"), script).unwrap();
        let scripts = folder.to_owned();
        let found = Found { python: "python3".into(), scripts, version: "0".into(), device: "cpu" };
        PyTorch { found: Ok(found) }
    }

    #[test]
    fn steps_are_timed_by_the_other_side() {
        let folder = tempfile::tempdir().unwrap();
        let script = "\
import sys
assert sys.argv[1] == 'local' and sys.argv[3] == 'cpu'
for n, _ in enumerate(sys.stdin):
    print(0.5 + n, flush=True)
print('peak 77')
";
        let mut outcome = Outcome::of(true, "fine".into());
        pretend(folder.path(), script).beside("step.py", "local", (3, 3), &mut outcome);
        // Three warm up; 3.5, 4.5, 5.5 are left.
        assert_eq!(outcome.pytorch_seconds, Some(4.5), "{}", outcome.why);
        assert_eq!(outcome.pytorch_peak_bytes, Some(77));
        assert_eq!(outcome.why, "fine");
    }

    #[test]
    fn a_pytorch_that_fails_or_is_missing_is_a_reason_and_no_failure() {
        let folder = tempfile::tempdir().unwrap();
        let script = "raise RuntimeError('out of memory')\n";
        let mut outcome = Outcome::of(true, "fine".into());
        pretend(folder.path(), script).beside("step.py", "local", (3, 3), &mut outcome);
        assert_eq!(outcome.pytorch_seconds, None);
        let expected = "fine; not beside PyTorch: PyTorch: RuntimeError: out of memory";
        assert_eq!(outcome.why, expected);
        let missing = PyTorch::new(Path::new("python3"), None, true);
        assert_eq!(missing.version(), "--reference was not given");
        let missing = PyTorch::new(Path::new("no-such-python"), Some(folder.path()), true);
        assert!(missing.version().starts_with("no-such-python: "), "{}", missing.version());
    }
}
