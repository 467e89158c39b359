//! The seam between the loop and the model.

use inference::{Engine, Error, FrameScore, Stream};
use video::Frame;

use crate::zones::Zones;

/// Scores frames of many streams in turn. Implemented by [`inference::Engine`] and by fakes.
pub trait Scorer {
    /// What is remembered of one stream.
    type Stream;

    /// Begins a stream of `rate` frames per second; 0 if that is not known.
    fn stream(&self, rate: f64) -> Self::Stream;

    /// Lets a stream that has just begun look only at some places. False if it cannot: the places
    /// hold nothing that the model looks at.
    fn look_only_at(&self, stream: &mut Self::Stream, zones: &Zones) -> bool;

    /// Most frames that the model looks at from a frame's arrival to its score.
    fn lag(&self) -> u64;

    /// Frames a second that the model looks at, of a source that has so many.
    fn rate(&self) -> f64;

    /// Names of the kinds of anomaly that [`FrameScore::kind`] counts.
    fn kinds(&self) -> &[String];

    /// Takes the next frame, at `time` in seconds of its camera's stream; `emit` gets each frame once
    /// and in order when its score is known. Whether the model looks at this one.
    ///
    /// # Errors
    /// If the model cannot be run; the stream cannot go on.
    fn push(
        &mut self,
        stream: &mut Self::Stream,
        frame: &Frame,
        time: f64,
        emit: &mut dyn FnMut(&FrameScore),
    ) -> Result<bool, Error>;

    /// Ends a stream: `emit` gets the frames whose scores are still owed.
    ///
    /// # Errors
    /// If the model cannot be run.
    fn finish(
        &mut self,
        stream: &mut Self::Stream,
        emit: &mut dyn FnMut(&FrameScore),
    ) -> Result<(), Error>;
}

impl Scorer for Engine {
    type Stream = Stream;

    fn stream(&self, rate: f64) -> Stream {
        Engine::stream(self, rate)
    }

    fn look_only_at(&self, stream: &mut Stream, zones: &Zones) -> bool {
        let input = &self.detectors().input;
        stream.look_only_at(&zones.raster(input.width as usize, input.height as usize))
    }

    fn lag(&self) -> u64 {
        self.latency() + 1
    }

    fn rate(&self) -> f64 {
        self.detectors().input.frame_rate
    }

    fn kinds(&self) -> &[String] {
        self.detectors().local.as_ref().map_or(&[], |local| local.kinds.as_slice())
    }

    fn push(
        &mut self,
        stream: &mut Stream,
        frame: &Frame,
        time: f64,
        emit: &mut dyn FnMut(&FrameScore),
    ) -> Result<bool, Error> {
        Engine::push(self, stream.at(time), frame, emit)?;
        Ok(stream.looked())
    }

    fn finish(
        &mut self,
        stream: &mut Stream,
        emit: &mut dyn FnMut(&FrameScore),
    ) -> Result<(), Error> {
        Engine::finish(self, stream, emit)
    }
}
