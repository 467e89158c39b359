//! An index over an ONNX graph: who makes and who reads each tensor, in which order.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    type_proto,
};
use tract_onnx::prelude::Framework as _;
use tract_onnx::tract_hir::infer::InferenceModelExt as _;

use super::Error;

/// First version of the default operator set with per-axis `DequantizeLinear`.
const LEAST_OPSET: i64 = 13;

/// A checked view of a graph.
pub(super) struct Index<'a> {
    pub graph: &'a GraphProto,
    /// Nodes in topological order, otherwise as in the file.
    pub order: Vec<usize>,
    producers: HashMap<&'a str, usize>,
    consumers: HashMap<&'a str, Vec<usize>>,
    constants: HashMap<&'a str, &'a TensorProto>,
    inputs: HashSet<&'a str>,
    outputs: HashSet<&'a str>,
}

impl<'a> Index<'a> {
    /// Indexes the graph of a model; an error names the node that is malformed.
    pub fn new(model: &'a ModelProto) -> Result<Self, Error> {
        let opset =
            model.opset_import.iter().find(|o| o.domain.is_empty() || o.domain == "ai.onnx");
        let version = opset.map_or(0, |o| o.version);
        if version < LEAST_OPSET {
            return Err(Error::Opset { found: version, least: LEAST_OPSET });
        }
        let graph = model.graph.as_ref().ok_or(Error::NoGraph)?;
        let mut constants: HashMap<&str, &TensorProto> =
            graph.initializer.iter().map(|t| (t.name.as_str(), t)).collect();
        let inputs: HashSet<&str> = graph
            .input
            .iter()
            .map(|v| v.name.as_str())
            .filter(|n| !constants.contains_key(n))
            .collect();

        let mut producers = HashMap::new();
        let mut consumers: HashMap<&str, Vec<usize>> = HashMap::new();
        for (i, node) in graph.node.iter().enumerate() {
            for name in node.output.iter().filter(|n| !n.is_empty()) {
                let name = name.as_str();
                if constants.contains_key(name)
                    || inputs.contains(name)
                    || producers.insert(name, i).is_some()
                {
                    return Err(Error::Duplicate { node: label(node), tensor: name.to_owned() });
                }
            }
            for name in node.input.iter().filter(|n| !n.is_empty()) {
                let readers = consumers.entry(name.as_str()).or_default();
                if readers.last() != Some(&i) {
                    readers.push(i);
                }
            }
        }
        for node in graph.node.iter().filter(|n| n.op_type == "Constant") {
            let value =
                node.attribute.iter().find(|a| a.name == "value").and_then(|a| a.t.as_ref());
            if let (Some(value), Some(name)) = (value, node.output.first()) {
                constants.insert(name, value);
            }
        }
        for node in &graph.node {
            for name in node.input.iter().filter(|n| !n.is_empty()) {
                let name = name.as_str();
                if !producers.contains_key(name)
                    && !constants.contains_key(name)
                    && !inputs.contains(name)
                {
                    return Err(Error::Missing { node: label(node), tensor: name.to_owned() });
                }
            }
        }
        let outputs: HashSet<&str> = graph.output.iter().map(|v| v.name.as_str()).collect();
        if let Some(name) =
            outputs.iter().find(|n| !producers.contains_key(**n) && !inputs.contains(**n))
        {
            return Err(Error::Missing {
                node: "the graph's output".to_owned(),
                tensor: (*name).to_owned(),
            });
        }
        let mut index =
            Self { graph, order: Vec::new(), producers, consumers, constants, inputs, outputs };
        index.order = index.sort()?;
        Ok(index)
    }

    /// Kahn's algorithm, taking the first ready node of the file each time.
    fn sort(&self) -> Result<Vec<usize>, Error> {
        let nodes = &self.graph.node;
        let mut waiting: Vec<usize> = nodes
            .iter()
            .map(|n| {
                let made: HashSet<usize> = n
                    .input
                    .iter()
                    .filter_map(|i| self.producers.get(i.as_str()).copied())
                    .collect();
                made.len()
            })
            .collect();
        let mut ready: BinaryHeap<Reverse<usize>> =
            (0..nodes.len()).filter(|i| waiting[*i] == 0).map(Reverse).collect();
        let mut order = Vec::with_capacity(nodes.len());
        while let Some(Reverse(i)) = ready.pop() {
            order.push(i);
            let followers: HashSet<usize> =
                nodes[i].output.iter().flat_map(|o| self.consumers(o)).copied().collect();
            for follower in followers {
                waiting[follower] -= 1;
                if waiting[follower] == 0 {
                    ready.push(Reverse(follower));
                }
            }
        }
        match waiting.iter().position(|n| *n > 0) {
            Some(i) => Err(Error::Cycle { node: label(&nodes[i]) }),
            None => Ok(order),
        }
    }

    /// The node at `i` of the file.
    pub fn node(&self, i: usize) -> &'a NodeProto {
        &self.graph.node[i]
    }

    /// The node that makes a tensor; none for inputs and initializers.
    pub fn producer(&self, tensor: &str) -> Option<usize> {
        self.producers.get(tensor).copied()
    }

    /// The nodes that read a tensor, each once.
    pub fn consumers(&self, tensor: &str) -> &[usize] {
        self.consumers.get(tensor).map_or(&[], Vec::as_slice)
    }

    /// The value of an initializer or `Constant` node.
    pub fn constant(&self, tensor: &str) -> Option<&'a TensorProto> {
        self.constants.get(tensor).copied()
    }

    /// The values of a constant of type `float`.
    pub fn floats(&self, tensor: &str) -> Result<Option<Vec<f32>>, Error> {
        self.constant(tensor)
            .filter(|t| t.data_type == DataType::Float as i32)
            .map(|t| {
                floats(t).map_err(|reason| Error::Initializer { tensor: tensor.to_owned(), reason })
            })
            .transpose()
    }

    /// Whether a tensor is an input of the graph.
    pub fn is_input(&self, tensor: &str) -> bool {
        self.inputs.contains(tensor)
    }

    /// Whether a tensor is an output of the graph.
    pub fn is_output(&self, tensor: &str) -> bool {
        self.outputs.contains(tensor)
    }

    /// Shapes of the inputs, where all dimensions are given.
    pub fn input_names(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.graph.input.iter().map(|v| v.name.as_str()).filter(|n| self.inputs.contains(n))
    }
}

/// How messages call a node: its name, or its operator and first output.
pub(super) fn label(node: &NodeProto) -> String {
    if node.name.is_empty() {
        let output = node.output.first().map_or("", String::as_str);
        format!("{} -> {output}", node.op_type)
    } else {
        node.name.clone()
    }
}

/// An integer attribute.
pub(super) fn int_attribute(node: &NodeProto, name: &str) -> Option<i64> {
    node.attribute.iter().find(|a| a.name == name).map(|a| a.i)
}

/// A float attribute.
pub(super) fn float_attribute(node: &NodeProto, name: &str) -> Option<f32> {
    node.attribute.iter().find(|a| a.name == name).map(|a| a.f)
}

/// The values of a float tensor stored inside the file.
fn floats(tensor: &TensorProto) -> Result<Vec<f32>, String> {
    if !tensor.external_data.is_empty() {
        return Err("is stored outside the file; save the model in one file".to_owned());
    }
    let expected: i64 = tensor.dims.iter().product();
    let values: Vec<f32> = if tensor.raw_data.is_empty() {
        tensor.float_data.clone()
    } else {
        let (values, rest) = tensor.raw_data.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(format!("has {} bytes, no multiple of 4", tensor.raw_data.len()));
        }
        values.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    if values.len() as i64 != expected {
        return Err(format!("has {} values where its shape needs {expected}", values.len()));
    }
    match values.iter().position(|v| !v.is_finite()) {
        Some(i) => Err(format!("holds {} at element {i}", values[i])),
        None => Ok(values),
    }
}

/// The model with more graph outputs: every tensor of `extra` that is not one already.
///
/// Their shapes come from the file or by inference; where that fails they are left to the engine.
pub(super) fn with_outputs(model: &ModelProto, extra: &[String]) -> ModelProto {
    let mut model = model.clone();
    let graph = model.graph.get_or_insert_default();
    let known: HashSet<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
    let (known, first) = (extra.iter().filter(|t| !known.contains(t.as_str())), known.len());
    let added: Vec<ValueInfoProto> = known
        .map(|name| {
            let given = graph.value_info.iter().find(|v| v.name == *name).cloned();
            given.unwrap_or_else(|| float_value(name, None))
        })
        .collect();
    graph.output.extend(added);
    infer_output_shapes(&mut model, first);
    model
}

/// Writes the shapes of the graph's outputs from the `first` one on, by inference; where that fails they
/// are left as they are.
pub(super) fn infer_output_shapes(model: &mut ModelProto, first: usize) {
    if let Some(shapes) = output_shapes(model) {
        let outputs = model.graph.iter_mut().flat_map(|g| &mut g.output);
        for (output, shape) in outputs.zip(shapes).skip(first) {
            *output = float_value(&output.name, Some(&shape));
        }
    }
}

/// Shapes of the graph's outputs by inference, if all of them can be told.
fn output_shapes(model: &ModelProto) -> Option<Vec<Vec<i64>>> {
    let mut inferred = tract_onnx::onnx().model_for_proto_model(model).ok()?;
    inferred.analyse(false).ok()?;
    let outlets = inferred.output_outlets().ok()?;
    outlets
        .iter()
        .map(|o| inferred.outlet_fact(*o).ok()?.shape.as_concrete_finite().ok()?)
        .map(|shape| Some(shape?.iter().map(|d| *d as i64).collect()))
        .collect()
}

/// A float tensor as an input or output of a graph.
pub(super) fn float_value(name: &str, shape: Option<&[i64]>) -> ValueInfoProto {
    let dimension = |d: &i64| Dimension {
        denotation: String::new(),
        value: Some(dimension::Value::DimValue(*d)),
    };
    let tensor = type_proto::Tensor {
        elem_type: DataType::Float as i32,
        shape: shape.map(|s| TensorShapeProto { dim: s.iter().map(dimension).collect() }),
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
