//! On which processors the sums of a quantized graph are exact.
//!
//! ONNX Runtime's processor kernels for unsigned 8-bit activations and signed 8-bit weights (U8S8) add up
//! products in 32 bits where the processor has an instruction for it: VNNI on x86, any 64-bit ARM. On x86
//! with AVX2 or AVX-512 but without VNNI (`vpmaddubsw`), two neighbouring products are first added in 16
//! bits, which saturate. A layer is exact there too if no two neighbouring weights can take the sum over
//! the limit, whatever the activations: 255 times both, where they have one sign, must stay within
//! 32 767, so that they may be [`PAIR_LIMIT`] together.
//!
//! Which weights are neighbours follows from the order in which the kernels read them, [`RowOrder`]; it was
//! measured with two weights of 127 at every two places of small layers, on ONNX Runtime 1.32, as
//! `model-export/tests/arbiter` does again. Depthwise convolutions have a kernel of their own, which adds in
//! 32 bits everywhere. Signed activations (S8S8) ONNX Runtime turns into unsigned ones on these processors,
//! so that the same holds for them.

use std::collections::HashMap;

use model_bundle::Contents;
use model_bundle::manifest::GraphEntry;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};
use tract_onnx::prelude::Framework as _;

use crate::error::one_line;
use crate::{BackendKind, Error};

/// Largest sum of the magnitudes of two neighbouring weights of one sign: `floor(32767 / 255)`.
pub const PAIR_LIMIT: u8 = 128;

/// The order in which a kernel reads the weights of one output channel: a product with each, added to
/// that of its neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowOrder {
    channels: usize,
    /// Input channels of a convolution's group; 1 for a matrix.
    inputs: usize,
    /// Places of a convolution's kernel; the length of a matrix's row.
    taps: usize,
    /// Elements between one output channel and the next, and between one tap and the next.
    strides: (usize, usize),
    pairs: bool,
}

impl RowOrder {
    /// Of a convolution with weights of shape `[outputs, inputs / groups, kernel...]`: tap by tap, and
    /// at each tap channel by channel.
    pub fn conv(dims: &[usize], groups: usize) -> Self {
        let channels = dims.first().copied().unwrap_or(0);
        let inputs = dims.get(1).copied().unwrap_or(0);
        let taps = dims.iter().skip(2).product();
        let depthwise = inputs == 1 && groups == channels && groups > 1;
        Self { channels, inputs, taps, strides: (inputs * taps, 1), pairs: !depthwise }
    }

    /// Of a matrix of shape `[inputs, outputs]`, or `[outputs, inputs]` if it is `transposed`.
    pub fn gemm(dims: &[usize], transposed: bool) -> Self {
        let (first, last) = (dims.first().copied().unwrap_or(0), dims.get(1).copied().unwrap_or(0));
        let (channels, taps, strides) =
            if transposed { (first, last, (last, 1)) } else { (last, first, (1, last)) };
        Self { channels, inputs: 1, taps, strides, pairs: true }
    }

    /// Number of output channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Whether kernels without VNNI add neighbours in 16 bits.
    pub fn adds_pairs(&self) -> bool {
        self.pairs
    }

    /// Places in the weight tensor of one output channel's weights; the first two are neighbours, the
    /// next two, and so on, and the last stands alone if their number is odd.
    pub fn row(&self, channel: usize) -> impl Iterator<Item = usize> + use<> {
        let Self { inputs, taps, strides, .. } = *self;
        let start = channel * strides.0;
        (0..taps).flat_map(move |tap| {
            (0..inputs).map(move |input| start + input * taps * strides.1 + tap * strides.1)
        })
    }
}

/// A layer whose sums are not exact on every processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saturating {
    /// Name of its node.
    pub layer: String,
    /// Output channels with a pair of weights that is too large.
    pub channels: usize,
    /// The largest sum of two neighbours of one sign.
    pub largest: i32,
}

impl std::fmt::Display for Saturating {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { layer, channels, largest } = self;
        write!(f, "`{layer}` ({channels} channels, neighbours up to {largest} of {PAIR_LIMIT})")
    }
}

/// The layers of an ONNX graph in QDQ form whose sums saturate on x86 without VNNI, in the order of the
/// file; empty for a graph that is exact everywhere, or not quantized. `name` is for messages.
///
/// # Errors
/// [`Error::Load`] if the bytes are no ONNX model.
pub fn saturating(name: &str, onnx: &[u8]) -> Result<Vec<Saturating>, Error> {
    let model = tract_onnx::onnx().proto_model_for_read(&mut &*onnx).map_err(|e| Error::Load {
        graph: name.into(),
        backend: "ort",
        reason: one_line(format!("{e:#}")),
    })?;
    let graph = model.graph.unwrap_or_default();
    let found = Weights::of(&graph);
    Ok(graph.node.iter().filter_map(|node| found.check(node)).collect())
}

/// What [`saturating`] finds in a bundle's INT8 graphs for ONNX Runtime, by graph; graphs that are exact are
/// left out.
///
/// # Errors
/// [`Error::Bundle`] if a graph cannot be read, and those of [`saturating`].
pub fn saturating_graphs(bundle: &dyn Contents) -> Result<Vec<(String, Vec<Saturating>)>, Error> {
    let mut graphs = Vec::new();
    let quantized = |e: &&GraphEntry| e.precision == "int8" && e.backend == BackendKind::Ort.name();
    for entry in bundle.manifest().graphs.iter().filter(quantized) {
        let layers = saturating(&entry.name, &bundle.blob(&entry.blob).map_err(Error::Bundle)?)?;
        if !layers.is_empty() {
            graphs.push((entry.name.clone(), layers));
        }
    }
    Ok(graphs)
}

/// What is dequantized in a graph.
struct Weights<'a> {
    /// Signed 8-bit constants by the float tensor that they become.
    signed: HashMap<&'a str, &'a TensorProto>,
    /// Float tensors made from 8-bit activations.
    activations: Vec<&'a str>,
}

impl<'a> Weights<'a> {
    fn of(graph: &'a GraphProto) -> Self {
        let constants: HashMap<&str, &TensorProto> =
            graph.initializer.iter().map(|t| (t.name.as_str(), t)).collect();
        let (mut signed, mut activations) = (HashMap::new(), Vec::new());
        for node in graph.node.iter().filter(|n| n.op_type == "DequantizeLinear") {
            let (Some(input), Some(output)) = (node.input.first(), node.output.first()) else {
                continue;
            };
            match constants.get(input.as_str()) {
                Some(t) if t.data_type == DataType::Int8 as i32 => {
                    signed.insert(output.as_str(), *t);
                }
                Some(_) => {}
                None => activations.push(output.as_str()),
            }
        }
        Self { signed, activations }
    }

    fn check(&self, node: &NodeProto) -> Option<Saturating> {
        let input = node.input.first()?;
        if !self.activations.contains(&input.as_str()) {
            return None;
        }
        let weights = self.signed.get(node.input.get(1)?.as_str())?;
        let dims: Vec<usize> =
            weights.dims.iter().map(|d| usize::try_from(*d).unwrap_or(0)).collect();
        let attribute = |name: &str, default| {
            node.attribute.iter().find(|a| a.name == name).map_or(default, |a| a.i)
        };
        let order = match node.op_type.as_str() {
            "Conv" => RowOrder::conv(&dims, usize::try_from(attribute("group", 1)).unwrap_or(1)),
            "Gemm" => RowOrder::gemm(&dims, attribute("transB", 0) != 0),
            "MatMul" if dims.len() == 2 => RowOrder::gemm(&dims, false),
            _ => return None,
        };
        // The exporter writes bytes; other tools may write numbers of 32 bits.
        let value = |i: usize| match weights.raw_data.get(i) {
            Some(byte) => i32::from(*byte as i8),
            None => weights.int32_data.get(i).copied().unwrap_or(0),
        };
        let (mut channels, mut largest) = (0, 0);
        for channel in (0..order.channels()).filter(|_| order.adds_pairs()) {
            let worst = largest_pair(order.row(channel).map(value));
            channels += usize::from(worst > i32::from(PAIR_LIMIT));
            largest = largest.max(worst);
        }
        let layer = if node.name.is_empty() { node.output.first()? } else { &node.name };
        (channels > 0).then(|| Saturating { layer: layer.clone(), channels, largest })
    }
}

/// The largest sum of the magnitudes of two neighbours of one sign.
fn largest_pair(mut row: impl Iterator<Item = i32>) -> i32 {
    let mut largest = 0;
    while let Some(first) = row.next() {
        let second = row.next().unwrap_or(0);
        if first * second > 0 {
            largest = largest.max((first + second).abs());
        }
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_tap_by_tap_and_channel_by_channel() {
        // [2, 3, 2]: two outputs, three channels, two taps.
        let order = RowOrder::conv(&[2, 3, 2], 1);
        assert_eq!(order.row(0).collect::<Vec<_>>(), [0, 2, 4, 1, 3, 5]);
        assert_eq!(order.row(1).collect::<Vec<_>>(), [6, 8, 10, 7, 9, 11]);
        assert!(order.adds_pairs());
        assert_eq!(RowOrder::gemm(&[2, 3], true).row(1).collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(RowOrder::gemm(&[3, 2], false).row(1).collect::<Vec<_>>(), [1, 3, 5]);
    }

    #[test]
    fn depthwise_convolutions_add_no_pairs() {
        assert!(!RowOrder::conv(&[8, 1, 3, 3], 8).adds_pairs());
        assert!(RowOrder::conv(&[16, 1, 3, 3], 8).adds_pairs());
        assert!(RowOrder::conv(&[8, 1, 3, 3], 1).adds_pairs());
    }

    #[test]
    fn only_neighbours_of_one_sign_count() {
        assert_eq!(largest_pair([127, -127, 5, 6, 120].into_iter()), 11);
        assert_eq!(largest_pair([-100, -29].into_iter()), 129);
        assert_eq!(largest_pair([1, 127, 127, 1].into_iter()), 128);
        assert_eq!(largest_pair([127].into_iter()), 0);
    }

    #[test]
    fn other_bytes_are_refused_by_the_graphs_name() {
        let error = saturating("backbone", b"\xff\xff\xff").unwrap_err().to_string();
        assert!(error.contains("`backbone`"), "{error}");
    }
}
