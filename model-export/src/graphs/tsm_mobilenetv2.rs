//! MobileNetV2 with a causal temporal shift: the camera's light backbone, one call a frame.
//!
//! Lin, Gan and Han, "TSM: Temporal Shift Module for Efficient Video Understanding", ICCV 2019, in
//! its online, uni-directional form: in every inverted residual that adds its input, the first
//! eighth of the channels that the residual branch reads is that of the frame before; the identity
//! keeps the frame's own. The shift costs no multiplication and nothing is computed twice: what a
//! block needs of the frame before is a state that goes out of one call and into the next.
//!
//! The weights are MobileNetV2's by torchvision's names, whether trained on single frames or as a
//! student of another backbone; such a student has a last linear layer, `projection`, onto its
//! teacher's features.

use model_bundle::manifest::{InitialState, StateSpec, StreamSpec};

use super::mobilenetv2::{self, Net};
use super::{Cells, Error};
use crate::{
    onnx::{GraphBuilder, ModelProto, Value},
    weights::Weights,
};

pub use super::mobilenetv2::{MEAN, STD, WEIGHTS_FILE};

/// Share of a block's channels that come from the frame before: one in so many.
pub const SHIFT: usize = 8;
/// Default edge of the input in pixels: 1/11 of I3D's multiply-adds for a second of video at 25
/// frames a second.
pub const SIZE: usize = 160;
/// Name of the last linear layer of a student.
const PROJECTION: &str = "projection";

/// Size of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// A layer to give as the output `features` `[1, cells, c]` instead of the pooled ones.
    pub cells: Option<Cells>,
}

impl Default for Config {
    /// [`SIZE`] × [`SIZE`] pixels.
    fn default() -> Self {
        Self { width: SIZE, height: SIZE, cells: None }
    }
}

/// Length of the pooled feature vector that these weights give: that of the projection, or
/// [`mobilenetv2::FEATURE_SIZE`] without one.
#[must_use]
pub fn feature_size(weights: &Weights) -> usize {
    let projected = weights.get(&format!("{PROJECTION}.weight"));
    projected.and_then(|w| w.shape.first().copied()).unwrap_or(mobilenetv2::FEATURE_SIZE)
}

/// The states of the graph that [`build`] gives, as a manifest describes them: for each shifted block
/// `[1, h, w, c / 8]`, zero before a stream's first frame.
#[must_use]
pub fn states(config: &Config) -> StreamSpec {
    let wanted = config.cells.as_ref().map(|cells| cells.layer.as_str());
    let states = mobilenetv2::adding_blocks(wanted).into_iter().map(|(index, channels, stride)| {
        // Each halving rounds up, which comes to the same as one division that does.
        let size = |pixels: usize| pixels.div_ceil(stride) as u32;
        StateSpec {
            input: format!("state.{index}"),
            output: format!("next.{index}"),
            shape: vec![1, size(config.height), size(config.width), (channels / SHIFT) as u32],
            initial: InitialState::Zero,
        }
    });
    StreamSpec { states: states.collect() }
}

/// Builds the graph: inputs `frame` `[1, 3, height, width]`, RGB normalised by [`MEAN`] and [`STD`],
/// and `state.N` for each shifted block `features.N`, see [`states`]; outputs
/// `features` `[1, d]` (see [`feature_size`]), or `[1, cells, c]` of a layer, and `next.N`, which are
/// the states for the next frame.
///
/// # Errors
/// [`Error::Weights`] names the tensor that is missing or misshapen, [`Error::Config`] if a size is
/// zero or the layer unknown.
pub fn build(weights: &Weights, config: &Config) -> Result<ModelProto, Error> {
    let Config { width, height, ref cells } = *config;
    let name = "tsm-mobilenetv2";
    mobilenetv2::check(name, &[height, width], cells.as_ref())?;
    let mut net = Net { graph: GraphBuilder::new(name), weights };
    let frame = net.graph.input("frame", &[1, 3, height, width])?;
    let end = cells.as_ref().map(|cells| cells.layer.as_str());
    let mut next = Vec::new();
    let x = net.trunk(&frame, end, &mut |graph, index, x| {
        let (shifted, newest) = shift(graph, index, x)?;
        next.push((newest, format!("next.{index}")));
        Ok(shifted)
    })?;
    let features = match cells {
        Some(cells) => cells.output(&mut net.graph, &x)?,
        None => {
            let x = net.graph.spatial_mean("pool", &x)?; // [1, 1280]
            project(&mut net, &x)?
        }
    };
    let outputs = std::iter::once((&features, "features"));
    let outputs: Vec<_> =
        outputs.chain(next.iter().map(|(value, name)| (value, name.as_str()))).collect();
    Ok(net.graph.finish(&outputs)?)
}

/// What the residual branch of block `features.index` reads, and what it keeps for the next frame:
/// the first channels of its input `[1, c, h, w]`, as `[1, h, w, c / 8]`. ONNX Runtime computes INT8
/// convolutions with the channels last; with a state that has them first it turns every shifted block's
/// whole input there and back (30 transpositions, 5 % of the time).
fn shift(graph: &mut GraphBuilder, index: usize, x: &Value) -> Result<(Value, Value), Error> {
    let channels = x.shape()[1];
    let moved = channels / SHIFT;
    let shape = [&[1], &x.shape()[2..], &[moved]].concat();
    let state = graph.input(&format!("state.{index}"), &shape)?;
    let name = format!("features.{index}/shift");
    let before = graph.transpose(&format!("{name}/before"), &state, &[0, 3, 1, 2])?;
    let kept = graph.slice(&format!("{name}/kept"), x, 1, moved..channels)?;
    let newest = graph.slice(&format!("{name}/newest"), x, 1, 0..moved)?;
    let newest = graph.transpose(&format!("{name}/newest_last"), &newest, &[0, 2, 3, 1])?;
    Ok((graph.concat(&name, &[&before, &kept], 1)?, newest))
}

/// The student's last layer, `[1, 1280]` to `[1, d]`; without one the values as they are.
fn project(net: &mut Net<'_>, x: &Value) -> Result<Value, Error> {
    let (weight, bias) = (format!("{PROJECTION}.weight"), format!("{PROJECTION}.bias"));
    let Some(array) = net.weights.get(&weight) else {
        return Ok(x.clone());
    };
    let inputs = mobilenetv2::FEATURE_SIZE;
    let outputs = feature_size(net.weights);
    if array.data.is_empty() {
        return Err(net.weights.misshapen(&weight, array, &[0, inputs]).into());
    }
    let values = net.weights.tensor(&weight, &[outputs, inputs])?;
    let turned: Vec<f32> =
        (0..inputs * outputs).map(|i| values[i % outputs * inputs + i / outputs]).collect();
    let offset = net.weights.tensor(&bias, &[outputs])?;
    let w = net.graph.constant(&weight, &[inputs, outputs], &turned)?;
    let b = net.graph.constant(&bias, &[1, outputs], offset)?;
    let y = net.graph.matmul(&format!("{PROJECTION}/product"), x, &w)?;
    Ok(net.graph.add(PROJECTION, &y, &b)?)
}
