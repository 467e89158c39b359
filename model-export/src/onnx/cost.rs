//! What a graph costs: multiplications with an addition, as papers count them.

use std::collections::HashMap;

use tract_onnx::pb::{ModelProto, ValueInfoProto, tensor_shape_proto::dimension, type_proto};

/// Multiply-adds of one run of a graph built by [`super::GraphBuilder`]: those of its convolutions and
/// matrix products. `None` if the shape of one of their tensors is not in the file.
#[must_use]
pub fn multiply_adds(model: &ModelProto) -> Option<u64> {
    let graph = model.graph.as_ref()?;
    let values = graph.input.iter().chain(&graph.output).chain(&graph.value_info);
    let mut shapes: HashMap<&str, Vec<u64>> =
        values.filter_map(|value| Some((value.name.as_str(), shape(value)?))).collect();
    for tensor in &graph.initializer {
        shapes.insert(&tensor.name, tensor.dims.iter().map(|&d| d.unsigned_abs()).collect());
    }
    let shape = |name: Option<&String>| shapes.get(name?.as_str());
    let mut total = 0;
    for node in &graph.node {
        // The products behind each value of the output.
        let each = match node.op_type.as_str() {
            // [outputs, inputs of a group, kernel...]
            "Conv" => shape(node.input.get(1))?.iter().skip(1).product::<u64>(),
            "MatMul" => *shape(node.input.first())?.last()?,
            _ => continue,
        };
        total += each * shape(node.output.first())?.iter().product::<u64>();
    }
    Some(total)
}

fn shape(value: &ValueInfoProto) -> Option<Vec<u64>> {
    let Some(type_proto::Value::TensorType(tensor)) = &value.r#type.as_ref()?.value else {
        return None;
    };
    let size = |d: &tract_onnx::pb::tensor_shape_proto::Dimension| match d.value {
        Some(dimension::Value::DimValue(size)) => u64::try_from(size).ok(),
        _ => None,
    };
    tensor.shape.as_ref()?.dim.iter().map(size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::{GraphBuilder, Window};

    #[test]
    fn products_are_counted() {
        let mut graph = GraphBuilder::new("g");
        let x = graph.input("x", &[1, 4, 6, 6]).unwrap();
        let weight = graph.constant("w", &[8, 2, 3, 3], &[0.0; 144]).unwrap();
        let window = Window::new(&[3, 3]).strided(&[2, 2]).padded(1).grouped(2);
        let y = graph.conv("c", &x, &weight, None, &window).unwrap(); // [1, 8, 3, 3]
        let y = graph.relu("r", &y).unwrap();
        let y = graph.reshape("f", &y, &[1, 72]).unwrap();
        let dense = graph.constant("d", &[72, 5], &[0.0; 360]).unwrap();
        let y = graph.matmul("m", &y, &dense).unwrap();
        let mut model = graph.finish(&[(&y, "y")]).unwrap();
        assert_eq!(multiply_adds(&model), Some(72 * 18 + 5 * 72));
        if let Some(graph) = &mut model.graph {
            graph.value_info.clear();
        }
        assert_eq!(multiply_adds(&model), None);
    }
}
