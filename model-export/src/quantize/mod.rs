//! Static post-training INT8 quantization of ONNX graphs, in QDQ form.
//!
//! The float graph (batch norm already folded) runs over calibration samples; each activation that
//! will be quantized gets a range from a histogram of its values. The quantized graph is the float
//! one with `QuantizeLinear`/`DequantizeLinear` pairs on those activations and 8-bit weights behind a
//! `DequantizeLinear`, per output channel; engines fuse the pairs into integer kernels. Its inputs and
//! outputs stay float. [`arbiter`] says what such a graph computes, to the last bit.
//!
//! Before calibration, channels may be brought to one range ([`equalize`]); after it, layers may be
//! measured one by one and the most sensitive left in float ([`Search`]).
//!
//! One calibration serves both [`Flavour`]s: [`calibrate`] gives [`Ranges`], [`emit`] writes a graph
//! from them, [`quantize`] and [`quantize_flavours`] do both and measure the result.
//!
//! Weights are held down so that every processor computes the same integers ([`weights`]).

pub mod arbiter;
pub mod bias;
mod calibrate;
mod emit;
pub mod equalize;
mod graph;
pub mod histogram;
pub mod page;
pub mod params;
mod pass;
mod plan;
pub mod range;
mod report;
mod sensitivity;
mod stem;
pub mod tensorrt_rules;
pub mod timing;
pub mod weights;
mod work;

use inference::Backend;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{ModelProto, TensorProto};

pub use calibrate::{Ranges, TensorRange, calibrate};
pub use equalize::Equalize;
pub use params::Flavour;
pub use range::Method;
pub use report::{LayerReport, OutputReport, Report, TensorReport};
pub use sensitivity::{FloatTrial, LayerSensitivity, Search, Sensitivity};
pub use weights::WeightRange;
pub use work::MethodTrial;

use graph::Index;
use work::Work;

/// How to quantize.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Number format of the activations that [`quantize`] emits. Default [`Flavour::U8S8`].
    pub flavour: Flavour,
    /// How ranges are chosen. Default [`Method::Best`].
    pub method: Method,
    /// Per cent of the values that [`Method::Percentile`] keeps. Default 99.99.
    pub percentile: f64,
    /// Nodes left in float: names, with `*` for any run of characters. Default none; a node that
    /// makes a graph output writes float in any case.
    pub keep_float: Vec<String>,
    /// How far the weights may go. Default [`WeightRange::Pairs`].
    pub weights: WeightRange,
    /// Whether the biases take back the mean error of the rounded weights ([`bias`]). Default true.
    pub correct_bias: bool,
    /// Whether a strided convolution of few channels at the input is rewritten for the integer kernel
    /// (space to depth); the sums stay the same. Default true.
    pub fold_stem: bool,
    /// Which activations' channels are brought to one range before quantization ([`equalize`]). Default
    /// [`Equalize::Off`]: it gains on footage like the calibration samples and loses on other.
    pub equalize: Equalize,
    /// Whether each layer's share of the error is measured, and which layers stay in float for it
    /// ([`Search`]). Default none.
    pub sensitivity: Option<Search>,
    /// Bytes of intermediate tensors fetched from one run; above it, a sample runs several times.
    /// Default 512 MiB.
    pub memory_limit: usize,
    /// How many of the last calibration samples are kept to measure the outputs of the quantized
    /// model. Default 2; 0 measures nothing, except that [`Method::Auto`] and [`Options::sensitivity`]
    /// use one at least.
    pub compare_samples: usize,
    /// Whether those samples are left out of calibration, where there are four times as many in all.
    /// Default false.
    pub hold_out: bool,
    /// Whether the error of each layer's output is measured on the last sample. Default true.
    pub layer_errors: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            flavour: Flavour::U8S8,
            method: Method::Best,
            percentile: 99.99,
            keep_float: Vec::new(),
            weights: WeightRange::Pairs,
            correct_bias: true,
            fold_stem: true,
            equalize: Equalize::Off,
            sensitivity: None,
            memory_limit: 512 << 20,
            compare_samples: 2,
            hold_out: false,
            layer_errors: true,
        }
    }
}

impl Options {
    /// Samples to keep for comparison.
    fn kept(&self) -> usize {
        let needed = self.method == Method::Auto || self.sensitivity.is_some();
        self.compare_samples.max(usize::from(needed))
    }
}

/// A quantized model and how close it is to the original.
#[derive(Debug, Clone)]
pub struct Quantized {
    /// The model, in QDQ form.
    pub model: ModelProto,
    /// What was done and measured.
    pub report: Report,
}

/// Why a model could not be quantized.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No calibration sample came.
    #[error("no calibration sample: give at least one clip that is long enough for a sample")]
    EmptyCalibration,
    /// A sample does not fit the graph.
    #[error("calibration sample {sample} {reason}")]
    Sample {
        /// Number of the sample, from 0.
        sample: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// An activation is NaN or infinite.
    #[error("tensor `{tensor}` takes a value that is not finite on calibration sample {sample}")]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// Number of the sample, from 0.
        sample: usize,
    },
    /// The model has no graph.
    #[error("the model holds no graph")]
    NoGraph,
    /// The operator set is too old for per-channel weights.
    #[error("the model uses operator set {found}; export it with {least} or later")]
    Opset {
        /// Version in the file, 0 if none.
        found: i64,
        /// Least version.
        least: i64,
    },
    /// A node reads a tensor that nothing makes.
    #[error("node `{node}` reads `{tensor}`, which no node, input or initializer provides")]
    Missing {
        /// The reader.
        node: String,
        /// The tensor.
        tensor: String,
    },
    /// A tensor is made twice.
    #[error("node `{node}` writes `{tensor}`, which is provided already")]
    Duplicate {
        /// The second writer.
        node: String,
        /// The tensor.
        tensor: String,
    },
    /// The graph has a cycle.
    #[error("node `{node}` is part of a cycle or depends on one")]
    Cycle {
        /// The first such node of the file.
        node: String,
    },
    /// A constant cannot be read.
    #[error("initializer `{tensor}` {reason}")]
    Initializer {
        /// The constant.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No layer is left to be measured or quantized.
    #[error(
        "the graph has no layer to quantize: only Conv, Gemm and MatMul with constant float weights \
         are, and {float} such nodes stay float; check --keep-float and the graph's operators"
    )]
    NothingToQuantize {
        /// Nodes with weights that stay in float.
        float: usize,
    },
    /// The ranges belong to another model or other options.
    #[error("the ranges lack tensor `{tensor}`: calibrate this model with these options")]
    Range {
        /// The tensor.
        tensor: String,
    },
    /// The inference engine failed.
    #[error("running the model for calibration: {0}")]
    Backend(#[from] inference::Error),
}

/// Quantizes a float model with [`Options::flavour`].
///
/// Each calibration sample holds one row-major buffer for each input of the graph.
///
/// # Errors
///
/// If the graph is malformed, there is no sample, a sample does not fit the inputs, the engine fails,
/// or a tensor takes a value that is not finite.
pub fn quantize(
    model: &ModelProto,
    calibration: &mut dyn Iterator<Item = Vec<Vec<f32>>>,
    options: &Options,
    backend: &dyn Backend,
) -> Result<Quantized, Error> {
    let mut all = quantize_flavours(model, calibration, &[options.flavour], options, backend)?;
    Ok(all.pop().expect("one flavour gives one model"))
}

/// Quantizes a float model in several flavours from one calibration, in the order of `flavours`.
///
/// # Errors
///
/// As [`quantize`].
pub fn quantize_flavours(
    model: &ModelProto,
    calibration: &mut dyn Iterator<Item = Vec<Vec<f32>>>,
    flavours: &[Flavour],
    options: &Options,
    backend: &dyn Backend,
) -> Result<Vec<Quantized>, Error> {
    pass::check(model, options, backend)?;
    let original = fold(model, options)?;
    let (equalized, mut samples) = equalize::measure(&original, calibration, options, backend)?;
    let model = &*equalize::apply(&original, &equalized)?;
    let index = Index::new(model)?;
    let plan = plan::plan(&index, options)?;
    let mut gathered = calibrate::gather(model, &index, &plan, &mut samples, options, backend)?;
    drop(samples);
    if !equalized.is_empty() {
        // The judge is the model as it was given.
        pass::outputs(&original, &mut gathered.kept, backend)?;
    }
    let work = Work { model, index: &index, gathered, options, backend };
    let mut all = Vec::with_capacity(flavours.len());
    for &flavour in flavours {
        let mut quantized = work.quantize(&plan, flavour)?;
        quantized.report.equalized = equalized.keys().cloned().collect();
        all.push(quantized);
    }
    Ok(all)
}

/// Writes the quantized model from ranges gathered before, without running anything.
///
/// # Errors
///
/// If the graph is malformed or the ranges belong to another model or other options.
pub fn emit(
    model: &ModelProto,
    ranges: &Ranges,
    flavour: Flavour,
    options: &Options,
) -> Result<ModelProto, Error> {
    let model = fold(model, options)?;
    let model = &*equalize::apply(&model, &ranges.equalized)?;
    let index = Index::new(model)?;
    let plan = plan::plan(&index, options)?;
    emit::emit(model, &index, &plan, ranges, flavour, options).map(|(model, _)| model)
}

/// The float model with the channels of some tensors divided ([`equalize`]), which computes the same.
///
/// # Errors
///
/// If the graph is malformed or the divisors belong to another model.
pub fn equalized(model: &ModelProto, divisors: &equalize::Scales) -> Result<ModelProto, Error> {
    equalize::apply(model, divisors).map(Cow::into_owned)
}

/// The float model with its stem folded, if the options say so.
fn fold<'a>(model: &'a ModelProto, options: &Options) -> Result<Cow<'a, ModelProto>, Error> {
    let folded = if options.fold_stem { stem::fold(model)? } else { None };
    Ok(folded.map_or(Cow::Borrowed(model), Cow::Owned))
}

/// A tensor stored as little-endian bytes.
fn raw_tensor(name: &str, dims: &[i64], kind: DataType, bytes: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: kind as i32,
        raw_data: bytes,
        ..TensorProto::default()
    }
}
