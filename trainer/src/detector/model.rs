//! UR-DMU: dual memory units with uncertainty regulation (arXiv 2302.05160).

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use super::memory::{recall, recall_augmentation};
use super::noise::Noise;
use super::ops::{linear, sigmoid, top_k_weights, weighted_rows};
use super::parameters::Parameters;
use super::{Bag, Error, ModelSize, attention, embedding};

/// Snippets of a video that are scored together: more than seven hours at ten frames a second.
pub const LONGEST_VIDEO: usize = 1 << 14;

/// Cells that are scored at once: keeps the memory of a long video's evaluation down.
const CELLS_AT_ONCE: usize = 256;

/// The network: its sizes and parameters.
#[derive(Debug, Clone)]
pub struct UrDmu {
    /// Sizes.
    pub size: ModelSize,
    /// Parameters by their public names.
    pub parameters: Parameters,
}

/// What a training pass gives to the losses. B normal and B pseudo-abnormal videos, T instances,
/// embedding E. "By A" and "by N" is attention of the abnormal and of the normal memory.
///
/// Instances are a video's snippets; with cells, its (snippet, cell) pairs, cell by cell.
#[derive(Debug)]
pub struct TrainOutput {
    /// Instances that count as a video's highest.
    pub top: usize,
    /// Where it is known: which instances of the pseudo videos are changed, 1 or 0, `[B, T]`, and the
    /// scores of all without the noise of training, `[2B, T]`; for
    /// [`losses::instances`](super::losses::instances).
    pub known: Option<(Tensor, Tensor)>,
    /// Scores `[2B, T]`, normal videos first.
    pub scores: Tensor,
    /// Attention of abnormal videos by A, `[B, T]`.
    pub abnormal_by_a: Tensor,
    /// Attention of abnormal videos by N, `[B, T]`.
    pub abnormal_by_n: Tensor,
    /// Attention of normal videos by A, `[B, T]`.
    pub normal_by_a: Tensor,
    /// Attention of normal videos by N, `[B, T]`.
    pub normal_by_n: Tensor,
    /// Encoded instances of all videos, `[2B, T, E]`.
    pub encoded: Tensor,
    /// Encoded instances of the abnormal videos, `[B, T, E]`.
    pub abnormal: Tensor,
    /// Mean of the normal videos' instances that N attends to most, `[B, E]`.
    pub anchor: Tensor,
    /// Mean of the abnormal videos' instances that N attends to most, `[B, E]`.
    pub positive: Tensor,
    /// Mean of the abnormal videos' instances that A attends to most, `[B, E]`.
    pub negative: Tensor,
    /// As `anchor`, of the sampled normal augmentation.
    pub anchor_augmented: Tensor,
    /// As `negative`, of the abnormal augmentation.
    pub negative_augmented: Tensor,
    /// μ of the normal videos' normal augmentation, `[B, T, E]`.
    pub mean: Tensor,
    /// Log-variance of the same, `[B, T, E]`.
    pub log_var: Tensor,
    /// Normal stream of the real videos: `mean` averaged over the instances, `[B, E]`.
    pub normal_stream_real: Tensor,
    /// Normal stream of the pseudo videos: μ of their normal augmentation, averaged alike, `[B, E]`.
    pub normal_stream_pseudo: Tensor,
}

impl UrDmu {
    /// Loads a network from tensors with the names of the public checkpoints; other names are
    /// passed over. All sizes follow from the shapes, except the number of `heads` (published: 4).
    ///
    /// # Errors
    /// [`Error::Tensor`] naming the first tensor that is missing or does not fit.
    pub fn from_tensors(
        tensors: &BTreeMap<String, Tensor>,
        heads: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Self, Error> {
        let dim = |name: &str, axis: usize| {
            let problem = match tensors.get(name).map(|t| t.dims()) {
                None => "is missing: not a UR-DMU checkpoint".to_owned(),
                Some(dims) => match dims.get(axis) {
                    Some(&n) if n > 0 => return Ok(n),
                    _ => format!("has shape {dims:?}"),
                },
            };
            Err(Error::Tensor { name: name.to_owned(), problem })
        };
        let qkv = "selfatt.layers.0.0.fn.to_qkv.weight";
        let inner = dim(qkv, 0)?;
        if heads == 0 || inner % (4 * heads) != 0 {
            return Err(Error::Tensor {
                name: qkv.into(),
                problem: format!("has {inner} rows, not a multiple of 4 x {heads} heads"),
            });
        }
        let layer =
            |i: usize| tensors.contains_key(&format!("selfatt.layers.{i}.0.fn.to_qkv.weight"));
        let size = ModelSize {
            feature_size: dim("embedding.conv_1.0.weight", 1)?,
            embedding: dim("embedding.conv_1.0.weight", 0)?,
            layers: (0..).take_while(|&i| layer(i)).count(),
            heads,
            head_size: inner / (4 * heads),
            feed_forward: dim("selfatt.layers.0.1.fn.net.0.weight", 0)?,
            abnormal_slots: dim("Amemory.memory_block", 0)?,
            normal_slots: dim("Nmemory.memory_block", 0)?,
            classifier_hidden: dim("cls_head.mlp.0.weight", 0)?,
        };
        let parameters = Parameters::from_tensors(tensors, &size, None, dtype, device)?;
        Ok(Self { size, parameters })
    }

    /// Embedding and transformer; `[N, T, D]` to `[N, T, E]`.
    fn encode(
        &self,
        features: &Tensor,
        dropout: f64,
        noise: &mut Option<&mut dyn Noise>,
    ) -> Result<Tensor, Error> {
        let x = embedding::forward(
            features,
            self.parameters.get("embedding.conv_1.0.weight")?,
            self.parameters.get("embedding.conv_1.0.bias")?,
        )?;
        attention::forward(&self.parameters, &self.size, &x, dropout, noise)
    }

    fn dense(&self, name: &str, x: &Tensor) -> Result<Tensor, Error> {
        let weight = self.parameters.get(&format!("{name}.weight"))?;
        let bias = self.parameters.get(&format!("{name}.bias"))?;
        Ok(linear(x, weight, Some(bias))?)
    }

    /// concat(x, augmentation) → ReLU layer → sigmoid; `[N, T, E]` twice to `[N, T]`.
    fn classify(&self, x: &Tensor, augmentation: &Tensor) -> Result<Tensor, Error> {
        // The weight is cut in two instead of the inputs put side by side, which are far larger.
        let (weight, e) = (self.parameters.get("cls_head.mlp.0.weight")?, self.size.embedding);
        let bias = self.parameters.get("cls_head.mlp.0.bias")?;
        let own = linear(x, &weight.narrow(1, 0, e)?, Some(bias))?;
        let y = (own + linear(augmentation, &weight.narrow(1, e, e)?, None)?)?.relu()?; // [N, T, hidden]
        Ok(sigmoid(&self.dense("cls_head.mlp.2", &y)?.squeeze(2)?)?) // [N, T]
    }

    /// The training pass over the snippets of videos; `features` `[2B, T, D]`, the B normal videos
    /// first. A video's highest are its T / 16 + 1 highest snippets, as in UR-DMU.
    ///
    /// # Errors
    /// If shapes do not fit, an activation is not finite, or memory is short.
    pub fn train_forward(
        &self,
        features: &Tensor,
        dropout: f64,
        noise: &mut dyn Noise,
    ) -> Result<TrainOutput, Error> {
        self.train_cells(&features.unsqueeze(1)?, None, 16, dropout, noise)
    }

    /// The training pass over the cells of videos; `features` `[2B, C, S, D]`, C cells with a time
    /// series of S snippets each, the B normal videos first; `changed` `[B, C · S]`, 1 or 0, which
    /// instances of the pseudo videos are changed, if that is known.
    ///
    /// Embedding and transformer see one cell's time series at a time. Everything after them works on
    /// the T = C · S instances of a video, of which the T / `share` + 1 highest are a video's highest.
    ///
    /// # Errors
    /// As [`UrDmu::train_forward`].
    pub fn train_cells(
        &self,
        features: &Tensor,
        changed: Option<&Tensor>,
        share: usize,
        dropout: f64,
        noise: &mut dyn Noise,
    ) -> Result<TrainOutput, Error> {
        let (videos, cells, s, d) = features.dims4()?;
        let t = cells * s;
        let (b, k) = (videos / 2, t / share.max(1) + 1);
        let e = self.size.embedding;
        let series = features.reshape((videos * cells, s, d))?;
        let encoded = self.encode(&series, dropout, &mut Some(&mut *noise))?; // [2B · C, S, E]
        let encoded = encoded.reshape((videos, t, e))?; // [2B, T, E]
        let by_a = recall(&encoded, self.parameters.get("Amemory.memory_block")?)?;
        let by_n = recall(&encoded, self.parameters.get("Nmemory.memory_block")?)?;
        let normal_half = |x: &Tensor| x.narrow(0, 0, b);
        let abnormal_half = |x: &Tensor| x.narrow(0, b, b);

        // Uncertainty: the normal videos' normal augmentation is sampled, all else is its mean.
        let mu_a = self.dense("encoder_mu.0", &by_a.augmentation)?; // [2B, T, E]
        let mu_n = self.dense("encoder_mu.0", &by_n.augmentation)?;
        let mean = normal_half(&mu_n)?; // [B, T, E]
        let log_var = self.dense("encoder_var.0", &normal_half(&by_n.augmentation)?)?;
        let eps = noise.normal((b, t, e), &mean)?;
        let deviation = ((&log_var / 2.0)?.exp()? * eps)?; // [B, T, E]
        let expected = (&mu_a + &mu_n)?;
        let known = match changed {
            Some(changed) => Some((changed.clone(), self.classify(&encoded, &expected)?)),
            None => None,
        };
        let augmentation = (expected + deviation.pad_with_zeros(0, 0, b)?)?;
        let scores = self.classify(&encoded, &augmentation)?; // [2B, T]

        let (abnormal_by_a, abnormal_by_n) =
            (abnormal_half(&by_a.attention)?, abnormal_half(&by_n.attention)?);
        let normal_by_n = normal_half(&by_n.attention)?;
        let (normal, abnormal) = (normal_half(&encoded)?, abnormal_half(&encoded)?);
        let chosen_anchor = top_k_weights(&normal_by_n, k)?; // [B, T]
        let chosen_negative = top_k_weights(&abnormal_by_a, k)?;
        let pseudo_mean = abnormal_half(&mu_n)?;
        Ok(TrainOutput {
            top: k,
            known,
            anchor: weighted_rows(&normal, &chosen_anchor)?,
            positive: weighted_rows(&abnormal, &top_k_weights(&abnormal_by_n, k)?)?,
            negative: weighted_rows(&abnormal, &chosen_negative)?,
            anchor_augmented: weighted_rows(&(&mean + &deviation)?, &chosen_anchor)?,
            negative_augmented: weighted_rows(&abnormal_half(&mu_a)?, &chosen_negative)?,
            normal_by_a: normal_half(&by_a.attention)?,
            normal_stream_real: mean.mean(1)?,
            normal_stream_pseudo: pseudo_mean.mean(1)?,
            scores,
            abnormal_by_a,
            abnormal_by_n,
            normal_by_n,
            encoded,
            abnormal,
            mean,
            log_var,
        })
    }

    /// The evaluation pass: no noise, no dropout; `[N, T, D]` to scores `[N, T]` in 0 to 1.
    ///
    /// # Errors
    /// If shapes do not fit or memory is short.
    pub fn eval_forward(&self, features: &Tensor) -> Result<Tensor, Error> {
        let x = self.encode(features, 0.0, &mut None)?; // [N, T, E]
        let a = recall_augmentation(&x, self.parameters.get("Amemory.memory_block")?)?;
        let n = recall_augmentation(&x, self.parameters.get("Nmemory.memory_block")?)?;
        let augmentation = (self.dense("encoder_mu.0", &a)? + self.dense("encoder_mu.0", &n)?)?;
        self.classify(&x, &augmentation)
    }

    /// Scores of a bag's instances `[snippets, cells]`, in 0 to 1. With cells, runs of at most `run`
    /// snippets are scored together, as in training and as the camera's window does; of a rest at the
    /// end the last `run` snippets.
    ///
    /// # Errors
    /// [`Error::Bag`] if the bag does not fit; if memory is short.
    pub fn bag_scores(&self, bag: &Bag, run: usize) -> Result<Vec<f32>, Error> {
        bag.validate("scored", self.size.feature_size)?;
        if bag.cells == 1 {
            return self.scores(&bag.features);
        }
        let run = run.clamp(1, bag.snippets);
        let like = self.parameters.get("Amemory.memory_block")?;
        let mut scores = vec![0.0; bag.snippets * bag.cells];
        let mut known = 0;
        while known < bag.snippets {
            let first = known.min(bag.snippets - run);
            let all: Vec<usize> = (0..bag.cells).collect();
            for cells in all.chunks(CELLS_AT_ONCE) {
                let (features, _) = bag.instances(cells, first..first + run, run);
                let x = Tensor::from_vec(features, (cells.len(), run, bag.d), like.device())?;
                let found = self.eval_forward(&x.to_dtype(like.dtype())?)?; // [cells, run]
                for (cell, row) in cells.iter().zip(found.to_dtype(DType::F32)?.to_vec2::<f32>()?) {
                    for snippet in known..first + run {
                        scores[snippet * bag.cells + cell] = row[snippet - first];
                    }
                }
            }
            known = first + run;
        }
        Ok(scores)
    }

    /// Scores of one video; `features` row-major `[T, D]`, one score a snippet, in 0 to 1. A video of
    /// more than [`LONGEST_VIDEO`] snippets is scored in parts, each seen with what lies around it.
    ///
    /// # Errors
    /// [`Error::Features`] if the features are empty, not whole rows, or not finite.
    pub fn scores(&self, features: &[f32]) -> Result<Vec<f32>, Error> {
        self.scores_within(features, LONGEST_VIDEO)
    }

    /// As [`UrDmu::scores`] with at most `longest` snippets seen at once. The attention compares each
    /// snippet with each other, so that a video twice as long takes four times as long.
    fn scores_within(&self, features: &[f32], longest: usize) -> Result<Vec<f32>, Error> {
        let d = self.size.feature_size;
        if features.is_empty() || !features.len().is_multiple_of(d) {
            return Err(Error::Features(format!(
                "{} values are not one or more rows of {d}",
                features.len()
            )));
        }
        if let Some(at) = features.iter().position(|v| !v.is_finite()) {
            return Err(Error::Features(format!(
                "value {} at snippet {}, channel {}",
                features[at],
                at / d,
                at % d
            )));
        }
        let snippets = features.len() / d;
        if snippets > longest {
            let part = (longest / 2).max(1);
            let mut scores = Vec::with_capacity(snippets);
            for first in (0..snippets).step_by(part) {
                let last = (first + part).min(snippets);
                // As much before as after, unless an end is near.
                let from = first.saturating_sub(part / 2).min(snippets - longest);
                let seen = self.scores_within(&features[from * d..][..longest * d], longest)?;
                scores.extend_from_slice(&seen[first - from..last - from]);
            }
            return Ok(scores);
        }
        let like = self.parameters.get("Amemory.memory_block")?;
        let x = Tensor::from_slice(features, (1, features.len() / d, d), like.device())?;
        let scores = self.eval_forward(&x.to_dtype(like.dtype())?)?;
        Ok(scores.squeeze(0)?.to_dtype(DType::F32)?.to_vec1()?)
    }
}

/// Evaluation scores of one video by published weights (4 heads) on the CPU in `f32`; `features`
/// row-major `[T, d]`, one score a snippet. To score many videos, keep a [`UrDmu`].
///
/// # Errors
/// [`Error::Tensor`] or [`Error::Features`], naming what does not fit.
pub fn scores(tensors: &BTreeMap<String, Tensor>, features: &[f32]) -> Result<Vec<f32>, Error> {
    let heads = ModelSize::default().heads;
    UrDmu::from_tensors(tensors, heads, DType::F32, &Device::Cpu)?.scores(features)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::checkpoint;
    use super::*;

    #[test]
    fn a_long_video_is_scored_in_parts_with_what_lies_around_them() {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/public_b.weights.safetensors");
        let tensors = checkpoint::read(Path::new(path)).unwrap();
        let model =
            UrDmu::from_tensors(&tensors, ModelSize::default().heads, DType::F32, &Device::Cpu)
                .unwrap();
        let d = model.size.feature_size;
        let features: Vec<f32> = (0..50 * d).map(|i| (i * 7919 % 1000) as f32 / 1000.0).collect();
        let within = |range: std::ops::Range<usize>| {
            model.scores(&features[range.start * d..range.end * d]).unwrap()
        };
        let found = model.scores_within(&features, 20).unwrap();
        assert_eq!(found.len(), 50);
        // The first part sees what follows, one in the middle five snippets to each side, the last
        // what comes before.
        assert_eq!(found[..10], within(0..20)[..10]);
        assert_eq!(found[20..30], within(15..35)[5..15]);
        assert_eq!(found[40..], within(30..50)[10..]);
        assert_eq!(model.scores_within(&features, 50).unwrap(), within(0..50));
    }
}
