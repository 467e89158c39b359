//! The rules of TensorRT's explicit quantization, checked on a graph.
//!
//! TensorRT takes a quantized ONNX graph only if it is symmetric: 8-bit signed integers, zero points
//! 0, weights per output channel in [-127, 127], activations per tensor, biases in float. A graph that
//! breaks a rule is refused on the device, minutes into an engine build; here it is found at export.

use std::collections::HashMap;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{ModelProto, NodeProto};

use super::Error;
use super::graph::{Index, int_attribute, label};

/// Every rule that a model breaks, each naming the node; empty if TensorRT would take it.
///
/// # Errors
///
/// If the graph is malformed.
pub fn check(model: &ModelProto) -> Result<Vec<String>, Error> {
    let index = Index::new(model)?;
    let mut broken = Vec::new();
    // Tensors behind a DequantizeLinear: of a constant (with its axis) or of an activation.
    let mut weights: HashMap<&str, usize> = HashMap::new();
    let mut activations: HashMap<&str, usize> = HashMap::new();
    for &i in &index.order {
        let node = index.node(i);
        if !matches!(node.op_type.as_str(), "QuantizeLinear" | "DequantizeLinear") {
            continue;
        }
        let name = label(node);
        let mut fail = |what: &str| broken.push(format!("node `{name}`: {what}"));
        zero_point(&index, node, &mut fail);
        let scales = match node.input.get(1).map(|s| index.floats(s)).transpose()?.flatten() {
            Some(scales) => scales,
            None => {
                fail("the scale is no constant");
                continue;
            }
        };
        if scales.iter().any(|s| *s <= 0.0) {
            fail("a scale is not greater than zero");
        }
        let of_constant = node.input.first().and_then(|t| index.constant(t));
        if node.op_type == "QuantizeLinear" {
            if scales.len() != 1 {
                fail("an activation is quantized per channel");
            }
            let readers = node.output.iter().flat_map(|o| index.consumers(o));
            if readers.into_iter().any(|r| index.node(*r).op_type != "DequantizeLinear") {
                fail("a quantized tensor is read by something else than DequantizeLinear");
            }
        } else if let Some(values) = of_constant {
            if values.data_type != DataType::Int8 as i32 {
                fail("a quantized constant is not INT8 (a bias must stay float)");
            } else if values.raw_data.contains(&0x80) || values.int32_data.contains(&-128) {
                fail("a weight is -128");
            }
            weights.extend(node.output.iter().map(|o| (o.as_str(), i)));
        } else {
            let made_by = node.input.first().and_then(|t| index.producer(t));
            if made_by.is_none_or(|p| index.node(p).op_type != "QuantizeLinear") {
                fail("DequantizeLinear reads something else than QuantizeLinear's output");
            }
            activations.extend(node.output.iter().map(|o| (o.as_str(), i)));
        }
    }
    for &i in &index.order {
        let node = index.node(i);
        let Some(weight) = node.input.get(1).and_then(|w| weights.get(w.as_str())) else {
            continue;
        };
        let mut fail = |what: &str| broken.push(format!("node `{}`: {what}", label(node)));
        let axis = match node.op_type.as_str() {
            "Conv" => 0,
            "Gemm" => i64::from(int_attribute(node, "transB").unwrap_or(0) == 0),
            "MatMul" => 1,
            _ => {
                fail("no operator with weights, but reads a quantized constant");
                continue;
            }
        };
        let dequantize = index.node(*weight);
        let channels = dequantize
            .input
            .first()
            .and_then(|t| index.constant(t))
            .and_then(|t| t.dims.get(axis as usize).copied());
        let scales = dequantize.input.get(1).and_then(|t| index.constant(t));
        if int_attribute(dequantize, "axis").unwrap_or(1) != axis {
            fail("the weights are not quantized along the output channels");
        }
        if scales.map(|s| s.dims.as_slice()) != channels.as_ref().map(std::slice::from_ref) {
            fail("the weights do not have one scale for each output channel");
        }
        if node.input.first().is_none_or(|t| !activations.contains_key(t.as_str())) {
            fail("the weights are quantized but the input is not");
        }
    }
    Ok(broken)
}

/// The zero point must be INT8 (absent, it would be UINT8) and 0.
fn zero_point(index: &Index<'_>, node: &NodeProto, fail: &mut dyn FnMut(&str)) {
    match node.input.get(2).and_then(|z| index.constant(z)) {
        None => fail("the zero point is absent or no constant"),
        Some(zero) => {
            if zero.data_type != DataType::Int8 as i32 {
                fail("the zero point is not INT8");
            }
            if zero.raw_data.iter().any(|b| *b != 0) || zero.int32_data.iter().any(|v| *v != 0) {
                fail("the zero point is not 0");
            }
        }
    }
}
