//! A real kernel in the loop: the camera program in a virtual machine whose camera, GPIO lines and
//! watchdog are the kernel's own simulations (`vivid`, `gpio-sim`, `softdog`), its broker outside.
//!
//! `tests/vm/init.sh` is the machine's first program: it works the simulated hardware and prints a
//! line for each check. This program builds the machine, listens to it and to the broker, and judges
//! by what it has heard; `cargo xtask vm` fetches the kernel and starts it.

mod bundle;
mod initramfs;
mod machine;
mod modules;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Parser, ValueEnum};
use tests::broker::Broker;
use tests::subscriber::Subscriber;

use initramfs::Initramfs;
use machine::Machine;

/// The camera program on a real kernel with simulated hardware.
#[derive(Debug, Parser)]
#[command(name = "vm")]
struct Args {
    /// Folder of the unpacked kernel packages.
    #[arg(long, value_name = "DIR")]
    kernel: PathBuf,
    /// Folder for what the machine needs and leaves.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Breaks something, to see the check for it fail.
    #[arg(long, value_name = "WHAT")]
    r#break: Option<Broken>,
    /// Longest time for the machine to come to its end, in seconds.
    #[arg(long, default_value_t = 900)]
    limit: u64,
}

/// What can be broken on purpose.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Broken {
    /// The camera drops every frame.
    Capture,
    /// The siren hangs on another line.
    Alarm,
    /// The board file names no watchdog.
    Watchdog,
    /// A camera that comes back is not found at its stable path.
    Recovery,
}

impl Broken {
    fn name(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Alarm => "alarm",
            Self::Watchdog => "watchdog",
            Self::Recovery => "recovery",
        }
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vm: {}", format!("{error:#}").replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let material = Path::new(env!("CARGO_MANIFEST_DIR")).join("vm");
    std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let (bundle, key) = bundle::make(&args.out)?;
    let broker = Broker::start(&args.out.join("broker")).map_err(|e| anyhow!(e))?;
    let subscriber = Subscriber::start(broker.port, "pavad/vm", |_| {}).map_err(|e| anyhow!(e))?;

    let image = args.out.join("initramfs.cpio");
    let mut files = Initramfs::new();
    for folder in ["dev", "proc", "run", "sys", "tmp"] {
        files.folder(folder);
    }
    files.add("init", &material.join("init.sh"), 0o755)?;
    files.add("etc/board.toml", &material.join("board.toml"), 0o644)?;
    files.add("etc/model.pavad", &bundle, 0o644)?;
    files.add("etc/model.pub", &key, 0o644)?;
    let config = material.join("edge.toml.in");
    let config = std::fs::read_to_string(&config).with_context(|| config.display().to_string())?;
    let config = config.replace("BROKER_PORT", &broker.port.to_string());
    files.text("etc/edge.toml.in", &config);
    files.busybox()?;
    let runtime = tests::programs::path("edge-runtime").map_err(|e| anyhow!(e))?;
    files.program("bin/edge-runtime", &runtime, &args.out)?;
    files.program("bin/v4l2-ctl", Path::new("/usr/bin/v4l2-ctl"), &args.out)?;
    let kernel = modules::Kernel::find(&args.kernel)?;
    kernel.add_modules(&mut files)?;
    files.write(&image)?;

    let limit = Duration::from_secs(args.limit);
    let broken = args.r#break.map_or("none", Broken::name);
    let mut machine = Machine::start(&kernel.image, &image, &args.out, broken)?;
    let heard = machine.listen(limit, &subscriber)?;
    machine.stop();
    let verdict = verdict::judge(heard, &subscriber);
    for line in &verdict.lines {
        println!("{line}");
    }
    if verdict.passed { Ok(()) } else { bail!("see {}", args.out.join("console.log").display()) }
}
