//! MobileNetV2 trained on ImageNet, applied to each frame of a snippet: the light backbone.
//!
//! Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, with
//! torchvision's weights. The features of a snippet are the mean of those of its frames, so that
//! the graph takes I3D's place without a change elsewhere.

use super::{BatchNorm, Cells, Error};
use crate::{
    onnx::{GraphBuilder, ModelProto, Value, Window},
    weights::Weights,
};

/// Name of the weights file that `cargo xtask weights` fetches.
pub const WEIGHTS_FILE: &str = "mobilenetv2-imagenet.pth";
/// Length of a feature vector.
pub const FEATURE_SIZE: usize = 1280;
/// Subtracted from RGB levels 0 to 255: torchvision's ImageNet mean.
pub const MEAN: [f32; 3] = [123.675, 116.28, 103.53];
/// Divisor of RGB levels: torchvision's ImageNet standard deviation.
pub const STD: [f32; 3] = [58.395, 57.12, 57.375];

/// Channels of the first convolution.
pub const STEM: usize = 32;
/// Groups of blocks (table 2 of the paper): expansion, output channels, blocks, first stride.
pub const GROUPS: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

/// Size of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Frames of a snippet; every one costs a pass of the network.
    pub frames: usize,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// A layer to give as the output `features` `[1, cells, c]` instead of the pooled ones.
    pub cells: Option<Cells>,
}

impl Default for Config {
    /// 16 frames of 224×224.
    fn default() -> Self {
        Self { frames: 16, width: 224, height: 224, cells: None }
    }
}

/// Channels of a layer's map and input pixels, along each axis, for one of its places; `None` if there
/// is no such layer. Layers are named as torchvision's modules, `features.0` to `features.18`.
#[must_use]
pub fn layer(name: &str) -> Option<(usize, usize)> {
    let wanted: usize = name.strip_prefix("features.")?.parse().ok()?;
    let (mut index, mut at) = (0, (STEM, 2));
    for (_, channels, blocks, first) in GROUPS {
        for block in 0..blocks {
            if index == wanted {
                return Some(at);
            }
            at = (channels, at.1 * if block == 0 { first } else { 1 });
            index += 1;
        }
    }
    match wanted.checked_sub(index) {
        Some(0) => Some(at),
        Some(1) => Some((FEATURE_SIZE, at.1)),
        _ => None,
    }
}

/// The blocks up to the layer `end`, or all, that add their input: index, channels, and input pixels
/// for one of their places along each axis.
pub(super) fn adding_blocks(end: Option<&str>) -> Vec<(usize, usize, usize)> {
    let blocks = GROUPS.iter().map(|group| group.2).sum::<usize>();
    let last = end.and_then(|end| end.strip_prefix("features.")?.parse().ok()).unwrap_or(blocks);
    let at = |index: usize| layer(&format!("features.{index}"));
    (1..=blocks.min(last))
        .filter_map(|index| Some((index, at(index - 1)?, at(index)?)))
        .filter(|(_, before, after)| before == after)
        .map(|(index, _, (channels, stride))| (index, channels, stride))
        .collect()
}

/// Builds the graph: input `snippet` `[1, 3, frames, height, width]`, RGB normalised by [`MEAN`]
/// and [`STD`]; output `features` `[1, 1280]`, or `[1, cells, c]` of a layer.
///
/// # Errors
/// [`Error::Weights`] names the tensor that is missing or misshapen, [`Error::Config`] if a size is
/// zero or the layer unknown.
pub fn build(weights: &Weights, config: &Config) -> Result<ModelProto, Error> {
    let Config { frames, width, height, ref cells } = *config;
    let name = "mobilenetv2";
    check(name, &[frames, width, height], cells.as_ref())?;
    let mut net = Net { graph: GraphBuilder::new(name), weights };
    let snippet = net.graph.input("snippet", &[1, 3, frames, height, width])?;
    // Frames become the batch: [1, 3, t, h, w] -> [t, 3, h, w].
    let x = net.graph.transpose("frames/transpose", &snippet, &[0, 2, 1, 3, 4])?;
    let x = net.graph.reshape("frames", &x, &[frames, 3, height, width])?;
    let end = cells.as_ref().map(|cells| cells.layer.as_str());
    let x = net.trunk(&x, end, &mut |_, _, x| Ok(x.clone()))?; // [t, c, h, w]
    let features = if let Some(cells) = cells {
        let map = net.graph.mean("cells/frames", &x, &[0])?; // [c, h, w]
        let shape = [&[1], map.shape()].concat();
        let map = net.graph.reshape("cells/batch", &map, &shape)?;
        cells.output(&mut net.graph, &map)?
    } else {
        // [t, 1280, h / 32, w / 32] -> [t, 1280] -> [1280] -> [1, 1280]
        let x = net.graph.spatial_mean("pool", &x)?;
        let x = net.graph.mean("pool/frames", &x, &[0])?;
        net.graph.reshape("pool/batch", &x, &[1, FEATURE_SIZE])?
    };
    Ok(net.graph.finish(&[(&features, "features")])?)
}

/// Refuses sizes of zero and cells of a layer that there is not.
pub(super) fn check(
    graph: &'static str,
    sizes: &[usize],
    cells: Option<&Cells>,
) -> Result<(), Error> {
    if let Some(cells) = cells.filter(|cells| layer(&cells.layer).is_none()) {
        let reason = format!("no layer {}; there are features.0 to features.18", cells.layer);
        return Err(Error::Config { graph, reason });
    }
    if sizes.contains(&0) {
        return Err(Error::Config { graph, reason: format!("an input of {sizes:?} is empty") });
    }
    Ok(())
}

/// What the filtering branch of a block that adds its input reads instead of that input; called with
/// the graph, the block's index (torchvision's `features.INDEX`) and the input `[n, c, h, w]`.
pub(super) type Branch<'a> =
    dyn FnMut(&mut GraphBuilder, usize, &Value) -> Result<Value, Error> + 'a;

/// The network under construction.
pub(super) struct Net<'a> {
    pub(super) graph: GraphBuilder,
    pub(super) weights: &'a Weights,
}

impl Net<'_> {
    /// The convolutions, from frames `[n, 3, h, w]` to the map of the layer `end`, or of the last one
    /// `[n, 1280, h / 32, w / 32]`.
    pub(super) fn trunk(
        &mut self,
        frames: &Value,
        end: Option<&str>,
        branch: &mut Branch<'_>,
    ) -> Result<Value, Error> {
        let half = Window::new(&[3, 3]).strided(&[2, 2]).padded(1);
        let x = self.conv("features.0.0", "features.0.1", frames, STEM, &half)?;
        let mut x = self.graph.relu6("features.0/relu6", &x)?;
        let mut index = 0;
        let ends = |index: usize| end.is_some_and(|end| end == format!("features.{index}"));
        if ends(index) {
            return Ok(x);
        }
        for (expansion, channels, blocks, first) in GROUPS {
            for block in 0..blocks {
                index += 1;
                let stride = if block == 0 { first } else { 1 };
                x = self.block(index, &x, expansion, channels, stride, branch)?;
                if ends(index) {
                    return Ok(x);
                }
            }
        }
        let name = format!("features.{}", index + 1);
        let one = Window::new(&[1, 1]);
        let x = self.conv(&format!("{name}.0"), &format!("{name}.1"), &x, FEATURE_SIZE, &one)?;
        Ok(self.graph.relu6(&format!("{name}/relu6"), &x)?)
    }

    /// An inverted residual: expand, filter each channel, project; added to its input where the
    /// shapes are equal, and then what is expanded is what `branch` gives.
    fn block(
        &mut self,
        index: usize,
        x: &Value,
        expansion: usize,
        channels: usize,
        stride: usize,
        branch: &mut Branch<'_>,
    ) -> Result<Value, Error> {
        let name = format!("features.{index}");
        let inputs = x.shape()[1];
        let hidden = inputs * expansion;
        let adds = stride == 1 && inputs == channels;
        let mut y = if adds { branch(&mut self.graph, index, x)? } else { x.clone() };
        // torchvision leaves the expansion out where it is 1, which moves the rest forward.
        let mut part = 0;
        if expansion != 1 {
            let conv = format!("{name}.conv.0");
            let one = Window::new(&[1, 1]);
            y = self.conv(&format!("{conv}.0"), &format!("{conv}.1"), &y, hidden, &one)?;
            y = self.graph.relu6(&format!("{conv}/relu6"), &y)?;
            part = 1;
        }
        let conv = format!("{name}.conv.{part}");
        let window = Window::new(&[3, 3]).strided(&[stride, stride]).padded(1).grouped(hidden);
        y = self.conv(&format!("{conv}.0"), &format!("{conv}.1"), &y, hidden, &window)?;
        y = self.graph.relu6(&format!("{conv}/relu6"), &y)?;
        let (conv, norm) = (part + 1, part + 2);
        let (conv, norm) = (format!("{name}.conv.{conv}"), format!("{name}.conv.{norm}"));
        y = self.conv(&conv, &norm, &y, channels, &Window::new(&[1, 1]))?;
        if adds {
            y = self.graph.add(&format!("{name}/sum"), x, &y)?;
        }
        Ok(y)
    }

    /// Convolution `conv` without bias and batch norm `norm`.
    fn conv(
        &mut self,
        conv: &str,
        norm: &str,
        x: &Value,
        channels: usize,
        window: &Window,
    ) -> Result<Value, Error> {
        let inputs = x.shape()[1] / window.groups;
        let shape = [channels, inputs, window.kernel[0], window.kernel[1]];
        let weight = self.weights.tensor(&format!("{conv}.weight"), &shape)?;
        let (weight, bias) = BatchNorm::torch(self.weights, norm, channels)?.fold(weight, None);
        let weight = self.graph.constant(&format!("{conv}.weight"), &shape, &weight)?;
        let bias = self.graph.constant(&format!("{conv}.bias"), &[channels], &bias)?;
        Ok(self.graph.conv(&format!("{conv}/conv"), x, &weight, Some(&bias), window)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_have_channels_and_a_stride() {
        assert_eq!(layer("features.0"), Some((32, 2)));
        assert_eq!(layer("features.1"), Some((16, 2)));
        assert_eq!(layer("features.6"), Some((32, 8)));
        assert_eq!(layer("features.17"), Some((320, 32)));
        assert_eq!(layer("features.18"), Some((FEATURE_SIZE, 32)));
        assert_eq!((layer("features.19"), layer("features.x"), layer("conv")), (None, None, None));
    }
}
