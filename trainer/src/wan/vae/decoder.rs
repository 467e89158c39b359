//! From latents to pixels.

use candle_core::Tensor;

use super::VaeConfig;
use super::blocks::{CopyUp, MiddleBlock, Norm, ResidualBlock, Upsample};
use super::conv::{CausalConv, Memory};
use crate::wan::error::Result;
use crate::wan::weights::Scope;

/// One level of the decoder: residual blocks, then twice the size unless it is the last.
#[derive(Debug)]
struct Level {
    blocks: Vec<ResidualBlock>,
    up: Option<Upsample>,
    /// Wan 2.2 only.
    around: Option<CopyUp>,
}

impl Level {
    fn forward(&self, x: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        let mut y = x.clone();
        for block in &self.blocks {
            y = block.forward(&y, memory)?;
        }
        if let Some(up) = &self.up {
            y = up.forward(&y, memory)?;
        }
        Ok(match &self.around {
            Some(around) => (y + around.forward(x, memory.first())?)?,
            None => y,
        })
    }
}

/// The decoder.
#[derive(Debug)]
pub(super) struct Decoder {
    post_quant: CausalConv,
    conv_in: CausalConv,
    middle: MiddleBlock,
    levels: Vec<Level>,
    norm: Norm,
    conv_out: CausalConv,
}

impl Decoder {
    /// `root` is the autoencoder's.
    pub fn load(root: &Scope<'_>, config: &VaeConfig) -> Result<Self> {
        let scope = root.at("decoder");
        let z = config.z_dim;
        let widths: Vec<usize> = config.widths(config.decoder_dim).into_iter().rev().collect();
        let last = widths.len() - 1;
        let first = widths[0];
        let mut levels = Vec::new();
        let mut inputs = first;
        for (i, &outputs) in widths.iter().enumerate() {
            let level = scope.at("up_blocks").at(i);
            let mut blocks = Vec::new();
            let mut width = inputs;
            for j in 0..=config.res_blocks {
                blocks.push(ResidualBlock::load(&level.at("resnets").at(j), width, outputs)?);
                width = outputs;
            }
            // In reverse order of the encoder.
            let time = i != last && config.temporal_upsample(i);
            // Wan 2.1 halves the channels with the upsampling, Wan 2.2 does not.
            let (name, next) = if config.residual {
                ("upsampler", outputs)
            } else {
                ("upsamplers.0", outputs / 2)
            };
            let up = (i != last).then(|| Upsample::load(&level.at(name), outputs, next, time));
            let around = (config.residual && i != last)
                .then_some(CopyUp { outputs, time: if time { 2 } else { 1 } });
            levels.push(Level { blocks, up: up.transpose()?, around });
            inputs = next;
        }
        let outputs = widths[last];
        Ok(Self {
            post_quant: CausalConv::load(&root.at("post_quant_conv"), z, z, 1, 1)?,
            conv_in: CausalConv::load(&scope.at("conv_in"), z, first, 3, 3)?,
            middle: MiddleBlock::load(&scope.at("mid_block"), first)?,
            levels,
            norm: Norm::load(&scope.at("norm_out"), outputs)?,
            conv_out: CausalConv::load(&scope.at("conv_out"), outputs, config.out_channels, 3, 3)?,
        })
    }

    /// The next latent frame of a video: `[1, z_dim, h, w]` → `[f, out_channels, h', w']`.
    pub fn forward(&self, z: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        memory.begin();
        let x = self.conv_in.forward(&self.post_quant.forward(z, memory)?, memory)?;
        let mut x = self.middle.forward(&x, memory)?;
        for level in &self.levels {
            x = level.forward(&x, memory)?;
        }
        self.conv_out.forward(&self.norm.forward(&x)?.silu()?, memory)
    }
}
