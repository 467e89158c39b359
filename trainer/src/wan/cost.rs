//! What a model and a clip cost, computed from the configurations: parameters, work, device memory.
//!
//! Parameters are exact. Memory follows the order in which the code allocates, without what the
//! allocators of candle and CUDA hold back. The table in `docs/design/diffusion.md`, which says what has
//! been measured on a GPU, is made of these figures.

use candle_core::DType;

use super::layers::GPU_SCORES;
use super::transformer::TransformerConfig;
use super::umt5::Umt5Config;
use super::vae::VaeConfig;

/// Weights and bias of a linear layer.
fn linear(inputs: usize, outputs: usize) -> usize {
    inputs * outputs + outputs
}

impl TransformerConfig {
    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        let (dim, patch) = (self.dim(), self.patch.iter().product::<usize>());
        let attention = 4 * linear(dim, dim) + 2 * dim;
        let norm = if self.cross_attn_norm { 2 * dim } else { 0 };
        let dense = linear(dim, self.ffn_dim) + linear(self.ffn_dim, dim);
        let block = 2 * attention + norm + dense + 6 * dim;
        let time = linear(self.freq_dim, dim) + linear(dim, dim) + linear(dim, 6 * dim);
        let text = linear(self.text_dim, dim) + linear(dim, dim);
        let ends = linear(self.in_channels * patch, dim) + linear(dim, self.out_channels * patch);
        self.layers * block + time + text + ends + 2 * dim
    }

    /// Floating-point operations of a forward pass over `tokens` tokens and `words` words of text,
    /// multiplications and additions of the matrix products in the blocks.
    pub fn forward_flop(&self, tokens: usize, words: usize) -> f64 {
        let [n, m, dim, ffn] = [tokens, words, self.dim(), self.ffn_dim].map(|x| x as f64);
        // q, k, v, out of the first attention; q and out of the second; both dense layers.
        let maps = 2.0 * n * (6.0 * dim * dim + 2.0 * dim * ffn) + 2.0 * m * 2.0 * dim * dim;
        self.layers as f64 * (maps + 4.0 * n * n * dim + 4.0 * n * m * dim)
    }

    /// Most bytes of a forward pass on a GPU in bf16, beside the weights.
    pub fn activation_bytes(&self, tokens: usize) -> usize {
        let size = DType::BF16.size_in_bytes();
        let matrix = tokens * self.dim() * size;
        let row = self.heads * tokens * size;
        let scores = (GPU_SCORES / row).clamp(1, tokens) * row;
        let inner = tokens * self.ffn_dim * size;
        // Input, norm, q, k, v, scaled q and the output so far, and scores with their softmax; at the
        // end of attention, and in the rotary embedding, nine matrices; in the dense layers input and
        // norm, and the inner activation before and after.
        (7 * matrix + 2 * scores).max(9 * matrix).max(2 * matrix + 2 * inner)
    }
}

impl Umt5Config {
    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        let inner = self.heads * self.d_kv;
        let dense = if self.gated { 3 } else { 2 } * self.d_model * self.d_ff;
        let block = 4 * self.d_model * inner + self.buckets * self.heads + dense + 2 * self.d_model;
        self.vocab * self.d_model + self.layers * block + self.d_model
    }
}

/// A convolution of the autoencoder, and what it works on.
struct Conv {
    inputs: usize,
    outputs: usize,
    taps: usize,
    side: usize,
    /// Frames of a chunk.
    frames: usize,
    /// Times that the latents' sides have been doubled.
    doublings: u32,
}

/// The layers of encoder or decoder in their order.
#[derive(Default)]
struct Layers {
    convs: Vec<Conv>,
    norms: usize,
    frames: usize,
    doublings: u32,
}

impl Layers {
    fn conv(&mut self, inputs: usize, outputs: usize, taps: usize, side: usize) {
        let (frames, doublings) = (self.frames, self.doublings);
        self.convs.push(Conv { inputs, outputs, taps, side, frames, doublings });
    }

    fn residual(&mut self, inputs: usize, outputs: usize) {
        self.norms += inputs + outputs;
        self.conv(inputs, outputs, 3, 3);
        self.conv(outputs, outputs, 3, 3);
        if inputs != outputs {
            self.conv(inputs, outputs, 1, 1);
        }
    }

    fn middle(&mut self, channels: usize) {
        self.residual(channels, channels);
        self.norms += channels;
        self.conv(channels, 3 * channels, 1, 1);
        self.conv(channels, channels, 1, 1);
        self.residual(channels, channels);
    }

    fn encoder(config: &VaeConfig) -> Self {
        let mut layers = Self::default();
        layers.conv(config.in_channels, config.base_dim, 3, 3);
        let mut width = config.base_dim;
        for (i, multiple) in config.dim_mult.iter().enumerate() {
            let outputs = multiple * config.base_dim;
            for _ in 0..config.res_blocks {
                layers.residual(width, outputs);
                width = outputs;
            }
            if i + 1 < config.dim_mult.len() {
                layers.conv(width, width, 1, 3);
                if config.temporal_downsample[i] {
                    layers.conv(width, width, 3, 1);
                }
            }
        }
        layers.middle(width);
        layers.norms += width;
        layers.conv(width, 2 * config.z_dim, 3, 3);
        layers.conv(2 * config.z_dim, 2 * config.z_dim, 1, 1);
        layers
    }

    fn decoder(config: &VaeConfig) -> Self {
        let mut layers = Self { frames: 1, ..Self::default() };
        let levels = config.dim_mult.len();
        let mut width = config.dim_mult[levels - 1] * config.decoder_dim;
        layers.conv(config.z_dim, config.z_dim, 1, 1);
        layers.conv(config.z_dim, width, 3, 3);
        layers.middle(width);
        for (i, multiple) in config.dim_mult.iter().rev().enumerate() {
            let outputs = multiple * config.decoder_dim;
            for _ in 0..=config.res_blocks {
                layers.residual(width, outputs);
                width = outputs;
            }
            if i + 1 < levels {
                if config.temporal_downsample[config.temporal_downsample.len() - 1 - i] {
                    layers.conv(width, 2 * width, 3, 1);
                    layers.frames *= 2;
                }
                layers.doublings += 1;
                let next = if config.residual { width } else { width / 2 };
                layers.conv(width, next, 1, 3);
                width = next;
            }
        }
        layers.norms += width;
        layers.conv(width, config.out_channels, 3, 3);
        layers
    }

    fn parameters(&self) -> usize {
        let conv = |c: &Conv| c.inputs * c.outputs * c.taps * c.side * c.side + c.outputs;
        self.norms + self.convs.iter().map(conv).sum::<usize>()
    }
}

impl VaeConfig {
    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        Layers::encoder(self).parameters() + Layers::decoder(self).parameters()
    }

    /// Most bytes of decoding a picture (or tile) of `height × width` pixels, weights included.
    pub fn decode_bytes(&self, height: usize, width: usize) -> usize {
        const FLOAT: usize = 4;
        let layers = Layers::decoder(self);
        let area = (height / self.spatial_factor) * (width / self.spatial_factor);
        let places = |c: &Conv| area << (2 * c.doublings);
        // What causal layers remember: one frame less than they have taps.
        let remembered = |c: &Conv| (c.taps - 1) * c.inputs * places(c) * FLOAT;
        let layer = |c: &Conv| {
            let kernel = c.taps * c.side * c.side;
            // One frame's columns and its output before and after transposing; input, norm,
            // activation and output of all frames.
            let columns = if kernel > 1 { c.inputs * kernel * places(c) } else { 0 };
            let live = 4 * c.frames * c.inputs.max(c.outputs) * places(c);
            (columns + live + 2 * c.outputs * places(c)) * FLOAT
        };
        let remembered: usize = layers.convs.iter().map(remembered).sum();
        let largest = layers.convs.iter().map(layer).max().unwrap_or(0);
        self.parameters() * FLOAT + remembered + largest
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::Device;

    use super::*;

    fn golden(case: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wan").join(case)
    }

    /// Elements of all tensors of a folder's safetensors files.
    fn elements(folder: &Path) -> usize {
        let files = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
        let files = files.filter(|p| p.extension().is_some_and(|e| e == "safetensors"));
        let count = |path| {
            let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
            tensors.values().map(candle_core::Tensor::elem_count).sum::<usize>()
        };
        files.map(count).sum()
    }

    #[test]
    fn parameters_are_those_of_the_files() {
        for case in ["ti2v", "i2v"] {
            let [transformer, vae, text] =
                ["transformer", "vae", "text_encoder"].map(|part| golden(case).join(part));
            let config = |folder: &Path| folder.join("config.json");
            let counted = TransformerConfig::read(&config(&transformer)).unwrap().parameters();
            assert_eq!(counted, elements(&transformer), "{case} transformer");
            let counted = VaeConfig::read(&config(&vae)).unwrap().parameters();
            assert_eq!(counted, elements(&vae), "{case} vae");
            let counted = Umt5Config::read(&config(&text)).unwrap().parameters();
            assert_eq!(counted, elements(&text), "{case} text encoder");
        }
    }

    /// The published configurations, where they differ from the reference's defaults.
    fn published(case: &str) -> (TransformerConfig, VaeConfig) {
        let (transformer, vae) = match case {
            "5b" => (
                r#"{"num_attention_heads": 24, "num_layers": 30, "ffn_dim": 14336,
                    "in_channels": 48, "out_channels": 48}"#
                    .to_string(),
                format!(
                    r#"{{"base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "patch_size": 2,
                        "in_channels": 12, "out_channels": 12, "is_residual": true,
                        "scale_factor_spatial": 16, "latents_mean": {0:?}, "latents_std": {1:?}}}"#,
                    [0.0; 48], [1.0; 48]
                ),
            ),
            _ => (r#"{"in_channels": 36}"#.to_string(), "{}".to_string()),
        };
        let path = Path::new("config.json");
        (
            TransformerConfig::parse(path, transformer.as_bytes()).unwrap(),
            VaeConfig::parse(path, vae.as_bytes()).unwrap(),
        )
    }

    /// Rounded to tenths of 10⁹.
    fn giga(value: usize) -> f64 {
        (value as f64 / 1e8).round() / 10.0
    }

    #[test]
    fn the_documented_table() {
        let text = br#"{"vocab_size": 256384, "d_model": 4096, "d_ff": 10240, "num_layers": 24,
            "num_heads": 64}"#;
        let text = Umt5Config::parse(Path::new("config.json"), text).unwrap();
        assert_eq!(giga(2 * text.parameters()), 11.4);
        let hundredths = |n: usize| (n as f64 / 1e7).round() as usize;
        // Parameters of transformer and autoencoder in 10⁷, tokens, TFLOP, activations, decoding, in a tile.
        let expected = [
            ("5b", 500, 70, 8190, 98, 2.5, 14.7, 4.8),
            ("a14b", 1429, 13, 32_760, 1678, 4.5, 12.3, 2.4),
        ];
        for (case, weights, vae_weights, tokens, tflop, active, decoding, tile) in expected {
            let (transformer, vae) = published(case);
            let side = vae.spatial_factor;
            let grid = [vae.latent_frames(81), 480 / side / 2, 832 / side / 2];
            let n: usize = grid.iter().product();
            assert_eq!(n, tokens);
            assert_eq!(hundredths(transformer.parameters()), weights);
            assert_eq!(hundredths(vae.parameters()), vae_weights);
            assert_eq!((transformer.forward_flop(n, 512) / 1e12).round() as usize, tflop);
            assert_eq!(giga(transformer.activation_bytes(n)), active);
            assert_eq!(giga(vae.decode_bytes(480, 832)), decoding);
            assert_eq!(giga(vae.decode_bytes(256, 256)), tile);
        }
    }
}
