//! `model-export pack`: a checkpoint becomes a signed bundle.

use std::path::{Path, PathBuf};

use inference::{BackendKind, BackendOptions, Graph, open_backend};
use model_export::pack::checkpoint::Checkpoint;
use model_export::pack::{PackInput, SigningKey, Tolerances, pack};
use model_export::parity::{Parity, SCORE_TOLERANCE, compare, scores};
use video::{Frame, Reader};

use super::{Usage, print, write_file};

/// Pack a checkpoint's graphs and detectors into a signed bundle
///
/// Every graph is run to record what it computes, quantized ones with exact integers; the bundle is then
/// loaded the way a camera loads it. The same checkpoint and key give the same file.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  model-export pack checkpoints/gate-3 --key site.key --out \
                        gate-3.pavad --name gate-3 --version 1.0.0")]
pub struct Args {
    /// Checkpoint directory: config.toml, graphs/, golden/.
    checkpoint: PathBuf,
    /// Secret key to sign with (`model-export keygen`).
    #[arg(short, long, value_name = "FILE")]
    key: PathBuf,
    /// Where to write the bundle.
    #[arg(short, long, value_name = "FILE.pavad")]
    out: PathBuf,
    /// Name of the model: a-z, 0-9, -.
    #[arg(long, default_value = "pavad")]
    name: String,
    /// Semantic version of the model.
    #[arg(long = "version", default_value = "0.1.0", value_name = "VERSION")]
    model_version: String,
    /// Security epoch; raise it only when older bundles must no longer be installed.
    #[arg(long, default_value_t = 0)]
    epoch: u32,
    /// Device class that the bundle is for; may be repeated.
    #[arg(long, default_value = "any", value_name = "CLASS")]
    device_class: Vec<String>,
    /// Pack INT8 graphs although their sums saturate on x86 without VNNI.
    #[arg(long)]
    allow_saturation: bool,
    /// ONNX Runtime's shared library; without it, the usual places are searched.
    #[arg(long, value_name = "FILE")]
    ort_library: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let key = SigningKey::read(&args.key)?;
    if !args.checkpoint.is_dir() {
        return Err(Usage(format!("{} is not a directory", args.checkpoint.display())).into());
    }
    let checkpoint = Checkpoint::read(&args.checkpoint)?;
    let mut input = PackInput {
        name: args.name.clone(),
        version: args.model_version.clone(),
        security_epoch: args.epoch,
        device_classes: args.device_class.clone(),
        detectors: checkpoint.detectors,
        graphs: checkpoint.graphs,
        golden: checkpoint.golden,
        provenance: checkpoint.provenance,
        tolerances: Tolerances::default(),
        allow_saturation: args.allow_saturation,
    };
    let options =
        BackendOptions { ort_library: args.ort_library.clone(), threads: 0, ..Default::default() };
    if let Some(parity) = golden_clip(&args.checkpoint, &input, &options)? {
        input.provenance.insert("int8_score_difference_mean".into(), parity.mean.to_string());
        input.provenance.insert("int8_score_difference_max".into(), parity.max.to_string());
        print(&format!(
            "scores of the golden clip, INT8 against fp32: mean absolute difference {:.4}, largest \
             {:.4}, over {} frames\n",
            parity.mean, parity.max, parity.frames
        ))?;
        if parity.mean > SCORE_TOLERANCE {
            log::warn!(
                "the INT8 scores differ by more than {SCORE_TOLERANCE}: calibrate on more footage, or \
                 leave sensitive layers in float"
            );
        }
    }
    let bytes = pack(&input, &key, &options)?;
    write_file(&args.out, &bytes)?;
    print(&format!(
        "{}: {} {}, {} graphs, {} bytes, signed by key {}\n",
        args.out.display(),
        input.name,
        input.version,
        input.graphs.len(),
        bytes.len(),
        key.public().id()
    ))
}

/// Scores the checkpoint's golden clip with the quantized graphs and with the fp32 ones, both on
/// ONNX Runtime; `None` if the checkpoint has no clip or nothing is quantized.
fn golden_clip(
    checkpoint: &Path,
    input: &PackInput,
    options: &BackendOptions,
) -> anyhow::Result<Option<Parity>> {
    let folder = checkpoint.join("golden/clip");
    let quantized = input.graphs.iter().any(|graph| graph.precision == "int8");
    if !folder.is_dir() || !quantized {
        return Ok(None);
    }
    let mut reader = Reader::open(&folder)?;
    let (mut frames, mut frame) = (Vec::new(), Frame::default());
    while reader.read(&mut frame)? {
        frames.push(frame.clone());
    }
    let backend = open_backend(BackendKind::Ort, options)?;
    let run = |kind: BackendKind| -> anyhow::Result<Vec<f64>> {
        let graphs: Vec<(String, Box<dyn Graph>)> = input
            .graphs
            .iter()
            .filter(|graph| graph.backend == kind)
            .map(|graph| Ok((graph.name.clone(), backend.load(&graph.name, &graph.onnx)?)))
            .collect::<anyhow::Result<_>>()?;
        Ok(scores(&input.detectors, graphs, &frames)?)
    };
    Ok(compare(&run(BackendKind::Ort)?, &run(BackendKind::Tract)?))
}
