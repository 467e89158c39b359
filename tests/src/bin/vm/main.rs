//! A real kernel in the loop: the camera program in a virtual machine whose camera, GPIO lines and
//! watchdog are the kernel's own simulations (`vivid`, `gpio-sim`, `softdog`), its broker outside.
//!
//! `tests/vm/init.sh` is the machine's first program: it works the simulated hardware and prints a
//! line for each check. This program builds the machine, listens to it and to the broker, and judges
//! by what it has heard; `cargo xtask vm` fetches the kernel and starts it.

mod initramfs;
mod machine;
mod modules;
mod packaged;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Parser, ValueEnum};
use tests::broker::Broker;
use tests::small_bundle;
use tests::subscriber::Subscriber;

use initramfs::Initramfs;
use machine::{Arch, Machine};

/// The camera program on a real kernel with simulated hardware.
#[derive(Debug, Parser)]
#[command(name = "vm")]
struct Args {
    /// Its processor.
    #[arg(long, value_enum, default_value = "amd64")]
    arch: Arch,
    /// For arm64: archive of a Debian system with the package.
    #[arg(long, value_name = "FILE.cpio", required_if_eq("arch", "arm64"))]
    root: Option<PathBuf>,
    /// Folder of the unpacked kernel packages.
    #[arg(long, value_name = "DIR")]
    kernel: PathBuf,
    /// Folder for what the machine needs and leaves.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Breaks something, to see the check for it fail.
    #[arg(long, value_name = "WHAT")]
    r#break: Option<Broken>,
    /// Goes on with faults of the installation for so many seconds of the machine's time (amd64).
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    long: u64,
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
    /// A camera that comes back is not found at its stable path (amd64).
    Recovery,
    /// The service may not use the siren's GPIO lines (arm64).
    Sandbox,
}

impl Broken {
    fn name(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Alarm => "alarm",
            Self::Watchdog => "watchdog",
            Self::Recovery => "recovery",
            Self::Sandbox => "sandbox",
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
    let broken = args.r#break;
    let elsewhere = match args.arch {
        Arch::Amd64 => matches!(broken, Some(Broken::Sandbox)),
        Arch::Arm64 => matches!(broken, Some(Broken::Recovery)),
    };
    if elsewhere {
        bail!("--break: this machine has no check that would fail at it");
    }
    let broken = broken.map_or("none", Broken::name);
    std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let (bundle, key) = small_bundle::make(&args.out)?;
    let broker = Broker::start(&args.out.join("broker")).map_err(|e| anyhow!(e))?;
    let subscriber = Subscriber::start(broker.port, "pavad/vm", |_| {}).map_err(|e| anyhow!(e))?;
    let kernel = modules::Kernel::find(&args.kernel)?;
    let material = Material { bundle, key, port: broker.port };

    let image = args.out.join("initramfs.cpio");
    let expected = match &args.root {
        Some(root) if args.arch == Arch::Arm64 => {
            packaged::write(root, &material, &kernel, &image)?;
            &verdict::PACKAGED
        }
        _ => {
            simulated(&material, &kernel, &args.out)?.write(&image)?;
            &verdict::SIMULATED
        }
    };
    // A busy host makes the machine slow: its seconds may take several.
    let limit = Duration::from_secs(args.limit + 4 * args.long);
    let words = format!("pavad.break={broken} pavad.long={}", args.long);
    let mut machine = Machine::start(args.arch, &kernel.image, &image, &args.out, &words)?;
    let heard = machine.listen(limit, &subscriber)?;
    machine.stop();
    let verdict = verdict::judge(heard, &subscriber, expected);
    for line in &verdict.lines {
        println!("{line}");
    }
    if args.long > 0 && !verdict.lines.iter().any(|line| line == "PASS long") {
        bail!(
            "the long run has not come to its end, see {}",
            args.out.join("console.log").display()
        );
    }
    if verdict.passed { Ok(()) } else { bail!("see {}", args.out.join("console.log").display()) }
}

/// What every machine gets.
struct Material {
    bundle: PathBuf,
    key: PathBuf,
    /// The broker's port on the host.
    port: u16,
}

impl Material {
    /// A file of `tests/vm`.
    fn file(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("vm").join(name)
    }

    /// The camera program's configuration.
    fn config(&self) -> Result<String> {
        let path = Self::file("edge.toml.in");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(text.replace("BROKER_PORT", &self.port.to_string()))
    }
}

/// The file system of the machine whose first program is `init.sh`.
fn simulated(material: &Material, kernel: &modules::Kernel, work: &Path) -> Result<Initramfs> {
    let mut files = Initramfs::new();
    for folder in ["dev", "proc", "run", "sys", "tmp"] {
        files.folder(folder);
    }
    files.add("init", &Material::file("init.sh"), 0o755)?;
    files.add("etc/common.sh", &Material::file("common.sh"), 0o644)?;
    files.add("etc/board.toml", &Material::file("board.toml"), 0o644)?;
    files.add("etc/model.pavad", &material.bundle, 0o644)?;
    files.add("etc/model.pub", &material.key, 0o644)?;
    files.text("etc/edge.toml.in", &material.config()?);
    files.busybox()?;
    let runtime = tests::programs::path("edge-runtime").map_err(|e| anyhow!(e))?;
    files.program("bin/edge-runtime", &runtime, work)?;
    files.program("bin/v4l2-ctl", Path::new("/usr/bin/v4l2-ctl"), work)?;
    kernel.add_modules(&mut files, "lib/modules", &modules::AT_START)?;
    Ok(files)
}
