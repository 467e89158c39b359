//! What each node of a graph is to the arbiter.

use std::collections::HashMap;

use inference::exactness::RowOrder;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{NodeProto, TensorProto};

use super::super::graph::{Index, int_attribute, label};
use super::integer::{Axis, Convolution};

/// A node, prepared.
pub enum Step {
    /// A constant, or the weights of a layer: nothing to compute.
    Nothing,
    /// `QuantizeLinear` of an activation: its scale, and how far levels go from the zero point.
    Quantize { scale: f32, limits: (i32, i32) },
    /// `DequantizeLinear` of an activation, whose levels are known.
    Dequantize,
    /// A layer with quantized weights.
    Layer(Box<Layer>),
    /// `Relu` or `Clip`, which may stand between a layer and its rounding.
    Bound { low: f32, high: f32 },
    /// Anything else, in float.
    Float,
}

/// A layer with quantized weights.
pub struct Layer {
    /// Operator, weights and bias.
    kind: Kind,
    rows: Vec<Vec<i16>>,
    bias: Bias,
    pub weight_scales: Vec<f32>,
}

enum Kind {
    Conv { kernel: Vec<usize>, groups: usize, node: NodeProto },
    Matrix,
}

enum Bias {
    None,
    /// In steps of input scale times weight scale.
    Steps(Vec<i32>),
    /// TensorRT's form.
    Real(Vec<f32>),
}

/// Constants of a graph behind a `DequantizeLinear`, by the float tensor that they become.
pub struct Dequantized<'a> {
    by_name: HashMap<&'a str, (&'a TensorProto, Vec<f32>)>,
}

impl<'a> Dequantized<'a> {
    pub fn of(index: &Index<'a>) -> Result<Self, String> {
        let mut by_name = HashMap::new();
        for &i in &index.order {
            let node = index.node(i);
            let [values, scale, ..] = &node.input[..] else { continue };
            let (Some(values), Some(output)) = (index.constant(values), node.output.first()) else {
                continue;
            };
            if node.op_type == "DequantizeLinear" {
                by_name.insert(output.as_str(), (values, scales(index, node, scale)?));
            }
        }
        Ok(Self { by_name })
    }

    fn has(&self, tensor: &str) -> bool {
        self.by_name.contains_key(tensor)
    }
}

fn scales(index: &Index<'_>, node: &NodeProto, tensor: &str) -> Result<Vec<f32>, String> {
    let found = index.floats(tensor).map_err(|e| e.to_string())?;
    found.ok_or_else(|| format!("node `{}`: its scale is no constant", label(node)))
}

impl Step {
    pub fn of(
        index: &Index<'_>,
        weights: &Dequantized<'_>,
        node: &NodeProto,
    ) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("node `{}`: {what}", label(node)));
        let input = |n: usize| node.input.get(n).map_or("", String::as_str);
        match node.op_type.as_str() {
            "Constant" => Ok(Self::Nothing),
            "DequantizeLinear" if weights.has(&node.output[0]) => Ok(Self::Nothing),
            "DequantizeLinear" => Ok(Self::Dequantize),
            "QuantizeLinear" => {
                let [scale] = scales(index, node, input(1))?[..] else {
                    return wrong("an activation is quantized per channel");
                };
                let Some(zero) = index.constant(input(2)) else {
                    return wrong("its zero point is no constant");
                };
                let at = bytes(zero).first().copied().unwrap_or(0);
                let limits = match DataType::try_from(zero.data_type) {
                    Ok(DataType::Uint8) => (-i32::from(at), 255 - i32::from(at)),
                    Ok(DataType::Int8) => {
                        let at = i32::from(at as i8);
                        (-128 - at, 127 - at)
                    }
                    _ => return wrong("its zero point has not 8 bits"),
                };
                Ok(Self::Quantize { scale, limits })
            }
            "Relu" => Ok(Self::Bound { low: 0.0, high: f32::INFINITY }),
            "Clip" => {
                let bound = |n: usize, default: f32| match input(n) {
                    "" => Some(default),
                    name => index.floats(name).ok().flatten()?.first().copied(),
                };
                match (bound(1, f32::NEG_INFINITY), bound(2, f32::INFINITY)) {
                    (Some(low), Some(high)) => Ok(Self::Bound { low, high }),
                    _ => Ok(Self::Float),
                }
            }
            "Conv" | "Gemm" | "MatMul"
                if weights.has(input(1)) && index.constant(input(0)).is_none() =>
            {
                Layer::of(index, weights, node).map(|layer| Self::Layer(Box::new(layer)))
            }
            _ => Ok(Self::Float),
        }
    }
}

/// The bytes of a tensor of 8-bit numbers.
fn bytes(tensor: &TensorProto) -> Vec<u8> {
    if tensor.raw_data.is_empty() {
        tensor.int32_data.iter().map(|v| *v as u8).collect()
    } else {
        tensor.raw_data.clone()
    }
}

impl Layer {
    fn of(index: &Index<'_>, weights: &Dequantized<'_>, node: &NodeProto) -> Result<Self, String> {
        let wrong = |what: &str| format!("node `{}`: {what}", label(node));
        let (values, scales) = &weights.by_name[node.input[1].as_str()];
        if values.data_type != DataType::Int8 as i32 {
            return Err(wrong("its weights are not INT8"));
        }
        let dims: Vec<usize> =
            values.dims.iter().map(|d| usize::try_from(*d).unwrap_or(0)).collect();
        let groups = usize::try_from(int_attribute(node, "group").unwrap_or(1)).unwrap_or(0);
        let transposed = int_attribute(node, "transB").unwrap_or(0) != 0;
        let (kind, order) = match node.op_type.as_str() {
            "Conv" if (3..=5).contains(&dims.len()) && groups > 0 => {
                let kernel = dims[2..].to_vec();
                (Kind::Conv { kernel, groups, node: node.clone() }, RowOrder::conv(&dims, groups))
            }
            "Gemm" | "MatMul" if dims.len() == 2 => {
                (Kind::Matrix, RowOrder::gemm(&dims, transposed))
            }
            _ => return Err(wrong("its weights have an unknown shape")),
        };
        let values = bytes(values);
        if values.len() != dims.iter().product::<usize>() || values.is_empty() {
            return Err(wrong("its weights do not fill their shape"));
        }
        let level = |i: usize| i16::from(values[i] as i8);
        let rows: Vec<Vec<i16>> =
            (0..order.channels()).map(|c| order.row(c).map(level).collect()).collect();
        let weight_scales = match &scales[..] {
            [one] => vec![*one; rows.len()],
            all if all.len() == rows.len() => all.to_vec(),
            _ => return Err(wrong("its weights have not one scale for each output channel")),
        };
        let bias =
            Self::bias(index, weights, node).filter(|b| b.len().is_none_or(|n| n == rows.len()));
        let bias = bias.ok_or_else(|| wrong("its bias is no constant for each output channel"))?;
        Ok(Self { kind, rows, bias, weight_scales })
    }

    fn bias(index: &Index<'_>, weights: &Dequantized<'_>, node: &NodeProto) -> Option<Bias> {
        let Some(name) = node.input.get(2).filter(|n| !n.is_empty()) else {
            return Some(Bias::None);
        };
        let Some((values, _)) = weights.by_name.get(name.as_str()) else {
            return index.floats(name).ok().flatten().map(Bias::Real);
        };
        if values.data_type != DataType::Int32 as i32 {
            return None;
        }
        Some(Bias::Steps(if values.raw_data.is_empty() {
            values.int32_data.clone()
        } else {
            values.raw_data.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b)).collect()
        }))
    }

    /// The sums of the layer's products, and the shape of its output.
    pub fn sums(
        &self,
        levels: &[i16],
        shape: &[usize],
        input_scale: f32,
    ) -> Result<(Vec<i32>, Vec<usize>), String> {
        let bias = self.bias_steps(input_scale);
        let (axes, groups, batch, output) = match &self.kind {
            Kind::Matrix => {
                let (last, outer) = shape.split_last().ok_or("a matrix product of a scalar")?;
                if self.rows.iter().any(|row| row.len() != *last) {
                    return Err(format!("input {shape:?} does not fit its weights"));
                }
                // One place for each row of the input.
                let batch = outer.iter().product();
                ([Axis::plain(1); 3], 1, batch, [outer, &[self.rows.len()]].concat())
            }
            Kind::Conv { kernel, groups, node } => {
                let [batch, channels, sizes @ ..] = shape else {
                    return Err(format!("a convolution of {shape:?}"));
                };
                if sizes.len() != kernel.len() || channels % groups != 0 {
                    return Err(format!("input {shape:?} does not fit its weights"));
                }
                let axes = axes(node, sizes, kernel)?;
                let outputs = axes[3 - sizes.len()..].iter().map(|a| a.outputs);
                let output = [*batch, self.rows.len()].into_iter().chain(outputs).collect();
                (axes, *groups, *batch, output)
            }
        };
        let inputs = self.rows[0].len() / axes.iter().map(|a| a.kernel).product::<usize>();
        let layer = Convolution { axes, groups, inputs, rows: self.rows.clone(), bias };
        Ok((layer.sums(levels, batch), output))
    }

    /// Elements of the output between one channel and the next.
    pub fn inner(&self, output: &[usize]) -> usize {
        match self.kind {
            Kind::Matrix => 1,
            Kind::Conv { .. } => output[2..].iter().product(),
        }
    }

    /// What [`Layer::sums`] leaves out of a real bias, by output channel; empty where the bias is integer.
    pub fn bias_rest(&self, input_scale: f32) -> Vec<f64> {
        let Bias::Real(reals) = &self.bias else { return Vec::new() };
        let steps = self.bias_steps(input_scale).into_iter().zip(&self.weight_scales);
        let real = steps.map(|(n, s)| f64::from(n) * f64::from(input_scale) * f64::from(*s));
        reals.iter().zip(real).map(|(b, real)| f64::from(*b) - real).collect()
    }

    fn bias_steps(&self, input_scale: f32) -> Vec<i32> {
        match &self.bias {
            Bias::None => Vec::new(),
            Bias::Steps(steps) => steps.clone(),
            Bias::Real(reals) => reals
                .iter()
                .zip(&self.weight_scales)
                .map(|(b, s)| (b / (input_scale * s)).round_ties_even() as i32)
                .collect(),
        }
    }
}

impl Bias {
    fn len(&self) -> Option<usize> {
        match self {
            Self::None => None,
            Self::Steps(steps) => Some(steps.len()),
            Self::Real(reals) => Some(reals.len()),
        }
    }
}

/// The axes of a convolution, the last ones of three.
fn axes(node: &NodeProto, sizes: &[usize], kernel: &[usize]) -> Result<[Axis; 3], String> {
    let rank = sizes.len();
    let list = |name: &str, default: i64, length: usize| {
        let found = node.attribute.iter().find(|a| a.name == name).map(|a| a.ints.clone());
        let values = found.unwrap_or_else(|| vec![default; length]);
        let values: Option<Vec<usize>> = values.iter().map(|v| usize::try_from(*v).ok()).collect();
        values
            .filter(|v| v.len() == length)
            .ok_or_else(|| format!("attribute `{name}` is not understood"))
    };
    if node.attribute.iter().any(|a| a.name == "auto_pad" && a.s != b"NOTSET") {
        return Err("automatic padding is not understood".into());
    }
    let (strides, dilations) = (list("strides", 1, rank)?, list("dilations", 1, rank)?);
    let pads = list("pads", 0, 2 * rank)?;
    let mut axes = [Axis::plain(1); 3];
    for (i, axis) in axes[3 - rank..].iter_mut().enumerate() {
        let (size, kernel, stride, dilation) = (sizes[i], kernel[i], strides[i], dilations[i]);
        let span = (size + pads[i] + pads[rank + i]).checked_sub(dilation * (kernel - 1) + 1);
        let outputs =
            span.zip((stride > 0).then_some(stride)).map(|(span, stride)| span / stride + 1);
        let outputs = outputs.ok_or_else(|| format!("a kernel of {kernel} does not fit {size}"))?;
        *axis = Axis { size, kernel, stride, dilation, begin: pads[i], outputs };
    }
    Ok(axes)
}
