//! The parts that encoder and decoder are made of. Activations are `[frames, channels, height, width]`.

use candle_core::{DType, Tensor};

use super::conv::{CausalConv, Conv2d, Memory};
use crate::wan::error::Result;
use crate::wan::layers::{attention, channel_norm};
use crate::wan::weights::Scope;

/// The autoencoders' norm with its weight.
#[derive(Debug)]
pub(super) struct Norm {
    gamma: Tensor,
}

impl Norm {
    /// For videos: the weight is `[channels, 1, 1, 1]`.
    pub fn load(scope: &Scope<'_>, channels: usize) -> Result<Self> {
        Ok(Self { gamma: scope.get("gamma", &[channels, 1, 1, 1], DType::F32)? })
    }

    /// For pictures: the weight is `[channels, 1, 1]`.
    fn load_for_pictures(scope: &Scope<'_>, channels: usize) -> Result<Self> {
        Ok(Self { gamma: scope.get("gamma", &[channels, 1, 1], DType::F32)? })
    }

    /// Keeps the shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        channel_norm(x, &self.gamma)
    }
}

/// Two causal convolutions around which the input is added.
#[derive(Debug)]
pub(super) struct ResidualBlock {
    norm1: Norm,
    conv1: CausalConv,
    norm2: Norm,
    conv2: CausalConv,
    shortcut: Option<CausalConv>,
}

impl ResidualBlock {
    /// From `inputs` to `outputs` channels.
    pub fn load(scope: &Scope<'_>, inputs: usize, outputs: usize) -> Result<Self> {
        let shortcut = (inputs != outputs)
            .then(|| CausalConv::load(&scope.at("conv_shortcut"), inputs, outputs, 1, 1));
        Ok(Self {
            norm1: Norm::load(&scope.at("norm1"), inputs)?,
            conv1: CausalConv::load(&scope.at("conv1"), inputs, outputs, 3, 3)?,
            norm2: Norm::load(&scope.at("norm2"), outputs)?,
            conv2: CausalConv::load(&scope.at("conv2"), outputs, outputs, 3, 3)?,
            shortcut: shortcut.transpose()?,
        })
    }

    /// `[f, inputs, h, w]` → `[f, outputs, h, w]`.
    pub fn forward(&self, x: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        let y = self.conv1.forward(&self.norm1.forward(x)?.silu()?, memory)?;
        let y = self.conv2.forward(&self.norm2.forward(&y)?.silu()?, memory)?;
        let x = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x, memory)?,
            None => x.clone(),
        };
        Ok((x + y)?)
    }
}

/// Attention of each picture's places to each other, one head.
#[derive(Debug)]
struct AttentionBlock {
    norm: Norm,
    qkv: Conv2d,
    projection: Conv2d,
    channels: usize,
}

impl AttentionBlock {
    fn load(scope: &Scope<'_>, channels: usize) -> Result<Self> {
        Ok(Self {
            norm: Norm::load_for_pictures(&scope.at("norm"), channels)?,
            qkv: Conv2d::load(&scope.at("to_qkv"), [channels, 3 * channels], 1, 1, 0)?,
            projection: Conv2d::load(&scope.at("proj"), [channels, channels], 1, 1, 0)?,
            channels,
        })
    }

    /// Keeps the shape.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (frames, channels, h, w) = x.dims4()?;
        let qkv = self.qkv.forward(&self.norm.forward(x)?)?; // [f, 3c, h, w]
        let scale = (self.channels as f64).powf(-0.5);
        let mut seen = Vec::with_capacity(frames);
        for frame in 0..frames {
            let places = qkv.narrow(0, frame, 1)?.reshape((3, channels, h * w))?;
            let places = places.transpose(1, 2)?.contiguous()?; // [3, hw, c]
            let part = |i| places.narrow(0, i, 1);
            let out = attention(&part(0)?, &part(1)?, &part(2)?, scale, None)?; // [hw, c]
            seen.push(out.t()?.reshape((1, channels, h, w))?);
        }
        Ok((self.projection.forward(&Tensor::cat(&seen, 0)?)? + x)?)
    }
}

/// The middle of both encoder and decoder.
#[derive(Debug)]
pub(super) struct MiddleBlock {
    first: ResidualBlock,
    attention: AttentionBlock,
    last: ResidualBlock,
}

impl MiddleBlock {
    /// Of `channels` channels.
    pub fn load(scope: &Scope<'_>, channels: usize) -> Result<Self> {
        let residual = |i| ResidualBlock::load(&scope.at("resnets").at(i), channels, channels);
        Ok(Self {
            first: residual(0)?,
            attention: AttentionBlock::load(&scope.at("attentions.0"), channels)?,
            last: residual(1)?,
        })
    }

    /// Keeps the shape.
    pub fn forward(&self, x: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        let x = self.first.forward(x, memory)?;
        self.last.forward(&self.attention.forward(&x)?, memory)
    }
}

/// Half the size, and with `time` half the frames.
#[derive(Debug)]
pub(super) struct Downsample {
    space: Conv2d,
    time: Option<CausalConv>,
}

impl Downsample {
    /// Of `channels` channels.
    pub fn load(scope: &Scope<'_>, channels: usize, time: bool) -> Result<Self> {
        let time = time.then(|| CausalConv::load(&scope.at("time_conv"), channels, channels, 3, 1));
        Ok(Self {
            space: Conv2d::load(&scope.at("resample.1"), [channels, channels], 3, 2, 0)?,
            time: time.transpose()?,
        })
    }

    /// `[f, c, h, w]` → `[f', c, h / 2, w / 2]`. The first frame of a video stays a frame; after it,
    /// two become one.
    pub fn forward(&self, x: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        let x = x.pad_with_zeros(2, 0, 1)?.pad_with_zeros(3, 0, 1)?;
        let x = self.space.forward(&x)?;
        let Some(time) = &self.time else { return Ok(x) };
        let last = x.narrow(0, x.dim(0)? - 1, 1)?.contiguous()?;
        match memory.slot().replace(last) {
            None => Ok(x),
            Some(before) => time.valid(&Tensor::cat(&[&before, &x], 0)?, 2),
        }
    }
}

/// Twice the size, and with `time` twice the frames.
#[derive(Debug)]
pub(super) struct Upsample {
    space: Conv2d,
    time: Option<CausalConv>,
}

impl Upsample {
    /// From `inputs` to `outputs` channels.
    pub fn load(scope: &Scope<'_>, inputs: usize, outputs: usize, time: bool) -> Result<Self> {
        let time = time.then(|| CausalConv::load(&scope.at("time_conv"), inputs, 2 * inputs, 3, 1));
        Ok(Self {
            space: Conv2d::load(&scope.at("resample.1"), [inputs, outputs], 3, 1, 1)?,
            time: time.transpose()?,
        })
    }

    /// `[f, inputs, h, w]` → `[f', outputs, 2h, 2w]`. The first frame of a video stays a frame and is
    /// not remembered; each later one becomes two.
    pub fn forward(&self, x: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        let (frames, inputs, h, w) = x.dims4()?;
        let x = match &self.time {
            Some(_) if memory.first() => {
                memory.slot();
                x.clone()
            }
            // Channels of two frames, one after the other.
            Some(time) => time.forward(x, memory)?.reshape((2 * frames, inputs, h, w))?,
            None => x.clone(),
        };
        self.space.forward(&x.upsample_nearest2d(2 * h, 2 * w)?)
    }
}

/// Wan 2.2's way around a downsampling block: means over places, frames and channels.
#[derive(Debug, Clone, Copy)]
pub(super) struct MeanDown {
    pub inputs: usize,
    pub outputs: usize,
    pub time: usize,
    pub space: usize,
}

impl MeanDown {
    /// `[f, inputs, h, w]` → `[⌈f / time⌉, outputs, h / space, w / space]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (frames, _, h, w) = x.dims4()?;
        let (t, s) = (self.time, self.space);
        let x = x.pad_with_zeros(0, (t - frames % t) % t, 0)?;
        let frames = x.dim(0)? / t;
        let x = x.reshape(vec![frames, t, self.inputs, h / s, s, w / s, s])?;
        let x = x.permute(vec![0, 2, 1, 4, 6, 3, 5])?.contiguous()?; // [f, c, t, s, s, h, w]
        let group = self.inputs * t * s * s / self.outputs;
        let x = x.reshape((frames, self.outputs, group, h / s, w / s))?;
        Ok(x.mean(2)?)
    }
}

/// Wan 2.2's way around an upsampling block: copies.
#[derive(Debug, Clone, Copy)]
pub(super) struct CopyUp {
    pub outputs: usize,
    pub time: usize,
}

impl CopyUp {
    /// `[f, inputs, h, w]` → `[f · time, outputs, 2h, 2w]`; of a video's first frame only the last
    /// copy in time stays.
    pub fn forward(&self, x: &Tensor, first: bool) -> Result<Tensor> {
        let (frames, inputs, h, w) = x.dims4()?;
        let t = self.time;
        let repeats = self.outputs * t * 4 / inputs;
        let x = x.unsqueeze(2)?.broadcast_as((frames, inputs, repeats, h, w))?.contiguous()?;
        let x = x.reshape(vec![frames, self.outputs, t, 2, 2, h, w])?;
        let x = x.permute(vec![0, 2, 1, 5, 3, 6, 4])?.contiguous()?; // [f, t, c, h, 2, w, 2]
        let x = x.reshape((frames * t, self.outputs, 2 * h, 2 * w))?;
        Ok(if first { x.narrow(0, t - 1, frames * t - (t - 1))? } else { x })
    }
}
