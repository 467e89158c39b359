//! Bias correction: rounding the weights shifts the mean of a layer's outputs; its bias takes that
//! back (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
//! 2019, with the inputs' means measured on the calibration samples).
//!
//! The shift of output channel o is the sum over its weights of (w - quantized w) times the mean of
//! the input channel that the weight sees. Near the border a tap of a convolution reads padding,
//! which is zero; its weight counts for the share of the output positions where it does not.

use inference::exactness::RowOrder;
use serde::{Deserialize, Serialize};
use tract_onnx::pb::NodeProto;

use super::graph::int_attribute;
use super::weights::QuantizedWeights;

/// Mean of each channel of a layer's input over the calibration samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelMeans {
    /// Shape of the tensor.
    pub shape: Vec<usize>,
    /// Mean by channel: of axis 1 for a convolution, of the last axis otherwise.
    pub means: Vec<f64>,
}

impl ChannelMeans {
    /// Zero sums for a tensor of this shape.
    pub(super) fn zero(shape: &[usize], axis: usize) -> Self {
        Self { shape: shape.to_vec(), means: vec![0.0; shape.get(axis).copied().unwrap_or(0)] }
    }

    /// Adds the channel means of one sample.
    pub(super) fn add(&mut self, values: &[f32], axis: usize) {
        let inner: usize = self.shape[axis + 1..].iter().product();
        let channels = self.means.len();
        if inner == 0 || channels == 0 {
            return;
        }
        let share = channels as f64 / values.len().max(1) as f64;
        for (i, run) in values.chunks_exact(inner).enumerate() {
            let sum: f64 = run.iter().map(|v| f64::from(*v)).sum();
            self.means[i % channels] += sum * share;
        }
    }

    /// Turns the sums over samples into means.
    pub(super) fn divide(&mut self, samples: usize) {
        self.means.iter_mut().for_each(|m| *m /= samples as f64);
    }
}

/// What to add to each output channel's bias; none where it cannot be told.
pub(super) fn correction(
    node: &NodeProto,
    dims: &[usize],
    order: &RowOrder,
    weights: &[f32],
    quantized: &QuantizedWeights,
    input: &ChannelMeans,
) -> Option<Vec<f64>> {
    let length = weights.len() / order.channels().max(1);
    // The inputs that each group of a convolution sees, tap by tap.
    let (groups, shares) = if node.op_type == "Conv" {
        let groups = usize::try_from(int_attribute(node, "group").unwrap_or(1)).ok()?;
        (groups, tap_shares(node, dims, &input.shape)?)
    } else {
        (1, vec![1.0])
    };
    let per_group = length / shares.len();
    if groups == 0
        || input.means.len() != groups * per_group
        || !order.channels().is_multiple_of(groups)
    {
        return None;
    }
    let shift = |channel: usize| -> f64 {
        let group = channel / (order.channels() / groups);
        let means = &input.means[group * per_group..(group + 1) * per_group];
        let seen = shares.iter().flat_map(|share| means.iter().map(move |mean| mean * share));
        let scale = f64::from(quantized.scales[channel]);
        let error = |i: usize| f64::from(weights[i]) - f64::from(quantized.values[i]) * scale;
        order.row(channel).zip(seen).map(|(i, mean)| error(i) * mean).sum()
    };
    Some((0..order.channels()).map(shift).collect())
}

/// For each tap of the kernel, row-major, the share of output positions where it reads no padding.
fn tap_shares(node: &NodeProto, dims: &[usize], shape: &[usize]) -> Option<Vec<f64>> {
    let rank = dims.len().checked_sub(2)?;
    let list = |name: &str, default: i64, length: usize| {
        let found = node.attribute.iter().find(|a| a.name == name).map(|a| a.ints.clone());
        found.or_else(|| Some(vec![default; length])).filter(|v| v.len() == length)
    };
    let auto_pad = node.attribute.iter().find(|a| a.name == "auto_pad");
    if shape.len() != dims.len() || auto_pad.is_some_and(|a| a.s != b"NOTSET") {
        return None;
    }
    let strides = list("strides", 1, rank)?;
    let dilations = list("dilations", 1, rank)?;
    let pads = list("pads", 0, 2 * rank)?;
    let mut shares = vec![1.0];
    for axis in 0..rank {
        let (kernel, size) = (dims[2 + axis] as i64, shape[2 + axis] as i64);
        let (stride, dilation, pad) = (strides[axis], dilations[axis], pads[axis]);
        let span = size + pad + pads[rank + axis] - dilation * (kernel - 1) - 1;
        if stride < 1 || span < 0 {
            return None;
        }
        let outputs = span / stride + 1;
        let share = |k: i64| {
            let inside = |o: &i64| (0..size).contains(&(o * stride + k * dilation - pad));
            (0..outputs).filter(inside).count() as f64 / outputs as f64
        };
        let along: Vec<f64> = (0..kernel).map(share).collect();
        shares = shares.iter().flat_map(|s| along.iter().map(move |a| s * a)).collect();
    }
    Some(shares)
}

#[cfg(test)]
mod tests {
    use super::super::weights::{WeightRange, quantize_weights};
    use super::*;
    use tract_onnx::pb::AttributeProto;

    fn conv(pads: Vec<i64>, group: i64) -> NodeProto {
        let ints = |name: &str, ints| AttributeProto {
            name: name.to_owned(),
            ints,
            ..AttributeProto::default()
        };
        let group =
            AttributeProto { name: "group".to_owned(), i: group, ..AttributeProto::default() };
        NodeProto {
            op_type: "Conv".to_owned(),
            attribute: vec![ints("pads", pads), group],
            ..NodeProto::default()
        }
    }

    #[test]
    fn shares_of_a_padded_kernel() {
        // Three outputs of kernel 3 with padding 1: the outer taps read padding once each.
        let shares = tap_shares(&conv(vec![1, 1], 1), &[1, 1, 3], &[1, 1, 3]).unwrap();
        assert_eq!(shares, [2.0 / 3.0, 1.0, 2.0 / 3.0]);
    }

    #[test]
    fn the_correction_restores_the_mean() {
        // Grouped 1-D convolution, constant channels: the corrected sums equal the float ones.
        let order = RowOrder::conv(&[2, 1, 2], 2);
        let weights = [1.0, 0.3031, -0.7, 0.1232];
        let quantized = quantize_weights(&weights, &order, WeightRange::SevenBits, None);
        let mut input = ChannelMeans::zero(&[1, 2, 5], 1);
        input.add(&[2.0, 2.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 3.0, 3.0], 1);
        assert_eq!(input.means, [2.0, 3.0]);
        let shift =
            correction(&conv(vec![0, 0], 2), &[2, 1, 2], &order, &weights, &quantized, &input)
                .unwrap();
        for (channel, mean) in [2.0, 3.0].into_iter().enumerate() {
            let sum = |f: &dyn Fn(usize) -> f64| (2 * channel..2 * channel + 2).map(f).sum::<f64>();
            let float = sum(&|i| f64::from(weights[i]) * mean);
            let scale = f64::from(quantized.scales[channel]);
            let integer = sum(&|i| f64::from(quantized.values[i]) * scale * mean);
            assert!((integer + shift[channel] - float).abs() < 1e-9);
            assert!(shift[channel].abs() > 1e-4);
        }
    }
}
