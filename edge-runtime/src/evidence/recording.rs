//! What one camera's clips are made of: the newest pictures as JPEG, and the incident that runs.
//!
//! ```text
//!            begin − before        announced            end    end + after
//!  ring  ·······│▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒│▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒│▒▒▒▒▒▒▒▒▒│
//!  head         └───── up to LIMIT bytes ─────┘    ...  └ up to LIMIT ┘  ring
//! ```
//!
//! An incident is announced some seconds after it began (scores look ahead, and it must last a while),
//! so the ring reaches further back than the clip does. Of an incident that is longer than memory has
//! room for, the clip holds the beginning and the end; in between the picture stands still.

use std::collections::VecDeque;
use std::sync::Arc;

/// Most bytes of pictures in the ring, and again in the part that is kept of a running incident: 13
/// seconds each of 640 × 480 at 60 kB and ten frames a second.
pub const LIMIT: usize = 8 << 20;

/// Seconds by which a picture may lie outside: sums of times are not exact.
const SLACK: f64 = 0.001;

/// A picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Shot {
    /// Stream time in seconds.
    pub time: f64,
    /// Width in pixels.
    pub width: u16,
    /// Height in pixels.
    pub height: u16,
    /// The JPEG file.
    pub jpeg: Arc<[u8]>,
}

/// The pictures of an incident, oldest first, all of one size.
#[derive(Debug, PartialEq)]
pub struct Clip {
    /// Id of the incident.
    pub incident: String,
    /// At least one.
    pub shots: Vec<Shot>,
}

#[derive(Debug)]
struct Running {
    incident: String,
    head: Vec<Shot>,
    head_bytes: usize,
    /// Whether a picture had no room; none after it may slip in.
    full: bool,
    /// The time that the clip ends at, once the incident has.
    until: Option<f64>,
}

/// The newest pictures of a camera, and the incident that runs.
#[derive(Debug)]
pub struct Recording {
    before: f64,
    after: f64,
    /// Seconds that the ring reaches back.
    reach: f64,
    limit: usize,
    ring: VecDeque<Shot>,
    bytes: usize,
    running: Option<Running>,
}

impl Recording {
    /// Clips of so many seconds before and after an incident, which is announced at most `delay`
    /// seconds after it began. Holds at most twice `limit` bytes of pictures.
    pub fn new(before: f64, after: f64, delay: f64, limit: usize) -> Self {
        let (ring, reach) = (VecDeque::new(), before + delay);
        Self { before, after, reach, limit, ring, bytes: 0, running: None }
    }

    /// Takes the next picture; a clip that it completes comes back.
    pub fn push(&mut self, shot: Shot) -> Option<Clip> {
        let other = |old: &Shot| (old.width, old.height) != (shot.width, shot.height);
        // A camera that came back with another picture size.
        let broken = if self.ring.back().is_some_and(other) { self.flush() } else { None };
        let time = shot.time;
        let done = self.running.as_ref().and_then(|running| running.until);
        let done = if done.is_some_and(|until| time > until) { self.finish() } else { None };
        if let Some(running) = &mut self.running {
            running.add(&shot, self.limit);
        }
        self.bytes += shot.jpeg.len();
        self.ring.push_back(shot);
        while self
            .ring
            .front()
            .is_some_and(|old| self.bytes > self.limit || old.time < time - self.reach)
            && let Some(old) = self.ring.pop_front()
        {
            self.bytes -= old.jpeg.len();
        }
        broken.or(done)
    }

    /// An incident has been announced that began at this time. One whose clip still waits for its last
    /// pictures is completed by what there is.
    pub fn begin(&mut self, incident: String, first: f64) -> Option<Clip> {
        let done = self.finish();
        let mut running =
            Running { incident, head: Vec::new(), head_bytes: 0, full: false, until: None };
        for shot in self.ring.iter().filter(|shot| shot.time >= first - self.before - SLACK) {
            running.add(shot, self.limit);
        }
        self.running = Some(running);
        done
    }

    /// The incident has ended at this time.
    pub fn end(&mut self, last: f64) -> Option<Clip> {
        let until = last + self.after + SLACK;
        self.running.as_mut()?.until = Some(until);
        // Scores come after their frames, so what belongs to it may have come already.
        let newest = self.ring.back().map_or(f64::NEG_INFINITY, |shot| shot.time);
        if newest >= until { self.finish() } else { None }
    }

    /// No picture follows the ones so far: the clip is completed by what there is.
    pub fn flush(&mut self) -> Option<Clip> {
        let clip = self.finish();
        self.ring.clear();
        self.bytes = 0;
        clip
    }

    fn finish(&mut self) -> Option<Clip> {
        let Running { incident, head, until, .. } = self.running.take()?;
        let mut shots = head;
        let last = shots.last().map_or(f64::NEG_INFINITY, |shot| shot.time);
        shots.extend(self.ring.iter().filter(|shot| shot.time > last).cloned());
        shots.retain(|shot| until.is_none_or(|until| shot.time <= until));
        if shots.is_empty() { None } else { Some(Clip { incident, shots }) }
    }
}

impl Running {
    fn add(&mut self, shot: &Shot, limit: usize) {
        self.full |= self.head_bytes + shot.jpeg.len() > limit;
        if !self.full {
            self.head_bytes += shot.jpeg.len();
            self.head.push(shot.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shot(number: u32) -> Shot {
        let time = f64::from(number) / 10.0;
        Shot { time, width: 16, height: 8, jpeg: vec![number as u8; 100].into() }
    }

    /// Numbers of the pictures of a clip.
    fn numbers(clip: &Option<Clip>) -> Vec<u32> {
        let shots = clip.iter().flat_map(|clip| &clip.shots);
        shots.map(|shot| (shot.time * 10.0).round() as u32).collect()
    }

    fn run(recording: &mut Recording, frames: std::ops::Range<u32>) -> Option<Clip> {
        let mut clip = None;
        for number in frames {
            let done = recording.push(shot(number));
            assert!(recording.bytes <= recording.limit);
            assert!(clip.is_none() || done.is_none());
            clip = clip.or(done);
        }
        clip
    }

    #[test]
    fn a_clip_reaches_from_before_the_beginning_to_after_the_end() {
        let mut recording = Recording::new(1.0, 0.5, 2.0, 1 << 20);
        assert_eq!(run(&mut recording, 0..100), None);
        // Announced 1.5 s after it began; the ring holds the 3 s that may be needed.
        assert_eq!(recording.ring.len(), 31);
        assert_eq!(recording.begin("a".into(), 8.5), None);
        assert_eq!(run(&mut recording, 100..120), None);
        assert_eq!(recording.end(11.7), None);
        let clip = run(&mut recording, 120..140);
        assert_eq!(numbers(&clip), (75..=122).collect::<Vec<_>>());
        assert_eq!(clip.unwrap().incident, "a");
        assert_eq!(recording.flush(), None);
    }

    #[test]
    fn what_has_come_already_need_not_be_waited_for() {
        let mut recording = Recording::new(0.2, 0.3, 5.0, 1 << 20);
        run(&mut recording, 0..50);
        recording.begin("a".into(), 2.0);
        assert_eq!(numbers(&recording.end(3.0)), (18..=33).collect::<Vec<_>>());
    }

    #[test]
    fn a_long_incident_keeps_its_beginning_and_its_end_in_bounded_memory() {
        // Room for ten pictures in each part.
        let mut recording = Recording::new(0.3, 0.2, 1.0, 1000);
        run(&mut recording, 0..20);
        recording.begin("a".into(), 1.5);
        assert_eq!(run(&mut recording, 20..100), None);
        assert_eq!(recording.end(9.9), None);
        let clip = run(&mut recording, 100..110);
        // The ring holds the last ten at the moment when the clip is complete.
        assert_eq!(numbers(&clip), (12..=21).chain(92..=101).collect::<Vec<_>>());
    }

    #[test]
    fn the_next_incident_and_the_end_of_the_stream_complete_a_clip() {
        let mut recording = Recording::new(0.5, 10.0, 1.0, 1 << 20);
        run(&mut recording, 0..20);
        recording.begin("a".into(), 1.0);
        recording.end(1.5);
        assert_eq!(run(&mut recording, 20..30), None);
        let first = recording.begin("b".into(), 2.8);
        assert_eq!(numbers(&first), (5..=29).collect::<Vec<_>>());
        run(&mut recording, 30..33);
        // Pictures before the beginning may be in both.
        assert_eq!(numbers(&recording.flush()), (23..=32).collect::<Vec<_>>());
        assert_eq!((recording.ring.len(), recording.bytes), (0, 0));
    }

    #[test]
    fn another_picture_size_completes_a_clip() {
        let mut recording = Recording::new(1.0, 1.0, 1.0, 1 << 20);
        run(&mut recording, 0..10);
        recording.begin("a".into(), 0.5);
        let clip = recording.push(Shot { width: 32, ..shot(10) });
        assert_eq!(numbers(&clip), (0..=9).collect::<Vec<_>>());
        assert_eq!(recording.ring.len(), 1);
    }
}
