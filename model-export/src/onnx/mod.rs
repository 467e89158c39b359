//! Building ONNX graphs in memory, with static shapes checked at every step.
//!
//! A [`GraphBuilder`] takes nodes one at a time and works out the shape of each result, so that a
//! tensor of the wrong shape is reported by name where it is used and not by a runtime on a camera.
//! A node and its output share one readable name (`Mixed_3b/Branch_1/Conv3d_0b_3x3/conv`), its
//! initializers are called `NAME.weight` and `NAME.bias`. The same graph always gives the same
//! bytes.
//!
//! Operators and their attributes follow the ONNX operator specification, opset [`OPSET`].

mod cost;
mod ops;
mod window;

use std::collections::BTreeMap;

use prost::Message;
use tract_onnx::pb::{
    AttributeProto, GraphProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, attribute_proto::AttributeType, tensor_proto::DataType,
    tensor_shape_proto, type_proto,
};

pub use cost::multiply_adds;
pub use tract_onnx::pb::ModelProto;
pub use window::Window;

/// ONNX operator set of every graph built here.
pub const OPSET: i64 = 17;
/// ONNX file format version of every graph built here; the one that came with opset 17.
pub const IR_VERSION: i64 = 8;

/// Why a graph could not be built or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A node's inputs do not fit its operator.
    #[error("node {node}: {reason}")]
    Shape {
        /// Name of the node.
        node: String,
        /// What does not fit.
        reason: String,
    },
    /// Two values of a graph have the same name.
    #[error("graph {graph} has two values named {name}: give each node its own name")]
    DuplicateName {
        /// Name of the graph.
        graph: String,
        /// The name used twice.
        name: String,
    },
    /// The bytes are no ONNX model.
    #[error("not an ONNX model: {0}")]
    Decode(#[from] prost::DecodeError),
    /// The model holds no graph.
    #[error("the ONNX model holds no graph")]
    NoGraph,
}

/// A value of the graph under construction: a name and a static shape, row-major `f32`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    name: String,
    shape: Vec<usize>,
}

impl Value {
    /// Name, unique in its graph.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Shape; images and videos are `[batch, channels, (time,) height, width]`.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
}

/// A graph under construction.
#[derive(Debug)]
pub struct GraphBuilder {
    graph: GraphProto,
    shapes: BTreeMap<String, Vec<usize>>,
}

impl GraphBuilder {
    /// Starts an empty graph.
    pub fn new(name: &str) -> Self {
        let graph = GraphProto { name: name.to_owned(), ..GraphProto::default() };
        Self { graph, shapes: BTreeMap::new() }
    }

    /// Declares an `f32` input of the graph.
    ///
    /// # Errors
    /// [`Error::DuplicateName`] if the name is taken.
    pub fn input(&mut self, name: &str, shape: &[usize]) -> Result<Value, Error> {
        let value = self.declare(name, shape)?;
        self.graph.input.push(value_info(&value));
        Ok(value)
    }

    /// Adds an `f32` initializer; `data` is row-major.
    ///
    /// # Errors
    /// [`Error::DuplicateName`] if the name is taken, [`Error::Shape`] if `data` does not fill
    /// `shape`.
    pub fn constant(&mut self, name: &str, shape: &[usize], data: &[f32]) -> Result<Value, Error> {
        if shape.iter().product::<usize>() != data.len() {
            return Err(shape_error(
                name,
                format!("{} values do not fill shape {shape:?}", data.len()),
            ));
        }
        let value = self.declare(name, shape)?;
        let raw_data = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.graph.initializer.push(tensor(name, shape, DataType::Float, raw_data));
        Ok(value)
    }

    /// Ends the graph: `outputs` are the results and the names under which they leave the graph.
    ///
    /// # Errors
    /// [`Error::DuplicateName`] if an output's name is taken by another value or used twice,
    /// [`Error::Shape`] if an output is no result of a node.
    pub fn finish(mut self, outputs: &[(&Value, &str)]) -> Result<ModelProto, Error> {
        for (value, name) in outputs {
            self.rename(value.name(), name)?;
            let output = Value { name: (*name).to_owned(), shape: value.shape.clone() };
            self.graph.output.push(value_info(&output));
        }
        let outputs: Vec<_> = self.graph.output.iter().map(|info| info.name.clone()).collect();
        // Shapes of everything in between, for tools that look into the graph.
        for node in &self.graph.node {
            for name in node.output.iter().filter(|name| !outputs.contains(name)) {
                if let Some(shape) = self.shapes.get(name) {
                    let value = Value { name: name.clone(), shape: shape.clone() };
                    self.graph.value_info.push(value_info(&value));
                }
            }
        }
        Ok(ModelProto {
            ir_version: IR_VERSION,
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
            producer_name: env!("CARGO_PKG_NAME").to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(self.graph),
            ..ModelProto::default()
        })
    }

    /// Adds an `i64` initializer, as some operators take shapes.
    fn integers(&mut self, name: &str, data: &[i64]) -> Result<Value, Error> {
        let value = self.declare(name, &[data.len()])?;
        let raw_data = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.graph.initializer.push(tensor(name, value.shape(), DataType::Int64, raw_data));
        Ok(value)
    }

    /// Adds a node whose only output has the node's name.
    fn node(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[&Value],
        attribute: Vec<AttributeProto>,
        shape: &[usize],
    ) -> Result<Value, Error> {
        for input in inputs {
            if !self.shapes.contains_key(input.name()) {
                let reason = format!("its input {} is of another graph", input.name());
                return Err(shape_error(name, reason));
            }
        }
        let value = self.declare(name, shape)?;
        self.graph.node.push(NodeProto {
            op_type: op.to_owned(),
            name: name.to_owned(),
            input: inputs.iter().map(|input| input.name.clone()).collect(),
            output: vec![name.to_owned()],
            attribute,
            ..NodeProto::default()
        });
        Ok(value)
    }

    fn declare(&mut self, name: &str, shape: &[usize]) -> Result<Value, Error> {
        if self.shapes.insert(name.to_owned(), shape.to_vec()).is_some() {
            return Err(self.duplicate(name));
        }
        Ok(Value { name: name.to_owned(), shape: shape.to_vec() })
    }

    /// Gives the result of a node another name, wherever it is used.
    fn rename(&mut self, from: &str, to: &str) -> Result<(), Error> {
        if !self.graph.node.iter().any(|node| node.output.iter().any(|name| name == from)) {
            return Err(shape_error(from, "is made an output but is no result of a node".into()));
        }
        if from == to {
            return Ok(());
        }
        if self.shapes.contains_key(to) {
            return Err(self.duplicate(to));
        }
        if let Some(shape) = self.shapes.remove(from) {
            self.shapes.insert(to.to_owned(), shape);
        }
        let nodes = self.graph.node.iter_mut();
        for name in nodes.flat_map(|node| node.input.iter_mut().chain(&mut node.output)) {
            if name == from {
                to.clone_into(name);
            }
        }
        Ok(())
    }

    fn duplicate(&self, name: &str) -> Error {
        Error::DuplicateName { graph: self.graph.name.clone(), name: name.to_owned() }
    }
}

/// Serializes a model. Equal models give equal bytes.
pub fn to_bytes(model: &ModelProto) -> Vec<u8> {
    model.encode_to_vec()
}

/// Reads a model.
///
/// # Errors
/// [`Error::Decode`] if the bytes are no ONNX model, [`Error::NoGraph`] if it has no graph.
pub fn load(bytes: &[u8]) -> Result<ModelProto, Error> {
    let model = ModelProto::decode(bytes)?;
    if model.graph.is_none() { Err(Error::NoGraph) } else { Ok(model) }
}

fn shape_error(node: &str, reason: String) -> Error {
    Error::Shape { node: node.to_owned(), reason }
}

fn tensor(name: &str, shape: &[usize], data_type: DataType, raw_data: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: shape.iter().map(|&d| d as i64).collect(),
        data_type: data_type as i32,
        raw_data,
        ..TensorProto::default()
    }
}

fn value_info(value: &Value) -> ValueInfoProto {
    let dim = value.shape.iter().map(|&d| tensor_shape_proto::Dimension {
        value: Some(tensor_shape_proto::dimension::Value::DimValue(d as i64)),
        ..Default::default()
    });
    ValueInfoProto {
        name: value.name.clone(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: DataType::Float as i32,
                shape: Some(TensorShapeProto { dim: dim.collect() }),
            })),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

fn ints(name: &str, values: impl IntoIterator<Item = usize>) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Ints as i32,
        ints: values.into_iter().map(|v| v as i64).collect(),
        ..AttributeProto::default()
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i: value,
        ..AttributeProto::default()
    }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Float as i32,
        f: value,
        ..AttributeProto::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> ModelProto {
        let mut graph = GraphBuilder::new("small");
        let x = graph.input("x", &[1, 2, 5, 5]).unwrap();
        let weight = graph.constant("c.weight", &[3, 2, 3, 3], &[0.5; 54]).unwrap();
        let window = Window::same(&[3, 3], &[2, 2], &[5, 5]);
        let y = graph.conv("c", &x, &weight, None, &window).unwrap();
        assert_eq!(y.shape(), [1, 3, 3, 3]);
        let y = graph.relu("r", &y).unwrap();
        graph.finish(&[(&y, "y")]).unwrap()
    }

    #[test]
    fn equal_graphs_give_equal_bytes_that_read_back() {
        let bytes = to_bytes(&small());
        assert_eq!(bytes, to_bytes(&small()));
        let model = load(&bytes).unwrap();
        assert_eq!(model, small());
        let graph = model.graph.unwrap();
        assert_eq!(graph.output[0].name, "y");
        assert_eq!(graph.node[1].output, ["y"]);
        assert_eq!(graph.node[1].name, "r");
        assert_eq!(graph.value_info[0].name, "c");
        assert_eq!(graph.initializer[0].raw_data.len(), 54 * 4);
    }

    #[test]
    fn wrong_shapes_are_told_with_the_node() {
        let mut graph = GraphBuilder::new("bad");
        let x = graph.input("x", &[1, 4, 5, 5]).unwrap();
        let weight = graph.constant("c.weight", &[3, 2, 3, 3], &[0.5; 54]).unwrap();
        let window = Window::new(&[3, 3]);
        let error = graph.conv("c", &x, &weight, None, &window).unwrap_err().to_string();
        assert!(error.starts_with("node c: "), "{error}");
        assert!(graph.constant("w", &[2, 2], &[0.0; 3]).is_err());
        assert!(matches!(graph.input("x", &[1]), Err(Error::DuplicateName { .. })));
    }

    #[test]
    fn an_output_must_be_a_result_and_have_a_free_name() {
        let mut graph = GraphBuilder::new("g");
        let x = graph.input("x", &[1, 4]).unwrap();
        let y = graph.relu("y", &x).unwrap();
        assert!(matches!(graph.finish(&[(&y, "x")]), Err(Error::DuplicateName { .. })));
        let mut graph = GraphBuilder::new("g");
        let x = graph.input("x", &[1, 4]).unwrap();
        graph.relu("y", &x).unwrap();
        assert!(matches!(graph.finish(&[(&x, "x")]), Err(Error::Shape { .. })));
    }

    #[test]
    fn other_bytes_are_no_model() {
        assert!(matches!(load(b"\xff\xff\xff"), Err(Error::Decode(_))));
        assert!(matches!(load(b""), Err(Error::NoGraph)));
    }
}
