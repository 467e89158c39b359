//! How far the quantized model is from the original.

use inference::Backend;
use serde::Serialize;
use tract_onnx::pb::ModelProto;

use super::arbiter::Arbiter;
use super::calibrate::{Kept, Ranges};
use super::emit::dequantized;
use super::params::{Flavour, decibel};
use super::pass::Pass;
use super::plan::Plan;
use super::range::Method;
use super::sensitivity::Sensitivity;
use super::work::MethodTrial;
use super::{Error, Options};

/// What quantization did to a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Number format.
    pub flavour: Flavour,
    /// Calibration samples seen.
    pub samples: usize,
    /// Samples that the outputs were compared on.
    pub compared_samples: usize,
    /// How ranges were chosen, never [`Method::Auto`].
    pub method: Method,
    /// What each method gave, where it was chosen by measurement.
    pub methods: Vec<MethodTrial>,
    /// Tensors whose channels were equalised.
    pub equalized: Vec<String>,
    /// What the sensitivity pass found; none where there was none.
    pub sensitivity: Option<Sensitivity>,
    /// Quantized activations, in the order of the graph.
    pub tensors: Vec<TensorReport>,
    /// Quantized nodes with weights, in the order of the graph.
    pub layers: Vec<LayerReport>,
    /// Nodes with weights left in float.
    pub float_layers: Vec<String>,
    /// The graph's outputs on the compared samples.
    pub outputs: Vec<OutputReport>,
}

/// A quantized activation, or several that share a range.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorReport {
    /// First tensor of the group.
    pub name: String,
    /// Number of tensors in the group.
    pub members: usize,
    /// Smallest value seen, at most zero.
    pub min: f32,
    /// Largest value seen, at least zero.
    pub max: f32,
    /// Smallest value represented.
    pub low: f64,
    /// Largest value represented.
    pub high: f64,
    /// Method that chose the range.
    pub method: Method,
    /// Real value of one step.
    pub scale: f32,
    /// Quantized value of zero.
    pub zero_point: i32,
    /// Signal over the noise of rounding and clipping this tensor alone, in dB.
    pub sqnr_db: f64,
}

/// A quantized node with weights.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerReport {
    /// Name of the node.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// Tensor it reads.
    pub input: String,
    /// Tensor it writes, after a folded activation.
    pub output: String,
    /// Number of weights.
    pub weights: usize,
    /// Signal over the noise of rounding the weights, in dB.
    pub weight_sqnr_db: f64,
    /// Signal over noise of the layer's output in the quantized model, all errors before it
    /// included, in dB on one calibration sample; none where it was not measured.
    pub output_sqnr_db: Option<f64>,
}

/// An output of the graph, quantized against float.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutputReport {
    /// Name of the output.
    pub name: String,
    /// Least cosine similarity over the samples.
    pub cosine: f64,
    /// Mean absolute difference.
    pub mean_absolute_difference: f64,
    /// Largest absolute difference.
    pub largest_difference: f64,
    /// Mean absolute value of the float output, to judge the difference by.
    pub mean_absolute_value: f64,
    /// Signal over noise, in dB.
    pub sqnr_db: f64,
}

/// Describes the chosen ranges.
pub(super) fn tensors(plan: &Plan, ranges: &Ranges, flavour: Flavour) -> Vec<TensorReport> {
    plan.groups
        .iter()
        .enumerate()
        .filter_map(|(i, group)| {
            let tensor = ranges.tensors.get(&group.name)?;
            let range = tensor.range(flavour);
            let params = tensor.params(flavour);
            Some(TensorReport {
                name: group.name.clone(),
                members: plan.tensors.values().filter(|g| **g == i).count(),
                min: tensor.min,
                max: tensor.max,
                low: range.low,
                high: range.high,
                method: range.method,
                scale: params.scale,
                zero_point: params.zero_point,
                sqnr_db: range.sqnr_db,
            })
        })
        .collect()
}

/// Runs the quantized model on the kept samples and compares its outputs with the float ones.
pub(super) fn outputs(
    model: &ModelProto,
    quantized: &ModelProto,
    kept: &[Kept],
) -> Result<Vec<OutputReport>, Error> {
    let names: Vec<&str> =
        model.graph.iter().flat_map(|g| g.output.iter().map(|o| o.name.as_str())).collect();
    let mut sums = vec![Difference::default(); names.len()];
    if kept.is_empty() {
        return Ok(Vec::new());
    }
    for mut pass in Pass::load(quantized, &[], usize::MAX, &Arbiter)? {
        for sample in kept {
            pass.run(&sample.inputs)?;
            for ((sum, name), expected) in sums.iter_mut().zip(&names).zip(&sample.outputs) {
                sum.add(expected, pass.value(name).unwrap_or_default());
            }
        }
    }
    Ok(names.iter().zip(&sums).map(|(name, sum)| sum.report(name)).collect())
}

/// Fills the output error of each layer, from one sample through both models: the float one on a backend,
/// the quantized one as the arbiter computes it.
pub(super) fn layer_errors(
    model: &ModelProto,
    quantized: &ModelProto,
    plan: &Plan,
    layers: &mut [LayerReport],
    sample: &Kept,
    options: &Options,
    backend: &dyn Backend,
) -> Result<(), Error> {
    let float: Vec<String> =
        layers.iter().map(|l| l.output.clone()).filter(|t| plan.tensors.contains_key(t)).collect();
    let stand_ins: Vec<String> = float.iter().map(|t| dequantized(t)).collect();
    // The same split in both models, because the tensors have the same sizes.
    let originals = Pass::load(model, &float, options.memory_limit / 2, backend)?;
    let copies = Pass::load(quantized, &stand_ins, options.memory_limit / 2, &Arbiter)?;
    for (mut original, mut copy) in originals.into_iter().zip(copies) {
        original.run(&sample.inputs)?;
        copy.run(&sample.inputs)?;
        for layer in layers.iter_mut() {
            let expected = original.value(&layer.output);
            if let (Some(expected), Some(found)) =
                (expected, copy.value(&dequantized(&layer.output)))
            {
                let mut sum = Difference::default();
                sum.add(expected, found);
                layer.output_sqnr_db = Some(decibel(sum.signal, sum.noise));
            }
        }
    }
    Ok(())
}

/// Sums over pairs of tensors.
#[derive(Debug, Clone)]
struct Difference {
    signal: f64,
    noise: f64,
    absolute: f64,
    largest: f64,
    magnitude: f64,
    count: usize,
    cosine: f64,
}

impl Default for Difference {
    fn default() -> Self {
        Self {
            signal: 0.0,
            noise: 0.0,
            absolute: 0.0,
            largest: 0.0,
            magnitude: 0.0,
            count: 0,
            cosine: 1.0,
        }
    }
}

impl Difference {
    fn add(&mut self, expected: &[f32], found: &[f32]) {
        let (mut aa, mut bb, mut ab) = (0f64, 0f64, 0f64);
        for (a, b) in expected.iter().zip(found) {
            let (a, b) = (f64::from(*a), f64::from(*b));
            aa += a * a;
            bb += b * b;
            ab += a * b;
            self.noise += (a - b) * (a - b);
            self.absolute += (a - b).abs();
            self.largest = self.largest.max((a - b).abs());
            self.magnitude += a.abs();
        }
        self.signal += aa;
        self.count += expected.len().min(found.len());
        // Two zero vectors are alike, one zero vector and another are not.
        let cosine = if aa == 0.0 && bb == 0.0 {
            1.0
        } else if aa == 0.0 || bb == 0.0 {
            0.0
        } else {
            ab / (aa * bb).sqrt()
        };
        self.cosine = self.cosine.min(cosine);
    }

    fn report(&self, name: &str) -> OutputReport {
        let count = self.count.max(1) as f64;
        OutputReport {
            name: name.to_owned(),
            cosine: self.cosine,
            mean_absolute_difference: self.absolute / count,
            largest_difference: self.largest,
            mean_absolute_value: self.magnitude / count,
            sqnr_db: decibel(self.signal, self.noise),
        }
    }
}
