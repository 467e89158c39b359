//! Whether the machine carries its cameras, and what is given up where it does not.
//!
//! Frames are given up evenly: the model's networks look at every second, fourth or eighth of the model's
//! frames of every live camera, no matter which camera is the one too many. Time goes on as before.

use std::time::Duration;

/// Time over which misses are counted.
const WINDOW: Duration = Duration::from_secs(2);
/// Model frames missed in a window from which on it is one too many for the machine.
const STRAIN: u64 = 2;
/// Windows of that kind in a row after which more is given up.
const STRAINED: u32 = 2;
/// The least that is looked at is every so manieth model frame.
const LEAST: u64 = 8;
/// Share of the time that the inference thread may be at work for more to be tried.
const SPARE: f64 = 0.35;
/// Time for which there must be as much to spare before more is tried.
const CALM: Duration = Duration::from_secs(30);
/// The longest that it grows to where more turns out to be too much.
const LONGEST_CALM: Duration = Duration::from_secs(600);
/// A try that fails within this time was too much.
const TRIAL: Duration = Duration::from_secs(60);
/// A camera is called overloaded for so long after it last missed or gave up something.
const TOLD: Duration = Duration::from_secs(10);

/// What a camera has missed so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Missed {
    /// Frames that the model should have looked at and that came too fast.
    pub frames: u64,
    /// Snippets given up because the one before was still being computed.
    pub snippets: u64,
    /// Whether it is a live camera that gives frames: of others nothing is given up.
    pub live: bool,
}

#[derive(Debug, Default)]
struct Camera {
    before: Missed,
    /// When it last missed something.
    last: Option<Duration>,
    overloaded: bool,
}

/// How the machine carries its cameras.
#[derive(Debug)]
pub struct Load {
    cameras: Vec<Camera>,
    every: u64,
    began: Option<Duration>,
    busy: Duration,
    strained: u32,
    calm_since: Option<Duration>,
    calm: Duration,
    relieved: Option<Duration>,
}

impl Load {
    /// So many cameras, of which every frame is looked at.
    pub fn new(cameras: usize) -> Self {
        Self {
            cameras: (0..cameras).map(|_| Camera::default()).collect(),
            every: 1,
            began: None,
            busy: Duration::ZERO,
            strained: 0,
            calm_since: None,
            calm: CALM,
            relieved: None,
        }
    }

    /// Counts time that the inference thread was at work.
    pub fn work(&mut self, time: Duration) {
        self.busy += time;
    }

    /// Every how manieth model frame of a live camera is looked at.
    pub fn every(&self) -> u64 {
        self.every
    }

    /// Whether more comes of a camera than the machine carries.
    pub fn is_overloaded(&self, camera: usize) -> bool {
        self.cameras.get(camera).is_some_and(|camera| camera.overloaded)
    }

    /// Whether it is time for a look.
    pub fn is_due(&mut self, now: Duration) -> bool {
        now >= *self.began.get_or_insert(now) + WINDOW
    }

    /// Looks at what each camera has missed so far, if it is time. True if something has changed.
    pub fn look(&mut self, now: Duration, missed: &[Missed]) -> bool {
        if !self.is_due(now) {
            return false;
        }
        let passed = now.saturating_sub(self.began.unwrap_or(now));
        let busy = std::mem::take(&mut self.busy).as_secs_f64() / passed.as_secs_f64();
        self.began = Some(now);
        let (mut most, mut live) = (0, false);
        for (camera, missed) in self.cameras.iter_mut().zip(missed) {
            let frames = missed.frames.saturating_sub(camera.before.frames);
            if missed.live {
                live = true;
                most = most.max(frames);
            }
            if frames >= STRAIN || missed.snippets > camera.before.snippets {
                camera.last = Some(now);
            }
            camera.before = *missed;
        }
        let every = self.every;
        if live {
            self.decide(now, most, busy);
        } else {
            self.every = 1;
        }
        let mut changed = every != self.every;
        for (camera, missed) in self.cameras.iter_mut().zip(missed) {
            let recent = camera.last.is_some_and(|last| now < last + TOLD);
            let overloaded = missed.live && (self.every > 1 || recent);
            changed |= overloaded != camera.overloaded;
            camera.overloaded = overloaded;
        }
        changed
    }

    /// Takes up a window in which a camera has missed at most `most` frames, and the inference thread was
    /// at work for this share of the time.
    fn decide(&mut self, now: Duration, most: u64, busy: f64) {
        if most >= STRAIN {
            self.calm_since = None;
            self.strained += 1;
            if self.strained >= STRAINED && self.every < LEAST {
                self.strained = 0;
                self.every *= 2;
                if self.relieved.take().is_some_and(|then| now < then + TRIAL) {
                    self.calm = (self.calm * 2).min(LONGEST_CALM);
                } else {
                    self.calm = CALM;
                }
            }
            return;
        }
        self.strained = 0;
        if self.every == 1 || most > 0 || busy > SPARE {
            self.calm_since = None;
            return;
        }
        let since = *self.calm_since.get_or_insert(now);
        if now >= since + self.calm {
            self.calm_since = None;
            self.every /= 2;
            self.relieved = Some(now);
        }
    }
}

/// Counts the model frames that a camera has missed because its frames came too fast.
#[derive(Debug, Clone, Copy, Default)]
pub struct Misses {
    /// Time of the last frame that the model looked at, and the frames dropped by then.
    last: Option<(f64, u64)>,
    total: u64,
}

impl Misses {
    /// Takes up a frame that the model looked at, at `time` in seconds of the stream, of a camera that has
    /// dropped so many frames by now and of which the model would look at `rate` a second.
    pub fn looked(&mut self, time: f64, dropped: u64, rate: f64) {
        if let Some((last, before)) = self.last.replace((time, dropped)) {
            let left_out = ((time - last) * rate).round().clamp(1.0, 1e6) as u64 - 1;
            self.total += left_out.min(dropped.saturating_sub(before));
        }
    }

    /// The picture does not go on.
    pub fn gap(&mut self) {
        self.last = None;
    }

    /// Model frames missed.
    pub fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    /// Four live cameras on a machine that can look at `capacity` model frames a second, of which the
    /// cameras give 40: what becomes of `every` second by second.
    fn play(load: &mut Load, from: u64, to: u64, capacity: f64) -> Vec<u64> {
        let mut missed = load.cameras.iter().map(|c| c.before).collect::<Vec<_>>();
        let mut steps = Vec::new();
        for second in from..to {
            let wanted = 40.0 / load.every() as f64;
            let over = (wanted - capacity).max(0.0);
            for camera in &mut missed {
                camera.live = true;
                camera.frames += (over / 4.0).ceil() as u64;
            }
            load.work(Duration::from_secs_f64((wanted / capacity).min(1.0)));
            load.look(seconds(second), &missed);
            steps.push(load.every());
        }
        steps
    }

    #[test]
    fn four_cameras_that_the_machine_carries_give_up_nothing() {
        let mut load = Load::new(4);
        assert!(play(&mut load, 0, 600, 41.0).iter().all(|&every| every == 1));
        assert!((0..4).all(|camera| !load.is_overloaded(camera)));
    }

    #[test]
    fn where_the_machine_cannot_carry_them_all_give_up_alike_and_say_so() {
        let mut load = Load::new(4);
        let steps = play(&mut load, 0, 60, 25.0);
        assert_eq!((steps[1], steps[10], steps[59]), (1, 2, 2));
        assert!((0..4).all(|camera| load.is_overloaded(camera)));
        // A quarter of the machine: every fourth frame of each.
        let mut load = Load::new(4);
        assert_eq!(play(&mut load, 0, 60, 11.0).last(), Some(&4));
        // There is no end of it, but a least.
        let mut load = Load::new(4);
        assert_eq!(play(&mut load, 0, 60, 1.0).last(), Some(&8));
    }

    #[test]
    fn what_was_given_up_is_tried_again_and_less_often_where_it_fails() {
        let mut load = Load::new(4);
        play(&mut load, 0, 20, 25.0);
        assert_eq!(load.every(), 2);
        // As many cameras on a machine that has become free.
        let steps = play(&mut load, 20, 120, 60.0);
        assert_eq!(steps.last(), Some(&1));
        assert!(steps[..25].iter().all(|&every| every == 2));
        assert!((0..4).all(|camera| !load.is_overloaded(camera)));
        // One that is too slow for all but looks idle enough at half: 19 tries an hour at most.
        let mut load = Load::new(4);
        let mut tries = 0;
        let mut before = 1;
        for second in 0..3600 {
            let missed = [Missed {
                frames: if load.every() == 1 { second * 3 } else { 0 },
                live: true,
                ..Missed::default()
            }; 4];
            let missed =
                missed.map(|m| Missed { frames: m.frames.max(load.cameras[0].before.frames), ..m });
            load.look(seconds(second), &missed);
            tries += u32::from(load.every() < before);
            before = load.every();
        }
        assert!((2..=19).contains(&tries), "{tries}");
    }

    #[test]
    fn a_moment_of_strain_gives_up_nothing_but_is_told() {
        let mut load = Load::new(2);
        let at = |frames, snippets| Missed { frames, snippets, live: true };
        assert!(!load.look(seconds(0), &[at(0, 0), at(0, 0)]));
        assert!(load.look(seconds(2), &[at(5, 0), at(1, 0)]));
        assert_eq!((load.every(), load.is_overloaded(0), load.is_overloaded(1)), (1, true, false));
        // Snippets that are given up are told of the camera whose they are.
        assert!(load.look(seconds(4), &[at(5, 0), at(1, 1)]));
        assert!(load.is_overloaded(1));
        for second in [6, 8, 10, 12, 14, 16] {
            load.look(seconds(second), &[at(5, 0), at(1, 1)]);
        }
        assert!(!load.is_overloaded(0) && !load.is_overloaded(1));
    }

    #[test]
    fn a_recording_that_waits_is_never_overloaded() {
        let mut load = Load::new(1);
        for second in 0..60 {
            load.work(seconds(1));
            assert!(
                !load.look(seconds(second), &[Missed { frames: 10 * second, ..Missed::default() }])
            );
        }
        assert_eq!(load.every(), 1);
    }

    #[test]
    fn only_frames_that_were_dropped_and_wanted_are_missed() {
        // 30 frames a second, of which the model looks at ten: two of three may be dropped.
        let mut misses = Misses::default();
        for i in 0..10 {
            misses.looked(f64::from(i) / 10.0, 2 * i as u64, 10.0);
        }
        assert_eq!(misses.total(), 0);
        // 0.4 s without one: three of its frames, of eleven that were dropped.
        misses.looked(1.3, 29, 10.0);
        assert_eq!(misses.total(), 3);
        // A camera that gives none has dropped none.
        misses.looked(9.3, 29, 10.0);
        assert_eq!(misses.total(), 3);
        misses.gap();
        misses.looked(20.0, 500, 10.0);
        assert_eq!(misses.total(), 3);
    }
}
