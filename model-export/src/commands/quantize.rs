//! `model-export quantize`: an fp32 graph becomes an INT8 one.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use inference::{BackendKind, BackendOptions, Graph, TensorInfo, best_backend};
use model_bundle::manifest::{InitialState, LocalSpec, SnippetSpec, StateSpec, StreamSpec};
use model_export::calibration::{Preprocessing, Samples};
use model_export::onnx;
use model_export::pack::checkpoint::read_detectors;
use model_export::quantize::{Flavour, Method, Options, Report, quantize};

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
                        --report report.json")]
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
    /// Leave a node in float; `*` stands for any characters. May be repeated.
    #[arg(long, value_name = "NAME")]
    keep_float: Vec<String>,
    /// Give up a bit of the weights against saturation on x86 without VNNI.
    #[arg(long)]
    reduce_range: bool,
    /// Write the report of ranges, layers and errors as JSON.
    #[arg(long, value_name = "FILE.json")]
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
enum MethodArg {
    MinMax,
    Percentile,
    Entropy,
    Mse,
    Best,
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

    let options = Options {
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
        },
        keep_float: args.keep_float.clone(),
        reduce_range: args.reduce_range,
        ..Options::default()
    };
    let progress = indicatif::ProgressBar::new(args.samples as u64).with_message("calibrating");
    let mut failure = None;
    let mut inputs = samples
        .map_while(|sample| match sample {
            Ok(tensors) => Some(tensors),
            Err(error) => {
                failure = Some(error);
                None
            }
        })
        .inspect(|_| progress.inc(1));
    let quantized = quantize(&model, &mut inputs, &options, backend.as_ref());
    drop(inputs);
    progress.finish_and_clear();
    // A broken clip comes first: what it leaves may be too little to calibrate with.
    if let Some(error) = failure {
        return Err(error.into());
    }
    let quantized = quantized?;
    write_file(&args.out, &onnx::to_bytes(&quantized.model))?;
    let report = serde_json::to_string_pretty(&quantized.report)?;
    if let Some(path) = &args.report {
        write_file(path, report.as_bytes())?;
    }
    if args.json {
        print(&format!("{report}\n"))
    } else {
        print(&summary(&args.out, &quantized.report))
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

fn summary(out: &Path, report: &Report) -> String {
    let mut text = format!(
        "{}: {} layers in INT8, {} in float, {} samples\n",
        out.display(),
        report.layers.len(),
        report.float_layers.len(),
        report.samples
    );
    for output in &report.outputs {
        text.push_str(&format!(
            "output {}: cosine similarity {:.5}, signal to noise {:.1} dB\n",
            output.name, output.cosine, output.sqnr_db
        ));
    }
    text
}
