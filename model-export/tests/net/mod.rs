//! Small graphs with made-up weights, and samples for them.
#![allow(dead_code, reason = "each test program uses its part")]

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};

/// A graph under construction; its input is `x`.
pub struct Net {
    graph: GraphProto,
    seed: u32,
}

impl Net {
    pub fn new(shape: &[usize]) -> Self {
        let graph = GraphProto {
            name: "test".to_owned(),
            input: vec![value("x", shape)],
            ..GraphProto::default()
        };
        Self { graph, seed: 1 }
    }

    /// A node named after its output.
    pub fn op(&mut self, op: &str, inputs: &[&str], output: &str) {
        self.push(output, op, inputs, output, Vec::new());
    }

    /// A convolution with bias: `(outputs, inputs per group, kernel)`, stride, padding, dilation,
    /// groups.
    #[allow(clippy::too_many_arguments)]
    pub fn conv(
        &mut self,
        name: &str,
        input: &str,
        output: &str,
        (outputs, inputs, kernel): (usize, usize, &[usize]),
        strides: &[usize],
        pad: usize,
        dilation: usize,
        groups: usize,
    ) {
        let fan_in = inputs * kernel.iter().product::<usize>();
        let shape = [&[outputs, inputs], kernel].concat();
        self.weights(name, &shape, outputs, fan_in);
        let inputs = [input, &format!("{name}.weight"), &format!("{name}.bias")];
        let attributes = vec![
            ints("kernel_shape", kernel),
            ints("strides", strides),
            ints("pads", &vec![pad; 2 * kernel.len()]),
            ints("dilations", &vec![dilation; kernel.len()]),
            int("group", groups),
        ];
        self.push(name, "Conv", &inputs, output, attributes);
    }

    pub fn gemm(&mut self, name: &str, input: &str, output: &str, outputs: usize, inputs: usize) {
        self.weights(name, &[outputs, inputs], outputs, inputs);
        let inputs = [input, &format!("{name}.weight"), &format!("{name}.bias")];
        self.push(name, "Gemm", &inputs, output, vec![int("transB", 1)]);
    }

    pub fn max_pool(&mut self, input: &str, output: &str, kernel: &[usize], pad: usize) {
        let attributes =
            vec![ints("kernel_shape", kernel), ints("pads", &vec![pad; 2 * kernel.len()])];
        self.push(output, "MaxPool", &[input], output, attributes);
    }

    pub fn concat(&mut self, inputs: &[&str], output: &str) {
        self.push(output, "Concat", inputs, output, vec![int("axis", 1)]);
    }

    pub fn clip(&mut self, input: &str, output: &str, low: f32, high: f32) {
        let (low_name, high_name) = (format!("{output}.low"), format!("{output}.high"));
        self.constant(&low_name, &[], &[low]);
        self.constant(&high_name, &[], &[high]);
        self.push(output, "Clip", &[input, &low_name, &high_name], output, Vec::new());
    }

    pub fn finish(mut self, outputs: &[(&str, &[usize])]) -> ModelProto {
        self.graph.output = outputs.iter().map(|(name, shape)| value(name, shape)).collect();
        ModelProto {
            ir_version: 8,
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
            graph: Some(self.graph),
            ..ModelProto::default()
        }
    }

    fn push(
        &mut self,
        name: &str,
        op: &str,
        inputs: &[&str],
        output: &str,
        attribute: Vec<AttributeProto>,
    ) {
        self.graph.node.push(NodeProto {
            name: name.to_owned(),
            op_type: op.to_owned(),
            input: inputs.iter().map(|i| (*i).to_owned()).collect(),
            output: vec![output.to_owned()],
            attribute,
            ..NodeProto::default()
        });
    }

    /// Bell-shaped weights that keep the variance, and small biases.
    fn weights(&mut self, name: &str, shape: &[usize], outputs: usize, fan_in: usize) {
        let scale = (2.0 / fan_in as f32).sqrt();
        let weights: Vec<f32> =
            (0..shape.iter().product()).map(|_| self.normal() * scale).collect();
        let bias: Vec<f32> = (0..outputs).map(|_| self.normal() * 0.1).collect();
        self.constant(&format!("{name}.weight"), shape, &weights);
        self.constant(&format!("{name}.bias"), &[outputs], &bias);
    }

    /// The sum of twelve uniform numbers: nearly normal.
    fn normal(&mut self) -> f32 {
        let mut uniform = || {
            self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (self.seed >> 8) as f32 / (1 << 24) as f32
        };
        (0..12).map(|_| uniform()).sum::<f32>() - 6.0
    }

    fn constant(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        self.graph.initializer.push(TensorProto {
            name: name.to_owned(),
            dims: shape.iter().map(|d| *d as i64).collect(),
            data_type: DataType::Float as i32,
            raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            ..TensorProto::default()
        });
    }
}

/// 2-D: a 5×5 stem of stride 2, a dilated residual block, a head with a sigmoid.
pub fn residual() -> ModelProto {
    let mut net = Net::new(&[1, 3, 24, 32]);
    net.conv("stem", "x", "s", (8, 3, &[5, 5]), &[2, 2], 2, 1, 1);
    net.op("Relu", &["s"], "r");
    net.conv("block", "r", "b", (8, 8, &[3, 3]), &[1, 1], 2, 2, 1);
    net.op("Relu", &["b"], "br");
    net.op("Add", &["r", "br"], "sum");
    net.conv("block2", "sum", "b2", (8, 8, &[3, 3]), &[1, 1], 1, 1, 1);
    net.op("Relu", &["b2"], "b2r");
    net.op("Add", &["sum", "b2r"], "sum2");
    net.conv("head", "sum2", "logits", (2, 8, &[1, 1]), &[1, 1], 0, 1, 1);
    net.op("Sigmoid", &["logits"], "y");
    net.finish(&[("y", &[1, 2, 12, 16])])
}

/// 2-D: depthwise with ReLU6, a linear bottleneck with a residual, a classifier.
pub fn depthwise() -> ModelProto {
    let mut net = Net::new(&[1, 6, 16, 16]);
    net.conv("expand", "x", "e", (12, 6, &[1, 1]), &[1, 1], 0, 1, 1);
    net.clip("e", "er", 0.0, 6.0);
    net.conv("depth", "er", "d", (12, 1, &[3, 3]), &[1, 1], 1, 1, 12);
    net.clip("d", "dr", 0.0, 6.0);
    net.conv("project", "dr", "p", (6, 12, &[1, 1]), &[1, 1], 0, 1, 1);
    net.op("Add", &["x", "p"], "sum");
    net.conv("last", "sum", "l", (10, 6, &[1, 1]), &[1, 1], 0, 1, 1);
    net.op("Relu", &["l"], "lr");
    net.op("GlobalAveragePool", &["lr"], "g");
    net.op("Flatten", &["g"], "f");
    net.gemm("fc", "f", "y", 4, 10);
    net.finish(&[("y", &[1, 4])])
}

/// 3-D: a strided stem, an Inception module with a pooling branch, features by pooling.
pub fn inception() -> ModelProto {
    let mut net = Net::new(&[1, 3, 8, 16, 16]);
    net.conv("stem", "x", "s", (8, 3, &[3, 3, 3]), &[2, 2, 2], 1, 1, 1);
    net.op("Relu", &["s"], "r");
    net.conv("b0", "r", "b0c", (4, 8, &[1, 1, 1]), &[1, 1, 1], 0, 1, 1);
    net.op("Relu", &["b0c"], "b0r");
    net.conv("b1", "r", "b1c", (6, 8, &[3, 3, 3]), &[1, 1, 1], 1, 1, 1);
    net.op("Relu", &["b1c"], "b1r");
    net.max_pool("r", "p", &[3, 3, 3], 1);
    net.conv("b2", "p", "b2c", (2, 8, &[1, 1, 1]), &[1, 1, 1], 0, 1, 1);
    net.op("Relu", &["b2c"], "b2r");
    net.concat(&["b0r", "b1r", "b2r"], "cat");
    net.conv("after", "cat", "a", (16, 12, &[3, 3, 3]), &[1, 1, 1], 1, 1, 1);
    net.op("Relu", &["a"], "ar");
    net.op("GlobalAveragePool", &["ar"], "features");
    net.finish(&[("features", &[1, 16, 1, 1, 1])])
}

/// Samples that look like normalised pictures: smooth, with some structure.
pub fn samples(count: usize, length: usize) -> Vec<Vec<Vec<f32>>> {
    (0..count)
        .map(|s| {
            let value = |i: usize| {
                let (i, s) = (i as f32, s as f32 + 1.0);
                (i * 0.071 * s).sin() * 0.8
                    + (i * 0.013 + s).cos() * 0.5
                    + (i * s * 1.7).sin() * 0.2
            };
            vec![(0..length).map(value).collect()]
        })
        .collect()
}

fn value(name: &str, shape: &[usize]) -> ValueInfoProto {
    let dimension = |d: &usize| Dimension {
        denotation: String::new(),
        value: Some(dimension::Value::DimValue(*d as i64)),
    };
    let tensor = type_proto::Tensor {
        elem_type: DataType::Float as i32,
        shape: Some(TensorShapeProto { dim: shape.iter().map(dimension).collect() }),
    };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            denotation: String::new(),
            value: Some(type_proto::Value::TensorType(tensor)),
        }),
        doc_string: String::new(),
    }
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Ints as i32,
        ints: values.iter().map(|v| *v as i64).collect(),
        ..AttributeProto::default()
    }
}

pub fn int(name: &str, value: usize) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i: value as i64,
        ..AttributeProto::default()
    }
}
