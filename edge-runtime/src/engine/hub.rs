//! Between the capture threads and the one inference thread: a bounded queue for each camera.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use video::Frame;

use super::flow::Flow;
use crate::capture::{self, Delivery, Stamp};
use crate::control::Command;

/// Frames that may wait for a lossless source: enough to keep both threads busy.
const LOSSLESS_DEPTH: usize = 4;
/// Frames that may wait for a live source: one beside the one being scored, so that the newest wins.
const NEWEST_DEPTH: usize = 1;

/// Commands that may wait. They are carried out between two frames, so more are a flood.
const COMMANDS: usize = 32;

/// What the inference thread is to do next.
#[derive(Debug)]
pub enum Work {
    /// A camera, by its number, has something.
    Camera(usize, Item),
    /// Somebody outside wants something.
    Command(Command),
    /// Something that was computed aside is done.
    Computed,
}

/// What a capture thread hands over.
#[derive(Debug)]
pub enum Item {
    /// A frame.
    Frame(Frame, Stamp),
    /// The picture does not go on; the frame rate from here on.
    Gap(Option<capture::Error>, f64),
    /// The frame rate, which was not known or was another; the picture goes on.
    Rate(f64),
    /// The camera, lost before, still cannot be opened.
    Away(capture::Error),
    /// The source has ended, well or with an error.
    End(Option<capture::Error>),
}

#[derive(Debug)]
struct Slot {
    delivery: Delivery,
    queue: VecDeque<Item>,
    frames: usize,
    spare: Vec<Frame>,
    dropped: u64,
}

#[derive(Debug)]
struct Queues {
    slots: Vec<Slot>,
    commands: VecDeque<Command>,
    computed: bool,
}

/// The queues of all cameras, and that of commands.
#[derive(Debug)]
pub struct Hub {
    queues: Mutex<Queues>,
    arrived: Condvar,
    room: Condvar,
    stop: AtomicBool,
    flow: Flow,
}

impl Hub {
    /// A queue for each camera.
    pub fn new(cameras: &[Delivery]) -> Self {
        let slot = |&delivery: &Delivery| Slot {
            delivery,
            queue: VecDeque::with_capacity(LOSSLESS_DEPTH + 2),
            frames: 0,
            // The frames waiting, one being filled and one being scored.
            spare: (0..LOSSLESS_DEPTH + 2).map(|_| Frame::default()).collect(),
            dropped: 0,
        };
        Self {
            queues: Mutex::new(Queues {
                slots: cameras.iter().map(slot).collect(),
                commands: VecDeque::with_capacity(COMMANDS),
                computed: false,
            }),
            arrived: Condvar::new(),
            room: Condvar::new(),
            stop: AtomicBool::new(false),
            flow: Flow::new(cameras.len()),
        }
    }

    /// The flow of the cameras' frames.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over a command; false if too many wait.
    pub fn command(&self, command: Command) -> bool {
        let mut queues = self.lock();
        if queues.commands.len() >= COMMANDS {
            return false;
        }
        queues.commands.push_back(command);
        drop(queues);
        self.arrived.notify_one();
        true
    }

    /// Says that something that was computed aside is done.
    pub fn computed(&self) {
        self.lock().computed = true;
        self.arrived.notify_one();
    }

    /// Tells every thread to come to an end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        // Taking the lock orders the store before any thread that is about to wait.
        drop(self.lock());
        self.arrived.notify_all();
        self.room.notify_all();
    }

    /// Whether the threads are to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// A frame to be filled.
    pub fn spare(&self, camera: usize) -> Frame {
        self.lock().slots[camera].spare.pop().unwrap_or_default()
    }

    /// Gives a frame back after use.
    pub fn give_back(&self, camera: usize, frame: Frame) {
        self.lock().slots[camera].spare.push(frame);
    }

    /// Hands over what a source gave. A lossless source waits for room; for a live one the oldest
    /// waiting frame is dropped.
    pub fn push(&self, camera: usize, item: Item) {
        let mut queues = self.lock();
        if let Item::Frame(..) = item {
            if queues.slots[camera].delivery == Delivery::Lossless {
                while queues.slots[camera].frames >= LOSSLESS_DEPTH && !self.is_stopped() {
                    queues = self.room.wait(queues).unwrap_or_else(PoisonError::into_inner);
                }
            } else {
                let slot = &mut queues.slots[camera];
                while slot.frames >= NEWEST_DEPTH
                    && let Some(at) = slot.queue.iter().position(|i| matches!(i, Item::Frame(..)))
                    && let Some(Item::Frame(old, _)) = slot.queue.remove(at)
                {
                    slot.spare.push(old);
                    slot.frames -= 1;
                    slot.dropped += 1;
                }
            }
            queues.slots[camera].frames += 1;
        }
        queues.slots[camera].queue.push_back(item);
        drop(queues);
        self.arrived.notify_one();
    }

    /// Waits for a command or for the next item of any camera that is `ready`, those after camera `last`
    /// first, so that a fast source does not starve the others.
    pub fn pop(&self, last: usize, ready: &[bool], timeout: Duration) -> Option<Work> {
        let deadline = Instant::now() + timeout;
        let mut queues = self.lock();
        loop {
            if let Some(command) = queues.commands.pop_front() {
                return Some(Work::Command(command));
            }
            if std::mem::take(&mut queues.computed) {
                return Some(Work::Computed);
            }
            let count = queues.slots.len();
            for camera in (1..=count).map(|i| (last + i) % count).filter(|&camera| ready[camera]) {
                let slot = &mut queues.slots[camera];
                if let Some(item) = slot.queue.pop_front() {
                    if let Item::Frame(..) = item {
                        slot.frames -= 1;
                    }
                    drop(queues);
                    self.room.notify_all();
                    return Some(Work::Camera(camera, item));
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            queues =
                self.arrived.wait_timeout(queues, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Frames of a camera that were dropped.
    pub fn dropped(&self, camera: usize) -> u64 {
        self.lock().slots[camera].dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(level: u8) -> Item {
        Item::Frame(Frame::from_rgb(1, 1, vec![level; 3]).unwrap(), Stamp::default())
    }

    fn take(hub: &Hub, last: usize) -> Option<(usize, String)> {
        let ready = vec![true; hub.lock().slots.len()];
        hub.pop(last, &ready, Duration::ZERO).map(|work| {
            let Work::Camera(camera, item) = work else { panic!("{work:?}") };
            let what = match item {
                Item::Frame(f, _) => f.rgb()[0].to_string(),
                Item::Gap(..) => "gap".into(),
                Item::Rate(_) => "rate".into(),
                Item::Away(_) => "away".into(),
                Item::End(_) => "end".into(),
            };
            (camera, what)
        })
    }

    #[test]
    fn the_newest_frame_wins_and_the_rest_is_counted() {
        let hub = Hub::new(&[Delivery::Newest]);
        for level in 1..=5 {
            hub.push(0, frame(level));
        }
        hub.push(0, Item::End(None));
        assert_eq!(take(&hub, 0), Some((0, "5".into())));
        assert_eq!(take(&hub, 0), Some((0, "end".into())));
        assert_eq!(take(&hub, 0), None);
        assert_eq!(hub.dropped(0), 4);
    }

    #[test]
    fn a_gap_is_never_dropped() {
        let hub = Hub::new(&[Delivery::Newest]);
        hub.push(0, frame(1));
        hub.push(0, Item::Gap(None, 10.0));
        hub.push(0, frame(2));
        hub.push(0, frame(3));
        assert_eq!(take(&hub, 0), Some((0, "gap".into())));
        assert_eq!(take(&hub, 0), Some((0, "3".into())));
    }

    #[test]
    fn cameras_take_turns() {
        let hub = Hub::new(&[Delivery::Lossless, Delivery::Lossless, Delivery::Lossless]);
        for level in [1, 2] {
            hub.push(0, frame(level));
        }
        hub.push(2, frame(3));
        assert_eq!(take(&hub, 0), Some((2, "3".into())));
        assert_eq!(take(&hub, 2), Some((0, "1".into())));
        assert_eq!(take(&hub, 0), Some((0, "2".into())));
    }

    #[test]
    fn a_camera_that_is_not_ready_is_passed_over() {
        let hub = Hub::new(&[Delivery::Newest, Delivery::Newest]);
        hub.push(0, frame(1));
        hub.push(1, frame(2));
        hub.computed();
        assert!(matches!(hub.pop(1, &[false, true], Duration::ZERO), Some(Work::Computed)));
        let work = hub.pop(1, &[false, true], Duration::ZERO);
        assert!(matches!(work, Some(Work::Camera(1, Item::Frame(..)))), "{work:?}");
        assert!(hub.pop(1, &[false, true], Duration::ZERO).is_none());
        assert_eq!(take(&hub, 1), Some((0, "1".into())));
    }

    #[test]
    fn a_lossless_source_waits_for_room() {
        let hub = Hub::new(&[Delivery::Lossless]);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for level in 0..50 {
                    hub.push(0, frame(level));
                }
            });
            for level in 0..50u8 {
                let work = hub.pop(0, &[true], Duration::from_secs(10)).unwrap();
                let Work::Camera(_, Item::Frame(f, _)) = work else { panic!() };
                assert_eq!(f.rgb()[0], level);
                assert!(hub.lock().slots[0].frames <= LOSSLESS_DEPTH);
            }
        });
        assert_eq!(hub.dropped(0), 0);
    }

    #[test]
    fn commands_come_first_and_a_flood_is_refused() {
        let hub = Hub::new(&[Delivery::Newest]);
        hub.push(0, frame(1));
        let taken = (0..1000).filter(|_| hub.command(Command::Introduce)).count();
        assert_eq!(taken, COMMANDS);
        for _ in 0..COMMANDS {
            let work = hub.pop(0, &[true], Duration::ZERO);
            assert!(matches!(work, Some(Work::Command(Command::Introduce))), "{work:?}");
        }
        assert_eq!(take(&hub, 0), Some((0, "1".into())));
    }

    #[test]
    fn a_waiting_source_is_released_by_a_stop() {
        let hub = Hub::new(&[Delivery::Lossless]);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for level in 0..20 {
                    hub.push(0, frame(level));
                }
            });
            std::thread::sleep(Duration::from_millis(50));
            hub.stop();
        });
    }
}
