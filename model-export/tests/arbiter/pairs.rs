//! Which products ONNX Runtime's kernels add in 16 bits, found out by trying every two weights of a layer.

use super::{IntegerKernels, Net, PAIR_LIMIT, RowOrder, ort};
use model_export::onnx::ModelProto;
use prost::Message as _;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{NodeProto, TensorProto};

/// Output channels of the trial layers, each with a pair of its own.
const OUTPUTS: usize = 16;

/// A layer of quantized weights on inputs that are all 255, whose sums are told to a hundredth of their
/// largest.
fn layer(input: &[usize], dims: &[usize], groups: usize, weights: &[i8]) -> ModelProto {
    let mut net = Net::new(input);
    net.conv(
        "layer",
        "x8d",
        "sum",
        (dims[0], dims[1], &dims[2..]),
        &vec![1; dims.len() - 2],
        0,
        1,
        groups,
    );
    let places: Vec<usize> = input[2..].iter().zip(&dims[2..]).map(|(i, k)| i + 1 - k).collect();
    let output = [&[1, dims[0]], &places[..]].concat();
    let mut model = net.finish(&[("y", &output)]);
    let graph = model.graph.as_mut().unwrap();
    let constant = |name: &str, dims: &[usize], kind: DataType, raw_data: Vec<u8>| TensorProto {
        name: name.to_owned(),
        dims: dims.iter().map(|d| *d as i64).collect(),
        data_type: kind as i32,
        raw_data,
        ..TensorProto::default()
    };
    let scale = |name: &str, v: f32| constant(name, &[], DataType::Float, v.to_le_bytes().into());
    graph.initializer = vec![
        scale("one", 1.0),
        scale("step", 2.0 * 255.0 * 127.0 / 200.0),
        constant("zero", &[], DataType::Uint8, vec![0]),
        constant("w", dims, DataType::Int8, weights.iter().map(|w| *w as u8).collect()),
        constant("ones", &[dims[0]], DataType::Float, 1f32.to_le_bytes().repeat(dims[0])),
        constant("zeros", &[dims[0]], DataType::Int8, vec![0; dims[0]]),
    ];
    let node = |op: &str, inputs: &[&str], output: &str| NodeProto {
        name: output.to_owned(),
        op_type: op.to_owned(),
        input: inputs.iter().map(|i| (*i).to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    };
    let mut weights = node("DequantizeLinear", &["w", "ones", "zeros"], "wd");
    weights.attribute = vec![super::net::int("axis", 0)];
    let mut conv = graph.node.remove(0);
    conv.input = vec!["x8d".into(), "wd".into()];
    graph.node = vec![
        node("QuantizeLinear", &["x", "one", "zero"], "x8"),
        node("DequantizeLinear", &["x8", "one", "zero"], "x8d"),
        weights,
        conv,
        node("QuantizeLinear", &["sum", "step", "zero"], "y8"),
        node("DequantizeLinear", &["y8", "step", "zero"], "y"),
    ];
    model
}

/// The pairs of places in a row that saturate together.
fn saturating_pairs(input: &[usize], dims: &[usize], groups: usize) -> Vec<(usize, usize)> {
    let row = dims[1..].iter().product::<usize>();
    let pairs: Vec<(usize, usize)> =
        (0..row).flat_map(|a| (a + 1..row).map(move |b| (a, b))).collect();
    let mut found = Vec::new();
    for chunk in pairs.chunks(dims[0]) {
        let mut weights = vec![0i8; dims.iter().product()];
        for (channel, (a, b)) in chunk.iter().enumerate() {
            weights[channel * row + a] = 127;
            weights[channel * row + b] = 127;
        }
        let model = layer(input, dims, groups, &weights);
        let mut graph = ort().unwrap().load("pairs", &model.encode_to_vec()).unwrap();
        let mut outputs = vec![Vec::new()];
        graph.run(&[&vec![255.0; input.iter().product()]], &mut outputs).unwrap();
        let places = outputs[0].len() / dims[0];
        let exact = 2.0 * 255.0 * 127.0;
        for (pair, sums) in chunk.iter().zip(outputs[0].chunks(places)) {
            assert!(sums.iter().all(|s| s == &sums[0]), "{pair:?}: {sums:?}");
            if sums[0] < 0.9 * exact {
                found.push(*pair);
            }
        }
    }
    found
}

#[test]
fn the_neighbours_that_saturate_are_those_of_the_row_order() {
    if ort().is_none() {
        return;
    }
    let cases: [(&[usize], &[usize], usize); 8] = [
        (&[1, 8, 4, 4], &[OUTPUTS, 8, 1, 1], 1),
        (&[1, 5, 4, 4], &[OUTPUTS, 5, 1, 1], 1),
        (&[1, 4, 4, 4], &[OUTPUTS, 4, 2, 2], 1),
        (&[1, 3, 5, 5], &[OUTPUTS, 3, 3, 3], 1),
        (&[1, 6, 4, 4], &[OUTPUTS, 3, 2, 2], 2),
        (&[1, 3, 3, 3, 3], &[OUTPUTS, 3, 2, 2, 2], 1),
        (&[1, 4, 3, 3, 3], &[OUTPUTS, 4, 1, 2, 2], 1),
        (&[1, 16, 5, 5], &[OUTPUTS, 1, 3, 3], 16),
    ];
    for (input, dims, groups) in cases {
        let order = RowOrder::conv(dims, groups);
        let row: Vec<usize> = order.row(0).collect();
        let mut expected: Vec<(usize, usize)> = row
            .chunks_exact(2)
            .map(|pair| (pair[0].min(pair[1]), pair[0].max(pair[1])))
            .filter(|_| order.adds_pairs() && IntegerKernels::here().saturates())
            .collect();
        expected.sort_unstable();
        assert_eq!(saturating_pairs(input, dims, groups), expected, "{dims:?} in {groups} groups");
    }
    assert_eq!(PAIR_LIMIT, 128);
}
