//! `transformer/config.json`.

use std::path::Path;

use crate::wan::error::Result;
use crate::wan::fields::Fields;

/// `transformer/config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct TransformerConfig {
    /// Latent frames, rows and columns of a token.
    pub patch: [usize; 3],
    /// Attention heads.
    pub heads: usize,
    /// Channels of a head, even.
    pub head_dim: usize,
    /// Channels of the input: noise, and for I2V-A14B the condition.
    pub in_channels: usize,
    /// Channels of the velocity.
    pub out_channels: usize,
    /// Channels of the text encoder's states.
    pub text_dim: usize,
    /// Sinusoids that a time step becomes.
    pub freq_dim: usize,
    /// Width of the feed-forward layers.
    pub ffn_dim: usize,
    /// Blocks.
    pub layers: usize,
    /// Whether cross-attention has a layer norm of its own.
    pub cross_attn_norm: bool,
    /// Of all norms.
    pub eps: f64,
    /// Tokens that any one axis can have.
    pub rope_max: usize,
}

impl TransformerConfig {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// Names file and field.
    pub fn read(path: &Path) -> Result<Self> {
        Fields::read(path)?.whole(Self::from_fields)
    }

    /// Parses what was read from `path`.
    ///
    /// # Errors
    /// Names file and field.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        Fields::parse(path, bytes)?.whole(Self::from_fields)
    }

    fn from_fields(fields: &Fields) -> Result<Self> {
        let patch = fields.sizes("patch_size", &[1, 2, 2])?;
        let patch: [usize; 3] = patch.try_into().map_err(|_| {
            fields.problem("patch_size", "three numbers are expected: frames, rows, columns")
        })?;
        for field in ["image_dim", "added_kv_proj_dim", "pos_embed_seq_len"] {
            fields.refuse(field, "the image encoder of Wan 2.1; Wan 2.2 has none")?;
        }
        // The reference norms queries and keys whatever this field says.
        let norm = fields.value("qk_norm").filter(|v| !v.is_null());
        if norm.is_some_and(|v| v.as_str() != Some("rms_norm_across_heads")) {
            let problem = "only `rms_norm_across_heads` is known";
            return Err(fields.problem("qk_norm", problem));
        }
        let in_channels = fields.size("in_channels", 16)?;
        let config = Self {
            patch,
            heads: fields.size("num_attention_heads", 40)?,
            head_dim: fields.size("attention_head_dim", 128)?,
            in_channels,
            out_channels: fields.optional_size("out_channels", Some(16))?.unwrap_or(in_channels),
            text_dim: fields.size("text_dim", 4096)?,
            freq_dim: fields.size("freq_dim", 256)?,
            ffn_dim: fields.size("ffn_dim", 13_824)?,
            layers: fields.size("num_layers", 40)?,
            cross_attn_norm: fields.flag("cross_attn_norm", true)?,
            eps: fields.number("eps", 1e-6)?,
            rope_max: fields.size("rope_max_seq_len", 1024)?,
        };
        if !config.head_dim.is_multiple_of(2) || config.head_dim < 6 {
            let problem =
                "an even number from 6 is expected: three axes share the rotary embedding";
            return Err(fields.problem("attention_head_dim", problem));
        }
        if config.freq_dim < 2 {
            return Err(fields.problem("freq_dim", "at least 2 is expected"));
        }
        Ok(config)
    }

    /// Width of the model.
    pub fn dim(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Elements of a token's patch in one channel.
    pub(super) fn patch_volume(&self) -> usize {
        self.patch.iter().product()
    }

    /// Tokens along each axis of latents of `frames × height × width`.
    pub(super) fn grid(&self, size: [usize; 3]) -> [usize; 3] {
        [0, 1, 2].map(|i| size[i] / self.patch[i])
    }

    /// Channels of a head that each axis (frames, rows, columns) turns.
    pub(super) fn rope_split(&self) -> [usize; 3] {
        let side = 2 * (self.head_dim / 6);
        [self.head_dim - 2 * side, side, side]
    }
}
