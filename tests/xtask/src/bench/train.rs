//! `cargo xtask bench train`: a training step of each detector beside the same step in PyTorch.
//!
//! Both programs are started, then take steps in turn, so that what else the machine does meets both
//! alike; the one that waits uses no processor time.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::python::Needs;
use crate::shell::{Failure, command, execute, root, target};
use crate::words::Words;

const PYTORCH: Needs = Needs {
    bench: "train",
    what: "PyTorch (gigabytes)",
    modules: "torch, numpy",
    packages: &["torch", "numpy"],
};

struct Options {
    rounds: usize,
    threads: usize,
    python: Option<PathBuf>,
    no_install: bool,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, Failure> {
        let mut options = Self { rounds: 7, threads: 2, python: None, no_install: false };
        let mut words = Words::new("bench train", args);
        while let Some(name) = words.option() {
            match name {
                "--rounds" => options.rounds = words.number(1..=1000)?,
                "--threads" => options.threads = words.number(1..=1000)?,
                "--python" => options.python = Some(words.value()?.into()),
                "--no-install" => options.no_install = true,
                _ => return Err(words.unknown()),
            }
        }
        Ok(options)
    }
}

/// Runs the benchmark; the table goes to standard output.
pub fn run(args: &[String]) -> Result<(), Failure> {
    let options = Options::parse(args)?;
    let python = PYTORCH.python(options.python.as_deref(), options.no_install)?;
    let build = ["build", "--release", "--locked", "--workspace", "--example", "training_step"];
    execute(&mut command("cargo", build))?;
    let ours = target().join("release/examples/training_step");
    let reference = root().join("tests/reference/training_step.py");

    let mut table = Vec::new();
    for (what, title) in [
        ("detector", "semantic, 32 + 32 videos x 200 x 1024"),
        ("local", "local, 12 x 5 x 128 x 192"),
    ] {
        let mut rust = Command::new(&ours);
        rust.arg(what).arg((options.rounds + 1).to_string());
        let mut torch = Command::new(&python);
        torch.arg(&reference).arg(what).arg(options.threads.to_string());
        let mut programs =
            [Program::start(rust, options.threads)?, Program::start(torch, options.threads)?];
        let mut seconds = [Vec::new(), Vec::new()];
        // The first step of each is not counted: it grows buffers and compiles kernels.
        for round in 0..=options.rounds {
            for (program, seconds) in programs.iter_mut().zip(&mut seconds) {
                let step = program.step()?;
                if round > 0 {
                    seconds.push(step);
                }
            }
            eprint!("\r{what}: step {round} of {} ", options.rounds);
        }
        eprintln!();
        table.push((title, seconds.map(median)));
    }
    let threads = options.threads;
    println!(
        "seconds a training step, median of {} steps in turn, {threads} threads, float32",
        options.rounds
    );
    println!("{:<40}{:>9}{:>9}{:>9}", "", "Rust", "PyTorch", "ratio");
    for (title, [rust, torch]) in table {
        println!("{title:<40}{rust:>9.3}{torch:>9.3}{:>9.2}", rust / torch);
    }
    Ok(())
}

/// A program that takes a step for each line it is sent and answers with the seconds.
struct Program {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Program {
    fn start(mut command: Command, threads: usize) -> Result<Self, Failure> {
        for variable in ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS", "OMP_NUM_THREADS"] {
            command.env(variable, threads.to_string());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|e| {
            Failure::unavailable(format!("cannot start '{}': {e}", command.get_program().display()))
        })?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(to), Some(from)) => Ok(Self { child, to, from: BufReader::new(from) }),
            _ => Err(Failure::work("a program was started without its pipes")),
        }
    }

    fn step(&mut self) -> Result<f64, Failure> {
        let mut line = String::new();
        let said = writeln!(self.to).and_then(|()| self.to.flush());
        let read = said.and_then(|()| self.from.read_line(&mut line));
        match (read, line.trim().parse()) {
            (Ok(_), Ok(seconds)) => Ok(seconds),
            _ => Err(Failure::work("a program ended before its step; its message is above")),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It would end by itself, but only after the step at hand.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_wrong_ones_refused() {
        let parse = |words: &[&str]| {
            Options::parse(&words.iter().map(|w| (*w).to_string()).collect::<Vec<_>>())
        };
        let options = parse(&["--rounds", "3", "--threads=1", "--python", "py", "--no-install"]);
        let options = options.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((options.rounds, options.threads, options.no_install), (3, 1, true));
        assert_eq!(options.python, Some("py".into()));
        for wrong in [&["--rounds"][..], &["--rounds", "0"], &["--threads=x"], &["fast"]] {
            assert_eq!(parse(wrong).err().map(|e| e.code), Some(2), "{wrong:?}");
        }
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
