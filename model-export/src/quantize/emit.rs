//! Writing the quantized graph.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};

use super::bias::{ChannelMeans, correction};
use super::calibrate::Ranges;
use super::graph::{Index, label};
use super::params::{ActivationParams, Flavour, quantize_bias};
use super::plan::{Layer, Plan};
use super::report::LayerReport;
use super::weights::{QuantizedWeights, quantize_weights};
use super::{Error, Options, raw_tensor};

/// Name of the float tensor that stands for a quantized one in the emitted graph.
pub(super) fn dequantized(tensor: &str) -> String {
    format!("{tensor}_dequantized")
}

/// Writes the quantized model, and what happened to the layers.
pub(super) fn emit(
    model: &ModelProto,
    index: &Index<'_>,
    plan: &Plan,
    ranges: &Ranges,
    flavour: Flavour,
    options: &Options,
) -> Result<(ModelProto, Vec<LayerReport>), Error> {
    let mut writer = Writer { flavour, names: used_names(index.graph), ..Writer::default() };
    let mut params = Vec::with_capacity(plan.groups.len());
    for group in &plan.groups {
        let range = ranges
            .tensors
            .get(&group.name)
            .ok_or_else(|| Error::Range { tensor: group.name.clone() })?;
        params.push(range.params(flavour));
    }
    let group_names: Vec<(String, String)> =
        plan.groups.iter().zip(&params).map(|(g, p)| writer.scale(&g.name, p)).collect();

    let layers: HashMap<usize, &Layer> = plan.layers.iter().map(|l| (l.node, l)).collect();
    let mut reports = Vec::new();
    for input in index.input_names() {
        if let Some(group) = plan.tensors.get(input) {
            writer.pair(input, &group_names[*group]);
        }
    }
    for &i in &index.order {
        let mut node = index.node(i).clone();
        for name in &mut node.input {
            if plan.tensors.contains_key(name.as_str()) && reads_quantized(index, plan, i, name) {
                *name = dequantized(name);
            }
        }
        if let Some(layer) = layers.get(&i) {
            let input = Input {
                params: &params[plan.tensors[&layer.input]],
                means: ranges.inputs.get(&layer.input).filter(|_| options.correct_bias),
            };
            reports.push(writer.layer(index, layer, &input, &mut node, options)?);
        }
        if flavour == Flavour::U8S8 && node.op_type == "Add" && plan.quantized.contains(&i) {
            // ONNX Runtime makes one kernel of a quantized `Add`, which rounds sums that are near the
            // edge between two levels otherwise on ARM than on x86. A `Sum` it adds in `f32`, alike
            // everywhere.
            "Sum".clone_into(&mut node.op_type);
        }
        let outputs = node.output.clone();
        writer.nodes.push(node);
        for output in &outputs {
            if let Some(group) = plan.tensors.get(output.as_str()) {
                writer.pair(output, &group_names[*group]);
            }
        }
    }

    let mut quantized = model.clone();
    let graph = quantized.graph.get_or_insert_default();
    let used: HashSet<&str> = writer
        .nodes
        .iter()
        .flat_map(|n| n.input.iter())
        .chain(graph.output.iter().map(|o| &o.name))
        .map(String::as_str)
        .collect();
    // Subgraphs may read any tensor of the outer graph.
    let has_subgraphs = index.graph.node.iter().any(|n| n.attribute.iter().any(|a| a.g.is_some()));
    graph.initializer.retain(|t| has_subgraphs || used.contains(t.name.as_str()));
    let left: BTreeSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let gone = |name: &str| index.constant(name).is_some() && !left.contains(name);
    graph.input.retain(|v| !gone(&v.name));
    graph.initializer.extend(writer.initializers);
    graph.node = writer.nodes;
    quantized.producer_name = env!("CARGO_PKG_NAME").to_owned();
    quantized.producer_version = env!("CARGO_PKG_VERSION").to_owned();
    Ok((quantized, reports))
}

/// Whether a node reads the dequantized stand-in of a tensor. Where the tensor comes from a quantized
/// node everyone does, else that node could not be fused; a float tensor is read as it is by those
/// that compute in float.
fn reads_quantized(index: &Index<'_>, plan: &Plan, node: usize, tensor: &str) -> bool {
    plan.quantized.contains(&node)
        || index.producer(tensor).is_some_and(|p| plan.quantized.contains(&p))
}

fn used_names(graph: &GraphProto) -> BTreeSet<String> {
    let tensors = graph.node.iter().flat_map(|n| n.input.iter().chain(&n.output));
    let inputs = graph.input.iter().map(|v| &v.name);
    let initializers = graph.initializer.iter().map(|t| &t.name);
    tensors.chain(inputs).chain(initializers).cloned().collect()
}

struct Writer {
    flavour: Flavour,
    names: BTreeSet<String>,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    /// Weights already written, by name, scales and axis: nodes may share them.
    weights: BTreeMap<(String, Vec<u32>, i64), String>,
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            flavour: Flavour::U8S8,
            names: BTreeSet::new(),
            nodes: Vec::new(),
            initializers: Vec::new(),
            weights: BTreeMap::new(),
        }
    }
}

impl Writer {
    /// `wanted`, or with a number behind it where that name is taken.
    fn fresh(&mut self, wanted: &str) -> String {
        let name = (0..)
            .map(|i| if i == 0 { wanted.to_owned() } else { format!("{wanted}_{i}") })
            .find(|n| !self.names.contains(n))
            .expect("the numbers do not end");
        self.names.insert(name.clone());
        name
    }

    /// Writes scale and zero point of a group of activations.
    fn scale(&mut self, group: &str, params: &ActivationParams) -> (String, String) {
        let scale = self.fresh(&format!("{group}_scale"));
        let zero = self.fresh(&format!("{group}_zero_point"));
        self.initializers.push(raw_tensor(
            &scale,
            &[],
            DataType::Float,
            params.scale.to_le_bytes().into(),
        ));
        let kind = match self.flavour {
            Flavour::U8S8 => DataType::Uint8,
            Flavour::S8S8 => DataType::Int8,
        };
        self.initializers.push(raw_tensor(&zero, &[], kind, vec![params.zero_point as u8]));
        (scale, zero)
    }

    /// Writes the quantize/dequantize pair of a tensor.
    fn pair(&mut self, tensor: &str, (scale, zero): &(String, String)) {
        let quantized = self.fresh(&format!("{tensor}_quantized"));
        let back = dequantized(tensor);
        let make = |op: &str, input: &str, output: &str| NodeProto {
            name: format!("{tensor}.{op}"),
            op_type: op.to_owned(),
            input: vec![input.to_owned(), scale.clone(), zero.clone()],
            output: vec![output.to_owned()],
            ..NodeProto::default()
        };
        let pair = [
            make("QuantizeLinear", tensor, &quantized),
            make("DequantizeLinear", &quantized, &back),
        ];
        self.nodes.extend(pair);
    }

    /// Writes the weights and bias of a layer and points the node at them.
    fn layer(
        &mut self,
        index: &Index<'_>,
        layer: &Layer,
        input: &Input<'_>,
        node: &mut NodeProto,
        options: &Options,
    ) -> Result<LayerReport, Error> {
        let float = |tensor: &str| {
            index.floats(tensor)?.ok_or_else(|| Error::Missing {
                node: label(index.node(layer.node)),
                tensor: tensor.to_owned(),
            })
        };
        let weights = float(&layer.weight)?;
        let mut bias = layer.bias.as_deref().map(float).transpose()?;
        // TensorRT reads the bias as float; ONNX Runtime's fused kernels want 32-bit integers.
        let integer_bias = bias.as_deref().filter(|_| self.flavour == Flavour::U8S8);
        let bias_and_step = integer_bias.map(|b| (b, input.params.scale));
        let quantized = quantize_weights(&weights, &layer.order, options.weights, bias_and_step);
        let dims = index.constant(&layer.weight).map(|t| t.dims.clone()).unwrap_or_default();
        let channels = layer.order.channels() as i64;
        let key = (
            layer.weight.clone(),
            quantized.scales.iter().map(|s| s.to_bits()).collect(),
            layer.weight_axis,
        );
        node.input[1] = match self.weights.get(&key) {
            Some(name) => name.clone(),
            None => {
                let values = quantized.values.iter().map(|v| *v as u8).collect();
                let name = self.constant(
                    &layer.weight,
                    raw_tensor("", &dims, DataType::Int8, values),
                    &quantized.scales,
                    raw_tensor("", &[channels], DataType::Int8, vec![0; layer.order.channels()]),
                    layer.weight_axis,
                );
                self.weights.insert(key, name.clone());
                name
            }
        };
        let sizes: Vec<usize> = dims.iter().map(|d| *d as usize).collect();
        let shift = input.means.and_then(|means| {
            correction(index.node(layer.node), &sizes, &layer.order, &weights, &quantized, means)
        });
        for (b, s) in bias.iter_mut().flatten().zip(shift.iter().flatten()) {
            *b = (f64::from(*b) + s) as f32;
        }
        if let (Some(values), Some(name)) = (&bias, &layer.bias) {
            if self.flavour == Flavour::S8S8 {
                node.input[2] = self.fresh(&format!("{name}_corrected"));
                let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                let tensor = raw_tensor(&node.input[2], &[channels], DataType::Float, bytes);
                self.initializers.push(tensor);
                return Ok(report(index, layer, &quantized));
            }
            let (values, scales) = quantize_bias(values, input.params.scale, &quantized.scales);
            let bytes = |values: &[i32]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
            node.input[2] = self.constant(
                name,
                raw_tensor("", &[channels], DataType::Int32, bytes(&values)),
                &scales,
                raw_tensor("", &[channels], DataType::Int32, bytes(&vec![0; scales.len()])),
                0,
            );
        }
        Ok(report(index, layer, &quantized))
    }

    /// Writes a quantized constant with its `DequantizeLinear`; returns the name of the float tensor.
    fn constant(
        &mut self,
        name: &str,
        mut values: TensorProto,
        scales: &[f32],
        mut zeros: TensorProto,
        axis: i64,
    ) -> String {
        let output = self.fresh(&dequantized(name));
        values.name = self.fresh(&format!("{name}_quantized"));
        zeros.name = self.fresh(&format!("{name}_zero_point"));
        let scale = self.fresh(&format!("{name}_scale"));
        let bytes = scales.iter().flat_map(|s| s.to_le_bytes()).collect();
        self.nodes.push(NodeProto {
            name: format!("{output}.DequantizeLinear"),
            op_type: "DequantizeLinear".to_owned(),
            input: vec![values.name.clone(), scale.clone(), zeros.name.clone()],
            output: vec![output.clone()],
            attribute: vec![AttributeProto {
                name: "axis".to_owned(),
                r#type: AttributeType::Int as i32,
                i: axis,
                ..AttributeProto::default()
            }],
            ..NodeProto::default()
        });
        let scale = raw_tensor(&scale, &[scales.len() as i64], DataType::Float, bytes);
        self.initializers.extend([values, scale, zeros]);
        output
    }
}

/// What is known of a layer's input.
struct Input<'a> {
    params: &'a ActivationParams,
    /// Absent where biases are not corrected.
    means: Option<&'a ChannelMeans>,
}

fn report(index: &Index<'_>, layer: &Layer, weights: &QuantizedWeights) -> LayerReport {
    let node = index.node(layer.node);
    LayerReport {
        node: label(node),
        op: node.op_type.clone(),
        input: layer.input.clone(),
        output: layer.output.clone(),
        weights: weights.values.len(),
        weight_sqnr_db: weights.sqnr_db,
        output_sqnr_db: None,
    }
}
