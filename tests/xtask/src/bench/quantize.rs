//! `cargo xtask bench quantize`: our INT8 graphs beside those of ONNX Runtime's `quantize_static`.
//!
//! Both quantizers get the same fp32 graph and the same calibration samples; every INT8 graph is then
//! run by the same ONNX Runtime on samples of clips that neither has seen.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::python::Needs;
use crate::shell::{Failure, command, execute, root, target};
use crate::words::Words;
use crate::{install, weights};

/// The peer, in the version of ONNX Runtime that the camera program runs.
const ONNX_RUNTIME: Needs = Needs {
    bench: "quantize",
    what: "ONNX Runtime for Python",
    modules: "onnxruntime.quantization, onnx, numpy, sympy",
    packages: &["onnxruntime==1.32.0", "onnx==1.23.2", "numpy==2.4.6", "sympy==1.14.0"],
};

/// Networks that need no checkpoint.
const BACKBONES: [&str; 2] = ["mobilenetv2", "i3d"];

struct Options {
    footage: PathBuf,
    checkpoint: Option<PathBuf>,
    models: Vec<String>,
    samples: usize,
    held_out: usize,
    threads: usize,
    python: Option<PathBuf>,
    no_install: bool,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, Failure> {
        let mut options = Self {
            footage: root().join("../shared/data/ped2/train"),
            checkpoint: None,
            models: BACKBONES.map(String::from).to_vec(),
            samples: 48,
            held_out: 24,
            threads: 2,
            python: None,
            no_install: false,
        };
        let mut words = Words::new("bench quantize", args);
        while let Some(name) = words.option() {
            match name {
                "--footage" => options.footage = words.value()?.into(),
                "--checkpoint" => options.checkpoint = Some(words.value()?.into()),
                "--models" => {
                    options.models = words.value()?.split(',').map(String::from).collect();
                    if let Some(other) =
                        options.models.iter().find(|m| !BACKBONES.contains(&m.as_str()))
                    {
                        return Err(Failure::usage(format!(
                            "bench quantize: no model '{other}': there are {}, and --checkpoint \
                             for the local network",
                            BACKBONES.join(" and ")
                        )));
                    }
                }
                "--samples" => options.samples = words.number(1..=1000)?,
                "--held-out" => options.held_out = words.number(1..=1000)?,
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
    if !options.footage.is_dir() {
        return Err(Failure::usage(format!(
            "bench quantize: {} is no folder: give normal clips with --footage DIR",
            options.footage.display()
        )));
    }
    install::ensure(&[install::BUILD], options.no_install)?;
    weights::ensure(options.no_install)?;
    let python = ONNX_RUNTIME.python(options.python.as_deref(), options.no_install)?;
    let build = ["build", "--release", "--locked", "--workspace", "--example", "quantization"];
    execute(&mut command("cargo", build))?;

    println!(
        "INT8 (U8S8) against fp32 on held-out clips, {} calibration samples, {} threads",
        options.samples, options.threads
    );
    for model in &options.models {
        measure(&options, &python, model, None)?;
    }
    if let Some(checkpoint) = &options.checkpoint {
        measure(&options, &python, "local", Some(checkpoint))?;
    }
    Ok(())
}

/// Quantizes and measures one network, and prints its part of the table.
fn measure(
    options: &Options,
    python: &Path,
    model: &str,
    checkpoint: Option<&PathBuf>,
) -> Result<(), Failure> {
    let folder = target().join("bench-quantize").join(model);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)
            .map_err(|e| Failure::work(format!("{}: {e}", folder.display())))?;
    }
    let ours = target().join("release/examples/quantization");
    let numbers = [options.samples.to_string(), options.held_out.to_string()];
    let mut quantize = command(&ours.to_string_lossy(), [&folder, &options.footage]);
    quantize.args(numbers).arg(model).args(checkpoint).envs(weights::environment());
    execute(&mut quantize)?;
    let theirs = root().join("tests/reference/quantize_static.py");
    let mut peer = command(&python.to_string_lossy(), [&theirs, &folder]);
    let done = peer.arg(options.threads.to_string()).stderr(Stdio::inherit()).output();
    let done = done.map_err(|e| Failure::unavailable(format!("{}: {e}", python.display())))?;
    let rows = rows(&String::from_utf8_lossy(&done.stdout))?;
    print!("{}", table(model, &rows));
    Ok(())
}

/// What was measured of a graph.
#[derive(Debug, PartialEq)]
struct Row {
    quantizer: String,
    method: String,
    cosine_mean: f64,
    cosine_least: f64,
    sqnr_db: f64,
    bytes: f64,
    milliseconds: f64,
}

/// The lines of the Python program that are rows; ONNX Runtime's calibrators print others.
fn rows(text: &str) -> Result<Vec<Row>, Failure> {
    let rows: Vec<Row> = text.lines().filter_map(row).collect();
    let of = |quantizer: &str| rows.iter().any(|r| r.quantizer == quantizer);
    if of("ours") && of("onnxruntime") {
        return Ok(rows);
    }
    Err(Failure::work("quantize_static.py measured nothing; its message is above"))
}

fn row(line: &str) -> Option<Row> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [quantizer, method, numbers @ ..] = words.as_slice() else {
        return None;
    };
    let numbers: Vec<f64> = numbers.iter().map(|n| n.parse().ok()).collect::<Option<_>>()?;
    let [cosine_mean, cosine_least, sqnr_db, bytes, milliseconds] = numbers[..] else {
        return None;
    };
    Some(Row {
        quantizer: (*quantizer).to_string(),
        method: (*method).to_string(),
        cosine_mean,
        cosine_least,
        sqnr_db,
        bytes,
        milliseconds,
    })
}

fn table(model: &str, rows: &[Row]) -> String {
    let mut text = format!(
        "\n{model:<24}{:>12}{:>12}{:>8}{:>8}{:>9}\n",
        "cosine mean", "least", "dB", "MB", "ms"
    );
    for r in rows {
        let name = format!("{} {}", r.quantizer, r.method);
        text += &format!(
            "{name:<24}{:>12.6}{:>12.6}{:>8.2}{:>8.2}{:>9.2}\n",
            r.cosine_mean,
            r.cosine_least,
            r.sqnr_db,
            r.bytes / 1e6,
            r.milliseconds
        );
    }
    let best = |quantizer: &str, only: Option<&str>| {
        rows.iter()
            .filter(|r| r.quantizer == quantizer && only.is_none_or(|method| r.method == method))
            .max_by(|a, b| a.sqnr_db.total_cmp(&b.sqnr_db))
    };
    // `auto` is judged too: like the best of their calibrators it is found by measuring, but not on the
    // held-out samples.
    for method in ["default", "auto"] {
        if let (Some(ours), Some(theirs)) = (best("ours", Some(method)), best("onnxruntime", None))
        {
            let power = 10f64.powf((theirs.sqnr_db - ours.sqnr_db) / 10.0);
            text += &format!(
                "noise power, ours ({method}) / best of ONNX Runtime's ({}): {power:.2}; {}\n",
                theirs.method,
                if power <= 1.0 { "ours is at least as accurate" } else { "ours is less accurate" }
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "Collecting tensor data and making histogram ...\n\
        fp32 - 1.000000 1.000000 200.00 8000000 10.00\n\
        ours default 0.990000 0.980000 20.00 2000000 5.00\n\
        onnxruntime min-max 0.980000 0.970000 17.00 2000000 5.00\n\
        onnxruntime entropy 0.970000 0.960000 16.00 2000000 5.00\n";

    #[test]
    fn options_are_read_and_wrong_ones_refused() {
        let parse = |words: &[&str]| {
            Options::parse(&words.iter().map(|w| (*w).to_string()).collect::<Vec<_>>())
        };
        let options = parse(&["--models", "i3d", "--samples=3", "--checkpoint", "c"])
            .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((options.models, options.samples), (vec!["i3d".to_string()], 3));
        assert_eq!(options.checkpoint, Some("c".into()));
        for wrong in [&["--models", "x"][..], &["--samples", "0"], &["--footage"], &["fast"]] {
            assert_eq!(parse(wrong).err().map(|e| e.code), Some(2), "{wrong:?}");
        }
    }

    #[test]
    fn the_best_of_theirs_is_compared_with_our_default() {
        let rows = rows(LINES).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(rows.len(), 4);
        let table = table("net", &rows);
        assert!(table.contains("(min-max): 0.50; ours is at least as accurate"), "{table}");
    }

    #[test]
    fn nothing_measured_is_an_error() {
        assert_eq!(rows("Traceback\n").err().map(|e| e.code), Some(1));
    }
}
