//! How the local detector is built and trained.

use serde::{Deserialize, Serialize};

use super::Error;

/// Configuration of the local detector's training; every default was settled on real video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocalConfig {
    /// Names of the kinds of anomaly; label `k + 1` marks kind `k`. At least one, no default.
    pub kinds: Vec<String>,
    /// Offsets in frames of the difference channels, negative is the past (default −4, −2, 2, 4).
    pub offsets: Vec<i32>,
    /// Luma subtracted from the centre frame (default 110).
    pub mean: f32,
    /// Divisor of the centre frame (default 50).
    pub std: f32,
    /// Divisor of the differences (default 30).
    pub diff_scale: f32,
    /// The network.
    pub network: NetworkConfig,
    /// Optimizer steps (default 1200).
    pub steps: usize,
    /// Crops in a batch (default 12).
    pub batch: usize,
    /// Share of a batch that comes from real normal clips (default 1/3, rounded down to crops).
    pub normal_share: f64,
    /// Width and height of a crop in pixels; cut to the smallest clip and down to multiples of 8
    /// (default 192 × 128).
    pub crop: CropSize,
    /// Share of pseudo-abnormal crops placed so that they hold a changed pixel (default 0.75).
    pub focus: f64,
    /// Peak learning rate (default 0.003).
    pub learning_rate: f64,
    /// Decoupled weight decay of convolution weights (default 0.001).
    pub weight_decay: f64,
    /// Steps over which the learning rate rises from zero; then it follows a half cosine to zero
    /// (default 50).
    pub warm_up: usize,
    /// Decay for each step of the moving average of the weights, which is what is kept
    /// (default 0.99).
    pub average_decay: f64,
    /// Batches over which the running statistics are computed for the averaged weights (default 50).
    pub statistics_batches: usize,
    /// Weight in the loss of the hardest negatives (default 0.3).
    pub hard_weight: f32,
    /// Share of the negatives that counts as hardest (default 0.01).
    pub hard_share: f64,
    /// Contrast is multiplied by up to `1 ± gain` (default 0.2).
    pub gain: f32,
    /// Up to this many luma levels are added or taken away (default 15).
    pub brightness: f32,
    /// Largest standard deviation of the noise added to each frame, in luma levels (default 3).
    pub noise: f32,
    /// A crop shows up to `1 + resize` times as many pixels of the picture along each axis, or as few,
    /// resampled to its size: people nearer to the camera or farther, and with them their speed
    /// (default 0).
    pub resize: f64,
    /// Levels are bent by a power of up to `1 + gamma`, or its inverse (default 0).
    pub gamma: f32,
    /// Largest standard deviation in pixels of a blur over the whole crop; at most 0.8 (default 0).
    pub blur: f32,
    /// Steps between two saved states (default 100).
    pub save_every: usize,
}

/// Size of a training crop in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CropSize {
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
}

/// The network's sizes. Two strided convolutions, then residual blocks at quarter resolution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// Output channels of the two strided convolutions (default 24 and 48).
    pub stem: [usize; 2],
    /// Dilation of each residual block, one block for each (default 1, 2, 4, 1).
    pub dilations: Vec<usize>,
    /// Share of values dropped before the last convolution in training (default 0.1).
    pub dropout: f64,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self { stem: [24, 48], dilations: vec![1, 2, 4, 1], dropout: 0.1 }
    }
}

impl Default for LocalConfig {
    fn default() -> Self {
        Self {
            kinds: Vec::new(),
            offsets: vec![-4, -2, 2, 4],
            mean: 110.0,
            std: 50.0,
            diff_scale: 30.0,
            network: NetworkConfig::default(),
            steps: 1200,
            batch: 12,
            normal_share: 1.0 / 3.0,
            crop: CropSize { width: 192, height: 128 },
            focus: 0.75,
            learning_rate: 3e-3,
            weight_decay: 1e-3,
            warm_up: 50,
            average_decay: 0.99,
            statistics_batches: 50,
            hard_weight: 0.3,
            hard_share: 0.01,
            gain: 0.2,
            brightness: 15.0,
            noise: 3.0,
            resize: 0.0,
            gamma: 0.0,
            blur: 0.0,
            save_every: 100,
        }
    }
}

impl LocalConfig {
    /// Channels of the network's input: the frame and one difference for each offset.
    #[must_use]
    pub fn inputs(&self) -> usize {
        1 + self.offsets.len()
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field that cannot be.
    pub fn validate(&self) -> Result<(), Error> {
        let share = |value: f64| (0.0..=1.0).contains(&value);
        let not_negative = |value: f32| value.is_finite() && value >= 0.0;
        let rules = [
            ("kinds", !self.kinds.is_empty() && self.kinds.len() < 255, "1 to 254 names"),
            ("offsets", self.offsets.iter().all(|offset| *offset != 0), "no offset of 0"),
            ("mean", self.mean.is_finite(), "a number"),
            ("std", self.std.is_finite() && self.std > 0.0, "more than 0"),
            ("diff_scale", self.diff_scale.is_finite() && self.diff_scale > 0.0, "more than 0"),
            ("network.stem", self.network.stem.iter().all(|c| *c > 0), "at least 1 channel"),
            ("network.dilations", self.network.dilations.iter().all(|d| *d > 0), "at least 1"),
            ("network.dropout", (0.0..0.95).contains(&self.network.dropout), "0 to 0.95"),
            ("steps", self.steps > 0, "at least 1"),
            ("batch", self.batch > 0, "at least 1"),
            ("normal_share", share(self.normal_share), "0 to 1"),
            ("crop", self.crop.width >= 16 && self.crop.height >= 16, "at least 16 × 16"),
            ("focus", share(self.focus), "0 to 1"),
            ("learning_rate", self.learning_rate > 0.0, "more than 0"),
            ("weight_decay", share(self.weight_decay), "0 to 1"),
            ("average_decay", (0.0..1.0).contains(&self.average_decay), "0 to less than 1"),
            ("statistics_batches", self.statistics_batches > 0, "at least 1"),
            ("hard_weight", not_negative(self.hard_weight), "0 or more"),
            ("hard_share", share(self.hard_share), "0 to 1"),
            ("gain", (0.0..1.0).contains(&self.gain), "0 to less than 1"),
            ("brightness", not_negative(self.brightness), "0 or more"),
            ("noise", not_negative(self.noise), "0 or more"),
            ("resize", (0.0..=1.0).contains(&self.resize), "0 to 1"),
            ("gamma", (0.0..=2.0).contains(&self.gamma), "0 to 2"),
            ("blur", (0.0..=0.8).contains(&self.blur), "0 to 0.8"),
            ("save_every", self.save_every > 0, "at least 1"),
        ];
        match rules.into_iter().find(|(_, valid, _)| !valid) {
            Some((field, _, wanted)) => Err(Error::Config { field, wanted }),
            None => Ok(()),
        }
    }
}
