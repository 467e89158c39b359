//! Training batches: crops of frame stacks, jittered, with the labels of their cells.
//!
//! Everything about crop `i` of step `s` is drawn from a random stream of its own, so crops are made
//! in parallel and a resumed run draws the very same ones.

use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::config::{CropSize, LocalConfig};
use super::jitter::Jitter;
use super::labels::to_cells;
use super::view::View;
use super::{Error, LumaClip};
use crate::random;

/// What a random stream is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Weights = 1,
    Crop = 2,
    Dropout = 3,
    Statistics = 4,
    NoiseTable = 5,
}

/// The random stream number `index` of a purpose.
pub(super) fn random(seed: u64, purpose: Purpose, index: u64) -> ChaCha8Rng {
    random::stream(seed, purpose as u8, index)
}

/// Inputs and cell labels of one step.
pub(super) struct Batch {
    /// `[batch, inputs, height, width]`.
    pub stacks: Vec<f32>,
    /// `[batch, ⌈height/4⌉ · ⌈width/4⌉]`.
    pub cells: Vec<u8>,
}

/// Makes batches from clips.
pub(super) struct Sampler<'a> {
    normals: &'a [LumaClip],
    pseudo: &'a [LumaClip],
    config: &'a LocalConfig,
    crop: CropSize,
    seed: u64,
    /// Standard normal deviates; rows of noise are cut out of it at random places, which is a
    /// hundred times cheaper than drawing each value and as good for a jitter.
    noise: Vec<f32>,
}

const NOISE_TABLE: usize = 1 << 16;

impl<'a> Sampler<'a> {
    /// Checks the clips and settles on the size of crops.
    pub fn new(
        normals: &'a [LumaClip],
        pseudo: &'a [LumaClip],
        config: &'a LocalConfig,
        seed: u64,
    ) -> Result<Self, Error> {
        if pseudo.is_empty() {
            return Err(Error::NoClips);
        }
        for (set, clips) in [("normal", normals), ("pseudo-abnormal", pseudo)] {
            for (index, clip) in clips.iter().enumerate() {
                clip.validate().map_err(|why| Error::Clip { set, index, why })?;
            }
        }
        let clips = || normals.iter().chain(pseudo);
        let fit = |wanted: usize, smallest: Option<usize>| {
            // At least 8, so that a clip of a few pixels still makes one crop.
            (wanted.min(smallest.unwrap_or(wanted)) / 8 * 8).max(8)
        };
        let crop = CropSize {
            width: fit(config.crop.width, clips().map(|clip| clip.width).min()),
            height: fit(config.crop.height, clips().map(|clip| clip.height).min()),
        };
        if let Some(clip) =
            clips().find(|clip| clip.width < crop.width || clip.height < crop.height)
        {
            return Err(Error::TooSmall { width: clip.width, height: clip.height });
        }
        let mut rng = random(seed, Purpose::NoiseTable, 0);
        // The sum of twelve uniform values less six: mean 0, variance 1.
        let noise = (0..NOISE_TABLE)
            .map(|_| (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0)
            .collect();
        Ok(Self { normals, pseudo, config, crop, seed, noise })
    }

    /// Size of the crops.
    pub fn crop(&self) -> CropSize {
        self.crop
    }

    /// The batch of a step; `purpose` tells training batches from those for statistics.
    pub fn batch(&self, purpose: Purpose, step: usize) -> Result<Batch, Error> {
        let size = self.config.batch;
        let stack = self.config.inputs() * self.crop.width * self.crop.height;
        let mut stacks = vec![0f32; size * stack];
        let normals = if self.normals.is_empty() {
            0
        } else {
            // A hair added, so that a third of twelve is four whatever the rounding.
            ((size as f64 * self.config.normal_share + 1e-6) as usize).min(size)
        };
        let cells: Vec<Vec<u8>> = stacks
            .par_chunks_mut(stack)
            .enumerate()
            .map(|(index, stack)| {
                let mut rng = random(self.seed, purpose, (step * size + index) as u64);
                let (set, clips) = if index < normals {
                    ("normal", self.normals)
                } else {
                    ("pseudo-abnormal", self.pseudo)
                };
                let at = rng.random_range(0..clips.len());
                let labels = self.draw(&clips[at], &mut rng, stack);
                match labels.iter().find(|label| {
                    **label != super::IGNORED && usize::from(**label) > self.config.kinds.len()
                }) {
                    Some(label) => {
                        let why = format!("label {label} of {} kinds", self.config.kinds.len());
                        Err(Error::Clip { set, index: at, why })
                    }
                    None => Ok(to_cells(&labels, self.crop.width, self.crop.height)),
                }
            })
            .collect::<Result<_, _>>()?;
        Ok(Batch { stacks, cells: cells.concat() })
    }

    /// Writes one crop's stack `[inputs, height, width]` and gives the labels of its pixels.
    fn draw(&self, clip: &LumaClip, rng: &mut ChaCha8Rng, stack: &mut [f32]) -> Vec<u8> {
        let CropSize { width, height } = self.crop;
        let time = self.draw_time(clip, rng);
        let span = self.draw_span(clip, rng);
        let (left, top) = self.draw_place(clip, time, span, rng);
        let view = View::new(self.crop, span, clip.width, left, top);
        let jitter = Jitter::draw(self.config, rng);
        let frame = |offset: i32, rng: &mut ChaCha8Rng, out: &mut [f32]| {
            let last = clip.frames.len() as i64 - 1;
            let at = (time as i64 + i64::from(offset)).clamp(0, last) as usize;
            for (y, row) in out.chunks_exact_mut(width).enumerate() {
                view.levels(&clip.frames[at], &jitter.tone, y, row);
            }
            jitter.blur(out, width);
            for row in out.chunks_exact_mut(width) {
                let noise = &self.noise[rng.random_range(0..NOISE_TABLE - width)..][..width];
                jitter.finish(row, noise);
            }
        };
        let (centre, rest) = stack.split_at_mut(width * height);
        frame(0, rng, centre);
        for (offset, out) in self.config.offsets.iter().zip(rest.chunks_exact_mut(width * height)) {
            frame(*offset, rng, out);
            for (value, centre) in out.iter_mut().zip(&*centre) {
                *value = (*value - centre) / self.config.diff_scale;
            }
        }
        for value in centre.iter_mut() {
            *value = (*value - self.config.mean) / self.config.std;
        }
        let mut labels = vec![0u8; width * height];
        if let Some(maps) = &clip.labels {
            for (y, row) in labels.chunks_exact_mut(width).enumerate() {
                view.labels(&maps[time], y, row);
            }
        }
        if jitter.flip {
            stack.chunks_exact_mut(width).for_each(<[f32]>::reverse);
            labels.chunks_exact_mut(width).for_each(<[u8]>::reverse);
        }
        labels
    }

    /// The part of the picture that a crop covers: its own size unless it is resized, and no more
    /// than the clip has.
    fn draw_span(&self, clip: &LumaClip, rng: &mut ChaCha8Rng) -> CropSize {
        if self.config.resize == 0.0 {
            return self.crop;
        }
        let scale = (1.0 + self.config.resize).powf(rng.random_range(-1.0..=1.0));
        let scaled =
            |crop: usize, room: usize| ((crop as f64 * scale).round() as usize).clamp(2, room);
        // One scale for both axes, also where the clip is too small for it.
        let width = scaled(self.crop.width, clip.width);
        let height = scaled(self.crop.height, clip.height);
        let fitting =
            (width as f64 / self.crop.width as f64).min(height as f64 / self.crop.height as f64);
        CropSize {
            width: width.min((self.crop.width as f64 * fitting).round() as usize),
            height: height.min((self.crop.height as f64 * fitting).round() as usize),
        }
    }

    /// A frame whose whole stack lies in the clip; any frame if the clip is too short for that.
    fn draw_time(&self, clip: &LumaClip, rng: &mut ChaCha8Rng) -> usize {
        let before = self.config.offsets.iter().map(|k| (-k).max(0)).max().unwrap_or(0) as usize;
        let after = self.config.offsets.iter().map(|k| (*k).max(0)).max().unwrap_or(0) as usize;
        let frames = clip.frames.len();
        if before + after < frames {
            rng.random_range(before..frames - after)
        } else {
            rng.random_range(0..frames)
        }
    }

    /// Left and top of the part that a crop covers: most often around a changed pixel of a kind drawn among those
    /// present, so that small events are seen as often as large ones.
    fn draw_place(
        &self,
        clip: &LumaClip,
        time: usize,
        span: CropSize,
        rng: &mut ChaCha8Rng,
    ) -> (usize, usize) {
        let CropSize { width, height } = span;
        let (room_x, room_y) = (clip.width - width, clip.height - height);
        let focus = rng.random_bool(self.config.focus);
        if let (true, Some(maps)) = (focus, &clip.labels) {
            let mut counts = [0usize; 255];
            for label in maps[time].iter().filter(|label| **label != super::IGNORED) {
                counts[usize::from(*label)] += 1;
            }
            let present: Vec<usize> = (1..255).filter(|label| counts[*label] > 0).collect();
            if !present.is_empty() {
                let label = present[rng.random_range(0..present.len())];
                let nth = rng.random_range(0..counts[label]);
                let pixel = maps[time]
                    .iter()
                    .enumerate()
                    .filter(|(_, value)| usize::from(**value) == label)
                    .nth(nth)
                    .map_or(0, |(at, _)| at);
                let mut origin = |at: usize, crop: usize, room: usize| {
                    // Not at the very border of the crop, where there is little around it.
                    let margin = crop / 8;
                    (at + margin + 1).saturating_sub(rng.random_range(2 * margin..=crop)).min(room)
                };
                let x = origin(pixel % clip.width, width, room_x);
                return (x, origin(pixel / clip.width, height, room_y));
            }
        }
        (rng.random_range(0..=room_x), rng.random_range(0..=room_y))
    }

    /// A dropout mask `[batch, features, height, width]` at the maps' resolution: `1 / (1 − p)` or
    /// zero with probability `p`.
    pub fn dropout(&self, step: usize, values: usize) -> Vec<f32> {
        let share = self.config.network.dropout;
        let threshold = (share * 65536.0).round() as u32;
        let kept = (65536.0 / (65536.0 - f64::from(threshold))) as f32;
        let size = self.config.batch;
        let mut mask = vec![0f32; size * values];
        mask.par_chunks_mut(values.max(1)).enumerate().for_each(|(index, mask)| {
            let mut rng = random(self.seed, Purpose::Dropout, (step * size + index) as u64);
            let mut bits = vec![0u8; 2 * mask.len()];
            rng.fill_bytes(&mut bits);
            for (value, bits) in mask.iter_mut().zip(bits.as_chunks::<2>().0) {
                let dropped = u32::from(u16::from_le_bytes(*bits)) < threshold;
                *value = if dropped { 0.0 } else { kept };
            }
        });
        mask
    }
}
