//! Configuration of the detector and of its training.

use serde::{Deserialize, Serialize};

use super::Error;

/// Sizes of the network. The defaults are those of UR-DMU's public code (`model.py`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSize {
    /// Length of a snippet's feature vector. Default 1024 (I3D).
    pub feature_size: usize,
    /// Width of the embedding, E. Default 512.
    pub embedding: usize,
    /// Layers of the global-local transformer. Default 2.
    pub layers: usize,
    /// Attention heads. Default 4.
    pub heads: usize,
    /// Width of a head. Default 128.
    pub head_size: usize,
    /// Width of the feed-forward part. Default 512.
    pub feed_forward: usize,
    /// Slots of the abnormal memory. Default 60.
    pub abnormal_slots: usize,
    /// Slots of the normal memory. Default 60.
    pub normal_slots: usize,
    /// Hidden width of the classifier. Default 128.
    pub classifier_hidden: usize,
}

impl Default for ModelSize {
    fn default() -> Self {
        Self {
            feature_size: 1024,
            embedding: 512,
            layers: 2,
            heads: 4,
            head_size: 128,
            feed_forward: 512,
            abnormal_slots: 60,
            normal_slots: 60,
            classifier_hidden: 128,
        }
    }
}

/// Weights of UR-DMU's auxiliary terms beside the classification, whose weight is 1. A weight of 0
/// turns its term off. The defaults are those of UR-DMU's public `train.py`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TermWeights {
    /// The abnormal memory knows something in each abnormal video. Default 0.1.
    pub abnormal_in_a: f64,
    /// The normal memory misses something in each abnormal video. Default 0.1.
    pub abnormal_not_in_n: f64,
    /// The normal memory knows every normal snippet. Default 0.1.
    pub normal_in_n: f64,
    /// The abnormal memory knows no normal snippet. Default 0.1.
    pub normal_not_in_a: f64,
    /// Separation of the two memories. Default 0.1.
    pub triplet: f64,
    /// Divergence of the normal augmentation from the standard normal. Default 0.001.
    pub kl: f64,
    /// Separation of the magnitudes. Default 0.0001.
    pub distance: f64,
    /// Beyond the paper: the instances that the synthesizer is known to have changed score high, all
    /// normal ones low. Default 0, off.
    pub instances: f64,
}

impl Default for TermWeights {
    fn default() -> Self {
        Self {
            abnormal_in_a: 0.1,
            abnormal_not_in_n: 0.1,
            normal_in_n: 0.1,
            normal_not_in_a: 0.1,
            triplet: 0.1,
            kl: 0.001,
            distance: 0.0001,
            instances: 0.0,
        }
    }
}

/// Model selection and early stopping on bags kept out of training: real normal and pseudo-abnormal
/// ones. Real abnormal video has no way in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ValidationConfig {
    /// Steps between two validations; 0 for none: every bag is trained on and the last step's
    /// weights are kept. Default 0.
    pub every: usize,
    /// Share of the normal bags, and of the pseudo-abnormal ones, kept out of training. Default 0.2.
    pub share: f64,
    /// Validations in a row without a better one after which training ends; 0 to go on to the last
    /// step. Default 0.
    pub patience: usize,
}

impl Default for ValidationConfig {
    fn default() -> Self {
        Self { every: 0, share: 0.2, patience: 0 }
    }
}

/// How a bag comes to a fixed number of snippets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Spans {
    /// The whole video, averaged over equal spans, as in UR-DMU.
    Average,
    /// A run of consecutive snippets, drawn anew each time: a cell's features averaged over minutes
    /// are those of nothing that ever happened there. A shorter video repeats its snippets.
    Run,
}

/// How the detector is trained. Unknown fields are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetectorConfig {
    /// Snippets to which each video is averaged, T. Default 200 (UR-DMU, `ucf_main.py`).
    pub segments: usize,
    /// How a video comes to `segments` snippets. Default `average` (UR-DMU).
    pub spans: Spans,
    /// Of a video's T instances the T / `top_share` + 1 highest stand for it. Default 16 (UR-DMU); with
    /// cells an event is a smaller share of a video.
    pub top_share: usize,
    /// Cells of a video looked at in a step, drawn anew each time; 0 for all. Default 0.
    pub cells: usize,
    /// Normal videos, and as many pseudo-abnormal ones, in a step. Default 32 (UR-DMU uses 64).
    pub batch: usize,
    /// Steps. Default 3000 (UR-DMU, `options.py`).
    pub steps: usize,
    /// Adam's learning rate. Default 1e-4 (UR-DMU; PA-VAD 1e-4 to 1e-5).
    pub lr: f64,
    /// L2 penalty added to the gradients. Default 5e-5 (UR-DMU, `ucf_main.py`).
    pub weight_decay: f64,
    /// Dropout in the transformer. Default 0.5 (UR-DMU).
    pub dropout: f64,
    /// Domain alignment on. Default true.
    pub use_da: bool,
    /// Usage-aware memory update on. Default true.
    pub use_upd: bool,
    /// Weight λ1 of the domain alignment. Default 1.0 (PA-VAD).
    pub lambda1: f64,
    /// Weight λ2 of the memory update. Default 0.1 (PA-VAD).
    pub lambda2: f64,
    /// Exponent β of a slot's inverse usage. Default 1.0 (PA-VAD).
    pub beta: f64,
    /// Strength of the gradient reversal. Default 0.1 (PA-VAD: 0.1 to 0.2).
    pub grl_strength: f64,
    /// Hidden width of the domain discriminator. Default 128, UR-DMU's classifier's.
    pub discriminator_hidden: usize,
    /// Let the memory update move the slots only, and not the features that they are pulled to.
    /// Default false: the formula of PA-VAD without a stop-gradient, which also keeps the
    /// abnormal features' norms near those of the slots.
    pub update_stop_gradient: bool,
    /// Steps between two saves of the training state. Default 100.
    pub checkpoint_every: usize,
    /// Weights of UR-DMU's auxiliary terms.
    pub weights: TermWeights,
    /// Model selection and early stopping.
    pub validation: ValidationConfig,
    /// Sizes of the network.
    pub model: ModelSize,
}

impl Default for DetectorConfig {
    fn default() -> Self {
        Self {
            segments: 200,
            spans: Spans::Average,
            top_share: 16,
            cells: 0,
            batch: 32,
            steps: 3000,
            lr: 1e-4,
            weight_decay: 5e-5,
            dropout: 0.5,
            use_da: true,
            use_upd: true,
            lambda1: 1.0,
            lambda2: 0.1,
            beta: 1.0,
            grl_strength: 0.1,
            discriminator_hidden: 128,
            update_stop_gradient: false,
            checkpoint_every: 100,
            weights: TermWeights::default(),
            validation: ValidationConfig::default(),
            model: ModelSize::default(),
        }
    }
}

impl DetectorConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field out of range.
    pub fn validate(&self) -> Result<(), Error> {
        let m = &self.model;
        for (field, value) in [
            ("segments", self.segments),
            ("top_share", self.top_share),
            ("batch", self.batch),
            ("steps", self.steps),
            ("discriminator_hidden", self.discriminator_hidden),
            ("checkpoint_every", self.checkpoint_every),
            ("model.feature_size", m.feature_size),
            ("model.embedding", m.embedding),
            ("model.layers", m.layers),
            ("model.heads", m.heads),
            ("model.head_size", m.head_size),
            ("model.feed_forward", m.feed_forward),
            ("model.abnormal_slots", m.abnormal_slots),
            ("model.normal_slots", m.normal_slots),
            ("model.classifier_hidden", m.classifier_hidden),
        ] {
            if value == 0 {
                return Err(Error::Config { field, problem: "must be at least 1, is 0".into() });
            }
        }
        let w = &self.weights;
        for (field, value) in [
            ("weights.abnormal_in_a", w.abnormal_in_a),
            ("weights.abnormal_not_in_n", w.abnormal_not_in_n),
            ("weights.normal_in_n", w.normal_in_n),
            ("weights.normal_not_in_a", w.normal_not_in_a),
            ("weights.triplet", w.triplet),
            ("weights.kl", w.kl),
            ("weights.distance", w.distance),
            ("weights.instances", w.instances),
            ("weight_decay", self.weight_decay),
            ("lambda1", self.lambda1),
            ("lambda2", self.lambda2),
            ("beta", self.beta),
            ("grl_strength", self.grl_strength),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::Config {
                    field,
                    problem: format!("must be finite and not negative, is {value}"),
                });
            }
        }
        if !(self.lr.is_finite() && self.lr > 0.0) {
            return Err(Error::Config {
                field: "lr",
                problem: format!("must be finite and greater than 0, is {}", self.lr),
            });
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::Config {
                field: "dropout",
                problem: format!("must be at least 0 and less than 1, is {}", self.dropout),
            });
        }
        if !(self.validation.share > 0.0 && self.validation.share <= 0.5) {
            return Err(Error::Config {
                field: "validation.share",
                problem: format!(
                    "must be greater than 0 and at most 0.5, is {}",
                    self.validation.share
                ),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_refused_and_missing_ones_have_defaults() {
        let config: DetectorConfig = toml::from_str("steps = 7\n[model]\nheads = 2\n").unwrap();
        assert_eq!((config.steps, config.model.heads, config.segments), (7, 2, 200));
        let error = toml::from_str::<DetectorConfig>("stepz = 7").unwrap_err().to_string();
        assert!(error.contains("stepz"), "{error}");
    }

    #[test]
    fn values_out_of_range_name_their_field() {
        let bad = |change: fn(&mut DetectorConfig)| {
            let mut config = DetectorConfig::default();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert!(bad(|c| c.lr = f64::NAN).contains("lr must be"));
        assert!(bad(|c| c.dropout = 1.0).contains("dropout must be"));
        assert!(bad(|c| c.model.heads = 0).contains("model.heads"));
        assert!(bad(|c| c.lambda1 = -1.0).contains("lambda1"));
        assert!(bad(|c| c.weights.kl = f64::INFINITY).contains("weights.kl"));
        assert!(bad(|c| c.validation.share = 0.0).contains("validation.share"));
        DetectorConfig::default().validate().unwrap();
    }
}
