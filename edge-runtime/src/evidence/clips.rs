//! Clips of incidents, made off the frame path.
//!
//! The frame path copies at most ten pictures a second into buffers of a small pool and hands them to
//! one worker, which compresses them, remembers the newest of each camera, and writes a clip when its
//! incident is over. When the worker falls behind (a slow card), the pool is empty and pictures are
//! left out and counted; the frame path of a live camera does not wait, and allocates nothing.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use video::{Frame, Resizer};

use super::folder::Folder;
use super::movie::{Movie, Sample};
use super::recording::{Clip, LIMIT, Recording, Shot};
use super::{CLIP, Error};
use crate::config::EvidenceConfig;

/// Most pictures that may wait for the worker, of all cameras together.
const POOL: usize = 16;
/// Most other messages that may wait for it; incidents do not come that fast.
const CONTROL: usize = 64;
/// Wider pictures are made smaller.
const MAX_WIDTH: usize = 640;
/// Height of pictures of that width from most cameras, or less.
const USUAL_HEIGHT: usize = 480;
/// Seconds between two pictures of a clip, at least.
const INTERVAL: f64 = 0.1;
/// A frame that is early by less than this is taken: time stamps are not exact.
const EARLY: f64 = 0.005;
/// Milliseconds that the last picture is shown.
const LAST: u32 = 100;

/// What the frame path tells the worker.
enum Message {
    Open { camera: usize, id: String, delay: f64 },
    Picture { camera: usize, time: f64, picture: Frame },
    Begin { camera: usize, incident: String, first: f64 },
    End { camera: usize, last: f64 },
    Flush { camera: usize },
    Stop,
}

/// Buffers for pictures on their way to the worker.
#[derive(Debug)]
struct Pool {
    spare: Mutex<Vec<Frame>>,
    returned: Condvar,
}

impl Pool {
    fn new() -> Self {
        // Of their usual size from the beginning, so that none is allocated while frames flow; the
        // system gives the memory when it is first used.
        let spare = (0..POOL).map(|_| Frame::new(MAX_WIDTH, USUAL_HEIGHT)).collect();
        Self { spare: Mutex::new(spare), returned: Condvar::new() }
    }

    /// A buffer; waits for one only if told to.
    fn take(&self, wait: bool) -> Option<Frame> {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        while wait && spare.is_empty() {
            spare = self.returned.wait(spare).unwrap_or_else(PoisonError::into_inner);
        }
        spare.pop()
    }

    fn give_back(&self, frame: Frame) {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(frame);
        self.returned.notify_one();
    }
}

/// The worker that makes clips. Dropping it completes those that are under way.
#[derive(Debug)]
pub struct Clips {
    messages: SyncSender<Message>,
    pool: Arc<Pool>,
    worker: Option<JoinHandle<()>>,
}

impl Clips {
    /// Starts the worker; `None` if no clips are asked for.
    ///
    /// # Errors
    /// If the system has no thread for it.
    pub fn start(config: &EvidenceConfig, folder: &Folder) -> Result<Option<Self>, Error> {
        if config.clip_before == 0.0 && config.clip_after == 0.0 {
            return Ok(None);
        }
        let (messages, receiver) = sync_channel(POOL + CONTROL);
        let pool = Arc::new(Pool::new());
        let mut worker = Worker {
            config: config.clone(),
            folder: folder.clone(),
            pool: Arc::clone(&pool),
            cameras: BTreeMap::new(),
        };
        let worker = std::thread::Builder::new()
            .name("clips".into())
            .spawn(move || worker.run(&receiver))
            .map_err(|source| Error::Io { path: config.dir.clone(), source })?;
        Ok(Some(Self { messages, pool, worker: Some(worker) }))
    }

    /// The way of a camera's pictures to the worker. An incident is announced at most `delay` seconds
    /// after it began. With `wait` no picture is left out, for sources that can wait.
    pub fn feed(&self, camera: usize, id: &str, delay: f64, wait: bool) -> ClipFeed {
        let feed = ClipFeed {
            camera,
            id: id.to_owned(),
            messages: self.messages.clone(),
            pool: Arc::clone(&self.pool),
            resizer: Resizer::new(),
            due: f64::NEG_INFINITY,
            wait,
            left_out: 0,
        };
        feed.open(delay);
        feed
    }
}

impl Drop for Clips {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::Stop);
        if self.worker.take().is_some_and(|worker| worker.join().is_err()) {
            log::error!("the worker that makes clips failed in an unforeseen way");
        }
    }
}

/// What a camera gives its clips. A worker that is gone is not missed: clips are no reason to stop.
pub struct ClipFeed {
    camera: usize,
    id: String,
    messages: SyncSender<Message>,
    pool: Arc<Pool>,
    resizer: Resizer,
    /// Stream time of the next picture.
    due: f64,
    wait: bool,
    /// Pictures left out since the last incident began.
    left_out: u64,
}

impl ClipFeed {
    /// From here on an incident is announced at most `delay` seconds after it began.
    pub fn open(&self, delay: f64) {
        self.tell(Message::Open { camera: self.camera, id: self.id.clone(), delay });
    }

    /// Takes a frame of this stream time, if one is due.
    ///
    /// # Errors
    /// If the frame has no pixels.
    pub fn push(&mut self, frame: &Frame, time: f64) -> Result<(), video::Error> {
        if time < self.due - EARLY {
            return Ok(());
        }
        self.due = if self.due + INTERVAL < time { time } else { self.due } + INTERVAL;
        let Some(mut picture) = self.pool.take(self.wait) else {
            self.left_out += 1;
            return Ok(());
        };
        let (width, height) = (frame.width(), frame.height());
        let fits = if width > MAX_WIDTH {
            (MAX_WIDTH, (height * MAX_WIDTH / width).max(1))
        } else {
            (width, height)
        };
        picture.reshape(fits.0, fits.1);
        let resized = self.resizer.resize(frame, &mut picture);
        if resized.is_err() {
            self.pool.give_back(picture);
            return resized;
        }
        self.tell(Message::Picture { camera: self.camera, time, picture });
        Ok(())
    }

    /// An incident has been announced that began at this stream time. Returns the path that its clip
    /// will have, relative to the folder.
    pub fn begin(&mut self, incident: &str, first: f64) -> String {
        self.left_out = 0;
        self.tell(Message::Begin { camera: self.camera, incident: incident.into(), first });
        name(&self.id, incident)
    }

    /// The incident has ended at this stream time.
    pub fn end(&mut self, last: f64) {
        if self.left_out > 0 {
            let (camera, count) = (&self.id, self.left_out);
            log::warn!("camera {camera}: {count} pictures of a clip left out; the disk is slow");
        }
        self.tell(Message::End { camera: self.camera, last });
    }

    /// No picture follows the ones so far.
    pub fn flush(&mut self) {
        self.due = f64::NEG_INFINITY;
        self.tell(Message::Flush { camera: self.camera });
    }

    fn tell(&self, message: Message) {
        if let Err(lost) = self.messages.send(message)
            && let Message::Picture { picture, .. } = lost.0
        {
            self.pool.give_back(picture);
        }
    }
}

fn name(camera: &str, incident: &str) -> String {
    format!("{camera}/{incident}.{CLIP}")
}

struct Worker {
    config: EvidenceConfig,
    folder: Folder,
    pool: Arc<Pool>,
    cameras: BTreeMap<usize, (String, Recording)>,
}

impl Worker {
    fn run(&mut self, messages: &Receiver<Message>) {
        while let Ok(message) = messages.recv() {
            let (camera, clip) = match message {
                Message::Stop => break,
                Message::Open { camera, id, delay } => {
                    let clip = self.recording(camera).and_then(Recording::flush);
                    self.save(camera, clip);
                    let (before, after) = (self.config.clip_before, self.config.clip_after);
                    let recording = Recording::new(before, after, delay, LIMIT);
                    self.cameras.insert(camera, (id, recording));
                    continue;
                }
                Message::Picture { camera, time, picture } => {
                    let shot = self.compress(time, &picture);
                    self.pool.give_back(picture);
                    let recording = self.recording(camera);
                    (camera, recording.zip(shot).and_then(|(recording, shot)| recording.push(shot)))
                }
                Message::Begin { camera, incident, first } => {
                    (camera, self.recording(camera).and_then(|r| r.begin(incident, first)))
                }
                Message::End { camera, last } => {
                    (camera, self.recording(camera).and_then(|r| r.end(last)))
                }
                Message::Flush { camera } => {
                    (camera, self.recording(camera).and_then(Recording::flush))
                }
            };
            self.save(camera, clip);
        }
        let cameras: Vec<usize> = self.cameras.keys().copied().collect();
        for camera in cameras {
            let clip = self.recording(camera).and_then(Recording::flush);
            self.save(camera, clip);
        }
    }

    fn recording(&mut self, camera: usize) -> Option<&mut Recording> {
        self.cameras.get_mut(&camera).map(|(_, recording)| recording)
    }

    fn compress(&self, time: f64, picture: &Frame) -> Option<Shot> {
        let jpeg = video::encode_jpeg(picture, self.config.quality)
            .map_err(|e| log::error!("clip: {e}"))
            .ok()?;
        let width = u16::try_from(picture.width()).ok()?;
        let height = u16::try_from(picture.height()).ok()?;
        Some(Shot { time, width, height, jpeg: jpeg.into() })
    }

    fn save(&self, camera: usize, clip: Option<Clip>) {
        let (Some(clip), Some((id, _))) = (clip, self.cameras.get(&camera)) else { return };
        if let Err(e) = write(&self.folder, &name(id, &clip.incident), &clip.shots) {
            log::error!("{e}");
        }
    }
}

/// Writes pictures as a movie in which each is shown until the next.
fn write(folder: &Folder, name: &str, shots: &[Shot]) -> Result<(), Error> {
    let shown = |at: usize| {
        let next = shots.get(at + 1)?;
        Some(((next.time - shots[at].time) * 1000.0).round().clamp(1.0, f64::from(u32::MAX)) as u32)
    };
    let samples: Vec<Sample<'_>> = shots
        .iter()
        .enumerate()
        .map(|(at, shot)| Sample { jpeg: &shot.jpeg, milliseconds: shown(at).unwrap_or(LAST) })
        .collect();
    let Some(first) = shots.first() else { return Ok(()) };
    let Some(movie) = Movie::new(first.width, first.height, &samples) else { return Ok(()) };
    folder.store(name, movie.size(), |file| movie.write(file).and_then(|()| file.sync_all()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn start(dir: &Path) -> Clips {
        let config = EvidenceConfig {
            clip_before: 1.0,
            clip_after: 0.5,
            ..super::super::tests::config(dir)
        };
        let folder = Folder::open(&config).unwrap();
        Clips::start(&config, &folder).unwrap().unwrap()
    }

    fn frame(level: u8) -> Frame {
        Frame::from_rgb(1280, 720, vec![level; 1280 * 720 * 3]).unwrap()
    }

    #[test]
    fn none_is_made_unless_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let config = super::super::tests::config(dir.path());
        let folder = Folder::open(&config).unwrap();
        assert!(Clips::start(&config, &folder).unwrap().is_none());
    }

    #[test]
    fn a_clip_is_on_disk_when_its_time_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let clips = start(dir.path());
        let mut feed = clips.feed(0, "door", 3.0, true);
        // At 25 frames a second; one grey level for each tenth of a second.
        let push = |feed: &mut ClipFeed, from: u32, to: u32| {
            for i in from..to {
                let time = f64::from(i) / 25.0;
                feed.push(&frame((time * 10.0 + 0.05) as u8), time).unwrap();
            }
        };
        push(&mut feed, 0, 100);
        assert_eq!(feed.begin("a", 3.0), "door/a.mov");
        push(&mut feed, 100, 125);
        feed.end(4.5);
        let path = dir.path().join("door/a.mov");
        push(&mut feed, 125, 127);
        // Two tenths of a second beyond what belongs to it.
        push(&mut feed, 127, 132);
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !path.exists() {
            assert!(std::time::Instant::now() < until, "no clip");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        #[cfg(feature = "ffmpeg")]
        {
            let mut reader = video::Reader::open(&path).unwrap();
            let info = *reader.info();
            // From 2.0 to 5.0 s, ten a second.
            assert_eq!((info.width, info.height), (640, 360));
            assert!((30..=31).contains(&info.frames.unwrap()), "{info:?}");
            let mut first = Frame::default();
            assert!(reader.read(&mut first).unwrap());
            assert!(first.rgb()[0].abs_diff(20) <= 2, "{}", first.rgb()[0]);
        }
    }

    #[test]
    fn the_end_of_the_program_completes_what_is_under_way() {
        let dir = tempfile::tempdir().unwrap();
        let clips = start(dir.path());
        let mut feed = clips.feed(3, "yard", 1.0, true);
        feed.push(&frame(50), 0.0).unwrap();
        feed.begin("b", 0.0);
        feed.push(&frame(60), 0.1).unwrap();
        drop(clips);
        assert!(dir.path().join("yard/b.mov").exists());
        // The worker is gone; the frame path does not notice.
        for i in 0..100 {
            feed.push(&frame(70), 1.0 + f64::from(i)).unwrap();
        }
    }

    #[test]
    fn a_live_camera_does_not_wait_for_the_worker() {
        let (messages, receiver) = sync_channel(POOL + CONTROL);
        let mut feed = ClipFeed {
            camera: 0,
            id: "door".into(),
            messages,
            pool: Arc::new(Pool::new()),
            resizer: Resizer::new(),
            due: f64::NEG_INFINITY,
            wait: false,
            left_out: 0,
        };
        // Nobody receives.
        for i in 0..100 {
            feed.push(&frame(70), f64::from(i)).unwrap();
        }
        assert_eq!(feed.left_out, 100 - POOL as u64);
        assert_eq!(receiver.try_iter().count(), POOL);
    }
}
