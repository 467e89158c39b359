//! The local detector: a small fully convolutional network on a stack of luma frames.
//!
//! A stem of two convolutions brings the stack to a quarter of its resolution, four residual blocks
//! of growing dilation look around, and a 1×1 convolution gives one logit map for each kind of
//! anomaly. No depthwise convolutions and no gates, so that it loses little as INT8.

use model_bundle::manifest::{InitialState, LocalSpec, StateSpec, StreamSpec};

use super::{BatchNorm, Error};
use crate::{
    onnx::{GraphBuilder, ModelProto, Value, Window},
    weights::Weights,
};

/// Input pixels for each map cell along each axis.
pub const MAP_STRIDE: usize = 4;
/// Dilation of each residual block.
pub const DILATIONS: [usize; 4] = [1, 2, 4, 1];

/// Pattern for the names of the nodes by which a graph that streams makes its stack; they are left in
/// floating point, because rounded frames would be rounded again in every call.
pub const STACK_NODES: &str = "frames/*";

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
    check(config)?;
    let mut graph = GraphBuilder::new("local");
    let stack = graph.input("stack", &[1, stack_channels(weights)?, height, width])?;
    let maps = network(&mut graph, weights, &stack)?;
    Ok(graph.finish(&[(&maps, "maps")])?)
}

/// Builds the graph that streams: inputs `frame` `[1, 1, height, width]`, the luma levels 0 to 255 of
/// the newest frame, and `ring` `[1, frames, height, width]`, those of the frames before it, oldest
/// first; outputs `maps` of the frame as far back as the largest positive offset, and `next_ring`. The
/// stack of `spec` is made inside, from as many frames as its offsets reach over; if there are no
/// offsets there is no ring.
///
/// # Errors
/// As [`build`]; [`Error::Config`] also if the offsets are not as many as the weights want.
pub fn build_streaming(
    weights: &Weights,
    config: &Config,
    spec: &LocalSpec,
) -> Result<ModelProto, Error> {
    let Config { width, height } = *config;
    check(config)?;
    let channels = stack_channels(weights)?;
    if channels != 1 + spec.offsets.len() {
        let reason =
            format!("{} offsets; the weights take {channels} channels", spec.offsets.len());
        return Err(Error::Config { graph: "local", reason });
    }
    let mut graph = GraphBuilder::new("local");
    let frame = graph.input("frame", &[1, 1, height, width])?;
    let (back, ahead) = spec.reach();
    let frames = back + ahead;
    let (all, next) = if frames == 0 {
        (frame, None)
    } else {
        let ring = graph.input("ring", &[1, frames, height, width])?;
        let all = graph.concat("frames/all", &[&ring, &frame], 1)?;
        let next = graph.slice("frames/next", &all, 1, 1..frames + 1)?;
        (all, Some(next))
    };
    // Every channel of the stack is a sum over the frames: a 1x1 convolution.
    let mut weight = vec![0.0; channels * (frames + 1)];
    let mut bias = vec![0.0; channels];
    weight[back] = 1.0 / spec.std;
    bias[0] = -spec.mean / spec.std;
    for (row, &offset) in weight.chunks_exact_mut(frames + 1).skip(1).zip(&spec.offsets) {
        // Within the frames, by the definition of `LocalSpec::reach`.
        row[back.saturating_add_signed(offset as isize)] += 1.0 / spec.diff_scale;
        row[back] -= 1.0 / spec.diff_scale;
    }
    let weight = graph.constant("frames/stack.weight", &[channels, frames + 1, 1, 1], &weight)?;
    let bias = graph.constant("frames/stack.bias", &[channels], &bias)?;
    let one = Window::new(&[1, 1]);
    let stack = graph.conv("frames/stack", &all, &weight, Some(&bias), &one)?;
    let maps = network(&mut graph, weights, &stack)?;
    let next = next.iter().map(|next| (next, "next_ring"));
    let outputs: Vec<_> = std::iter::once((&maps, "maps")).chain(next).collect();
    Ok(graph.finish(&outputs)?)
}

/// The states of the graph that [`build_streaming`] gives, as a manifest describes them: before a
/// stream's first frame it was always like that frame.
#[must_use]
pub fn states(config: &Config, spec: &LocalSpec) -> StreamSpec {
    let (back, ahead) = spec.reach();
    let ring = StateSpec {
        input: "ring".into(),
        output: "next_ring".into(),
        shape: [1, back + ahead, config.height, config.width].map(|size| size as u32).into(),
        initial: InitialState::FirstFrame,
    };
    StreamSpec { states: if back + ahead > 0 { vec![ring] } else { Vec::new() } }
}

fn check(config: &Config) -> Result<(), Error> {
    let Config { width, height } = *config;
    if [width, height].iter().any(|&size| size == 0 || !size.is_multiple_of(MAP_STRIDE)) {
        let reason = format!("{width}x{height} is no multiple of {MAP_STRIDE} along both axes");
        return Err(Error::Config { graph: "local", reason });
    }
    Ok(())
}

/// Channels of the stack that the first convolution takes.
fn stack_channels(weights: &Weights) -> Result<usize, Error> {
    let [_, channels, _, _] = rank_4(weights, "local.stem.0.weight")?;
    Ok(channels)
}

/// The network, from a stack to the maps.
fn network(graph: &mut GraphBuilder, weights: &Weights, stack: &Value) -> Result<Value, Error> {
    let &[kinds, _, _, _] = &rank_4(weights, "local.head.weight")?;
    let half = Window::new(&[5, 5]).strided(&[2, 2]).padded(2);
    let x = conv(graph, weights, "local.stem.0", stack, &half)?; // 1/2
    let quarter = Window::new(&[3, 3]).strided(&[2, 2]).padded(1);
    let mut x = conv(graph, weights, "local.stem.1", &x, &quarter)?; // 1/4
    for (i, dilation) in DILATIONS.into_iter().enumerate() {
        let window = Window::new(&[3, 3]).dilated(dilation).padded(dilation);
        let name = format!("local.blocks.{i}");
        let y = conv(graph, weights, &name, &x, &window)?;
        x = graph.add(&format!("{name}/sum"), &x, &y)?;
    }
    let shape = [kinds, x.shape()[1], 1, 1];
    let weight = weights.tensor("local.head.weight", &shape)?;
    let weight = graph.constant("local.head.weight", &shape, weight)?;
    let bias = weights.tensor("local.head.bias", &[kinds])?;
    let bias = graph.constant("local.head.bias", &[kinds], bias)?;
    Ok(graph.conv("local.head/conv", &x, &weight, Some(&bias), &Window::new(&[1, 1]))?)
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
