//! From pixels to latents.

use candle_core::Tensor;

use super::VaeConfig;
use super::blocks::{Downsample, MeanDown, MiddleBlock, Norm, ResidualBlock};
use super::conv::{CausalConv, Memory};
use crate::wan::error::Result;
use crate::wan::weights::Scope;

/// One level of the encoder: residual blocks, then half the size unless it is the last.
#[derive(Debug)]
struct Level {
    blocks: Vec<ResidualBlock>,
    down: Option<Downsample>,
    /// Wan 2.2 only.
    around: Option<MeanDown>,
}

impl Level {
    fn forward(&self, x: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        let mut y = x.clone();
        for block in &self.blocks {
            y = block.forward(&y, memory)?;
        }
        if let Some(down) = &self.down {
            y = down.forward(&y, memory)?;
        }
        Ok(match &self.around {
            Some(around) => (y + around.forward(x)?)?,
            None => y,
        })
    }
}

/// The encoder; its output is mean and log-variance.
#[derive(Debug)]
pub(super) struct Encoder {
    conv_in: CausalConv,
    levels: Vec<Level>,
    middle: MiddleBlock,
    norm: Norm,
    conv_out: CausalConv,
    quant: CausalConv,
}

impl Encoder {
    /// `root` is the autoencoder's.
    pub fn load(root: &Scope<'_>, config: &VaeConfig) -> Result<Self> {
        let scope = root.at("encoder");
        let widths = config.widths(config.base_dim);
        let last = widths.len() - 1;
        let mut inputs = config.base_dim;
        let mut levels = Vec::new();
        // Wan 2.1 numbers the parts of all levels through, Wan 2.2 level by level.
        let mut number = 0;
        for (i, &outputs) in widths.iter().enumerate() {
            let time = i != last && config.temporal_downsample[i];
            let level = scope.at("down_blocks").at(i);
            let mut blocks = Vec::new();
            let mut width = inputs;
            for j in 0..config.res_blocks {
                let at = if config.residual {
                    level.at("resnets").at(j)
                } else {
                    number += 1;
                    scope.at("down_blocks").at(number - 1)
                };
                blocks.push(ResidualBlock::load(&at, width, outputs)?);
                width = outputs;
            }
            let down = if i == last {
                None
            } else if config.residual {
                Some(Downsample::load(&level.at("downsampler"), outputs, time)?)
            } else {
                number += 1;
                Some(Downsample::load(&scope.at("down_blocks").at(number - 1), outputs, time)?)
            };
            let around = config.residual.then_some(MeanDown {
                inputs,
                outputs,
                time: if time { 2 } else { 1 },
                space: if i == last { 1 } else { 2 },
            });
            levels.push(Level { blocks, down, around });
            inputs = outputs;
        }
        let z = 2 * config.z_dim;
        Ok(Self {
            conv_in: CausalConv::load(
                &scope.at("conv_in"),
                config.in_channels,
                config.base_dim,
                3,
                3,
            )?,
            levels,
            middle: MiddleBlock::load(&scope.at("mid_block"), inputs)?,
            norm: Norm::load(&scope.at("norm_out"), inputs)?,
            conv_out: CausalConv::load(&scope.at("conv_out"), inputs, z, 3, 3)?,
            quant: CausalConv::load(&root.at("quant_conv"), z, z, 1, 1)?,
        })
    }

    /// The next chunk of a video: `[f, in_channels, h, w]` → `[f', 2 · z_dim, h', w']`.
    pub fn forward(&self, x: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        memory.begin();
        let mut x = self.conv_in.forward(x, memory)?;
        for level in &self.levels {
            x = level.forward(&x, memory)?;
        }
        let x = self.middle.forward(&x, memory)?;
        let x = self.conv_out.forward(&self.norm.forward(&x)?.silu()?, memory)?;
        self.quant.forward(&x, memory)
    }
}
