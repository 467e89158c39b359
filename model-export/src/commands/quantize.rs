//! `model-export quantize`: an fp32 graph becomes an INT8 one.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use inference::{BackendKind, BackendOptions, Graph, TensorInfo, best_backend};
use model_bundle::manifest::{InitialState, LocalSpec, SnippetSpec, StateSpec, StreamSpec};
use model_export::calibration::{Preprocessing, Samples};
use model_export::onnx;
use model_export::pack::checkpoint::read_detectors;
use model_export::quantize::page::page;
use model_export::quantize::timing::{Timing, time};
use model_export::quantize::{
    Equalize, Flavour, Method, Options, Report, Search, WeightRange, quantize,
};
use serde::Serialize;

use super::backbone::Backbone;
use super::{Usage, print, write_file};

/// Quantize an fp32 ONNX graph to INT8 (QDQ form), calibrated on video
///
/// The frames become the graph's input the way the camera makes it: a `stack` needs --config, a
/// `snippet` needs --config or --backbone. So does the `frame` of a graph that streams, whose states
/// are recorded while it runs over the frames before.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  model-export quantize i3d.onnx --backbone i3d --calibration \
                        normal/ --out i3d.int8.onnx\n  model-export quantize local.onnx --config \
                        checkpoint/config.toml --calibration normal/ --out local.int8.onnx \
                        --report report.html\n  model-export quantize mobilenetv2.onnx --backbone \
                        mobilenetv2 --calibration normal/ --out mobilenetv2.int8.onnx --method auto \
                        --target-sqnr 25")]
pub struct Args {
    /// The fp32 graph.
    model: PathBuf,
    /// Clips of normal footage: a folder of videos or of image folders, or one video.
    #[arg(long, value_name = "DIR")]
    calibration: PathBuf,
    /// Where to write the INT8 graph.
    #[arg(short, long, value_name = "FILE.onnx")]
    out: PathBuf,
    /// A checkpoint's config.toml, whose [detectors] say how frames become the graph's input.
    #[arg(long, value_name = "FILE", conflicts_with = "backbone")]
    config: Option<PathBuf>,
    /// Normalise snippets for this backbone, and take every frame.
    #[arg(long, value_enum)]
    backbone: Option<Backbone>,
    /// Most calibration samples.
    #[arg(long, default_value_t = 64)]
    samples: usize,
    /// Number format: u8s8 for ONNX Runtime on a CPU, s8s8 for TensorRT.
    #[arg(long, value_enum, default_value = "u8s8")]
    flavour: FlavourArg,
    /// How ranges are chosen.
    #[arg(long, value_enum, default_value = "best")]
    method: MethodArg,
    /// Samples, the last ones, that calibration does without and on which the outputs are compared;
    /// with fewer than four times as many samples it does not do without.
    #[arg(long, default_value_t = 8)]
    held_out: usize,
    /// Bring the channels of activations to one range first: none, those beside depthwise convolutions, or
    /// those between any two convolutions. Better on footage like the calibration clips, worse on other.
    #[arg(long, value_enum, default_value = "off")]
    equalize: EqualizeArg,
    /// Quantize each layer alone, measure the graph's outputs and rank the layers.
    #[arg(long)]
    sensitivity: bool,
    /// Leave the fewest of the most sensitive layers in float with which every output reaches this signal
    /// to noise, in dB.
    #[arg(long, value_name = "DB", value_parser = decibel)]
    target_sqnr: Option<f64>,
    /// Leave at most this many layers in float; without --target-sqnr, this many.
    #[arg(long, value_name = "N")]
    max_float_layers: Option<usize>,
    /// Seconds after which the sensitivity pass measures no further layer.
    #[arg(long, value_name = "N", default_value_t = 600)]
    sensitivity_seconds: u64,
    /// Threads of a run for the latencies in the report.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Leave a node in float; `*` stands for any characters. May be repeated.
    #[arg(long, value_name = "NAME")]
    keep_float: Vec<String>,
    /// How far the weights may go: `pairs` and `seven-bits` are exact on every processor, `full` saturates
    /// on x86 without VNNI.
    #[arg(long, value_enum, default_value = "pairs")]
    weights: WeightsArg,
    /// The same as --weights seven-bits.
    #[arg(long, conflicts_with = "weights")]
    reduce_range: bool,
    /// Write the report of ranges, layers, errors, size and latency: a page for FILE.html, else JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print the report as JSON instead of a summary.
    #[arg(long)]
    json: bool,
    /// Run calibration on this backend; without it, ONNX Runtime if it is there, else tract.
    #[arg(long, value_parser = ["ort", "tract"])]
    backend: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "lower")]
enum FlavourArg {
    U8S8,
    S8S8,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum WeightsArg {
    Pairs,
    SevenBits,
    Full,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum MethodArg {
    MinMax,
    Percentile,
    Entropy,
    Mse,
    Best,
    Auto,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum EqualizeArg {
    Off,
    Depthwise,
    All,
}

fn decibel(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(db) if (0.0..=200.0).contains(&db) => Ok(db),
        _ => Err("a signal-to-noise ratio is 0 to 200 dB".to_owned()),
    }
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let bytes = std::fs::read(&args.model)
        .with_context(|| format!("cannot read {}", args.model.display()))?;
    let model = onnx::load(&bytes).with_context(|| args.model.display().to_string())?;
    let kinds = match &args.backend {
        Some(name) => BackendKind::from_name(name).into_iter().collect(),
        None => vec![BackendKind::Ort, BackendKind::Tract],
    };
    let backend = best_backend(&kinds, &BackendOptions { threads: 0, ..Default::default() })?;
    let graph = backend.load("model", &bytes)?;
    let preprocessing = preprocessing(args, graph.as_ref())?;
    let clips = video::list_clips(&args.calibration)?;
    let samples = Samples::new(&clips, preprocessing, args.samples)?.through(graph);

    let options = options(args);
    let progress = indicatif::ProgressBar::new(args.samples as u64).with_message("calibrating");
    let (mut failure, mut last) = (None, None);
    let mut inputs = samples
        .map_while(|sample| match sample {
            Ok(tensors) => Some(tensors),
            Err(error) => {
                failure = Some(error);
                None
            }
        })
        .inspect(|sample| {
            progress.inc(1);
            last = Some(sample.clone());
        });
    let quantized = quantize(&model, &mut inputs, &options, backend.as_ref());
    drop(inputs);
    progress.finish_and_clear();
    // A broken clip comes first: what it leaves may be too little to calibrate with.
    if let Some(error) = failure {
        return Err(error.into());
    }
    let quantized = quantized?;
    let int8 = onnx::to_bytes(&quantized.model);
    write_file(&args.out, &int8)?;
    let threads = usize::from(args.threads);
    let timed = best_backend(&kinds, &BackendOptions { threads, ..Default::default() })?;
    let timing = last.map(|sample| time(&bytes, &int8, &sample, timed.as_ref())).transpose()?;
    let output = Output { report: &quantized.report, timing: timing.as_ref() };
    let json = serde_json::to_string_pretty(&output)?;
    if let Some(path) = &args.report {
        let is_page = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("html"));
        let title = args.model.file_stem().unwrap_or_default().to_string_lossy();
        let content =
            if is_page { page(&title, output.report, output.timing) } else { json.clone() };
        write_file(path, content.as_bytes())?;
    }
    if args.json { print(&format!("{json}\n")) } else { print(&summary(&args.out, &output)) }
}

/// The report as JSON.
#[derive(Serialize)]
struct Output<'a> {
    #[serde(flatten)]
    report: &'a Report,
    timing: Option<&'a Timing>,
}

fn options(args: &Args) -> Options {
    let wanted = args.sensitivity || args.target_sqnr.is_some() || args.max_float_layers.is_some();
    let search = Search {
        target_sqnr_db: args.target_sqnr,
        max_float_layers: args.max_float_layers,
        seconds: args.sensitivity_seconds,
    };
    Options {
        flavour: match args.flavour {
            FlavourArg::U8S8 => Flavour::U8S8,
            FlavourArg::S8S8 => Flavour::S8S8,
        },
        method: match args.method {
            MethodArg::MinMax => Method::MinMax,
            MethodArg::Percentile => Method::Percentile,
            MethodArg::Entropy => Method::Entropy,
            MethodArg::Mse => Method::Mse,
            MethodArg::Best => Method::Best,
            MethodArg::Auto => Method::Auto,
        },
        keep_float: args.keep_float.clone(),
        weights: match args.weights {
            _ if args.reduce_range => WeightRange::SevenBits,
            WeightsArg::Pairs => WeightRange::Pairs,
            WeightsArg::SevenBits => WeightRange::SevenBits,
            WeightsArg::Full => WeightRange::Full,
        },
        equalize: match args.equalize {
            EqualizeArg::Off => Equalize::Off,
            EqualizeArg::Depthwise => Equalize::Depthwise,
            EqualizeArg::All => Equalize::All,
        },
        sensitivity: wanted.then_some(search),
        compare_samples: args.held_out,
        hold_out: true,
        ..Options::default()
    }
}

/// How frames become the inputs of this graph.
fn preprocessing(args: &Args, graph: &dyn Graph) -> anyhow::Result<Preprocessing> {
    let usage = |message: String| Err(Usage(message).into());
    let Some((input, states)) = graph.inputs().split_first() else {
        return usage(format!("{} has no input", args.model.display()));
    };
    let stream = (input.name == "frame").then(|| stream(states, graph.outputs()));
    if stream.is_none() && !states.is_empty() {
        return usage(format!("{} must have one input", args.model.display()));
    }
    let detectors = args.config.as_deref().map(read_detectors).transpose()?;
    let chosen = match (input.name.as_str(), &input.shape[..], detectors) {
        ("stack", _, Some(detectors)) | ("frame", &[1, 1, _, _], Some(detectors)) => {
            let of_this_form = |local: &LocalSpec| local.stream == stream;
            let local = detectors.local.filter(of_this_form);
            local.map(|local| Preprocessing::Stack { local, input: detectors.input })
        }
        ("snippet", _, Some(detectors)) | ("frame", &[1, 3, _, _], Some(detectors)) => detectors
            .semantic
            .filter(|semantic| semantic.snippet.stream == stream)
            .map(|semantic| {
                let frame_rate = Some(detectors.input.frame_rate);
                Preprocessing::Snippet { snippet: semantic.snippet, frame_rate }
            }),
        ("snippet", &[1, 3, frames, height, width], None) => args.backbone.map(|backbone| {
            let (mean, std) = backbone.normalisation();
            let [frames, width, height] = [frames, width, height].map(|n| n as u32);
            let snippet =
                SnippetSpec { frames, stride: frames, width, height, mean, std, stream: None };
            Preprocessing::Snippet { snippet, frame_rate: None }
        }),
        ("frame", &[1, 3, height, width], None) => args.backbone.map(|backbone| {
            let (mean, std) = backbone.normalisation();
            let [width, height] = [width, height].map(|n| n as u32);
            let snippet = SnippetSpec { frames: 1, stride: 1, width, height, mean, std, stream };
            Preprocessing::Snippet { snippet, frame_rate: None }
        }),
        _ => None,
    };
    let Some(chosen) = chosen else {
        return usage(format!(
            "nothing says how frames become input `{}` {:?}: give --config with that detector, or \
             --backbone for a `snippet` or a colour `frame`",
            input.name, input.shape
        ));
    };
    Ok(chosen)
}

/// The states of a streaming graph, zero at a stream's start.
fn stream(states: &[TensorInfo], outputs: &[TensorInfo]) -> StreamSpec {
    let states = states.iter().zip(outputs.iter().skip(1)).map(|(input, output)| StateSpec {
        input: input.name.clone(),
        output: output.name.clone(),
        shape: input.shape.iter().map(|&size| size as u32).collect(),
        initial: InitialState::Zero,
    });
    StreamSpec { states: states.collect() }
}

/// How many of the ranked layers the summary names.
const SHOWN: usize = 10;

fn summary(out: &Path, output: &Output<'_>) -> String {
    let report = output.report;
    let mut text = format!(
        "{}: {} layers in INT8, {} in float, {} samples\n",
        out.display(),
        report.layers.len(),
        report.float_layers.len(),
        report.samples
    );
    for trial in &report.methods {
        let chosen = if trial.method == report.method { "  chosen" } else { "" };
        let name = format!("ranges by {}", trial.method.name());
        text += &format!("{name:<24}{:>8.2} dB{chosen}\n", trial.sqnr_db);
    }
    if let Some(found) = &report.sensitivity {
        text += "layer alone in INT8                                 dB\n";
        for layer in found.layers.iter().take(SHOWN.max(found.float_layers.len())) {
            let float =
                if found.float_layers.contains(&layer.node) { "  left in float" } else { "" };
            text += &format!("{:<48}{:>8.2}{float}\n", layer.node, layer.sqnr_db);
        }
        if found.unmeasured > 0 {
            text += &format!("{} layers were not measured: no time was left\n", found.unmeasured);
        }
        for trial in &found.trials {
            let name = format!("with {} layers in float", trial.float_layers);
            text += &format!("{name:<48}{:>8.2}\n", trial.sqnr_db);
        }
        if let (Some(target), Some(false)) = (found.search.target_sqnr_db, found.reached) {
            text += &format!("the target of {target:.1} dB is not reached\n");
        }
    }
    for output in &report.outputs {
        text += &format!(
            "output {}: cosine similarity {:.5}, signal to noise {:.1} dB, largest difference {:.4}\n",
            output.name, output.cosine, output.sqnr_db, output.largest_difference
        );
    }
    if let Some(t) = output.timing {
        text += &format!(
            "fp32 {:.2} MB, {:.2} ms; INT8 {:.2} MB, {:.2} ms ({}, median of {} runs in turn)\n",
            t.float_bytes as f64 / 1e6,
            t.float_ms,
            t.int8_bytes as f64 / 1e6,
            t.int8_ms,
            t.engine,
            t.runs
        );
    }
    text
}
