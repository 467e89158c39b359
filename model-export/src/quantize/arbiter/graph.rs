//! Running a graph node by node.

use std::collections::HashMap;

use inference::{Backend, BackendKind, Error, Graph, TensorInfo, open_backend, static_ports};
use prost::Message as _;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, ValueInfoProto};

use super::super::graph::{Index, float_value, infer_output_shapes, label};
use super::node::{Dequantized, Step};
use super::value::{Sums, Tensor, Value};

/// How messages call the arbiter.
const NAME: &str = "the arbiter";

/// Loads a graph; one without quantized layers is tract's alone.
pub fn load(name: &str, onnx: &[u8]) -> Result<Box<dyn Graph>, Error> {
    let float = open_backend(BackendKind::Tract, &Default::default())?;
    let failed = |reason: String| Error::Load { graph: name.into(), backend: NAME, reason };
    let model = ModelProto::decode(onnx).map_err(|e| failed(e.to_string()))?;
    let index = Index::new(&model).map_err(|e| failed(e.to_string()))?;
    let weights = Dequantized::of(&index).map_err(failed)?;
    let mut nodes = Vec::with_capacity(index.order.len());
    for &i in &index.order {
        let node = index.node(i);
        let step = Step::of(&index, &weights, node).map_err(failed)?;
        let constants =
            node.input.iter().filter(|t| index.constant(t).is_some()).cloned().collect();
        nodes.push(Node { node: node.clone(), step, constants, graph: None });
    }
    if !nodes.iter().any(|node| matches!(node.step, Step::Layer(_))) {
        return float.load(name, onnx);
    }
    let (inputs, outputs) = static_ports(name, index.graph)?;
    // The last node that reads each tensor, after which it is let go.
    let mut last = HashMap::new();
    for (i, node) in nodes.iter().enumerate() {
        last.extend(node.node.input.iter().map(|tensor| (tensor.clone(), i)));
    }
    for output in &outputs {
        last.remove(&output.name);
    }
    Ok(Box::new(ArbiterGraph { name: name.into(), model, nodes, inputs, outputs, last, float }))
}

/// A node and what it needs.
struct Node {
    node: NodeProto,
    step: Step,
    /// Which of its inputs are constants.
    constants: Vec<String>,
    /// A float node as a graph of its own, made when its inputs' shapes are known.
    graph: Option<Box<dyn Graph>>,
}

struct ArbiterGraph {
    name: String,
    model: ModelProto,
    nodes: Vec<Node>,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    last: HashMap<String, usize>,
    /// Runs the nodes that are in float.
    float: Box<dyn Backend>,
}

impl Graph for ArbiterGraph {
    fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [Vec<f32>]) -> Result<(), Error> {
        let failed = |reason: String| Error::Run { graph: self.name.clone(), reason };
        let fits = |(info, data): (&TensorInfo, &&[f32])| info.len() == data.len();
        if inputs.len() != self.inputs.len() || !self.inputs.iter().zip(inputs).all(fits) {
            return Err(failed(format!("it takes {:?}", self.inputs)));
        }
        let mut tensors: HashMap<String, Tensor> = self
            .inputs
            .iter()
            .zip(inputs)
            .map(|(info, data)| {
                (info.name.clone(), Tensor::float(info.shape.clone(), data.to_vec()))
            })
            .collect();
        for (i, node) in self.nodes.iter_mut().enumerate() {
            let made = node
                .run(&tensors, &self.model, self.float.as_ref())
                .map_err(|e| failed(format!("node `{}`: {e}", label(&node.node))))?;
            tensors.extend(made);
            for tensor in &node.node.input {
                if self.last.get(tensor) == Some(&i) {
                    tensors.remove(tensor);
                }
            }
        }
        for (info, out) in self.outputs.iter().zip(outputs) {
            let tensor = tensors.get(&info.name);
            let values = tensor.map(Tensor::to_float).filter(|v| v.len() == info.len());
            *out = values.ok_or_else(|| failed(format!("output `{}` was not made", info.name)))?;
        }
        Ok(())
    }
}

impl Node {
    /// The tensors that the node makes.
    fn run(
        &mut self,
        tensors: &HashMap<String, Tensor>,
        model: &ModelProto,
        float: &dyn Backend,
    ) -> Result<Vec<(String, Tensor)>, String> {
        let input = || {
            let name = self.node.input.first().map_or("", String::as_str);
            tensors.get(name).ok_or_else(|| format!("its input `{name}` is not known"))
        };
        let tensor = match &self.step {
            Step::Nothing => return Ok(Vec::new()),
            Step::Quantize { scale, limits } => input()?.quantize(*scale, *limits),
            Step::Dequantize => match input()? {
                tensor @ Tensor { value: Value::Levels { .. }, .. } => tensor.clone(),
                _ => return Err("it reads what no QuantizeLinear made".into()),
            },
            Step::Bound { low, high } => bounded(input()?, *low, *high),
            Step::Layer(layer) => match input()? {
                Tensor { shape, value: Value::Levels { levels, scale } } => {
                    let (sums, shape) = layer.sums(levels, shape, *scale)?;
                    let value = Value::Sums(Sums {
                        sums,
                        input_scale: *scale,
                        weight_scales: layer.weight_scales.clone(),
                        bias_rest: layer.bias_rest(*scale),
                        inner: layer.inner(&shape),
                        low: f32::NEG_INFINITY,
                        high: f32::INFINITY,
                    });
                    Tensor { shape, value }
                }
                _ => return Err("its weights are quantized and its input is not".into()),
            },
            Step::Float => return self.run_float(tensors, model, float),
        };
        Ok(vec![(self.node.output[0].clone(), tensor)])
    }

    fn run_float(
        &mut self,
        tensors: &HashMap<String, Tensor>,
        model: &ModelProto,
        float: &dyn Backend,
    ) -> Result<Vec<(String, Tensor)>, String> {
        let mut names: Vec<&String> = Vec::new();
        for name in self.node.input.iter().filter(|n| !n.is_empty()) {
            if !self.constants.contains(name) && !names.contains(&name) {
                names.push(name);
            }
        }
        let inputs: Vec<&Tensor> = names
            .iter()
            .map(|name| {
                tensors.get(*name).ok_or_else(|| format!("its input `{name}` is not known"))
            })
            .collect::<Result<_, _>>()?;
        let graph = match &mut self.graph {
            Some(graph) => graph,
            none => {
                let shapes: Vec<(&str, &[usize])> =
                    names.iter().zip(&inputs).map(|(n, t)| (n.as_str(), &t.shape[..])).collect();
                let alone = alone(&self.node, &shapes, &self.constants, model);
                let bytes = alone.encode_to_vec();
                none.insert(float.load(&label(&self.node), &bytes).map_err(|e| e.to_string())?)
            }
        };
        let values: Vec<Vec<f32>> = inputs.iter().map(|t| t.to_float()).collect();
        let values: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
        let mut outputs = vec![Vec::new(); graph.outputs().len()];
        graph.run(&values, &mut outputs).map_err(|e| e.to_string())?;
        let infos = graph.outputs().iter().zip(outputs);
        Ok(infos
            .map(|(i, values)| (i.name.clone(), Tensor::float(i.shape.clone(), values)))
            .collect())
    }
}

/// `Relu` or `Clip`: sums stay sums, so that they are rounded once.
fn bounded(tensor: &Tensor, low: f32, high: f32) -> Tensor {
    match &tensor.value {
        Value::Sums(sums) => {
            let sums = Sums { low: sums.low.max(low), high: sums.high.min(high), ..sums.clone() };
            Tensor { shape: tensor.shape.clone(), value: Value::Sums(sums) }
        }
        _ => {
            let bound = |x: f32| x.clamp(low, high);
            let values = tensor.to_float().into_iter().map(bound).collect();
            Tensor::float(tensor.shape.clone(), values)
        }
    }
}

/// A model of one node.
fn alone(
    node: &NodeProto,
    inputs: &[(&str, &[usize])],
    constants: &[String],
    model: &ModelProto,
) -> ModelProto {
    let whole = model.graph.as_ref();
    let shape = |dims: &[usize]| dims.iter().map(|d| *d as i64).collect::<Vec<_>>();
    let of_constants = |n: &&NodeProto| n.output.first().is_some_and(|o| constants.contains(o));
    let makers = whole.iter().flat_map(|g| g.node.iter().filter(of_constants));
    let input: Vec<ValueInfoProto> =
        inputs.iter().map(|(name, dims)| float_value(name, Some(&shape(dims)))).collect();
    let graph = GraphProto {
        name: label(node),
        initializer: whole
            .iter()
            .flat_map(|g| &g.initializer)
            .filter(|t| constants.contains(&t.name))
            .cloned()
            .collect(),
        node: makers.chain([node]).cloned().collect(),
        output: node.output.iter().map(|name| float_value(name, None)).collect(),
        input,
        ..GraphProto::default()
    };
    let mut alone = ModelProto {
        ir_version: model.ir_version,
        opset_import: model.opset_import.clone(),
        graph: Some(graph),
        ..ModelProto::default()
    };
    infer_output_shapes(&mut alone, 0);
    alone
}
