//! From footage and classes to a plan.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use image::{ExtendedColorType, ImageEncoder as _};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use video::{Frame, Reader, encode_jpeg};

use super::cache::Cache;
use super::line::{CompositeJob, Plan, PlanLine, PromptFrom, Scene, Scores};
use super::pool::{self, PoolFrame, Video};
use super::select::{Score, score, select};
use super::{DiffusionJob, Error};
use crate::clip::Clip;
use crate::footage;
use crate::hash::hex;
use crate::synthesis::classes::{Class, Classes};
use crate::synthesis::refine::{PromptRefiner, RefineError};

/// Candidates whose embeddings are computed together.
const BATCH: usize = 32;
/// Quality of the JPEG that a language model is shown.
const JPEG_QUALITY: u8 = 92;
/// After so many frames in a row for which the server was not there, it is not asked again.
const PATIENCE: usize = 3;

/// Makes plans.
pub struct Planner<'a> {
    /// The classes.
    pub classes: &'a Classes,
    /// Chooses the frames; without it they are drawn at random.
    pub clip: Option<&'a Clip>,
    /// Writes the descriptions; without it the class phrases are used.
    pub refiner: Option<&'a dyn PromptRefiner>,
    /// Requests to the refiner at once.
    pub requests: usize,
    /// Seed of the plan.
    pub seed: u64,
    /// Folder for what need not be computed again.
    pub cache: &'a Path,
    /// Set to stop.
    pub stop: &'a AtomicBool,
    /// Called with what is done, how much of it, and how much there is.
    pub progress: &'a (dyn Fn(&'static str, usize, usize) + Sync),
}

/// What the videos offer.
struct Candidates {
    frames: Vec<PoolFrame>,
    /// Of each video's content.
    hashes: Vec<String>,
    /// Of each frame; empty without CLIP.
    embeddings: Vec<Vec<f32>>,
}

/// A plan and the pictures it names.
#[derive(Debug)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// PNG files by their path relative to the plan.
    pub pictures: BTreeMap<String, Vec<u8>>,
    /// Frames in the pool.
    pub pool: usize,
    /// Frames sampled, near-duplicates among them left out only within their own video.
    pub candidates: usize,
}

/// A frame chosen for a class.
struct Choice<'c> {
    class: &'c Class,
    /// Index in the pool.
    frame: usize,
    scores: Option<Scores>,
}

/// A chosen frame as it is kept.
struct Picture {
    name: String,
    sha256: String,
    png: Vec<u8>,
    jpeg: Vec<u8>,
    width: usize,
    height: usize,
}

impl Planner<'_> {
    /// Plans clips from the normal videos of a folder.
    ///
    /// # Errors
    /// [`Error`].
    pub fn plan(&self, normal: &Path) -> Result<Planned, Error> {
        let cache = Cache::open(self.cache)?;
        let videos = pool::videos(normal)?;
        let Candidates { frames, hashes, embeddings } = self.candidates(&videos, &cache)?;
        let scenes = pool::scenes(&videos, &frames, self.classes.pool.scenes);
        let kept = pool::distinct(&frames, &scenes, self.classes.pool.difference as f32);
        if kept.is_empty() {
            return Err(Error::NoFrames { path: normal.into() });
        }
        let names = scene_names(&videos, &hashes, &scenes);
        let choices = self.choose(&kept, &frames, &videos, &scenes, &embeddings)?;
        let pictures = self.pictures(&choices, &frames, &videos)?;
        let descriptions = self.descriptions(&choices, &pictures, &cache)?;
        let mut lines = Vec::with_capacity(choices.len());
        for (choice, description) in choices.iter().zip(descriptions) {
            let video = frames[choice.frame].video;
            let scene = &names[scenes[video]].0;
            lines.push(self.line(
                choice,
                &frames[choice.frame],
                &videos[video],
                scene,
                &pictures[&choice.frame],
                description,
            ));
        }
        let used = |name: &str| lines.iter().any(|l| l.scene == name);
        let scenes = names.into_iter().filter(|(name, _)| used(name)).collect();
        Ok(Planned {
            plan: Plan { lines, scenes },
            pictures: pictures.into_values().map(|p| (p.name, p.png)).collect(),
            pool: kept.len(),
            candidates: frames.len(),
        })
    }

    fn go_on(&self) -> Result<(), Error> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// What every video offers.
    fn candidates(&self, videos: &[Video], cache: &Cache) -> Result<Candidates, Error> {
        let (mut all, mut hashes, mut embeddings) = (Vec::new(), Vec::new(), Vec::new());
        let settings = &self.classes.pool;
        for (index, video) in videos.iter().enumerate() {
            (self.progress)("videos", index, videos.len());
            let hash = content_hash(&video.path)?;
            let Some(clip) = self.clip else {
                all.extend(pool::sample(index, video, settings, |_, _| self.go_on())?);
                hashes.push(hash);
                continue;
            };
            let key = [
                "embeddings",
                clip.fingerprint(),
                &hash,
                &settings.every_seconds.to_string(),
                &settings.difference.to_string(),
            ];
            // Without pictures the candidates take no longer than decoding.
            let frames = pool::sample(index, video, settings, |_, _| self.go_on())?;
            let cached = cache.embeddings(&key, frames.len(), clip.size());
            let own = match cached {
                Some(own) => own,
                None => {
                    let mut own = Vec::with_capacity(frames.len());
                    let mut waiting: Vec<Frame> = Vec::new();
                    pool::sample(index, video, settings, |_, picture| {
                        self.go_on()?;
                        waiting.push(picture.clone());
                        if waiting.len() == BATCH {
                            own.extend(clip.images(&waiting.iter().collect::<Vec<_>>())?);
                            waiting.clear();
                        }
                        Ok(())
                    })?;
                    own.extend(clip.images(&waiting.iter().collect::<Vec<_>>())?);
                    cache.store_embeddings(&key, &own, clip.size())?;
                    own
                }
            };
            all.extend(frames);
            embeddings.extend(own);
            hashes.push(hash);
        }
        (self.progress)("videos", videos.len(), videos.len());
        Ok(Candidates { frames: all, hashes, embeddings })
    }

    /// The frames of each class, best first.
    fn choose(
        &self,
        kept: &[usize],
        frames: &[PoolFrame],
        videos: &[Video],
        scenes: &[usize],
        embeddings: &[Vec<f32>],
    ) -> Result<Vec<Choice<'_>>, Error> {
        let selection = &self.classes.selection;
        let scene_of: Vec<usize> = kept.iter().map(|&i| scenes[frames[i].video]).collect();
        let mut choices = Vec::new();
        for class in &self.classes.classes {
            let k = class.per_class.unwrap_or(selection.per_class);
            if k > kept.len() {
                log::warn!(
                    "class {}: {k} frames are asked for, the pool has {}; add footage or lower \
                     pool.every_seconds",
                    class.name,
                    kept.len()
                );
            }
            let scores: Vec<Score> = match self.clip {
                Some(clip) => {
                    let positive = clip.text(&self.classes.positive_text(class))?;
                    let negative: Vec<Vec<f32>> = self
                        .classes
                        .negative_texts(class)
                        .map(|text| clip.text(text))
                        .collect::<Result<_, _>>()?;
                    let of = |&i: &usize| {
                        let (lambda, how) = (selection.lambda, selection.aggregation);
                        score(&embeddings[i], &positive, &negative, lambda, how)
                    };
                    kept.iter().map(of).collect()
                }
                None => kept
                    .iter()
                    .map(|&i| {
                        let video = &videos[frames[i].video].name;
                        let drawn = draw(self.seed, &[&class.name, video], frames[i].frame);
                        Score { score: drawn as f64, positive: 0.0, negative: 0.0 }
                    })
                    .collect(),
            };
            let values: Vec<f64> = scores.iter().map(|s| s.score).collect();
            for (rank, i) in (1..).zip(select(&values, &scene_of, k, selection.alpha)) {
                let Score { score, positive, negative } = scores[i];
                choices.push(Choice {
                    class,
                    frame: kept[i],
                    scores: self.clip.map(|_| Scores { score, positive, negative, rank }),
                });
            }
        }
        Ok(choices)
    }

    /// The pictures of the chosen frames, by index in the pool; each video is read once.
    fn pictures(
        &self,
        choices: &[Choice<'_>],
        frames: &[PoolFrame],
        videos: &[Video],
    ) -> Result<BTreeMap<usize, Picture>, Error> {
        let mut wanted: BTreeMap<usize, BTreeMap<u64, usize>> = BTreeMap::new();
        for choice in choices {
            let frame = &frames[choice.frame];
            wanted.entry(frame.video).or_default().insert(frame.frame, choice.frame);
        }
        let read = |(video, numbers): (usize, BTreeMap<u64, usize>)| {
            let mut reader = Reader::open(&videos[video].path)?;
            let (mut picture, mut number) = (Frame::default(), 0);
            let mut pictures = Vec::with_capacity(numbers.len());
            while pictures.len() < numbers.len() && reader.read(&mut picture)? {
                if let Some(&index) = numbers.get(&number) {
                    self.go_on()?;
                    pictures.push((index, Picture::new(&picture, &videos[video].path)?));
                }
                number += 1;
            }
            Ok::<_, Error>(pictures)
        };
        let read: Vec<Vec<(usize, Picture)>> =
            wanted.into_par_iter().map(read).collect::<Result<_, _>>()?;
        Ok(read.into_iter().flatten().collect())
    }

    /// The description of each choice, or why it is the class phrase; none if nobody was asked.
    fn descriptions(
        &self,
        choices: &[Choice<'_>],
        pictures: &BTreeMap<usize, Picture>,
        cache: &Cache,
    ) -> Result<Vec<Option<Result<String, RefineError>>>, Error> {
        let Some(refiner) = self.refiner else {
            return Ok(choices.iter().map(|_| None).collect());
        };
        let (done, absent) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let limit = self.classes.prompt.max_characters;
        let describe = |choice: &Choice<'_>| {
            self.go_on()?;
            let picture = &pictures[&choice.frame];
            let instruction = self
                .classes
                .prompt
                .instruction
                .replace("{class}", &choice.class.name)
                .replace("{phrase}", &choice.class.phrase);
            let limit_text = limit.to_string();
            let key = [
                "prompt",
                refiner.name(),
                &picture.sha256,
                &instruction,
                &limit_text,
                &choice.class.name,
            ];
            let result = if let Some(description) = cache.description(&key) {
                Ok(description)
            } else if absent.load(Ordering::Relaxed) >= PATIENCE {
                let text = format!("given up after {PATIENCE} frames without an answer");
                Err(RefineError::Unavailable(text))
            } else {
                let result = refiner.describe(&instruction, &picture.jpeg, limit);
                match &result {
                    Ok(description) => {
                        absent.store(0, Ordering::Relaxed);
                        cache.store_description(&key, description)?;
                    }
                    Err(error) => {
                        log::warn!("class {}, {}: {error}", choice.class.name, picture.name);
                        match error {
                            RefineError::Unavailable(_) => absent.fetch_add(1, Ordering::Relaxed),
                            _ => absent.swap(0, Ordering::Relaxed),
                        };
                    }
                }
                result
            };
            (self.progress)(
                "descriptions",
                done.fetch_add(1, Ordering::Relaxed) + 1,
                choices.len(),
            );
            Ok(Some(result))
        };
        // Threads that wait for a server, not for a core.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.requests.max(1)).build();
        match pool {
            Ok(pool) => pool.install(|| choices.par_iter().map(describe).collect()),
            Err(_) => choices.iter().map(describe).collect(),
        }
    }

    fn line(
        &self,
        choice: &Choice<'_>,
        frame: &PoolFrame,
        video: &Video,
        scene: &str,
        picture: &Picture,
        description: Option<Result<String, RefineError>>,
    ) -> PlanLine {
        let class = choice.class;
        let (text, prompt_from, fallback) = match description {
            None => (class.phrase.clone(), PromptFrom::Phrase, None),
            Some(Ok(text)) => (text, PromptFrom::Refined, None),
            Some(Err(e)) => (class.phrase.clone(), PromptFrom::Fallback, Some(e.to_string())),
        };
        let config = self.classes.composite_config(class);
        let input =
            footage::input_spec(picture.width, picture.height, self.classes.composite.height);
        let diffusion: DiffusionJob = self.classes.diffusion.clone();
        let mut line = PlanLine {
            id: String::new(),
            class: class.name.clone(),
            video: video.name.clone(),
            scene: scene.to_owned(),
            frame: frame.frame,
            image: picture.name.clone(),
            image_sha256: picture.sha256.clone(),
            prompt: self.classes.prompt(&text),
            negative_prompt: self.classes.prompt.negative.clone(),
            prompt_from,
            fallback,
            seed: draw(self.seed, &["clip", &class.name, &video.name], frame.frame),
            scores: choice.scores,
            diffusion,
            composite: CompositeJob {
                width: input.width,
                height: input.height,
                frame_rate: input.frame_rate,
                frames: config.frames,
                events: config.events,
                event_frames: config.event_frames,
                benign: config.benign,
                kinds: config.kinds.occurring().map(|(k, rate)| (k.to_owned(), rate)).collect(),
            },
        };
        line.id = line.content_id();
        line
    }
}

impl Picture {
    fn new(frame: &Frame, path: &Path) -> Result<Self, Error> {
        let mut png = Vec::new();
        image::codecs::png::PngEncoder::new(&mut png)
            .write_image(
                frame.rgb(),
                frame.width() as u32,
                frame.height() as u32,
                ExtendedColorType::Rgb8,
            )
            .map_err(|e| video::Error::Write { path: path.into(), reason: e.to_string() })?;
        let sha256 = hex(&Sha256::digest(&png));
        Ok(Self {
            name: format!("frames/{}.png", &sha256[..16]),
            sha256,
            jpeg: encode_jpeg(frame, JPEG_QUALITY)?,
            png,
            width: frame.width(),
            height: frame.height(),
        })
    }
}

/// A number below 2^48, which every JSON reader keeps exactly, drawn from what is given.
fn draw(seed: u64, names: &[&str], number: u64) -> u64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    for name in names {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
    }
    hash.update(number.to_le_bytes());
    let digest = hash.finalize();
    digest[..6].iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

/// Name and videos of each scene; the name ends with a hash of its videos.
fn scene_names(videos: &[Video], hashes: &[String], scenes: &[usize]) -> Vec<(String, Scene)> {
    let count = scenes.iter().max().map_or(0, |s| s + 1);
    (0..count)
        .map(|scene| {
            let own: BTreeMap<String, String> = (0..videos.len())
                .filter(|&v| scenes[v] == scene)
                .map(|v| (videos[v].name.clone(), hashes[v].clone()))
                .collect();
            let first = (0..videos.len()).find(|&v| scenes[v] == scene);
            let stem = first.map_or("scene", |v| {
                Path::new(&videos[v].name).file_stem().and_then(|s| s.to_str()).unwrap_or("scene")
            });
            let mut hash = Sha256::new();
            for (name, content) in &own {
                hash.update((name.len() as u64).to_le_bytes());
                hash.update(name);
                hash.update(content);
            }
            (format!("{stem}-{}", &hex(&hash.finalize())[..8]), Scene { videos: own })
        })
        .collect()
}

/// SHA-256, in hex, of a file, or of the names and content of a folder's files.
///
/// # Errors
/// [`Error::Io`] naming the file.
pub fn content_hash(path: &Path) -> Result<String, Error> {
    let io = |path: &Path, source| Error::Io { path: path.into(), source };
    let mut hash = Sha256::new();
    let mut add = |path: &Path| {
        let mut file = std::fs::File::open(path).map_err(|e| io(path, e))?;
        let mut block = vec![0; 1 << 16];
        loop {
            match file.read(&mut block).map_err(|e| io(path, e))? {
                0 => return Ok::<_, Error>(()),
                n => hash.update(&block[..n]),
            }
        }
    };
    if path.is_file() {
        add(path)?;
        return Ok(hex(&hash.finalize()));
    }
    let entries = std::fs::read_dir(path).map_err(|e| io(path, e))?;
    let mut files: Vec<_> = entries
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()
        .map_err(|e| io(path, e))?;
    files.sort();
    for file in files.iter().filter(|f| f.is_file()) {
        add(file)?;
    }
    let names = files.iter().filter_map(|f| f.file_name());
    names.for_each(|name| hash.update(name.as_encoded_bytes()));
    Ok(hex(&hash.finalize()))
}
