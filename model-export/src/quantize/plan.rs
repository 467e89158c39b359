//! Where the quantize/dequantize pairs go.
//!
//! * Weighted nodes (`Conv`, `Gemm`, `MatMul` with constant weights) read and write quantized
//!   tensors. A following `Relu` or `Clip` is folded: only its output is quantized.
//! * Joining and pooling nodes between them work on quantized tensors too, so that an engine need not
//!   go back to float. What `Concat`, `MaxPool` and data movement read and write shares one range:
//!   they then copy bytes instead of requantizing.
//! * A weighted node whose output is a graph output, at most through activations or reshaping,
//!   writes float.
//! * Everything else stays float and reads dequantized tensors.

use std::collections::{BTreeMap, BTreeSet};

use inference::exactness::RowOrder;

use super::graph::{Index, float_attribute, int_attribute, label};
use super::{Error, Options};

/// What will be quantized.
#[derive(Debug)]
pub(super) struct Plan {
    /// Quantized tensors and the group whose range each one uses.
    pub tensors: BTreeMap<String, usize>,
    /// Tensors that share a range.
    pub groups: Vec<Group>,
    /// Nodes with weights.
    pub layers: Vec<Layer>,
    /// Nodes that run on quantized values, folded activations included.
    pub quantized: BTreeSet<usize>,
    /// Names of the nodes with weights that stay float.
    pub float_layers: Vec<String>,
}

/// Tensors that share a range.
#[derive(Debug)]
pub(super) struct Group {
    /// The first of them in the order of the graph.
    pub name: String,
    /// Those whose values together are the values of all.
    pub measured: Vec<String>,
}

/// A node with weights.
#[derive(Debug)]
pub(super) struct Layer {
    pub node: usize,
    pub input: String,
    /// Output after a folded activation.
    pub output: String,
    pub weight: String,
    pub weight_axis: i64,
    /// Which weights belong to which output channel.
    pub order: RowOrder,
    pub bias: Option<String>,
}

/// Operators through which a weighted node's output counts as a graph output.
const HEAD: &[&str] = &[
    "Relu",
    "Clip",
    "Sigmoid",
    "Softmax",
    "LogSoftmax",
    "Tanh",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Identity",
    "Resize",
];

/// Operators that only move data.
const MOVES: &[&str] = &["Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice"];

/// Plans the quantization of a graph.
pub(super) fn plan(index: &Index<'_>, options: &Options) -> Result<Plan, Error> {
    let kept = |i: usize| options.keep_float.iter().any(|p| matches(p, &label(index.node(i))));
    let mut layers = Vec::new();
    let mut float_layers = Vec::new();
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    let mut quantized = BTreeSet::new();
    for &i in &index.order {
        let Some(layer) = layer(index, i)?.filter(|_| !kept(i)) else {
            if matches!(index.node(i).op_type.as_str(), "Conv" | "Gemm" | "MatMul") {
                float_layers.push(label(index.node(i)));
            }
            continue;
        };
        quantized.insert(i);
        wanted.insert(layer.input.clone());
        if !is_head(index, &index.node(i).output[0]) {
            wanted.insert(layer.output.clone());
            quantized.extend(index.producer(&layer.output));
        }
        layers.push(layer);
    }

    // Backwards, so that a node's readers are settled before it.
    let mut ties: Vec<usize> = Vec::new();
    for &i in index.order.iter().rev() {
        let Some(inputs) = joined(index, i).filter(|_| !kept(i)) else {
            continue;
        };
        let node = index.node(i);
        let output = if node.op_type == "Add" {
            folded_output(index, &node.output[0])
        } else {
            node.output[0].clone()
        };
        if !wanted.contains(&output) || index.is_output(&output) {
            continue;
        }
        quantized.insert(i);
        quantized.extend(index.producer(&output));
        wanted.extend(inputs.iter().map(|t| (*t).to_owned()));
        if shares_range(&node.op_type) {
            ties.push(i);
        }
    }

    let (tensors, groups) = groups(index, &wanted, &ties);
    Ok(Plan { tensors, groups, layers, quantized, float_layers })
}

/// Partitions the quantized tensors by the nodes that tie them.
fn groups(
    index: &Index<'_>,
    wanted: &BTreeSet<String>,
    ties: &[usize],
) -> (BTreeMap<String, usize>, Vec<Group>) {
    let ordered: Vec<&str> = index
        .input_names()
        .chain(index.order.iter().flat_map(|i| index.node(*i).output.iter().map(String::as_str)))
        .filter(|t| wanted.contains(*t))
        .collect();
    let position: BTreeMap<&str, usize> =
        ordered.iter().enumerate().map(|(i, t)| (*t, i)).collect();
    let mut root: Vec<usize> = (0..ordered.len()).collect();
    let mut tied_outputs = BTreeSet::new();
    for &i in ties {
        let node = index.node(i);
        let output = position[node.output[0].as_str()];
        tied_outputs.insert(output);
        for input in joined(index, i).unwrap_or_default() {
            let (a, b) = (root[output], root[position[input]]);
            let (first, other) = (a.min(b), a.max(b));
            root.iter_mut().filter(|r| **r == other).for_each(|r| *r = first);
        }
    }
    let mut groups: Vec<Group> = Vec::new();
    let mut number: BTreeMap<usize, usize> = BTreeMap::new();
    let mut tensors = BTreeMap::new();
    for (i, tensor) in ordered.iter().enumerate() {
        let group = *number.entry(root[i]).or_insert_with(|| {
            groups.push(Group { name: (*tensor).to_owned(), measured: Vec::new() });
            groups.len() - 1
        });
        tensors.insert((*tensor).to_owned(), group);
        if !tied_outputs.contains(&i) {
            groups[group].measured.push((*tensor).to_owned());
        }
    }
    (tensors, groups)
}

/// The node as a layer with weights, if it is one that can be quantized.
fn layer(index: &Index<'_>, i: usize) -> Result<Option<Layer>, Error> {
    let node = index.node(i);
    if !node.domain.is_empty() && node.domain != "ai.onnx" {
        return Ok(None);
    }
    let input = |n: usize| node.input.get(n).filter(|t| !t.is_empty()).cloned();
    let (Some(data), Some(weight), Some(output)) = (input(0), input(1), node.output.first()) else {
        return Ok(None);
    };
    if index.constant(&data).is_some() {
        return Ok(None);
    }
    let dims = |t: &str| -> Option<Vec<usize>> {
        index.constant(t).map(|t| t.dims.iter().map(|d| *d as usize).collect())
    };
    let Some(shape) = dims(&weight).filter(|s| s.iter().all(|d| *d > 0)) else {
        return Ok(None);
    };
    let mut bias = None;
    let (axis, order) = match (node.op_type.as_str(), shape.len()) {
        ("Conv", 3..=5) => {
            bias = input(2);
            let groups = int_attribute(node, "group").unwrap_or(1);
            (0, RowOrder::conv(&shape, usize::try_from(groups).unwrap_or(1)))
        }
        ("Gemm", 2) => {
            let plain = int_attribute(node, "transA").unwrap_or(0) == 0
                && float_attribute(node, "alpha").unwrap_or(1.0) == 1.0
                && float_attribute(node, "beta").unwrap_or(1.0) == 1.0;
            if !plain {
                return Ok(None);
            }
            bias = input(2);
            let transposed = int_attribute(node, "transB").unwrap_or(0) != 0;
            (usize::from(!transposed), RowOrder::gemm(&shape, transposed))
        }
        ("MatMul", 2) => (1, RowOrder::gemm(&shape, false)),
        _ => return Ok(None),
    };
    if index.floats(&weight)?.is_none() {
        return Ok(None);
    }
    let channels = shape[axis];
    if let Some(bias) = &bias
        && (index.floats(bias)?.is_none() || dims(bias) != Some(vec![channels]))
    {
        return Ok(None);
    }
    Ok(Some(Layer {
        node: i,
        input: data,
        output: folded_output(index, output),
        weight,
        weight_axis: axis as i64,
        order,
        bias,
    }))
}

/// The tensors that a joining, pooling or moving node reads; none if it is no such node.
fn joined<'a>(index: &Index<'a>, i: usize) -> Option<Vec<&'a str>> {
    let node = index.node(i);
    let one_output = node.output.iter().filter(|o| !o.is_empty()).count() == 1;
    let inputs: Vec<&str> = match node.op_type.as_str() {
        "Add" | "Concat" => node.input.iter().map(String::as_str).collect(),
        "MaxPool" | "AveragePool" | "GlobalAveragePool" => vec![node.input.first()?.as_str()],
        op if MOVES.contains(&op) => vec![node.input.first()?.as_str()],
        _ => return None,
    };
    let plain = node.domain.is_empty() || node.domain == "ai.onnx";
    (plain && one_output && inputs.iter().all(|t| index.constant(t).is_none())).then_some(inputs)
}

/// Whether the operator's output has the values of its inputs.
fn shares_range(op: &str) -> bool {
    op == "Concat" || op == "MaxPool" || MOVES.contains(&op)
}

/// The output of a `Relu` or `Clip` that alone reads the tensor, or the tensor itself.
fn folded_output(index: &Index<'_>, tensor: &str) -> String {
    match index.consumers(tensor) {
        [only] if !index.is_output(tensor) => {
            let node = index.node(*only);
            let bounds_known =
                node.input[1..].iter().all(|b| b.is_empty() || index.constant(b).is_some());
            if matches!(node.op_type.as_str(), "Relu" | "Clip") && bounds_known {
                return node.output[0].clone();
            }
            tensor.to_owned()
        }
        _ => tensor.to_owned(),
    }
}

/// Whether a tensor is a graph output, at most through activations and reshaping.
fn is_head(index: &Index<'_>, tensor: &str) -> bool {
    if index.is_output(tensor) {
        return true;
    }
    let readers = index.consumers(tensor);
    !readers.is_empty()
        && readers.iter().all(|i| {
            let node = index.node(*i);
            HEAD.contains(&node.op_type.as_str()) && node.output.iter().all(|o| is_head(index, o))
        })
}

/// Whether a name matches a pattern in which `*` stands for any run of characters.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            rest.char_indices()
                .map(|(i, _)| i)
                .chain([rest.len()])
                .any(|i| matches(tail, &rest[i..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        assert!(matches("head", "head") && !matches("head", "head.0"));
        assert!(matches("head*", "head.0") && matches("*", "") && matches("*.conv", "a.b.conv"));
        assert!(matches("a*b*c", "a-b-b-c") && !matches("a*b*c", "a-c-b"));
    }
}
