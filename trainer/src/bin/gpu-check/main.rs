//! `gpu-check`: what training does on a GPU, checked against the processor and timed beside PyTorch.
//!
//! It is the part of `cargo xtask cuda` that runs on the machine with the GPU. It needs no FFmpeg, no
//! weights and no network: every input is drawn from a seed. Each case is a row of a table that says
//! pass, fail or skipped, and why; one that fails does not keep the others from running.

mod denoise;
mod gradients;
mod pytorch;
mod report;
mod runs;
mod student;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use candle_core::Device;
use clap::Parser;
use trainer::device::DeviceChoice;

use pytorch::PyTorch;
use report::{Outcome, Report, Row};

/// Checks and times what the trainer does on a GPU.
///
/// Prints a table and, with --json, writes the same for programs. Exit code 0: nothing failed; 1: a
/// check failed; 4: there is no GPU to check.
#[derive(Debug, Parser)]
#[command(
    name = "gpu-check",
    version,
    after_help = "Examples:\n  gpu-check --json result.json\n  gpu-check --device cpu --quick   (the program itself, \
                  without a GPU)\n  gpu-check --only semantic-step --steps 50"
)]
struct Args {
    /// What is checked; `cpu` checks the program.
    #[arg(long, value_enum, default_value_t = DeviceChoice::Cuda)]
    device: DeviceChoice,
    /// Small sizes: seconds instead of minutes, and times that say nothing.
    #[arg(long)]
    quick: bool,
    /// Timed steps of each training; as many of PyTorch.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    steps: u16,
    /// Only these cases; may be repeated.
    #[arg(long, value_name = "CASE")]
    only: Vec<String>,
    /// A Python with PyTorch.
    #[arg(long, value_name = "FILE", default_value = "python3")]
    python: PathBuf,
    /// The folder of `training_step.py` and `denoise.py`; without it nothing is timed beside PyTorch.
    #[arg(long, value_name = "DIR")]
    reference: Option<PathBuf>,
    /// Where to write the result as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What a case is given.
pub struct Context {
    device: Device,
    quick: bool,
    steps: usize,
    pytorch: PyTorch,
}

/// A case: its name, what it shows, and how.
struct Case {
    name: &'static str,
    shows: &'static str,
    run: fn(&Context) -> Result<Outcome>,
}

const CASES: [Case; 15] = [
    Case {
        name: "semantic-gradients",
        shows: "semantic detector: every variable's gradient against the processor in float64",
        run: gradients::semantic,
    },
    Case {
        name: "local-gradients",
        shows: "local detector: every variable's gradient against the processor in float64",
        run: gradients::local,
    },
    Case {
        name: "student-gradients",
        shows: "student: every variable's gradient against the processor in float64",
        run: student::gradients,
    },
    Case {
        name: "semantic-scores",
        shows: "semantic detector: scores of a video against the processor in float64",
        run: gradients::semantic_scores,
    },
    Case {
        name: "local-maps",
        shows: "local detector: maps in evaluation mode against the processor in float64",
        run: gradients::local_maps,
    },
    Case {
        name: "noise",
        shows: "noise and dropout: distribution, the same again for the same seed and step",
        run: runs::noise,
    },
    Case {
        name: "semantic-resume",
        shows: "semantic detector: the same bits after an interrupted run",
        run: runs::semantic_resume,
    },
    Case {
        name: "local-resume",
        shows: "local detector: the same bits after an interrupted run",
        run: runs::local_resume,
    },
    Case {
        name: "student-resume",
        shows: "student: the same bits after an interrupted run",
        run: student::resume,
    },
    Case {
        name: "semantic-step",
        shows: "semantic detector: a training step, 32 + 32 videos x 200 x 1024",
        run: runs::semantic_step,
    },
    Case {
        name: "local-step",
        shows: "local detector: a training step, 12 x 5 x 128 x 192",
        run: runs::local_step,
    },
    Case {
        name: "student-step",
        shows: "student: a training step, 4 runs x 32 frames x 160 x 160",
        run: student::step,
    },
    Case {
        name: "denoise-velocity",
        shows: "Wan 2.2's transformer in small: its velocity against the processor's",
        run: denoise::velocity,
    },
    Case {
        name: "denoise-5b",
        shows: "Wan 2.2 TI2V-5B: a denoising step at 832 x 480 x 81",
        run: denoise::step_5b,
    },
    Case {
        name: "denoise-a14b",
        shows: "Wan 2.2 I2V-A14B: a denoising step at 832 x 480 x 81",
        run: denoise::step_a14b,
    },
];

fn main() -> ExitCode {
    let args = Args::parse();
    env_logger::Builder::new().filter_level(log::LevelFilter::Warn).parse_default_env().init();
    match run(&args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("gpu-check: {}", inference::with_causes(error.as_ref()));
            ExitCode::from(1)
        }
    }
}

fn run(args: &Args) -> Result<u8> {
    if let Some(name) = args.only.iter().find(|name| CASES.iter().all(|case| case.name != **name)) {
        let known: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        eprintln!("gpu-check: --only {name}: no such case; there are {}", known.join(", "));
        return Ok(2);
    }
    let wanted = |case: &&Case| args.only.is_empty() || args.only.iter().any(|n| n == case.name);
    let mut report = Report::new(args.quick);
    let opened = args.device.open();
    match &opened {
        Ok(device) => {
            report.device = describe(device);
            let pytorch = PyTorch::new(&args.python, args.reference.as_deref(), device.is_cuda());
            report.pytorch = pytorch.version();
            let context = Context {
                device: device.clone(),
                quick: args.quick,
                steps: args.steps.into(),
                pytorch,
            };
            for case in CASES.iter().filter(wanted) {
                eprintln!("{} ...", case.name);
                report.rows.push(Row::new(case.name, case.shows, attempt(case, &context)));
            }
        }
        Err(error) => {
            report.device = "none".to_owned();
            for case in CASES.iter().filter(wanted) {
                let outcome = Outcome::skipped(error.to_string());
                report.rows.push(Row::new(case.name, case.shows, outcome));
            }
        }
    }
    print!("{report}");
    if let Some(path) = &args.json {
        report.write(path)?;
    }
    Ok(match opened {
        Err(_) => 4,
        Ok(_) if report.failed() => 1,
        Ok(_) => 0,
    })
}

/// Runs a case; what goes wrong in it, a panic included, is its outcome.
fn attempt(case: &Case, context: &Context) -> Outcome {
    match catch_unwind(AssertUnwindSafe(|| (case.run)(context))) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Outcome::failed(inference::with_causes(error.as_ref())),
        Err(_) => Outcome::failed("panicked; its message is above".to_owned()),
    }
}

/// The device's name, as far as it can be told.
fn describe(device: &Device) -> String {
    if device.is_cpu() {
        return "the processor".to_owned();
    }
    let query = ["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader", "--id=0"];
    let out = std::process::Command::new("nvidia-smi").args(query).output();
    match out {
        Ok(out) if out.status.success() => String::from_utf8_lossy(&out.stdout).trim().to_owned(),
        _ => "an NVIDIA GPU (nvidia-smi does not answer)".to_owned(),
    }
}
