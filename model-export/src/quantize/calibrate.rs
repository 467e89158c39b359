//! Gathering the values of the tensors that will be quantized, over the calibration samples.

use std::collections::{BTreeMap, VecDeque};

use inference::{Backend, Graph};
use prost::Message as _;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tract_onnx::pb::ModelProto;

use super::bias::ChannelMeans;
use super::graph::{Index, with_outputs};
use super::histogram::Histogram;
use super::params::{ActivationParams, Flavour};
use super::plan::{Plan, plan};
use super::range::{Range, choose};
use super::{Error, Options};

/// What calibration learnt about a model: enough to emit any flavour, without the samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ranges {
    /// Number of samples.
    pub samples: usize,
    /// By name of the first tensor of each group of tensors that share a range.
    pub tensors: BTreeMap<String, TensorRange>,
    /// Means of the inputs of the nodes with weights, by name of the tensor.
    pub inputs: BTreeMap<String, ChannelMeans>,
}

/// The values of one group of tensors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorRange {
    /// Smallest value seen, at most zero.
    pub min: f32,
    /// Largest value seen, at least zero.
    pub max: f32,
    /// Number of values seen.
    pub values: u64,
    /// Range chosen for [`Flavour::U8S8`].
    pub unsigned: Range,
    /// Range chosen for [`Flavour::S8S8`].
    pub signed: Range,
}

impl TensorRange {
    /// The range chosen for a flavour.
    pub fn range(&self, flavour: Flavour) -> Range {
        match flavour {
            Flavour::U8S8 => self.unsigned,
            Flavour::S8S8 => self.signed,
        }
    }

    /// The parameters for a flavour.
    pub fn params(&self, flavour: Flavour) -> ActivationParams {
        let range = self.range(flavour);
        ActivationParams::from_range(flavour, range.low, range.high)
    }
}

/// Calibration samples kept to compare the quantized model with the original.
pub(super) struct Kept {
    /// Inputs of each sample.
    pub inputs: Vec<Vec<f32>>,
    /// Float outputs of the original model for it.
    pub outputs: Vec<Vec<f32>>,
}

/// Runs the samples through the float model and chooses a range for each tensor to be quantized.
///
/// Each sample holds one row-major buffer for each input of the graph.
///
/// # Errors
///
/// If the graph is malformed, there is no sample, a sample does not fit the inputs, the engine fails,
/// or a tensor takes a value that is not finite.
pub fn calibrate(
    model: &ModelProto,
    samples: &mut dyn Iterator<Item = Vec<Vec<f32>>>,
    options: &Options,
    backend: &dyn Backend,
) -> Result<Ranges, Error> {
    let model = &*super::prepare(model, options)?;
    let index = Index::new(model)?;
    let plan = plan(&index, options)?;
    gather(model, &index, &plan, samples, options, backend).map(|(ranges, _)| ranges)
}

/// [`calibrate`], also keeping the last [`Options::compare_samples`] samples.
pub(super) fn gather(
    model: &ModelProto,
    index: &Index<'_>,
    plan: &Plan,
    samples: &mut dyn Iterator<Item = Vec<Vec<f32>>>,
    options: &Options,
    backend: &dyn Backend,
) -> Result<(Ranges, VecDeque<Kept>), Error> {
    let input_names: Vec<&str> = index.input_names().collect();
    let mut statistics: BTreeMap<String, Statistics> = BTreeMap::new();
    for tensor in plan.groups.iter().flat_map(|g| &g.measured) {
        statistics.entry(tensor.clone()).or_default().histogram = Some(Histogram::new());
    }
    for layer in plan.layers.iter().filter(|_| options.correct_bias) {
        let is_conv = index.node(layer.node).op_type == "Conv";
        statistics.entry(layer.input.clone()).or_default().layer = Some(is_conv);
    }
    let inside: Vec<String> = statistics.keys().filter(|t| !index.is_input(t)).cloned().collect();
    let mut passes = Pass::load(model, &inside, options.memory_limit, backend)?;
    let infos = passes.iter().flat_map(|p| p.graph.inputs().iter().chain(p.graph.outputs()));
    for info in infos {
        if let Some(s) = statistics.get_mut(&info.name) {
            s.expect(&info.shape);
        }
    }

    let output_names: Vec<&str> = index.graph.output.iter().map(|v| v.name.as_str()).collect();
    let mut kept: VecDeque<Kept> = VecDeque::new();
    let mut count = 0;
    for sample in samples {
        let not_finite =
            |tensor: &str| Error::NotFinite { tensor: tensor.to_owned(), sample: count };
        check_sample(passes[0].graph.as_ref(), &sample, count)?;
        for (name, values) in input_names.iter().zip(&sample) {
            if let Some(s) = statistics.get_mut(*name)
                && !s.add(values)
            {
                return Err(not_finite(name));
            }
        }
        let mut outputs: Vec<Vec<f32>> = vec![Vec::new(); output_names.len()];
        for pass in &mut passes {
            pass.run(&sample)?;
            let values: BTreeMap<&str, &Vec<f32>> =
                pass.names.iter().map(String::as_str).zip(&pass.values).collect();
            let here = &pass.extra;
            statistics.par_iter_mut().filter(|(name, _)| here.contains(name)).try_for_each(
                |(name, s)| match values.get(name.as_str()) {
                    Some(values) if !s.add(values) => Err(not_finite(name)),
                    _ => Ok(()),
                },
            )?;
            for (slot, name) in outputs.iter_mut().zip(&output_names) {
                if slot.is_empty() {
                    slot.extend_from_slice(values[name]);
                }
            }
        }
        kept.push_back(Kept { inputs: sample, outputs });
        if kept.len() > options.compare_samples {
            kept.pop_front();
        }
        count += 1;
    }
    if count == 0 {
        return Err(Error::EmptyCalibration);
    }

    let tensors: BTreeMap<String, TensorRange> = plan
        .groups
        .par_iter()
        .map(|group| {
            let mut all = Histogram::new();
            for tensor in &group.measured {
                if let Some(histogram) = &statistics[tensor].histogram {
                    all.merge(histogram);
                }
            }
            let pick = |flavour| choose(&all, flavour, options.method, options.percentile);
            let range = TensorRange {
                min: all.min(),
                max: all.max(),
                values: all.total(),
                unsigned: pick(Flavour::U8S8),
                signed: pick(Flavour::S8S8),
            };
            (group.name.clone(), range)
        })
        .collect();
    let inputs = statistics
        .into_iter()
        .filter_map(|(name, s)| {
            let mut means = s.means?;
            means.divide(count);
            Some((name, means))
        })
        .collect();
    Ok((Ranges { samples: count, tensors, inputs }, kept))
}

/// What is gathered of one tensor.
#[derive(Default)]
struct Statistics {
    /// Of a tensor whose range is chosen.
    histogram: Option<Histogram>,
    /// For a layer's input, whether the layer is a convolution.
    layer: Option<bool>,
    means: Option<ChannelMeans>,
}

impl Statistics {
    /// Tells the tensor's shape.
    fn expect(&mut self, shape: &[usize]) {
        self.means = self.axis(shape.len()).map(|axis| ChannelMeans::zero(shape, axis));
    }

    /// The axis of the channels, if their means are wanted.
    fn axis(&self, rank: usize) -> Option<usize> {
        let is_conv = self.layer?;
        (rank >= 2).then_some(if is_conv { 1 } else { rank - 1 })
    }

    /// Adds the values of one sample. False if one is not finite.
    fn add(&mut self, values: &[f32]) -> bool {
        let finite = self.histogram.as_mut().is_none_or(|h| h.add(values));
        let axis = self.means.as_ref().and_then(|m| self.axis(m.shape.len()));
        if let (Some(means), Some(axis)) = (&mut self.means, axis) {
            means.add(values, axis);
        }
        finite
    }
}

/// The model with some inner tensors as further outputs.
pub(super) struct Pass {
    pub graph: Box<dyn Graph>,
    /// Names of the outputs, in the engine's order.
    pub names: Vec<String>,
    /// Values of the last run, in the same order.
    pub values: Vec<Vec<f32>>,
    /// The further outputs: this pass is the one that measures them.
    extra: Vec<String>,
}

impl Pass {
    /// Loads the model so that all of `tensors` come out, in as many passes as `memory_limit` bytes
    /// of outputs need.
    pub fn load(
        model: &ModelProto,
        tensors: &[String],
        memory_limit: usize,
        backend: &dyn Backend,
    ) -> Result<Vec<Self>, Error> {
        let all = Self::one(model, tensors, backend)?;
        let bytes: BTreeMap<&str, usize> = all
            .graph
            .outputs()
            .iter()
            .map(|o| (o.name.as_str(), o.shape.iter().product::<usize>() * size_of::<f32>()))
            .collect();
        let mut parts: Vec<Vec<String>> = vec![Vec::new()];
        let mut used = 0;
        for tensor in tensors {
            let size = bytes.get(tensor.as_str()).copied().unwrap_or(0);
            if used > 0 && used + size > memory_limit {
                parts.push(Vec::new());
                used = 0;
            }
            used += size;
            parts.last_mut().expect("there is a first part").push(tensor.clone());
        }
        if parts.len() == 1 {
            return Ok(vec![all]);
        }
        drop(all);
        parts.iter().map(|part| Self::one(model, part, backend)).collect()
    }

    fn one(model: &ModelProto, tensors: &[String], backend: &dyn Backend) -> Result<Self, Error> {
        let graph = backend.load("calibration", &with_outputs(model, tensors).encode_to_vec())?;
        let names: Vec<String> = graph.outputs().iter().map(|o| o.name.clone()).collect();
        let values = vec![Vec::new(); names.len()];
        Ok(Self { graph, names, values, extra: tensors.to_vec() })
    }

    /// Runs one sample; the outputs are then in `values`.
    pub fn run(&mut self, sample: &[Vec<f32>]) -> Result<(), Error> {
        let inputs: Vec<&[f32]> = sample.iter().map(Vec::as_slice).collect();
        self.graph.run(&inputs, &mut self.values)?;
        Ok(())
    }

    /// The last value of an output.
    pub fn value(&self, tensor: &str) -> Option<&[f32]> {
        self.names.iter().position(|n| n == tensor).map(|i| self.values[i].as_slice())
    }
}

/// Whether a sample has a buffer of the right length for each input.
fn check_sample(graph: &dyn Graph, sample: &[Vec<f32>], number: usize) -> Result<(), Error> {
    let inputs = graph.inputs();
    let wrong = |reason| Err(Error::Sample { sample: number, reason });
    if inputs.len() != sample.len() {
        return wrong(format!("has {} inputs, the graph {}", sample.len(), inputs.len()));
    }
    for (info, values) in inputs.iter().zip(sample) {
        let expected: usize = info.shape.iter().product();
        if values.len() != expected {
            return wrong(format!(
                "has {} values for input `{}`, whose shape {:?} needs {expected}",
                values.len(),
                info.name,
                info.shape
            ));
        }
    }
    Ok(())
}
