//! The light backbone's bundles, INT8 and fp32, for `cargo xtask bench student`.
//!
//! `student NORMAL OUT [WEIGHTS]`: builds `tsm-mobilenetv2` from its weights, quantizes it on the videos in
//! NORMAL, and packs it with an untrained UR-DMU head of the usual size into `OUT/int8.pavad` and
//! `OUT/fp32.pavad`, models of the semantic detector alone at 25 frames a second: what a frame costs does
//! not depend on what a head has learnt. Prints sizes and multiply-adds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use inference::{BackendKind, BackendOptions, Graph, open_backend};
use model_bundle::manifest::{
    Calibration, Detectors, EventSpec, InputSpec, SemanticSpec, SmoothingSpec, SnippetSpec, ZScore,
};
use model_export::calibration::{Preprocessing, Samples};
use model_export::graphs::{head, i3d, tsm_mobilenetv2 as tsm};
use model_export::onnx;
use model_export::pack::{
    GoldenInput, GraphInput, InputTensor, PackInput, SigningKey, Tolerances, pack,
};
use model_export::quantize::{Options, quantize};
use model_export::weights::{Array, Weights};
use trainer::detector::{ModelSize, parameters::Parameters};

const FRAME_RATE: f64 = 25.0;
/// Snippets that the head looks at together, as in training by default.
const WINDOW: usize = 32;
const SAMPLES: usize = 128;

fn main() -> Result<()> {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let (normal, out, file) = match &args[..] {
        [normal, out] => (normal, out, None),
        [normal, out, file] => (normal, out, Some(file)),
        _ => {
            eprintln!("usage: student NORMAL OUT [WEIGHTS]");
            std::process::exit(2);
        }
    };
    let weights = match file {
        Some(file) => Weights::read(file)?,
        None => Weights::fetched(tsm::WEIGHTS_FILE)?,
    };
    let size = |key| Ok::<_, anyhow::Error>(weights.number(key)?.unwrap_or(tsm::SIZE));
    let config = tsm::Config { width: size("width")?, height: size("height")?, cells: None };
    let feature_size = tsm::feature_size(&weights);
    let model = tsm::build(&weights, &config)?;
    let spec = detectors(&config, feature_size);
    let semantic = spec.semantic.as_ref().context("a semantic detector")?;

    let backend = open_backend(BackendKind::Ort, &BackendOptions::default())?;
    let fp32 = onnx::to_bytes(&model);
    let graph = backend.load("backbone", &fp32)?;
    let ports = graph.inputs().to_vec();
    let snippet = semantic.snippet.clone();
    let preprocessing = Preprocessing::Snippet { snippet, frame_rate: Some(FRAME_RATE) };
    let clips = video::list_clips(normal)?;
    let samples = Samples::new(&clips, preprocessing, SAMPLES)?.through(graph);
    let samples = samples.collect::<Result<Vec<_>, _>>()?;
    let last = samples.last().cloned().context("the videos are too short for a sample")?;
    let options = Options { layer_errors: false, compare_samples: 8, ..Options::default() };
    let quantized = quantize(&model, &mut samples.into_iter(), &options, backend.as_ref())?;
    let int8 = onnx::to_bytes(&quantized.model);
    for output in quantized.report.outputs.iter().filter(|output| output.name == "features") {
        eprintln!("features, INT8 against fp32: cosine {:.4}", output.cosine);
    }

    let inputs = ports.into_iter().zip(last).map(|(port, values)| InputTensor {
        name: port.name,
        shape: port.shape,
        values,
    });
    let backbone_inputs: Vec<InputTensor> = inputs.collect();
    let backbone = GoldenInput { graph: "backbone".into(), inputs: backbone_inputs.clone() };
    let shape = vec![1, WINDOW, feature_size];
    let features = (0..WINDOW * feature_size).map(|i| (i * 7919 % 1000) as f32 / 1000.0).collect();
    let golden = vec![backbone, GoldenInput::single("head", "features", shape, features)];
    let head = onnx::to_bytes(&untrained_head(feature_size)?);
    let key = SigningKey::generate()?;
    for (precision, bytes) in [("int8", &int8), ("fp32", &fp32)] {
        let graph = |name: &str, precision: &str, onnx: &[u8]| GraphInput {
            name: name.into(),
            backend: BackendKind::Ort,
            precision: precision.into(),
            onnx: onnx.to_vec(),
        };
        let input = PackInput {
            allow_saturation: false,
            name: format!("student-{precision}"),
            version: "1.0.0".into(),
            security_epoch: 0,
            device_classes: vec!["any".into()],
            detectors: spec.clone(),
            graphs: vec![graph("backbone", precision, bytes), graph("head", "fp32", &head)],
            golden: golden.clone(),
            provenance: BTreeMap::new(),
            tolerances: Tolerances::default(),
        };
        let bundle = pack(&input, &key, &BackendOptions::default())?;
        write(&out.join(format!("{precision}.pavad")), &bundle)?;
    }

    let products = onnx::multiply_adds(&model).context("shapes of the backbone")? as f64;
    let heavy = i3d::build(&Weights::fetched(i3d::WEIGHTS_FILE)?, &i3d::Config::default())?;
    let heavy = onnx::multiply_adds(&heavy).context("shapes of i3d")? as f64 / 16.0;
    println!("input {}x{}, {feature_size} features", config.width, config.height);
    println!(
        "multiply-adds for a second of video at {FRAME_RATE} frames a second: {:.2} G, 1/{:.1} of I3D's",
        products * FRAME_RATE / 1e9,
        heavy / products
    );
    println!("backbone: INT8 {:.2} MB, fp32 {:.2} MB", megabytes(&int8), megabytes(&fp32));
    let graphs = [("int8", &int8), ("fp32", &fp32)].map(|(name, onnx)| backend.load(name, onnx));
    let [int8, fp32] = alone(graphs, &backbone_inputs)?;
    println!(
        "backbone alone, processor time of a call, one thread: INT8 {int8:.2} ms, fp32 {fp32:.2} ms, {:.2} \
         times faster",
        fp32 / int8
    );
    Ok(())
}

/// Milliseconds of a call of each graph on a processor: the least mean of ten turns of 50 calls.
fn alone(
    graphs: [Result<Box<dyn Graph>, inference::Error>; 2],
    inputs: &[InputTensor],
) -> Result<[f64; 2]> {
    let inputs: Vec<&[f32]> = inputs.iter().map(|input| input.values.as_slice()).collect();
    let mut outputs = vec![Vec::new(); inputs.len()];
    let mut best = [f64::INFINITY; 2];
    let mut graphs: Vec<_> = graphs.into_iter().collect::<Result<_, _>>()?;
    for turn in 0..11 {
        for (graph, best) in graphs.iter_mut().zip(&mut best) {
            let before = thread_ms()?;
            for _ in 0..50 {
                graph.run(&inputs, &mut outputs)?;
            }
            let mean = (thread_ms()? - before) / 50.0;
            // In the first turn buffers grow.
            if turn > 0 {
                *best = best.min(mean);
            }
        }
    }
    Ok(best)
}

/// Milliseconds that this thread has run on a processor.
fn thread_ms() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").context("schedstat")?;
    let nanoseconds: u64 = text.split_whitespace().next().context("schedstat")?.parse()?;
    Ok(nanoseconds as f64 / 1e6)
}

/// The semantic detector alone, on a picture of the usual size.
fn detectors(config: &tsm::Config, feature_size: usize) -> Detectors {
    Detectors {
        input: InputSpec { width: 320, height: 240, frame_rate: FRAME_RATE },
        local: None,
        motion: None,
        semantic: Some(SemanticSpec {
            backbone: "backbone".into(),
            head: "head".into(),
            snippet: SnippetSpec {
                frames: 16,
                stride: 16,
                width: config.width as u32,
                height: config.height as u32,
                mean: tsm::MEAN,
                std: tsm::STD,
                stream: Some(tsm::states(config)),
            },
            feature_size: feature_size as u32,
            window: WINDOW as u32,
            grid: None,
            z: ZScore { mean: 0.5, std: 1.0 },
            weight: 1.0,
            excess_over: None,
        }),
        smoothing: SmoothingSpec { sigma: 5.0, radius: 12, lag: 16 },
        calibration: Calibration { threshold: 3.0, scale: 1.0, false_alarms_per_hour: 0.0 },
        events: EventSpec {
            enter: 0.5,
            exit: 0.4,
            min_duration: 0.3,
            end_after: 1.0,
            cool_down: 1.0,
        },
    }
}

fn untrained_head(feature_size: usize) -> Result<onnx::ModelProto> {
    let size = ModelSize { feature_size, ..ModelSize::default() };
    let parameters = Parameters::init(&size, None, 1, DType::F32, &Device::Cpu)?;
    let array = |tensor: &Tensor| {
        let data = tensor.flatten_all()?.to_vec1::<f32>()?;
        Ok::<_, candle_core::Error>(Array { shape: tensor.dims().to_vec(), data })
    };
    let tensors = parameters.tensors()?;
    let arrays = tensors.iter().map(|(name, tensor)| Ok((name.clone(), array(tensor)?)));
    let weights = Weights::new("an untrained head", arrays.collect::<Result<_>>()?);
    Ok(head::build(&weights, &head::Config { heads: size.heads, ..head::Config::new(WINDOW) })?)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).with_context(|| path.display().to_string())
}

fn megabytes(bytes: &[u8]) -> f64 {
    bytes.len() as f64 / 1e6
}
