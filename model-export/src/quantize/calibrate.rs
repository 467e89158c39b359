//! Gathering the values of the tensors that will be quantized, over the calibration samples.

use std::collections::{BTreeMap, VecDeque};

use inference::Backend;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tract_onnx::pb::ModelProto;

use super::bias::ChannelMeans;
use super::equalize::{self, Scales};
use super::graph::Index;
use super::histogram::Histogram;
use super::params::{ActivationParams, Flavour};
use super::pass::{self, Pass, check_sample};
use super::plan::{Plan, plan};
use super::range::{Method, Range, choose};
use super::work::Work;
use super::{Error, Options};

/// Samples are held out of calibration only where this many times as many remain.
const HOLD_OUT_RATIO: usize = 3;

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
    /// What the channels were divided by before all this was measured, by name of the tensor.
    #[serde(default)]
    pub equalized: Scales,
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
    pass::check(model, options, backend)?;
    let model = super::fold(model, options)?;
    let (equalized, mut samples) = equalize::measure(&model, samples, options, backend)?;
    let model = equalize::apply(&model, &equalized)?;
    let index = Index::new(&model)?;
    let plan = plan(&index, options)?;
    let gathered = gather(&model, &index, &plan, &mut samples, options, backend)?;
    let work = Work { model: &model, index: &index, gathered, options, backend };
    let unsigned = work.method(&plan, Flavour::U8S8)?.method;
    let signed = work.method(&plan, Flavour::S8S8)?.method;
    let mut ranges = work.gathered.ranges(&plan, unsigned, options.percentile);
    if signed != unsigned {
        let other = work.gathered.ranges(&plan, signed, options.percentile);
        for (name, range) in &mut ranges.tensors {
            range.signed = other.tensors[name].signed;
        }
    }
    ranges.equalized = equalized;
    Ok(ranges)
}

/// What the samples told, before ranges are chosen.
pub(super) struct Gathered {
    /// Samples whose values are in the histograms.
    pub samples: usize,
    /// Samples to compare with, see [`Options::compare_samples`].
    pub kept: Vec<Kept>,
    histograms: BTreeMap<String, Histogram>,
    inputs: BTreeMap<String, ChannelMeans>,
}

impl Gathered {
    /// Ranges for a plan of the same graph that quantizes no more than the one gathered for.
    pub fn ranges(&self, plan: &Plan, method: Method, percentile: f64) -> Ranges {
        let tensors = plan
            .groups
            .par_iter()
            .map(|group| {
                let mut all = Histogram::new();
                for histogram in group.measured.iter().filter_map(|t| self.histograms.get(t)) {
                    all.merge(histogram);
                }
                let pick = |flavour| choose(&all, flavour, method, percentile);
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
        let (samples, inputs) = (self.samples, self.inputs.clone());
        Ranges { samples, tensors, inputs, equalized: Scales::new() }
    }
}

/// Runs the samples through the float model.
pub(super) fn gather(
    model: &ModelProto,
    index: &Index<'_>,
    plan: &Plan,
    samples: &mut dyn Iterator<Item = Vec<Vec<f32>>>,
    options: &Options,
    backend: &dyn Backend,
) -> Result<Gathered, Error> {
    let mut collector = Collector::new(model, index, plan, options, backend)?;
    let keep = options.kept();
    // The last samples wait here: only at the end is it known which they are.
    let mut waiting: VecDeque<Vec<Vec<f32>>> = VecDeque::new();
    let mut count = 0;
    for sample in samples {
        check_sample(collector.passes[0].graph.as_ref(), &sample, count)?;
        count += 1;
        waiting.push_back(sample);
        if waiting.len() > keep
            && let Some(sample) = waiting.pop_front()
        {
            collector.add(&sample)?;
        }
    }
    if count == 0 {
        return Err(Error::EmptyCalibration);
    }
    // Too few to do without any of them: then the comparison is on samples that were calibrated with.
    let held_out = options.hold_out && collector.samples >= HOLD_OUT_RATIO * keep;
    let mut kept = Vec::with_capacity(waiting.len());
    for inputs in waiting {
        let outputs =
            if held_out { collector.outputs(&inputs)? } else { collector.add(&inputs)? };
        kept.push(Kept { inputs, outputs });
    }
    Ok(collector.finish(kept))
}

/// Gathers the samples' values.
struct Collector<'a> {
    input_names: Vec<&'a str>,
    output_names: Vec<&'a str>,
    statistics: BTreeMap<String, Statistics>,
    passes: Vec<Pass>,
    samples: usize,
}

impl<'a> Collector<'a> {
    fn new(
        model: &'a ModelProto,
        index: &Index<'a>,
        plan: &Plan,
        options: &Options,
        backend: &dyn Backend,
    ) -> Result<Self, Error> {
        let mut statistics: BTreeMap<String, Statistics> = BTreeMap::new();
        for tensor in plan.groups.iter().flat_map(|g| &g.measured) {
            statistics.entry(tensor.clone()).or_default().histogram = Some(Histogram::new());
        }
        for layer in plan.layers.iter().filter(|_| options.correct_bias) {
            let is_conv = index.node(layer.node).op_type == "Conv";
            statistics.entry(layer.input.clone()).or_default().layer = Some(is_conv);
        }
        let inside: Vec<String> =
            statistics.keys().filter(|t| !index.is_input(t)).cloned().collect();
        let passes = Pass::load(model, &inside, options.memory_limit, backend)?;
        let infos = passes.iter().flat_map(|p| p.graph.inputs().iter().chain(p.graph.outputs()));
        for info in infos {
            if let Some(s) = statistics.get_mut(&info.name) {
                s.expect(&info.shape);
            }
        }
        let input_names = index.input_names().collect();
        let output_names = index.graph.output.iter().map(|v| v.name.as_str()).collect();
        Ok(Self { input_names, output_names, statistics, passes, samples: 0 })
    }

    /// Adds a sample's values to the histograms and means; gives the graph's outputs.
    fn add(&mut self, sample: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, Error> {
        let number = self.samples;
        let not_finite =
            |tensor: &str| Error::NotFinite { tensor: tensor.to_owned(), sample: number };
        for (name, values) in self.input_names.iter().zip(sample) {
            if let Some(s) = self.statistics.get_mut(*name)
                && !s.add(values)
            {
                return Err(not_finite(name));
            }
        }
        let mut outputs: Vec<Vec<f32>> = vec![Vec::new(); self.output_names.len()];
        for pass in &mut self.passes {
            pass.run(sample)?;
            let values: BTreeMap<&str, &Vec<f32>> =
                pass.names.iter().map(String::as_str).zip(&pass.values).collect();
            let here = &pass.extra;
            self.statistics.par_iter_mut().filter(|(name, _)| here.contains(name)).try_for_each(
                |(name, s)| match values.get(name.as_str()) {
                    Some(values) if !s.add(values) => Err(not_finite(name)),
                    _ => Ok(()),
                },
            )?;
            copy_outputs(&self.output_names, &values, &mut outputs);
        }
        self.samples += 1;
        Ok(outputs)
    }

    /// The graph's outputs of a sample, which leaves no other trace.
    fn outputs(&mut self, sample: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, Error> {
        let mut outputs: Vec<Vec<f32>> = vec![Vec::new(); self.output_names.len()];
        if let Some(pass) = self.passes.first_mut() {
            pass.run(sample)?;
            let values = pass.names.iter().map(String::as_str).zip(&pass.values).collect();
            copy_outputs(&self.output_names, &values, &mut outputs);
        }
        Ok(outputs)
    }

    fn finish(self, kept: Vec<Kept>) -> Gathered {
        let mut histograms = BTreeMap::new();
        let mut inputs = BTreeMap::new();
        for (name, s) in self.statistics {
            if let Some(mut means) = s.means {
                means.divide(self.samples);
                inputs.insert(name.clone(), means);
            }
            if let Some(histogram) = s.histogram {
                histograms.insert(name, histogram);
            }
        }
        Gathered { samples: self.samples, kept, histograms, inputs }
    }
}

fn copy_outputs(names: &[&str], values: &BTreeMap<&str, &Vec<f32>>, outputs: &mut [Vec<f32>]) {
    for (slot, name) in outputs.iter_mut().zip(names) {
        if let (true, Some(values)) = (slot.is_empty(), values.get(name)) {
            slot.extend_from_slice(values);
        }
    }
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
