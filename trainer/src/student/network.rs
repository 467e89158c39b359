//! The student: MobileNetV2 with causal temporal shift, and a projection to the teacher's features.
//!
//! Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, in torchvision's
//! arrangement and names; Lin et al., "TSM: Temporal Shift Module for Efficient Video Understanding",
//! ICCV 2019, in its online form: in every block that has a shortcut, the first eighth of the channels
//! that enter the residual branch are those of the frame before (zero for a stream's first), while the
//! shortcut is left alone. So the network runs on a stream, frame by frame, and computes nothing twice.
//!
//! ```text
//! frames [f, 3, h, w]
//!   features.0 … features.18              [f, 1280, ⌈h/32⌉, ⌈w/32⌉]
//!   mean over the picture                 [f, 1280]
//!   mean over a snippet's 16 frames       [f/16, 1280]
//!   projection                            [f/16, 1024]
//! ```
//!
//! **Batch norms are frozen**: running means and variances stay those of the weights that training
//! starts from; scales and shifts are trained. Batches are a few neighbouring frames of a few cameras,
//! whose own statistics would say more about the batch than about footage, and what is trained is then
//! exactly what is exported.

use candle_core::{Result, Tensor, bail};
use model_export::graphs::tsm_mobilenetv2::SHIFT;
use model_export::graphs::{i3d, mobilenetv2};

use super::layer::{Kind, Layer};
use crate::local::{Parameter, Tensors};

/// Added to the variance, as in PyTorch.
const EPSILON: f64 = 1e-5;
/// Frames of a snippet.
pub const SNIPPET: usize = 16;

/// Blocks of one shape, one after the other (table 2 of the paper).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Expansion of the channels inside a block.
    pub expansion: usize,
    /// Output channels.
    pub channels: usize,
    /// Blocks.
    pub blocks: usize,
    /// Stride of the first block, 1 or 2.
    pub stride: usize,
}

/// Sizes of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Architecture {
    /// Channels of the first convolution.
    pub stem: usize,
    /// The inverted residuals.
    pub groups: Vec<Group>,
    /// Channels of the last convolution.
    pub last: usize,
    /// Length of a feature vector, the teacher's.
    pub features: usize,
}

impl Default for Architecture {
    /// MobileNetV2 1.0 and the 1024 features of I3D.
    fn default() -> Self {
        let group =
            |(expansion, channels, blocks, stride)| Group { expansion, channels, blocks, stride };
        Self {
            stem: mobilenetv2::STEM,
            groups: mobilenetv2::GROUPS.map(group).to_vec(),
            last: mobilenetv2::FEATURE_SIZE,
            features: i3d::FEATURE_SIZE,
        }
    }
}

/// A convolution and its batch norm.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unit {
    conv: String,
    norm: String,
    inputs: usize,
    outputs: usize,
    layer: Layer,
}

impl Unit {
    /// Shape of the weight.
    fn shape(&self) -> [usize; 4] {
        match self.layer.kind {
            Kind::Dense { .. } => [self.outputs, self.inputs, 3, 3],
            Kind::Depthwise { .. } => [self.outputs, 1, 3, 3],
            Kind::Pointwise => [self.outputs, self.inputs, 1, 1],
        }
    }

    fn apply(&self, tensors: &Tensors, x: &Tensor) -> Result<Tensor> {
        let norm = |part: &str| find(tensors, &format!("{}.{part}", self.norm));
        let deviation = (norm("running_var")? + EPSILON)?.sqrt()?;
        let scale = (norm("weight")? / deviation)?; // [o]
        let bias = (norm("bias")? - (norm("running_mean")? * &scale)?)?; // [o]
        let weight = find(tensors, &format!("{}.weight", self.conv))?;
        let weight = weight.broadcast_mul(&scale.reshape(((), 1, 1, 1))?)?;
        self.layer.apply(x, &weight, &bias)
    }
}

/// Units one after the other; the input is added to the output where there is a shortcut.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Block {
    units: Vec<Unit>,
    shortcut: bool,
}

/// The network's structure.
#[derive(Debug, Clone)]
pub struct Network {
    blocks: Vec<Block>,
    last: usize,
    features: usize,
}

impl Network {
    /// A network of these sizes.
    #[must_use]
    pub fn new(architecture: &Architecture) -> Self {
        let unit = |conv: String, norm: String, inputs, outputs, kind, relu6| Unit {
            conv,
            norm,
            inputs,
            outputs,
            layer: Layer { kind, relu6 },
        };
        let whole = |name: &str, inputs, outputs, kind| Block {
            units: vec![unit(
                format!("{name}.0"),
                format!("{name}.1"),
                inputs,
                outputs,
                kind,
                true,
            )],
            shortcut: false,
        };
        let mut channels = architecture.stem;
        let mut blocks = vec![whole("features.0", 3, channels, Kind::Dense { stride: 2 })];
        for group in &architecture.groups {
            for index in 0..group.blocks {
                let stride = if index == 0 { group.stride } else { 1 };
                let name = format!("features.{}.conv", blocks.len());
                let hidden = channels * group.expansion;
                let mut units = Vec::new();
                // torchvision leaves the expansion out where it is 1, which moves the rest forward.
                if group.expansion != 1 {
                    let (conv, norm) = (format!("{name}.0.0"), format!("{name}.0.1"));
                    units.push(unit(conv, norm, channels, hidden, Kind::Pointwise, true));
                }
                let part = units.len();
                let (conv, norm) = (format!("{name}.{part}.0"), format!("{name}.{part}.1"));
                units.push(unit(conv, norm, hidden, hidden, Kind::Depthwise { stride }, true));
                let (conv, norm) = (format!("{name}.{}", part + 1), format!("{name}.{}", part + 2));
                units.push(unit(conv, norm, hidden, group.channels, Kind::Pointwise, false));
                let shortcut = stride == 1 && channels == group.channels;
                blocks.push(Block { units, shortcut });
                channels = group.channels;
            }
        }
        let name = format!("features.{}", blocks.len());
        blocks.push(whole(&name, channels, architecture.last, Kind::Pointwise));
        Self { blocks, last: architecture.last, features: architecture.features }
    }

    fn units(&self) -> impl Iterator<Item = &Unit> {
        self.blocks.iter().flat_map(|block| &block.units)
    }

    /// The learned tensors, in a fixed order.
    #[must_use]
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut all = Vec::new();
        let mut add = |name: String, shape: &[usize], decays| {
            all.push(Parameter { name, shape: shape.to_vec(), decays });
        };
        for unit in self.units() {
            add(format!("{}.weight", unit.conv), &unit.shape(), true);
            add(format!("{}.weight", unit.norm), &[unit.outputs], false);
            add(format!("{}.bias", unit.norm), &[unit.outputs], false);
        }
        add(PROJECTION_WEIGHT.into(), &[self.features, self.last], true);
        add(PROJECTION_BIAS.into(), &[self.features], false);
        all
    }

    /// Names and lengths of the batch norms' running statistics.
    pub fn statistics(&self) -> impl Iterator<Item = (String, usize)> + '_ {
        self.units().flat_map(|unit| {
            ["running_mean", "running_var"]
                .map(|part| (format!("{}.{part}", unit.norm), unit.outputs))
        })
    }

    /// Blocks whose input is shifted in time.
    #[must_use]
    pub fn shifted_blocks(&self) -> usize {
        self.blocks.iter().filter(|block| block.shortcut).count()
    }

    /// Length of a pooled feature.
    #[must_use]
    pub fn pooled_size(&self) -> usize {
        self.last
    }

    /// Length of a feature vector.
    #[must_use]
    pub fn feature_size(&self) -> usize {
        self.features
    }

    /// Pooled features `[f, last]` of frames `[f, 3, h, w]` in the order of time. `runs` are the numbers
    /// of frames of the streams that lie one after the other in them; each starts without a past.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape, the runs are not as many frames, or on a device
    /// error.
    pub fn pooled(&self, tensors: &Tensors, frames: &Tensor, runs: &[usize]) -> Result<Tensor> {
        let past = Past::new(frames, runs)?;
        let mut x = frames.clone(); // [f, 3, h, w]
        for block in &self.blocks {
            let mut y = if block.shortcut { past.shift(&x)? } else { x.clone() };
            for unit in &block.units {
                y = unit.apply(tensors, &y)?; // [f, outputs, h', w']
            }
            x = if block.shortcut { (x + y)? } else { y };
        }
        x.flatten_from(2)?.mean(2) // [f, last]
    }

    /// Features `[n, features]` from pooled ones `[n, last]`.
    ///
    /// # Errors
    /// As [`Network::pooled`].
    pub fn project(&self, tensors: &Tensors, pooled: &Tensor) -> Result<Tensor> {
        let weight = find(tensors, PROJECTION_WEIGHT)?;
        pooled.matmul(&weight.t()?)?.broadcast_add(find(tensors, PROJECTION_BIAS)?)
    }

    /// Features of snippets `[f / 16, features]`: the mean of those of their frames, which is the
    /// projection of the mean of the pooled ones.
    ///
    /// # Errors
    /// As [`Network::pooled`], and if the frames are not whole snippets.
    pub fn features(&self, tensors: &Tensors, frames: &Tensor, runs: &[usize]) -> Result<Tensor> {
        self.project(tensors, &self.snippets(tensors, frames, runs)?)
    }

    /// Pooled features of snippets `[f / 16, last]`.
    ///
    /// # Errors
    /// As [`Network::features`].
    pub fn snippets(&self, tensors: &Tensors, frames: &Tensor, runs: &[usize]) -> Result<Tensor> {
        if let Some(run) = runs.iter().find(|run| !run.is_multiple_of(SNIPPET)) {
            bail!("a run of {run} frames is not one of whole snippets of {SNIPPET}");
        }
        let pooled = self.pooled(tensors, frames, runs)?; // [f, last]
        pooled.reshape(((), SNIPPET, self.last))?.mean(1) // [f / 16, last]
    }
}

/// Name of the projection's weight.
pub const PROJECTION_WEIGHT: &str = "projection.weight";
/// Name of the projection's bias.
pub const PROJECTION_BIAS: &str = "projection.bias";

fn find<'a>(tensors: &'a Tensors, name: &str) -> Result<&'a Tensor> {
    match tensors.get(name) {
        Some(tensor) => Ok(tensor),
        None => bail!("the student's tensor {name} is missing"),
    }
}

/// Which frames have one before them.
struct Past {
    /// `[f, 1, 1, 1]`: 0 for a stream's first frame, else 1.
    has: Tensor,
}

impl Past {
    fn new(frames: &Tensor, runs: &[usize]) -> Result<Self> {
        let count = frames.dim(0)?;
        if runs.contains(&0) || runs.iter().sum::<usize>() != count {
            bail!("runs of {runs:?} frames of {count}");
        }
        let mut has = vec![1f32; count];
        let mut first = 0;
        for run in runs {
            has[first] = 0.0;
            first += run;
        }
        let has = Tensor::from_vec(has, (count, 1, 1, 1), frames.device())?;
        Ok(Self { has: has.to_dtype(frames.dtype())? })
    }

    /// `x` `[f, c, h, w]` with its first `c / 8` channels from the frame before.
    fn shift(&self, x: &Tensor) -> Result<Tensor> {
        let (frames, channels, _, _) = x.dims4()?;
        let shifted = channels / SHIFT;
        if shifted == 0 {
            return Ok(x.clone());
        }
        let now = x.narrow(1, 0, shifted)?;
        // What is moved out of one stream into the next is multiplied away.
        let before = Tensor::cat(&[now.narrow(0, 0, 1)?, now.narrow(0, 0, frames - 1)?], 0)?;
        let before = before.broadcast_mul(&self.has)?;
        Tensor::cat(&[before, x.narrow(1, shifted, channels - shifted)?], 1)
    }
}
