//! Cross-layer equalisation: bringing the channels of an activation to one range before it is
//! quantized with one scale (Nagel et al., "Data-Free Quantization Through Weight Equalization and
//! Bias Correction", 2019, with measured ranges of the activations in place of the weights').
//!
//! Between two convolutions `A -> (Relu | Clip | nothing) -> B`, channel c of the tensor that B reads
//! may be divided by any s > 0: A's output channel (weights and bias) is divided by s, B's input channel
//! multiplied by it, and B computes what it did. Weights are quantized with one scale for each output
//! channel, which takes A's division without loss; and B's multiplication, too, where B is depthwise and
//! the input channel is the output channel. So:
//!
//! * B depthwise: s brings every channel to the tensor's range; nothing is paid for it.
//! * otherwise: `s = sqrt(r1 / r2)` of the paper, r1 the channel's measured range and r2 the largest share
//!   that its weights have in the range of an output channel's weights of B.
//!
//! `Relu` commutes with the division; `Clip(0, h)` with one h for all channels does not. A channel that
//! calibration saw at h keeps s = 1. One that stayed below is divided such that its largest value comes to
//! at most h / [`MARGIN`]: then nothing is clipped now that was not before, and the graph computes the same,
//! as long as the channel does not exceed [`MARGIN`] times what calibration saw. Beyond that it is clipped
//! earlier than h, by at most the factor [`MOST`]; the same happens without a `Clip` where the range of the
//! quantized tensor ends.

use std::borrow::Cow;
use std::collections::BTreeMap;

use inference::Backend;
use serde::{Deserialize, Serialize};
use tract_onnx::pb::{ModelProto, NodeProto};

use super::graph::{Index, int_attribute};
use super::pass::{Pass, check_sample};
use super::{Error, Options};

/// Samples, each with a buffer for each input of the graph.
type Samples<'s> = Box<dyn Iterator<Item = Vec<Vec<f32>>> + 's>;

/// Divisors of the channels (axis 1), by name of the tensor.
pub type Scales = BTreeMap<String, Vec<f32>>;

/// How far a channel may go beyond what calibration saw before an equalised `Clip` cuts it.
pub const MARGIN: f64 = 2.0;
/// A channel is multiplied by this much at most.
pub const MOST: f64 = 8.0;
/// A channel within this share of a `Clip`'s bound has reached it.
const REACHED: f64 = 0.999;

/// Which activations are equalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Equalize {
    /// None.
    Off,
    /// Those that a depthwise convolution reads or writes.
    Depthwise,
    /// Those between any two convolutions.
    All,
}

/// Two convolutions with what is between them.
struct Pair<'a> {
    /// The tensor that the second reads.
    tensor: &'a str,
    first: &'a NodeProto,
    second: &'a NodeProto,
    /// The `Clip`'s bound.
    upper: Option<f64>,
    /// Input channels of each group of the second; 1 if it is depthwise.
    group_inputs: usize,
    first_depthwise: bool,
}

impl Pair<'_> {
    fn depthwise(&self) -> bool {
        self.group_inputs == 1
    }
}

/// Measures the channels on as many samples as fit in [`Options::memory_limit`]; gives the divisors and
/// all samples again.
pub(super) fn measure<'s>(
    model: &ModelProto,
    samples: &'s mut dyn Iterator<Item = Vec<Vec<f32>>>,
    options: &Options,
    backend: &dyn Backend,
) -> Result<(Scales, Samples<'s>), Error> {
    let mut scales = Scales::new();
    let index = Index::new(model)?;
    let pairs = pairs(&index, options.equalize)?;
    if pairs.is_empty() {
        return Ok((scales, Box::new(samples)));
    }
    let names: Vec<String> = pairs.iter().map(|p| p.tensor.to_owned()).collect();
    let mut passes = Pass::load(model, &names, options.memory_limit, backend)?;
    let mut maxima: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut buffered = Vec::new();
    let mut bytes = 0;
    while bytes < options.memory_limit {
        let Some(sample) = samples.next() else { break };
        check_sample(passes[0].graph.as_ref(), &sample, buffered.len())?;
        for pass in &mut passes {
            pass.run(&sample)?;
            let shapes: Vec<Vec<usize>> =
                pass.graph.outputs().iter().map(|o| o.shape.clone()).collect();
            for (i, values) in pass.values.iter().enumerate() {
                let Some(pair) = pairs.iter().find(|p| p.tensor == pass.names[i]) else {
                    continue;
                };
                widen(maxima.entry(pair.tensor).or_default(), &shapes[i], values);
            }
        }
        bytes += sample.iter().map(|v| size_of_val(v.as_slice())).sum::<usize>();
        buffered.push(sample);
    }
    for pair in &pairs {
        if let Some(maxima) = maxima.get(pair.tensor)
            && let Some(divisors) = divisors(&index, pair, maxima)?
        {
            scales.insert(pair.tensor.to_owned(), divisors);
        }
    }
    Ok((scales, Box::new(buffered.into_iter().chain(samples))))
}

/// Raises the largest magnitude of each channel of `[n, channels, ...]`.
fn widen(maxima: &mut Vec<f64>, shape: &[usize], values: &[f32]) {
    let channels = shape.get(1).copied().unwrap_or(0);
    let inner: usize = shape.iter().skip(2).product();
    if channels == 0 || inner == 0 {
        return;
    }
    maxima.resize(channels, 0.0);
    for (i, run) in values.chunks_exact(inner).enumerate() {
        let largest = run.iter().fold(0f32, |m, v| m.max(v.abs()));
        let slot = &mut maxima[i % channels];
        *slot = slot.max(largest.into());
    }
}

/// The divisors of a pair's tensor; none if they would all be 1.
fn divisors(index: &Index<'_>, pair: &Pair<'_>, maxima: &[f64]) -> Result<Option<Vec<f32>>, Error> {
    let largest = maxima.iter().copied().fold(0.0, f64::max);
    let reached = |m: f64| pair.upper.is_some_and(|h| m >= REACHED * h);
    if largest == 0.0 || maxima.iter().all(|m| reached(*m)) {
        return Ok(None);
    }
    // What the tensor's range will be filled to.
    let full = pair.upper.map_or(largest, |h| h / MARGIN);
    let shares = if pair.depthwise() { None } else { Some(weight_shares(index, pair)?) };
    let wanted = |c: usize| match &shares {
        None => maxima[c] / full,
        Some(shares) if shares[c] > 0.0 => (maxima[c] / shares[c]).sqrt(),
        Some(_) => 0.0,
    };
    // A factor common to all channels changes nothing; it is chosen so that the widest stays as it is, or
    // those that reached the bound do.
    let unit = match &shares {
        None => 1.0,
        Some(_) => {
            let fixed: Vec<f64> = (0..maxima.len())
                .filter(|c| reached(maxima[*c]) && wanted(*c) > 0.0)
                .map(&wanted)
                .collect();
            if fixed.is_empty() {
                let widest = (0..maxima.len())
                    .filter(|c| wanted(*c) > 0.0)
                    .map(|c| maxima[c] / wanted(c))
                    .fold(0.0, f64::max);
                if widest == 0.0 {
                    return Ok(None);
                }
                widest / full
            } else {
                fixed.len() as f64 / fixed.iter().sum::<f64>()
            }
        }
    };
    let divisors: Vec<f32> = (0..maxima.len())
        .map(|c| {
            if reached(maxima[c]) || maxima[c] == 0.0 || wanted(c) == 0.0 {
                return 1.0;
            }
            (wanted(c) * unit).clamp((maxima[c] / full).max(1.0 / MOST), MOST) as f32
        })
        .collect();
    Ok(divisors.iter().any(|s| *s != 1.0).then_some(divisors))
}

/// For each input channel of the second convolution the largest share that its weights have in the range
/// of an output channel's weights.
fn weight_shares(index: &Index<'_>, pair: &Pair<'_>) -> Result<Vec<f64>, Error> {
    let weights = floats(index, pair.second, 1)?;
    let dims = index.constant(&pair.second.input[1]).map_or(&[][..], |t| &t.dims);
    let taps: usize = dims.iter().skip(2).map(|d| *d as usize).product();
    let outputs = dims.first().map_or(1, |d| *d as usize).max(1);
    let groups = groups(pair.second);
    let mut shares = vec![0f64; pair.group_inputs * groups];
    for (o, row) in weights.chunks_exact(pair.group_inputs * taps).enumerate() {
        let range = row.iter().fold(0f32, |m, w| m.max(w.abs()));
        if range == 0.0 {
            continue;
        }
        let group = o * groups / outputs;
        for (i, run) in row.chunks_exact(taps).enumerate() {
            let largest = run.iter().fold(0f32, |m, w| m.max(w.abs()));
            let slot = &mut shares[group * pair.group_inputs + i];
            *slot = slot.max(f64::from(largest / range));
        }
    }
    Ok(shares)
}

/// The model with its channels divided.
///
/// # Errors
/// If the divisors are of another model.
pub(super) fn apply<'a>(
    model: &'a ModelProto,
    scales: &Scales,
) -> Result<Cow<'a, ModelProto>, Error> {
    if scales.is_empty() {
        return Ok(Cow::Borrowed(model));
    }
    let index = Index::new(model)?;
    let pairs = pairs(&index, Equalize::All)?;
    let mut changed: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    for (tensor, divisors) in scales {
        let wrong = || Error::Range { tensor: tensor.clone() };
        let pair = pairs.iter().find(|p| p.tensor == tensor).ok_or_else(wrong)?;
        let mut change = |node: &NodeProto, input: usize, f: &dyn Fn(usize, usize) -> f32| {
            let name = &node.input[input];
            let mut values = match changed.remove(name) {
                Some(values) => values,
                None => floats(&index, node, input)?,
            };
            let length = values.len();
            for (i, v) in values.iter_mut().enumerate() {
                *v *= f(i, length);
            }
            changed.insert(name.clone(), values);
            Ok::<(), Error>(())
        };
        let channels = divisors.len();
        let output = |i: usize, length: usize| 1.0 / divisors[i * channels / length];
        if channels != outputs(&index, pair.first)
            || channels != pair.group_inputs * groups(pair.second)
            || divisors.iter().any(|s| !s.is_finite() || *s <= 0.0)
        {
            return Err(wrong());
        }
        change(pair.first, 1, &output)?;
        if bias(pair.first).is_some() {
            change(pair.first, 2, &output)?;
        }
        let rows = outputs(&index, pair.second);
        change(pair.second, 1, &|i, length| {
            let row = length / rows;
            let group = (i / row) * groups(pair.second) / rows;
            divisors[group * pair.group_inputs + i % row * pair.group_inputs / row]
        })?;
    }
    let mut model = model.clone();
    for tensor in model.graph.iter_mut().flat_map(|g| &mut g.initializer) {
        if let Some(values) = changed.get(&tensor.name) {
            tensor.float_data.clear();
            tensor.raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        }
    }
    Ok(Cow::Owned(model))
}

/// The pairs that are to be equalised, in the order of the graph.
fn pairs<'a>(index: &Index<'a>, which: Equalize) -> Result<Vec<Pair<'a>>, Error> {
    let mut pairs = Vec::new();
    if which == Equalize::Off {
        return Ok(pairs);
    }
    for &i in &index.order {
        if let Some(pair) = pair(index, index.node(i))?
            && match which {
                Equalize::Off => false,
                Equalize::Depthwise => pair.depthwise() || pair.first_depthwise,
                Equalize::All => true,
            }
        {
            pairs.push(pair);
        }
    }
    Ok(pairs)
}

/// The pair whose second convolution is this node.
fn pair<'a>(index: &Index<'a>, second: &'a NodeProto) -> Result<Option<Pair<'a>>, Error> {
    let alone = |tensor: &str| index.consumers(tensor).len() == 1 && !index.is_output(tensor);
    let maker = |tensor: &str| index.producer(tensor).map(|p| index.node(p));
    let Some(tensor) = second.input.first().filter(|t| alone(t)) else {
        return Ok(None);
    };
    let Some(mut first) = maker(tensor) else {
        return Ok(None);
    };
    let mut upper = None;
    if first.op_type == "Clip" {
        let bound = |i: usize| -> Result<Option<f64>, Error> {
            let value = first.input.get(i).map(|t| index.floats(t)).transpose()?.flatten();
            Ok(value.and_then(|v| v.first().copied()).map(f64::from))
        };
        upper = bound(2)?.filter(|h| *h > 0.0);
        if bound(1)? != Some(0.0) || upper.is_none() {
            return Ok(None);
        }
    }
    if matches!(first.op_type.as_str(), "Clip" | "Relu") {
        match first.input.first().filter(|t| alone(t)).and_then(|t| maker(t)) {
            Some(before) => first = before,
            None => return Ok(None),
        }
    }
    // Constants that another node reads, too, must stay as they are.
    let own = |node: &NodeProto, i: usize| -> Result<bool, Error> {
        let Some(name) = node.input.get(i) else { return Ok(false) };
        let stored = index.graph.initializer.iter().any(|t| t.name == *name);
        Ok(stored && alone(name) && index.floats(name)?.is_some())
    };
    let plain = |n: &NodeProto| n.op_type == "Conv" && matches!(&*n.domain, "" | "ai.onnx");
    if !plain(first)
        || !plain(second)
        || !own(first, 1)?
        || !own(second, 1)?
        || (bias(first).is_some() && !own(first, 2)?)
    {
        return Ok(None);
    }
    let inputs = |n: &NodeProto| {
        index.constant(&n.input[1]).and_then(|t| t.dims.get(1)).map_or(0, |d| *d as usize)
    };
    let group_inputs = inputs(second);
    let rows = outputs(index, second);
    let fits = group_inputs > 0
        && rows.is_multiple_of(groups(second))
        && rows > 0
        && group_inputs * groups(second) == outputs(index, first);
    let first_depthwise = groups(first) > 1 && inputs(first) == 1;
    Ok(fits.then_some(Pair { tensor, first, second, upper, group_inputs, first_depthwise }))
}

fn groups(conv: &NodeProto) -> usize {
    int_attribute(conv, "group").and_then(|g| usize::try_from(g).ok()).unwrap_or(1).max(1)
}

fn outputs(index: &Index<'_>, conv: &NodeProto) -> usize {
    index.constant(&conv.input[1]).and_then(|t| t.dims.first()).map_or(0, |d| *d as usize)
}

fn bias(conv: &NodeProto) -> Option<&String> {
    conv.input.get(2).filter(|b| !b.is_empty())
}

/// The values of a constant that was found to be one.
fn floats(index: &Index<'_>, node: &NodeProto, input: usize) -> Result<Vec<f32>, Error> {
    let tensor = &node.input[input];
    index.floats(tensor)?.ok_or_else(|| Error::Range { tensor: tensor.clone() })
}
