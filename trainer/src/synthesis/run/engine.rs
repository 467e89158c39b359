//! The run: lines handed to devices, clips written, judged and recorded.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sha2::{Digest, Sha256};
use video::{Frame, Reader, Writer};

use super::manifest::{ClipFile, Record, Seconds, Status};
use super::quality::{Inspector, Quality};
use super::{RenderError, Rendered, Renderer, Step, labels};
use crate::hash::hex;
use crate::synthesis::plan::{Plan, PlanLine};
use crate::synthesis::store::{Store, StoreError};

/// Largest picture of an initial frame that is decoded, in bytes of its file.
const LARGEST_PICTURE: usize = 256 << 20;

/// One part of a plan's lines: line i belongs to shard i mod `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    pub index: usize,
    /// How many there are.
    pub of: usize,
}

/// A run that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A clip cannot be written.
    #[error("line {id}: {source}")]
    Video {
        /// The line.
        id: String,
        /// What happened.
        source: video::Error,
    },
    /// A file of the plan is missing, or is not the one that was planned with.
    #[error("line {id}: {problem}")]
    Input {
        /// The line.
        id: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A record of the output cannot be read.
    #[error("{name}: {problem}; remove it, and its clip is made again")]
    Record {
        /// The record.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// Every device is lost.
    #[error("no device is left: {0}; run again to go on")]
    NoDevice(String),
    /// Another process runs the same shard into the same output.
    #[error("{}: another process runs this shard into this folder", path.display())]
    Busy {
        /// The file it has locked.
        path: PathBuf,
    },
    /// A synthesizer failed.
    #[error("line {id}: {problem}")]
    Failed {
        /// The line.
        id: String,
        /// What it said.
        problem: String,
    },
    /// The work was interrupted.
    #[error("interrupted; run again to go on")]
    Interrupted,
}

/// What happens during a run.
#[derive(Debug, Clone, Copy)]
pub enum Notice<'n> {
    /// A device has done a step of a clip.
    Step {
        /// The device.
        device: &'n str,
        /// How far it is.
        step: Step,
    },
    /// A clip is finished.
    Finished(&'n Record),
    /// A device is lost; the others go on.
    Lost(&'n str),
}

/// What a run has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Lines of the shard.
    pub lines: usize,
    /// Clips made now.
    pub made: usize,
    /// Clips rejected now.
    pub rejected: usize,
    /// Lines that were done before.
    pub before: usize,
}

/// Carries out a plan.
pub struct Run<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The plan's folder, for the initial frames.
    pub source: &'a Store,
    /// Where everything goes.
    pub out: &'a Store,
    /// Which lines.
    pub shard: Shard,
    /// `composite` or `diffusion`.
    pub synthesizer: &'a str,
    /// Hashes of the models by name.
    pub models: BTreeMap<String, String>,
    /// A local folder for clips in progress; of a local output it is the output's own.
    pub work: &'a Path,
    /// Told what happens.
    pub notice: &'a (dyn Fn(Notice<'_>) + Sync),
    /// Set to stop.
    pub stop: &'a AtomicBool,
}

/// What the devices share.
struct Shared<'l> {
    waiting: VecDeque<&'l PlanLine>,
    done: Done,
    /// What stopped everything.
    failed: Option<RunError>,
    /// What the last lost device said.
    lost: Option<String>,
}

impl Run<'_> {
    /// Makes the clips of `lines` with the renderers, one clip at a time on each; what is finished is
    /// recorded. A renderer whose device is lost leaves its line to the others.
    ///
    /// # Errors
    /// [`RunError`]; what was recorded before stays.
    pub fn make(
        &self,
        lines: &[&PlanLine],
        renderers: Vec<Box<dyn Renderer + '_>>,
    ) -> Result<Done, RunError> {
        let shared = Mutex::new(Shared {
            waiting: lines.iter().copied().collect(),
            done: Done::default(),
            failed: None,
            lost: None,
        });
        std::thread::scope(|scope| {
            for mut renderer in renderers {
                let shared = &shared;
                scope.spawn(move || self.work(renderer.as_mut(), shared));
            }
        });
        let shared = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = shared.failed {
            return Err(error);
        }
        if self.stop.load(Ordering::Relaxed) && !shared.waiting.is_empty() {
            return Err(RunError::Interrupted);
        }
        if !shared.waiting.is_empty() {
            return Err(RunError::NoDevice(shared.lost.unwrap_or_else(|| "there is none".into())));
        }
        Ok(shared.done)
    }

    /// What one device does until there is nothing left.
    fn work<'l>(&self, renderer: &mut dyn Renderer, shared: &Mutex<Shared<'l>>) {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let line = {
                let mut shared = lock(shared);
                if shared.failed.is_some() {
                    return;
                }
                match shared.waiting.pop_front() {
                    Some(line) => line,
                    None => return,
                }
            };
            match self.line(line, renderer) {
                Ok(record) => {
                    let done = &mut lock(shared).done;
                    match record.status {
                        Status::Made => done.made += 1,
                        Status::Rejected => done.rejected += 1,
                    }
                    (self.notice)(Notice::Finished(&record));
                }
                Err(LineError::Run(error)) => {
                    let mut shared = lock(shared);
                    shared.waiting.push_front(line);
                    shared.failed.get_or_insert(error);
                    return;
                }
                Err(LineError::Lost(problem)) => {
                    (self.notice)(Notice::Lost(&problem));
                    let mut shared = lock(shared);
                    shared.waiting.push_front(line);
                    shared.lost = Some(problem);
                    return;
                }
                Err(LineError::Interrupted) => {
                    lock(shared).waiting.push_front(line);
                    return;
                }
            }
        }
    }

    /// Makes, writes, judges and records a line's clip.
    fn line(&self, line: &PlanLine, renderer: &mut dyn Renderer) -> Result<Record, LineError> {
        let initial = self.initial(line)?;
        let device = renderer.device().to_owned();
        let started = Instant::now();
        let mut progress = |step| (self.notice)(Notice::Step { device: &device, step });
        let rendered = renderer.render(line, &initial, &mut progress, self.stop);
        let mut record = Record {
            id: line.id.clone(),
            status: Status::Rejected,
            reason: None,
            synthesizer: self.synthesizer.into(),
            models: self.models.clone(),
            clip: None,
            labels: None,
            kinds: Vec::new(),
            events: Vec::new(),
            quality: Quality::default(),
            device: device.clone(),
            seconds: Seconds { synthesis: started.elapsed().as_secs_f64(), writing: 0.0 },
            line: line.clone(),
        };
        match rendered {
            Ok(rendered) => {
                let started = Instant::now();
                self.judge(&mut record, rendered, &initial)?;
                record.seconds.writing = started.elapsed().as_secs_f64();
            }
            Err(RenderError::Impossible(problem)) => {
                record.reason = Some(format!("impossible: {problem}"));
            }
            Err(RenderError::Interrupted) => return Err(LineError::Interrupted),
            Err(e @ RenderError::Device { .. }) => return Err(LineError::Lost(e.to_string())),
            Err(RenderError::Failed(problem)) => {
                return Err(RunError::Failed { id: line.id.clone(), problem }.into());
            }
        }
        let text = serde_json::to_vec(&record).expect("strings, numbers and lists");
        self.out.write(&format!("records/{}.json", line.id), text).map_err(RunError::from)?;
        Ok(record)
    }

    /// Writes a clip, judges it, and puts it in its place if it is good.
    fn judge(
        &self,
        record: &mut Record,
        rendered: Rendered,
        initial: &Frame,
    ) -> Result<(), RunError> {
        let part = self.work.join(format!(".{}.mp4", record.id));
        let judged = self.write(&record.line, &rendered, initial, &part);
        let (quality, mut reason) = match judged {
            Ok(judged) => judged,
            Err(error) => {
                // What is half written helps nobody.
                drop(fs::remove_file(&part));
                return Err(error);
            }
        };
        if reason.is_none() && rendered.labels.is_some() && rendered.events.is_empty() {
            reason = Some("empty: none of the kinds could happen here".into());
        }
        record.quality = quality;
        record.reason = reason;
        if record.reason.is_some() {
            drop(fs::remove_file(&part));
            return Ok(());
        }
        record.status = Status::Made;
        self.keep(record, rendered, &part)
    }

    /// The initial frame, which must be the one that was planned with.
    fn initial(&self, line: &PlanLine) -> Result<Frame, RunError> {
        let input = |problem: String| RunError::Input { id: line.id.clone(), problem };
        let name = self.source.address(&line.image);
        let bytes = self.source.read(&line.image)?;
        let bytes = bytes
            .ok_or_else(|| input(format!("{name}: is not there; copy the plan's whole folder")))?;
        if hex(&Sha256::digest(&bytes)) != line.image_sha256 {
            return Err(input(format!("{name}: is not the frame that was planned with")));
        }
        if bytes.len() > LARGEST_PICTURE {
            return Err(input(format!("{name}: larger than {LARGEST_PICTURE} bytes")));
        }
        let picture = image::load_from_memory(&bytes)
            .map_err(|e| input(format!("{name}: not a picture: {e}")))?
            .into_rgb8();
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        Frame::from_rgb(width, height, picture.into_raw())
            .ok_or_else(|| input(format!("{name}: its size does not match its data")))
    }

    /// Writes the clip and looks at what can be decoded of it.
    fn write(
        &self,
        line: &PlanLine,
        rendered: &Rendered,
        initial: &Frame,
        part: &Path,
    ) -> Result<(Quality, Option<String>), RunError> {
        let error = |source| RunError::Video { id: line.id.clone(), source };
        let local = |source| StoreError::Local { path: part.into(), source };
        fs::create_dir_all(self.work).map_err(local)?;
        let (width, height) = rendered.frames.first().map_or((0, 0), |f| (f.width(), f.height()));
        let mut writer = Writer::create(part, width, height, rendered.frame_rate).map_err(error)?;
        for frame in &rendered.frames {
            writer.write(frame).map_err(error)?;
        }
        writer.finish().map_err(error)?;
        // FFmpeg reports a full disk late or not at all: what counts is what can be read back.
        let mut inspector = Inspector::default();
        let mut frame = Frame::default();
        let mut reader = Reader::open(part).map_err(error)?;
        while reader.read(&mut frame).map_err(error)? {
            inspector.add(&frame);
        }
        let quality = inspector.quality();
        if quality.frames != rendered.frames.len() {
            let expected = Some(rendered.frames.len() as u64);
            let frame = quality.frames as u64;
            return Err(error(video::Error::Truncated { path: part.into(), frame, expected }));
        }
        Ok((quality, inspector.refuse(Some(initial))))
    }

    /// Puts labels and clip in their places.
    fn keep(&self, record: &mut Record, rendered: Rendered, part: &Path) -> Result<(), RunError> {
        let local = |source| RunError::Store(StoreError::Local { path: part.into(), source });
        let bytes = fs::read(part).map_err(local)?;
        let path = format!("clips/{}.mp4", record.id);
        record.clip = Some(ClipFile {
            path: path.clone(),
            bytes: bytes.len() as u64,
            sha256: hex(&Sha256::digest(&bytes)),
            width: rendered.frames[0].width(),
            height: rendered.frames[0].height(),
            frame_rate: rendered.frame_rate,
            start: rendered.start,
        });
        drop(bytes);
        if let Some(maps) = &rendered.labels {
            let name = format!("labels/{}.npy.gz", record.id);
            self.out.write(&name, labels::encode(maps).map_err(local)?)?;
            record.labels = Some(name);
            record.kinds = rendered.kinds;
            record.events = rendered.events;
        }
        Ok(self.out.take(&path, part)?)
    }
}

/// What a line's failure means.
enum LineError {
    Run(RunError),
    Lost(String),
    Interrupted,
}

impl From<RunError> for LineError {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}

/// The shared state; a thread that panicked has left it whole, for nothing is done to it in between.
fn lock<'g, 'l>(shared: &'g Mutex<Shared<'l>>) -> MutexGuard<'g, Shared<'l>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
