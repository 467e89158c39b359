//! `cargo xtask bench edge`: a camera's frames to the score, by the camera program and by the same job
//! in Python, on one core each.
//!
//! The two take turns, so that what else the machine does meets both alike.

use std::fmt::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::python::environment;
use super::report::Report;
use crate::shell::{Failure, command, execute, output, quiet, root, target};
use crate::words::Words;
use crate::{install, weights};

/// What the Python peer imports, as pip knows it.
const PACKAGES: &[&str] = &["numpy", "onnxruntime", "opencv-python-headless", "paho-mqtt"];
const IMPORTS: &str = "import cv2, numpy, onnxruntime, paho.mqtt.client";
/// Events whose way to the broker is timed.
const EVENTS: &str = "200";
const ROUNDS: usize = 3;

struct Options {
    bundle: PathBuf,
    frames: u32,
    python: Option<PathBuf>,
    no_install: bool,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, Failure> {
        let mut options = Self {
            bundle: target().join("demo/model.pavad"),
            frames: 300,
            python: None,
            no_install: false,
        };
        let mut words = Words::new("bench edge", args);
        while let Some(name) = words.option() {
            match name {
                "--bundle" => options.bundle = words.value()?.into(),
                "--python" => options.python = Some(words.value()?.into()),
                "--frames" => options.frames = words.number(50..=100_000)?,
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
    if !options.bundle.exists() {
        return Err(Failure::unavailable(format!(
            "{}: no bundle; 'cargo xtask demo' makes one, or name another with --bundle",
            options.bundle.display()
        )));
    }
    install::ensure(&[install::BUILD, install::RUN], options.no_install)?;
    let python = python(&options)?;
    let build = ["build", "--release", "--locked", "--workspace", "--bin", "edge-runtime"];
    execute(&mut command("cargo", build))?;
    let folder = target().join("bench-edge");
    let broker = Broker::start(&folder)?;

    let frames = options.frames.to_string();
    let bundle = options.bundle.as_os_str();
    let ours = || {
        let mut run = one_core(&target().join("release/edge-runtime"));
        run.args(["bench", "--backend", "ort", "--threads", "1", "--json", "--frames", &frames]);
        run.arg("--mqtt").arg(format!("127.0.0.1:{}", broker.port));
        run.arg("--bundle").arg(bundle).envs(weights::environment());
        run
    };
    let theirs = || {
        let mut run = one_core(&python);
        run.arg(root().join("tests/reference/edge.py")).arg(bundle);
        run.args([&frames, EVENTS]).arg(broker.port.to_string());
        run
    };
    let before = load();
    let mut runs = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        for (who, mut program) in [ours(), theirs()].into_iter().enumerate() {
            runs[who].push(Report(output(&mut program)?));
        }
        eprint!("\rround {} of {ROUNDS} ", round + 1);
    }
    eprintln!();
    print!("{}", table(&runs, &options, &before)?);
    Ok(())
}

/// The figures side by side, each the median of all rounds.
fn table(runs: &[Vec<Report>; 2], options: &Options, load: &str) -> Result<String, Failure> {
    let medians = |name: &str| -> Result<[f64; 2], Failure> {
        let of = |runs: &Vec<Report>| {
            let mut values =
                runs.iter().map(|run| run.number(name)).collect::<Result<Vec<f64>, _>>()?;
            values.sort_by(f64::total_cmp);
            Ok(values[values.len() / 2])
        };
        Ok([of(&runs[0])?, of(&runs[1])?])
    };
    let mut text = format!(
        "YUYV 640 x 480 to score, one core, one thread, {} frames, median of {ROUNDS} runs in turn\n\
         load of the machine before: {load}\n{:<44}{:>10}{:>10}{:>8}\n",
        options.frames, "", "Rust", "Python", "ratio"
    );
    let mut row = |what: &str, [rust, python]: [f64; 2], unit: f64| {
        let _ = writeln!(
            text,
            "{what:<44}{:>10.2}{:>10.2}{:>8.2}",
            rust / unit,
            python / unit,
            rust / python
        );
    };
    row("frames a second", medians("frames_per_second")?, 1.0);
    row("processor time a frame, ms", medians("processor_ms")?, 1.0);
    row("memory at most, MiB", medians("memory_peak_bytes")?, f64::from(1 << 20));
    for percentile in ["p50", "p90", "p99"] {
        let name = format!("frame_ms.{percentile}");
        row(&format!("buffer to score, ms, {percentile}"), medians(&name)?, 1.0);
    }
    for percentile in ["p50", "p90", "p99"] {
        let name = format!("acknowledged_ms.{percentile}");
        row(&format!("buffer to broker's acknowledgement, ms, {percentile}"), medians(&name)?, 1.0);
    }
    row("sum of all scores", medians("score_sum")?, 1.0);
    Ok(text)
}

/// A command that is held to the first processor.
fn one_core(program: &Path) -> Command {
    let mut held = command("taskset", ["-c", "0"]);
    held.arg(program);
    held
}

/// How many programs wanted a processor in the last minute, the last five and the last fifteen.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let words: Vec<&str> = text.split(' ').take(3).collect();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{} on {cores} cores", words.join(" "))
}

/// A mosquitto that ends with the benchmark.
struct Broker {
    child: Child,
    port: u16,
}

impl Broker {
    fn start(folder: &Path) -> Result<Self, Failure> {
        let io = |e: std::io::Error| Failure::work(format!("{}: {e}", folder.display()));
        std::fs::create_dir_all(folder).map_err(io)?;
        let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr());
        let port = free.map_err(io)?.port();
        let config = folder.join("mosquitto.conf");
        let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\n");
        std::fs::write(&config, text).map_err(io)?;
        let places = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto"];
        let program = places.into_iter().find(|path| Path::new(path).exists());
        let program = program.ok_or_else(|| Failure::unavailable("mosquitto is not installed"))?;
        let child = Command::new(program)
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(io)?;
        let broker = Self { child, port };
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > until {
                return Err(Failure::unavailable("mosquitto does not listen"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(broker)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Python with the peer's libraries: the one given, the one made earlier, or a fresh one.
fn python(options: &Options) -> Result<PathBuf, Failure> {
    let complete = |python: &Path| quiet(Command::new(python).args(["-c", IMPORTS]));
    if let Some(python) = &options.python {
        let missing = || format!("{}: cannot import {}", python.display(), PACKAGES.join(", "));
        return complete(python)
            .then(|| python.clone())
            .ok_or_else(|| Failure::unavailable(missing()));
    }
    let venv = root().join("target/bench-edge-venv");
    let own = venv.join("bin/python");
    if complete(&own) {
        return Ok(own);
    }
    if options.no_install {
        return Err(Failure::unavailable(
            "the Python peer's libraries are missing and --no-install was given: name a Python that \
             has them with --python",
        ));
    }
    eprintln!("Fetching {} from PyPI into {}", PACKAGES.join(", "), venv.display());
    environment(&venv, PACKAGES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_wrong_ones_refused() {
        let parse = |words: &[&str]| {
            Options::parse(&words.iter().map(|w| (*w).to_string()).collect::<Vec<_>>())
        };
        let options = parse(&["--frames=60", "--bundle", "b", "--python", "py"]);
        let options = options.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((options.frames, options.bundle), (60, "b".into()));
        for wrong in [&["--frames"][..], &["--frames", "3"], &["fast"]] {
            assert_eq!(parse(wrong).err().map(|e| e.code), Some(2), "{wrong:?}");
        }
    }

    #[test]
    fn the_table_has_medians_and_ratios() {
        let run = |fps: f64| {
            let times = "{\"p50\": 1.0, \"p90\": 2.0, \"p99\": 3.0}";
            Report(format!(
                "{{\n  \"frames_per_second\": {fps},\n  \"frame_ms\": {times},\n  \
                 \"processor_ms\": 1, \"memory_peak_bytes\": 1048576, \"score_sum\": 4.5,\"acknowledged_ms\": {times}\n}}"
            ))
        };
        let runs = [vec![run(30.0), run(10.0), run(20.0)], vec![run(8.0), run(16.0), run(4.0)]];
        let options = Options::parse(&[]).unwrap_or_else(|e| panic!("{e}"));
        let text = table(&runs, &options, "0 0 0").unwrap_or_else(|e| panic!("{e}"));
        let row = text.lines().find(|l| l.starts_with("frames a second")).unwrap_or_default();
        let cells: Vec<&str> = row.split_whitespace().skip(3).collect();
        assert_eq!(cells, ["20.00", "8.00", "2.50"]);
        assert!(run(1.0).number("none").is_err());
        assert_eq!(run(1.0).number("acknowledged_ms.p90").unwrap_or(0.0), 2.0);
    }
}
