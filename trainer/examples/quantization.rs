//! A graph, calibration samples, held-out samples and our INT8 graphs of it, for `cargo xtask bench quantize`.
//!
//!     quantization OUT FOOTAGE SAMPLES HELD_OUT mobilenetv2|i3d|local [CHECKPOINT]
//!
//! Every fourth clip of the footage is held out. OUT gets `model.onnx` (fp32), `calibration/NNN.npy`,
//! `held-out/NNN.npy` and `ours.METHOD.onnx` for each way to choose ranges, all from the same samples;
//! `tests/reference/quantize_static.py` quantizes `model.onnx` with them and measures all graphs alike.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use inference::{Backend, BackendKind, BackendOptions, open_backend};
use model_bundle::manifest::SnippetSpec;
use model_export::calibration::{Preprocessing, Samples};
use model_export::graphs::{i3d, mobilenetv2};
use model_export::onnx::{self, ModelProto};
use model_export::pack::checkpoint::read_detectors;
use model_export::quantize::{Equalize, Flavour, Method, Options, WeightRange, quantize};
use model_export::weights::Weights;
use trainer::npy;

/// Every how many clips one is held out.
const HELD_OUT_EVERY: usize = 4;
/// Width and height of I3D's snippets: smaller than the 224 it is used with, because ONNX Runtime's
/// calibrators keep the activations of all samples in memory.
const I3D_SIZE: usize = 112;

/// Calibration samples on which `auto` compares.
const COMPARED: usize = 8;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (out, footage, samples, held_out, name, checkpoint) = match args.as_slice() {
        [out, footage, samples, held_out, name] => (out, footage, samples, held_out, name, None),
        [out, footage, samples, held_out, name, checkpoint] => {
            (out, footage, samples, held_out, name, Some(PathBuf::from(checkpoint)))
        }
        _ => bail!("usage: quantization OUT FOOTAGE SAMPLES HELD_OUT MODEL [CHECKPOINT]"),
    };
    let (model, preprocessing) = model(name, checkpoint.as_deref())?;
    let out = Path::new(out);
    let write = |file: &str, bytes: &[u8]| {
        let path = out.join(file);
        std::fs::write(&path, bytes).with_context(|| path.display().to_string())
    };
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    write("model.onnx", &onnx::to_bytes(&model))?;

    let backend = open_backend(BackendKind::Ort, &BackendOptions::default())?;
    let shape = backend.load(name, &onnx::to_bytes(&model))?.inputs()[0].shape.clone();
    let clips = video::list_clips(Path::new(footage))?;
    let cut = |folder: &str, held: bool, count: &str| -> Result<Vec<Vec<Vec<f32>>>> {
        let clips: Vec<video::Clip> = clips
            .iter()
            .enumerate()
            .filter(|(i, _)| held == ((i + 1) % HELD_OUT_EVERY == 0))
            .map(|(_, clip)| clip.clone())
            .collect();
        let count = count.parse().with_context(|| format!("{count} is no number of samples"))?;
        let samples = Samples::new(&clips, preprocessing.clone(), count)
            .with_context(|| format!("{footage}: every fourth clip is held out"))?
            .collect::<Result<Vec<_>, _>>()?;
        std::fs::create_dir_all(out.join(folder)).with_context(|| folder.to_owned())?;
        for (i, sample) in samples.iter().enumerate() {
            npy::write(&out.join(folder).join(format!("{i:03}.npy")), &shape, &sample[0])?;
        }
        Ok(samples)
    };
    let calibration = cut("calibration", false, samples)?;
    cut("held-out", true, held_out)?;
    ours(&model, &calibration, backend.as_ref(), &write)
}

/// Our INT8 graphs: with the default options, with each way to choose ranges, equalised, and with ranges by
/// `min-max` and other weights or activations.
fn ours(
    model: &ModelProto,
    samples: &[Vec<Vec<f32>>],
    backend: &dyn Backend,
    write: &dyn Fn(&str, &[u8]) -> Result<()>,
) -> Result<()> {
    let with = |method| Options { method, ..Options::default() };
    for (name, options) in [
        ("default", Options::default()),
        ("min-max", with(Method::MinMax)),
        ("percentile", with(Method::Percentile)),
        ("entropy", with(Method::Entropy)),
        ("mse", with(Method::Mse)),
        ("auto", with(Method::Auto)),
        ("equalised", Options { equalize: Equalize::Depthwise, ..Options::default() }),
        ("full-range", Options { weights: WeightRange::Full, ..with(Method::MinMax) }),
        ("seven-bits", Options { weights: WeightRange::SevenBits, ..with(Method::MinMax) }),
        ("s8s8", Options { flavour: Flavour::S8S8, ..with(Method::MinMax) }),
    ] {
        // `auto` runs the graphs on these; the others do not look at them.
        let options = Options { layer_errors: false, compare_samples: COMPARED, ..options };
        let mut samples = samples.iter().cloned();
        let quantized = quantize(model, &mut samples, &options, backend)?;
        write(&format!("ours.{name}.onnx"), &onnx::to_bytes(&quantized.model))?;
    }
    Ok(())
}

/// The fp32 graph, and how frames become its input.
fn model(name: &str, checkpoint: Option<&Path>) -> Result<(ModelProto, Preprocessing)> {
    let snippet = |frames: usize, size: usize, mean, std| {
        let [frames, width, height] = [frames, size, size].map(|n| n as u32);
        let snippet =
            SnippetSpec { frames, stride: frames, width, height, mean, std, stream: None };
        Preprocessing::Snippet { snippet, frame_rate: None }
    };
    Ok(match (name, checkpoint) {
        ("mobilenetv2", None) => {
            // One frame: the mean over a snippet's frames would hide noise.
            let config = mobilenetv2::Config { frames: 1, ..mobilenetv2::Config::default() };
            let weights = Weights::fetched(mobilenetv2::WEIGHTS_FILE)?;
            let model = mobilenetv2::build(&weights, &config)?;
            (model, snippet(1, config.width, mobilenetv2::MEAN, mobilenetv2::STD))
        }
        ("i3d", None) => {
            let config =
                i3d::Config { width: I3D_SIZE, height: I3D_SIZE, ..i3d::Config::default() };
            let weights = Weights::fetched(i3d::WEIGHTS_FILE)?;
            let model = i3d::build(&weights, &config)?;
            (model, snippet(config.frames, I3D_SIZE, i3d::MEAN, i3d::STD))
        }
        ("local", Some(checkpoint)) => {
            let path = checkpoint.join("graphs/local.tract.fp32.onnx");
            let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
            let detectors = read_detectors(&checkpoint.join("config.toml"))?;
            let local = detectors.local.context("the checkpoint has no local detector")?;
            (onnx::load(&bytes)?, Preprocessing::Stack { local, input: detectors.input })
        }
        _ => bail!("no model {name}: there are mobilenetv2, i3d, and local with a checkpoint"),
    })
}
