//! Recorded sources: a video file or a folder of pictures.

use std::sync::Arc;
use std::time::Duration;

use video::{Frame, Reader};

use super::{Demand, Error, FrameSource, Next, Stamp, sleep};
use crate::clock::Clock;
use crate::config::{AtEnd, FileConfig, Pace};

/// Rate of a recording that does not tell its own.
const DEFAULT_RATE: f64 = 10.0;

/// A recorded source.
pub struct Recorded {
    config: FileConfig,
    reader: Reader,
    rate: f64,
    clock: Arc<dyn Clock>,
    /// Stream time at which the recording last started.
    start: f64,
    /// Stream time of the newest frame.
    last: f64,
    /// Frames given since the recording last started.
    in_round: u64,
    /// Wall and monotonic time of frame 0.
    origin: Option<(u64, Duration)>,
}

impl Recorded {
    /// Opens the recording.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open(config: &FileConfig, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let reader = Reader::open(&config.path)?;
        let told = reader.info().frame_rate;
        let rate = if told.is_finite() && told > 0.0 { told } else { DEFAULT_RATE };
        Ok(Self {
            config: config.clone(),
            reader,
            rate,
            clock,
            start: 0.0,
            last: 0.0,
            in_round: 0,
            origin: None,
        })
    }
}

impl FrameSource for Recorded {
    fn rate(&self) -> f64 {
        self.rate
    }

    fn next(
        &mut self,
        frame: &mut Frame,
        demand: &mut Demand,
        stop: &dyn Fn() -> bool,
    ) -> Result<Next, Error> {
        if stop() {
            return Ok(Next::End);
        }
        if !self.reader.read(frame)? {
            if self.config.at_end == AtEnd::Stop || self.in_round == 0 {
                return Ok(Next::End);
            }
            self.reader = Reader::open(&self.config.path)?;
            self.in_round = 0;
            self.start = self.last + 1.0 / self.rate;
            return Ok(Next::Gap(None));
        }
        let stream = (self.start + self.reader.time()).max(self.last);
        let (wall_ms, start) =
            *self.origin.get_or_insert_with(|| (self.clock.wall_ms(), self.clock.monotonic()));
        let due = start + Duration::from_secs_f64(stream);
        if self.config.pace == Pace::Realtime {
            let early = due.saturating_sub(self.clock.monotonic());
            if !sleep(early, stop) {
                return Ok(Next::End);
            }
        }
        self.last = stream;
        self.in_round += 1;
        if !demand.takes(stream) {
            return Ok(Next::Passed);
        }
        Ok(Next::Frame(Stamp {
            stream,
            wall_ms: wall_ms + (stream * 1000.0).round() as u64,
            uptime_ms: due.as_millis() as u64,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::clock::ManualClock;

    fn folder(frames: u8) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..frames {
            let level = image::Rgb([i * 10; 3]);
            let path = dir.path().join(format!("{i:03}.png"));
            image::RgbImage::from_pixel(32, 16, level).save(path).unwrap();
        }
        dir
    }

    fn open(path: &Path, at_end: AtEnd) -> Recorded {
        let config = FileConfig { path: path.into(), pace: Pace::Fast, at_end };
        Recorded::open(&config, Arc::new(ManualClock::new(5000))).unwrap()
    }

    #[test]
    fn frames_carry_stream_time() {
        let dir = folder(3);
        let mut source = open(dir.path(), AtEnd::Stop);
        let mut frame = Frame::default();
        for i in 0..3u64 {
            let next = source.next(&mut frame, &mut Demand::all(), &|| false).unwrap();
            let Next::Frame(stamp) = next else { panic!() };
            assert!((stamp.stream - i as f64 / 10.0).abs() < 1e-9);
            assert_eq!((stamp.wall_ms, stamp.uptime_ms), (5000 + 100 * i, 100 * i));
            assert_eq!((frame.width(), frame.rgb()[0]), (32, 10 * i as u8));
        }
        assert!(matches!(source.next(&mut frame, &mut Demand::all(), &|| false), Ok(Next::End)));
    }

    #[test]
    fn a_loop_has_a_gap_and_time_goes_on() {
        let dir = folder(2);
        let mut source = open(dir.path(), AtEnd::Loop);
        let mut frame = Frame::default();
        let mut seen = Vec::new();
        for _ in 0..6 {
            seen.push(match source.next(&mut frame, &mut Demand::all(), &|| false).unwrap() {
                Next::Frame(stamp) => format!("{:.1}", stamp.stream),
                Next::Gap(_) => "gap".into(),
                Next::Away(_) => "away".into(),
                Next::Passed => "passed".into(),
                Next::End => "end".into(),
            });
        }
        assert_eq!(seen, ["0.0", "0.1", "gap", "0.2", "0.3", "gap"]);
        assert!(matches!(source.next(&mut frame, &mut Demand::all(), &|| true), Ok(Next::End)));
    }

    #[test]
    fn a_missing_file_is_named() {
        let config =
            FileConfig { path: "/nowhere/a.mp4".into(), pace: Pace::Fast, at_end: AtEnd::Stop };
        let error = Recorded::open(&config, Arc::new(ManualClock::new(0))).err().unwrap();
        assert!(error.to_string().contains("/nowhere/a.mp4"));
    }
}
