//! What the student learns from: frames at its size, on disk, and the teacher's features of them.
//!
//! Frames lie as bytes, `[frames, height, width, 3]`, in a file named by their hash; a batch reads the
//! few that it needs. So hours of footage take no memory, and nothing is written twice.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use model_export::graphs::mobilenetv2::{MEAN, STD};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use video::{Frame, Resizer};

use super::Error;
use super::config::StudentConfig;
use super::network::SNIPPET;
use crate::files;
use crate::hash::hex;
use crate::random;

/// What a random stream is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// A projection that is not fitted.
    Projection = 1,
    /// Order of the runs in one pass over them.
    Order = 2,
    /// Which runs are mirrored.
    Mirror = 3,
}

/// The random stream number `index` of a purpose.
pub(super) fn random(seed: u64, purpose: Purpose, index: u64) -> ChaCha8Rng {
    random::stream(seed, purpose as u8, index)
}

/// Frames at the student's size in a folder.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
    width: usize,
    height: usize,
}

impl Store {
    /// Frames of this size, in a folder that need not be there yet.
    #[must_use]
    pub fn new(folder: &Path, width: usize, height: usize) -> Self {
        Self { folder: folder.to_owned(), width, height }
    }

    /// Writes the frames of a clip's whole snippets, resized; the file's name in the folder, which is
    /// the SHA-256 of their bytes and size.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Frame`].
    pub fn write(&self, frames: &[Frame]) -> Result<String, Error> {
        let mut resizer = Resizer::new();
        let mut resized = Frame::new(self.width, self.height);
        let mut bytes = Vec::new();
        for frame in &frames[..frames.len() / SNIPPET * SNIPPET] {
            resizer.resize(frame, &mut resized)?;
            bytes.extend_from_slice(resized.rgb());
        }
        let hash = Sha256::new()
            .chain_update(format!("{} {}", self.width, self.height))
            .chain_update(&bytes)
            .finalize();
        let name = format!("{}.rgb", hex(&hash));
        let path = self.folder.join(&name);
        if !fs::metadata(&path).is_ok_and(|there| there.len() == bytes.len() as u64) {
            let io = |source| Error::Io { path: path.clone(), source };
            fs::create_dir_all(&self.folder).map_err(io)?;
            files::replace(&path, &bytes).map_err(io)?;
        }
        Ok(name)
    }

    /// Reads consecutive frames as the network takes them, `[frames, 3, height, width]` flat.
    fn read(
        &self,
        name: &str,
        frames: std::ops::Range<usize>,
        mirror: bool,
    ) -> Result<Vec<f32>, Error> {
        let path = self.folder.join(name);
        let io = |source| Error::Io { path: path.clone(), source };
        let (width, plane) = (self.width, self.width * self.height);
        let mut bytes = vec![0u8; frames.len() * plane * 3];
        let mut file = File::open(&path).map_err(io)?;
        file.seek(SeekFrom::Start((frames.start * plane * 3) as u64)).map_err(io)?;
        file.read_exact(&mut bytes).map_err(io)?;
        let mut out = vec![0f32; bytes.len()];
        for (frame, out) in bytes.chunks_exact(plane * 3).zip(out.chunks_exact_mut(plane * 3)) {
            for (channel, out) in out.chunks_exact_mut(plane).enumerate() {
                let (mean, std) = (MEAN[channel], STD[channel]);
                let rows = frame.chunks_exact(width * 3).zip(out.chunks_exact_mut(width));
                for (row, out) in rows {
                    for (x, out) in out.iter_mut().enumerate() {
                        let x = if mirror { width - 1 - x } else { x };
                        *out = (f32::from(row[x * 3 + channel]) - mean) / std;
                    }
                }
            }
        }
        Ok(out)
    }
}

/// A clip with the teacher's features of its snippets.
#[derive(Debug, Clone)]
pub struct Clip {
    /// Its name, for errors.
    pub name: String,
    /// The file of its frames in the store.
    pub frames: String,
    /// Whole snippets.
    pub snippets: usize,
    /// The teacher's features, `[snippets, features]` row by row.
    pub teacher: Vec<f32>,
    /// The same of the mirrored clip; none if it is never shown mirrored.
    pub mirrored: Option<Vec<f32>>,
}

/// Consecutive snippets of a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    clip: usize,
    first: usize,
    snippets: usize,
}

/// Runs of snippets as tensors.
pub(super) struct Batch {
    /// `[frames, 3, height, width]`.
    pub frames: Tensor,
    /// Frames of each run.
    pub runs: Vec<usize>,
    /// The teacher's features `[snippets, features]`.
    pub teacher: Tensor,
}

/// Clips cut into runs.
pub struct Samples {
    store: Store,
    clips: Vec<Clip>,
    runs: Vec<Run>,
    features: usize,
}

impl Samples {
    /// Cuts clips into runs of up to `run` snippets; the last of a clip may share snippets with the
    /// one before it.
    ///
    /// # Errors
    /// [`Error::Clip`] if the teacher has not as many features of a clip as it has snippets.
    pub fn new(
        store: &Store,
        clips: Vec<Clip>,
        run: usize,
        features: usize,
    ) -> Result<Self, Error> {
        let mut runs = Vec::new();
        for (index, clip) in clips.iter().enumerate() {
            let wanted = clip.snippets * features;
            let found = [Some(&clip.teacher), clip.mirrored.as_ref()];
            if let Some(found) = found.into_iter().flatten().find(|f| f.len() != wanted) {
                let why = format!("{} values of the teacher, not {wanted}", found.len());
                return Err(Error::Clip { name: clip.name.clone(), why });
            }
            let snippets = clip.snippets.min(run);
            if snippets == 0 {
                continue;
            }
            for first in (0..clip.snippets).step_by(snippets) {
                let first = first.min(clip.snippets - snippets);
                runs.push(Run { clip: index, first, snippets });
            }
        }
        Ok(Self { store: store.clone(), clips, runs, features })
    }

    /// Number of runs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// Whether there is no run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Snippets of all clips.
    #[must_use]
    pub fn snippets(&self) -> usize {
        self.clips.iter().map(|clip| clip.snippets).sum()
    }

    /// The clips.
    #[must_use]
    pub fn clips(&self) -> &[Clip] {
        &self.clips
    }

    /// SHA-256 over the frames' hashes and the teacher's features, in hexadecimal.
    #[must_use]
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        for clip in &self.clips {
            hash.update(&clip.frames);
            for values in [Some(&clip.teacher), clip.mirrored.as_ref()].into_iter().flatten() {
                values.iter().for_each(|value| hash.update(value.to_le_bytes()));
            }
        }
        hex(&hash.finalize())
    }

    /// Mean and standard deviation of each of the teacher's values over all snippets. Where a value
    /// hardly ever changes, the deviation is a tenth of the usual one, so that its noise is not made
    /// large.
    #[must_use]
    pub fn spread(&self) -> (Vec<f32>, Vec<f32>) {
        let rows = || self.clips.iter().flat_map(|clip| clip.teacher.chunks_exact(self.features));
        let count = rows().count().max(1) as f64;
        let mut mean = vec![0f64; self.features];
        rows().for_each(|row| mean.iter_mut().zip(row).for_each(|(m, v)| *m += f64::from(*v)));
        mean.iter_mut().for_each(|m| *m /= count);
        let mut deviation = vec![0f64; self.features];
        for row in rows() {
            for ((d, value), mean) in deviation.iter_mut().zip(row).zip(&mean) {
                *d += (f64::from(*value) - mean).powi(2);
            }
        }
        deviation.iter_mut().for_each(|d| *d = (*d / count).sqrt());
        let usual = deviation.iter().sum::<f64>() / self.features.max(1) as f64;
        let least = (usual / 10.0).max(f64::from(f32::EPSILON));
        let single = |values: Vec<f64>| values.into_iter().map(|v| v as f32).collect();
        (single(mean), single(deviation.into_iter().map(|d| d.max(least)).collect()))
    }

    /// The batch of a step, from 0: in every pass each run comes once, in an order of its own.
    pub(super) fn batch(
        &self,
        config: &StudentConfig,
        seed: u64,
        step: usize,
        device: &Device,
    ) -> Result<Batch, Error> {
        let total = self.runs.len();
        let mut order = (usize::MAX, Vec::new());
        let drawn: Vec<(Run, bool)> = (0..config.batch)
            .map(|i| {
                let index = step * config.batch + i;
                let pass = index / total;
                if order.0 != pass {
                    let mut rng = random(seed, Purpose::Order, pass as u64);
                    let mut shuffled: Vec<usize> = (0..total).collect();
                    for last in (1..total).rev() {
                        shuffled.swap(last, rng.random_range(0..=last));
                    }
                    order = (pass, shuffled);
                }
                let run = self.runs[order.1[index % total]];
                let mut rng = random(seed, Purpose::Mirror, index as u64);
                let can = config.mirror && self.clips[run.clip].mirrored.is_some();
                (run, can && rng.random::<bool>())
            })
            .collect();
        self.tensors(&drawn, device)
    }

    /// Runs, not mirrored, evenly spread over all, of about `snippets` snippets; with the index of each
    /// one's clip.
    pub(super) fn spread_runs(&self, snippets: usize) -> Vec<(usize, usize)> {
        let all: usize = self.runs.iter().map(|run| run.snippets).sum();
        let total = self.runs.len();
        let count = (total * snippets.min(all)).div_ceil(all.max(1)).min(total);
        (0..count)
            .map(|i| {
                let at = (2 * i + 1) * total / (2 * count);
                (at, self.runs[at].clip)
            })
            .collect()
    }

    /// Some runs, not mirrored.
    pub(super) fn runs(&self, which: &[usize], device: &Device) -> Result<Batch, Error> {
        let runs: Vec<(Run, bool)> = which.iter().map(|at| (self.runs[*at], false)).collect();
        self.tensors(&runs, device)
    }

    fn tensors(&self, runs: &[(Run, bool)], device: &Device) -> Result<Batch, Error> {
        let read = |(run, mirror): &(Run, bool)| {
            let frames = run.first * SNIPPET..(run.first + run.snippets) * SNIPPET;
            self.store.read(&self.clips[run.clip].frames, frames, *mirror)
        };
        let frames: Vec<Vec<f32>> = runs.par_iter().map(read).collect::<Result<_, _>>()?;
        let mut teacher = Vec::new();
        for (run, mirror) in runs {
            let clip = &self.clips[run.clip];
            let rows = clip.mirrored.as_ref().filter(|_| *mirror).unwrap_or(&clip.teacher);
            teacher.extend_from_slice(
                &rows[run.first * self.features..(run.first + run.snippets) * self.features],
            );
        }
        let lengths: Vec<usize> = runs.iter().map(|(run, _)| run.snippets * SNIPPET).collect();
        let shape = (lengths.iter().sum::<usize>(), 3, self.store.height, self.store.width);
        let snippets = teacher.len() / self.features;
        Ok(Batch {
            frames: Tensor::from_vec(frames.concat(), shape, device)?,
            runs: lengths,
            teacher: Tensor::from_vec(teacher, (snippets, self.features), device)?,
        })
    }
}
