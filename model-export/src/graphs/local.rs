//! The local detector: a small fully convolutional network on a stack of luma frames.
//!
//! A stem of two convolutions brings the stack to a quarter of its resolution, four residual blocks
//! of growing dilation look around, and a 1×1 convolution gives one logit map for each kind of
//! anomaly. No depthwise convolutions and no gates, so that it loses little as INT8.

use super::{BatchNorm, Error};
use crate::{
    onnx::{GraphBuilder, ModelProto, Value, Window},
    weights::Weights,
};

/// Input pixels for each map cell along each axis.
pub const MAP_STRIDE: usize = 4;
/// Dilation of each residual block.
pub const DILATIONS: [usize; 4] = [1, 2, 4, 1];

/// What is not in the weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Width of the stack in pixels, a multiple of [`MAP_STRIDE`].
    pub width: usize,
    /// Height of the stack in pixels, a multiple of [`MAP_STRIDE`].
    pub height: usize,
}

/// Builds the graph from the checkpoint tensors `local.*` (PyTorch layout): input `stack`
/// `[1, 1 + offsets, height, width]`, output `maps` `[1, kinds, height / 4, width / 4]` of logits.
/// The numbers of channels and kinds are those of the weights.
///
/// # Errors
/// [`Error::Weights`] names the tensor that is missing or misshapen, [`Error::Config`] if the size
/// is no multiple of [`MAP_STRIDE`].
pub fn build(weights: &Weights, config: &Config) -> Result<ModelProto, Error> {
    let Config { width, height } = *config;
    if [width, height].iter().any(|&size| size == 0 || !size.is_multiple_of(MAP_STRIDE)) {
        let reason = format!("{width}x{height} is no multiple of {MAP_STRIDE} along both axes");
        return Err(Error::Config { graph: "local", reason });
    }
    // [n, channels, h, w] of the first and the last convolution tell all sizes.
    let &[_, channels, _, _] = &rank_4(weights, "local.stem.0.weight")?;
    let &[kinds, _, _, _] = &rank_4(weights, "local.head.weight")?;

    let mut graph = GraphBuilder::new("local");
    let stack = graph.input("stack", &[1, channels, height, width])?;
    let half = Window::new(&[5, 5]).strided(&[2, 2]).padded(2);
    let x = conv(&mut graph, weights, "local.stem.0", &stack, &half)?; // 1/2
    let quarter = Window::new(&[3, 3]).strided(&[2, 2]).padded(1);
    let mut x = conv(&mut graph, weights, "local.stem.1", &x, &quarter)?; // 1/4
    for (i, dilation) in DILATIONS.into_iter().enumerate() {
        let window = Window::new(&[3, 3]).dilated(dilation).padded(dilation);
        let name = format!("local.blocks.{i}");
        let y = conv(&mut graph, weights, &name, &x, &window)?;
        x = graph.add(&format!("{name}/sum"), &x, &y)?;
    }
    let shape = [kinds, x.shape()[1], 1, 1];
    let weight = weights.tensor("local.head.weight", &shape)?;
    let weight = graph.constant("local.head.weight", &shape, weight)?;
    let bias = weights.tensor("local.head.bias", &[kinds])?;
    let bias = graph.constant("local.head.bias", &[kinds], bias)?;
    let maps = graph.conv("local.head/conv", &x, &weight, Some(&bias), &Window::new(&[1, 1]))?;
    Ok(graph.finish(&[(&maps, "maps")])?)
}

/// Convolution `name.weight` (with `name.bias` if there is one), its batch norm, ReLU.
fn conv(
    graph: &mut GraphBuilder,
    weights: &Weights,
    name: &str,

    x: &Value,
    window: &Window,
) -> Result<Value, Error> {
    let weight_name = format!("{name}.weight");
    let &[channels, ..] = &rank_4(weights, &weight_name)?;
    let shape = [channels, x.shape()[1], window.kernel[0], window.kernel[1]];
    let weight = weights.tensor(&weight_name, &shape)?;
    let bias_name = format!("{name}.bias");
    let bias = match weights.get(&bias_name) {
        Some(_) => Some(weights.tensor(&bias_name, &[channels])?),
        None => None,
    };
    let norm = BatchNorm::torch(weights, &format!("{name}.bn"), channels)?;
    let (weight, bias) = norm.fold(weight, bias);
    let weight = graph.constant(&format!("{name}.weight"), &shape, &weight)?;
    let bias = graph.constant(&format!("{name}.bias"), &[channels], &bias)?;
    let y = graph.conv(&format!("{name}/conv"), x, &weight, Some(&bias), window)?;
    Ok(graph.relu(&format!("{name}/relu"), &y)?)
}

/// Shape of a convolution's weight.
fn rank_4(weights: &Weights, name: &str) -> Result<[usize; 4], Error> {
    let array = weights.require(name)?;
    let shape = array.shape.as_slice().try_into();
    shape.map_err(|_| weights.misshapen(name, array, &[0; 4]).into())
}
