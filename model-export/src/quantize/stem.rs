//! Rewriting a strided first convolution so that its integer kernel is not starved.
//!
//! ONNX Runtime's integer convolution gathers the channels of one pixel at a time. On a network's
//! input these are three bytes, and the gathering costs more than the arithmetic: the 7×7×7 stem of
//! I3D took 960 of 1330 ms, more than in float. Moving the strides into the channels (space to depth:
//! 2×2×2 pixels of 3 channels become one of 24) gives the same sums from a stride-1 convolution
//! with a kernel of 4×4×4.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension;
use tract_onnx::pb::{AttributeProto, ModelProto, NodeProto, TensorProto, type_proto};

use super::graph::{Index, int_attribute};
use super::{Error, raw_tensor};

/// More input channels than this are gathered well enough.
const MOST_CHANNELS: usize = 8;
/// With fewer taps there is not enough to gain.
const LEAST_TAPS: usize = 25;

/// One spatial axis of the convolution, before and after.
struct Axis {
    /// Input positions.
    size: usize,
    stride: usize,
    kernel: usize,
    /// Padding before the first position.
    begin: i64,
    /// Kernel after the rewrite.
    folded_kernel: usize,
    /// Padding after the rewrite.
    folded_begin: i64,
    folded_end: i64,
}

impl Axis {
    /// Output `o` reads input `stride * o + k - begin`, which is sub-position `r` of block `o + a` with
    /// `k - begin = stride * a + r`. None if the axis cannot be folded.
    fn new(size: usize, stride: usize, kernel: usize, begin: i64, end: i64) -> Option<Self> {
        if stride == 0 || kernel == 0 || !size.is_multiple_of(stride) || begin < 0 || end < 0 {
            return None;
        }
        let step = stride as i64;
        let outputs = (size as i64 + begin + end - kernel as i64).div_euclid(step) + 1;
        let first = (-begin).div_euclid(step);
        let last = (kernel as i64 - 1 - begin).div_euclid(step);
        let blocks = (size / stride) as i64;
        let folded_end = outputs - 1 + last - (blocks - 1);
        (first <= 0 && folded_end >= 0 && outputs > 0).then_some(Self {
            size,
            stride,
            kernel,
            begin,
            folded_kernel: (last - first + 1) as usize,
            folded_begin: -first,
            folded_end,
        })
    }

    /// The original tap at sub-position `r` of folded tap `a`, if there is one.
    fn tap(&self, a: usize, r: usize) -> Option<usize> {
        let k = (a as i64 - self.folded_begin) * self.stride as i64 + r as i64 + self.begin;
        usize::try_from(k).ok().filter(|k| *k < self.kernel)
    }
}

/// The model with its strided convolutions of graph inputs folded; none if there is nothing to fold.
pub(super) fn fold(model: &ModelProto) -> Result<Option<ModelProto>, Error> {
    let index = Index::new(model)?;
    let mut folded = model.clone();
    let graph = folded.graph.get_or_insert_default();
    let mut nodes = Vec::with_capacity(graph.node.len() + 3);
    let mut changed = false;
    for node in &index.graph.node {
        match fold_node(&index, node)? {
            Some((new_nodes, tensors)) => {
                nodes.extend(new_nodes);
                graph.initializer.extend(tensors);
                changed = true;
            }
            None => nodes.push(node.clone()),
        }
    }
    graph.node = nodes;
    Ok(changed.then_some(folded))
}

/// Nodes and initializers in place of a node.
type Replacement = (Vec<NodeProto>, Vec<TensorProto>);

/// What replaces a convolution, if it is one to fold.
fn fold_node(index: &Index<'_>, node: &NodeProto) -> Result<Option<Replacement>, Error> {
    let (Some(input), Some(weight_name)) = (node.input.first(), node.input.get(1)) else {
        return Ok(None);
    };
    let only_reader = index.consumers(input).len() == 1;
    if node.op_type != "Conv" || !only_reader || int_attribute(node, "group").unwrap_or(1) != 1 {
        return Ok(None);
    }
    let (Some(shape), Some(weight)) = (input_shape(index, input), index.constant(weight_name))
    else {
        return Ok(None);
    };
    let kernel: Vec<usize> = weight.dims.iter().map(|d| *d as usize).collect();
    let Some(axes) = axes(node, &shape, &kernel) else {
        return Ok(None);
    };
    let Some(values) = index.floats(weight_name)? else {
        return Ok(None);
    };

    let name = |what: &str| format!("{weight_name}_folded_{what}");
    let weight = TensorProto { name: name("weight"), ..fold_weights(&values, &kernel, &axes) };
    let size = |f: &dyn Fn(&Axis) -> Vec<usize>| axes.iter().flat_map(f).collect::<Vec<usize>>();
    let split = [&shape[..2], &size(&|a| vec![a.size / a.stride, a.stride])].concat();
    let blocks: usize = axes.iter().map(|a| a.stride).product();
    let joined = [&[shape[0], blocks * shape[1]][..], &size(&|a| vec![a.size / a.stride])].concat();
    // [n, c, d0, s0, d1, s1, ..] -> [n, s0, s1, .., c, d0, d1, ..]
    let rank = axes.len() as i64;
    let strides = (0..rank).map(|i| 3 + 2 * i);
    let places = (0..rank).map(|i| 2 + 2 * i);
    let order: Vec<i64> = [0].into_iter().chain(strides).chain([1]).chain(places).collect();

    let step = |what: &str, op: &str, inputs: [&str; 2]| NodeProto {
        name: name(what),
        op_type: op.to_owned(),
        input: inputs.iter().filter(|i| !i.is_empty()).map(|i| (*i).to_owned()).collect(),
        output: vec![name(what)],
        ..NodeProto::default()
    };
    let mut transpose = step("transpose", "Transpose", [&name("split"), ""]);
    transpose.attribute.push(ints("perm", order));
    let mut conv = node.clone();
    conv.input[0] = name("join");
    conv.input[1] = name("weight");
    conv.attribute = vec![
        ints("kernel_shape", axes.iter().map(|a| a.folded_kernel as i64).collect()),
        ints("strides", vec![1; axes.len()]),
        ints(
            "pads",
            axes.iter().map(|a| a.folded_begin).chain(axes.iter().map(|a| a.folded_end)).collect(),
        ),
    ];
    let nodes = vec![
        step("split", "Reshape", [input, &name("split_shape")]),
        transpose,
        step("join", "Reshape", [&name("transpose"), &name("join_shape")]),
        conv,
    ];
    let tensors = vec![
        weight,
        shape_tensor(&name("split_shape"), &split),
        shape_tensor(&name("join_shape"), &joined),
    ];
    Ok(Some((nodes, tensors)))
}

/// The spatial axes of a convolution that is worth folding and can be.
fn axes(node: &NodeProto, shape: &[usize], kernel: &[usize]) -> Option<Vec<Axis>> {
    let rank = kernel.len().checked_sub(2)?;
    let list = |name: &str| node.attribute.iter().find(|a| a.name == name).map(|a| a.ints.clone());
    let auto_pad = node.attribute.iter().find(|a| a.name == "auto_pad").map(|a| a.s.as_slice());
    let strides = list("strides").unwrap_or_else(|| vec![1; rank]);
    let pads = list("pads").unwrap_or_else(|| vec![0; 2 * rank]);
    let dilated = list("dilations").is_some_and(|d| d.iter().any(|d| *d != 1));
    let fits = rank > 0
        && shape.len() == rank + 2
        && strides.len() == rank
        && pads.len() == 2 * rank
        && kernel[1] == shape[1]
        && !dilated
        && auto_pad.is_none_or(|p| p == b"NOTSET");
    let worth = kernel[1] <= MOST_CHANNELS
        && kernel[2..].iter().product::<usize>() >= LEAST_TAPS
        && strides.iter().any(|s| *s > 1);
    if !fits || !worth {
        return None;
    }
    (0..rank)
        .map(|i| {
            let stride = usize::try_from(strides[i]).ok()?;
            Axis::new(shape[2 + i], stride, kernel[2 + i], pads[i], pads[rank + i])
        })
        .collect()
}

/// `[o, c, k0, k1, ..]` to `[o, s0 * s1 * .. * c, f0, f1, ..]`; taps that do not exist are zero.
fn fold_weights(values: &[f32], kernel: &[usize], axes: &[Axis]) -> TensorProto {
    let (outputs, channels) = (kernel[0], kernel[1]);
    let blocks: usize = axes.iter().map(|a| a.stride).product();
    let taps: usize = axes.iter().map(|a| a.folded_kernel).product();
    let old_taps: usize = axes.iter().map(|a| a.kernel).product();
    let mut folded = Vec::with_capacity(outputs * blocks * channels * taps);
    for o in 0..outputs {
        for block in 0..blocks {
            for c in 0..channels {
                for tap in 0..taps {
                    // Row-major digits of the block's and the tap's position, last axis first.
                    let (mut block, mut tap) = (block, tap);
                    let (mut old, mut scale) = (Some(0), 1);
                    for axis in axes.iter().rev() {
                        let k = axis.tap(tap % axis.folded_kernel, block % axis.stride);
                        old = old.zip(k).map(|(old, k)| old + k * scale);
                        scale *= axis.kernel;
                        tap /= axis.folded_kernel;
                        block /= axis.stride;
                    }
                    folded.push(old.map_or(0.0, |k| values[(o * channels + c) * old_taps + k]));
                }
            }
        }
    }
    let dims: Vec<i64> = [outputs, blocks * channels]
        .into_iter()
        .chain(axes.iter().map(|a| a.folded_kernel))
        .map(|d| d as i64)
        .collect();
    let bytes = folded.iter().flat_map(|v| v.to_le_bytes()).collect();
    raw_tensor("", &dims, DataType::Float, bytes)
}

/// The shape of a graph input, if all of it is known.
fn input_shape(index: &Index<'_>, tensor: &str) -> Option<Vec<usize>> {
    let value = index.graph.input.iter().find(|v| v.name == tensor && index.is_input(tensor))?;
    let type_proto::Value::TensorType(tensor) = value.r#type.as_ref()?.value.as_ref()?;
    let dims = &tensor.shape.as_ref()?.dim;
    dims.iter()
        .map(|d| match d.value.as_ref()? {
            dimension::Value::DimValue(v) => usize::try_from(*v).ok().filter(|v| *v > 0),
            dimension::Value::DimParam(_) => None,
        })
        .collect()
}

fn shape_tensor(name: &str, shape: &[usize]) -> TensorProto {
    let bytes = shape.iter().flat_map(|d| (*d as i64).to_le_bytes()).collect();
    raw_tensor(name, &[shape.len() as i64], DataType::Int64, bytes)
}

fn ints(name: &str, values: Vec<i64>) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Ints as i32,
        ints: values,
        ..AttributeProto::default()
    }
}
