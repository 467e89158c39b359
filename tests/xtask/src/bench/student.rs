//! `cargo xtask bench student`: what a frame of a camera costs with the light backbone, on one core.
//!
//! The whole path of `edge-runtime bench`: a YUYV frame of 640×480 to RGB, resized and normalised, through
//! the backbone and, once a snippet, the head, smoothing and event rules. The INT8 and the fp32 model take
//! turns, so that what else the machine does meets both alike.

use std::path::{Path, PathBuf};

use super::report::Report;
use crate::shell::{Failure, command, execute, root, target};
use crate::words::Words;
use crate::{install, weights};

/// Frames a second that a camera gives.
const RATE: f64 = 25.0;

#[derive(Debug)]
struct Options {
    normal: PathBuf,
    weights: Option<PathBuf>,
    rounds: usize,
    frames: usize,
    no_install: bool,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, Failure> {
        let (mut normal, mut weights, mut no_install) = (None, None, false);
        let (mut rounds, mut frames) = (5, 500);
        let mut words = Words::new("bench student", args);
        while let Some(name) = words.option() {
            match name {
                "--normal" => normal = Some(words.value()?.into()),
                "--weights" => weights = Some(words.value()?.into()),
                "--rounds" => rounds = words.number(1..=100_000)?,
                "--frames" => frames = words.number(100..=100_000)?,
                "--no-install" => no_install = true,
                _ => return Err(words.unknown()),
            }
        }
        let missing = "bench student: --normal DIR, videos by which the backbone is quantized";
        let normal = normal.ok_or_else(|| Failure::usage(missing))?;
        Ok(Self { normal, weights, rounds, frames, no_install })
    }
}

/// Runs the benchmark; the table goes to standard output.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let options = Options::parse(args)?;
    install::ensure(&[install::BUILD], options.no_install)?;
    weights::ensure(options.no_install)?;
    let build = ["build", "--release", "--locked", "--workspace", "--bins", "--example", "student"];
    execute(&mut command("cargo", build))?;
    let out = root().join("target/bench-student");
    std::fs::create_dir_all(&out).map_err(|e| Failure::work(format!("{}: {e}", out.display())))?;
    let program = target().join("release/examples/student");
    let mut student = command(&program.to_string_lossy(), [&options.normal, &out]);
    execute(student.args(&options.weights).envs(weights::environment()))?;

    let mut ms = [Vec::new(), Vec::new()];
    for round in 1..=options.rounds {
        for (precision, ms) in ["int8", "fp32"].into_iter().zip(&mut ms) {
            ms.push(measure(&out.join(format!("{precision}.pavad")), options.frames)?);
        }
        eprint!("\rround {round} of {} ", options.rounds);
    }
    eprintln!();
    // Whatever else the machine does only ever adds.
    let [int8, fp32] = ms.map(|ms| ms.into_iter().fold(f64::INFINITY, f64::min));
    println!(
        "processor time of a frame of 640x480, ONNX Runtime, one thread; mean of {1} frames, best of {0} \
         rounds in turn",
        options.rounds, options.frames
    );
    for (name, ms) in [("INT8", int8), ("fp32", fp32)] {
        let times = 1000.0 / RATE / ms;
        println!("{name}: {ms:.2} ms, {times:.1} times real time at {RATE} frames a second");
    }
    println!("INT8 is {:.2} times faster than fp32", fp32 / int8);
    Ok(())
}

/// Mean milliseconds of a frame that the program's one thread ran on a processor: what it waits while
/// others run is no cost of the model.
fn measure(bundle: &Path, frames: usize) -> Result<f64, Failure> {
    let program = target().join("release/edge-runtime");
    let words =
        ["--quiet", "bench", "--backend", "ort", "--threads", "1", "--rate", "25", "--json"];
    let mut bench = command(&program.to_string_lossy(), words);
    bench.arg("--frames").arg(frames.to_string()).arg("--bundle").arg(bundle);
    let output = bench
        .envs(weights::environment())
        .output()
        .map_err(|e| Failure::unavailable(format!("cannot start {}: {e}", program.display())))?;
    let report = Report(String::from_utf8_lossy(&output.stdout).into_owned());
    match report.number("processor_ms") {
        Ok(ms) if output.status.success() && ms > 0.0 => Ok(ms),
        _ => Err(Failure::work(format!(
            "edge-runtime bench failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_wrong_ones_refused() {
        let parse = |words: &[&str]| {
            Options::parse(&words.iter().map(|w| (*w).to_string()).collect::<Vec<_>>())
        };
        let options = parse(&["--normal", "a", "--weights=b", "--rounds", "2", "--frames=200"]);
        let options = options.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((options.rounds, options.frames, options.no_install), (2, 200, false));
        assert_eq!((options.normal, options.weights), ("a".into(), Some("b".into())));
        for wrong in [&[][..], &["--normal"], &["--normal", "a", "--frames", "9"], &["fast"]] {
            assert_eq!(parse(wrong).err().map(|e| e.code), Some(2), "{wrong:?}");
        }
    }
}
