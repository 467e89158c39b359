//! The seam between the loop and the model.

use inference::{Engine, Error, FrameScore, Stream, thinning};
use video::Frame;

use crate::zones::Zones;

/// Scores frames of many streams in turn. Implemented by [`inference::Engine`] and by fakes.
pub trait Scorer {
    /// What is remembered of one stream.
    type Stream;

    /// Begins a stream of `rate` frames per second.
    fn stream(&self, rate: f64) -> Self::Stream;

    /// Lets a stream that has just begun look only at some places. False if it cannot: the places
    /// hold nothing that the model looks at.
    fn look_only_at(&self, stream: &mut Self::Stream, zones: &Zones) -> bool;

    /// Most source frames from a frame's arrival to its score, at this rate.
    fn lag(&self, rate: f64) -> u64;

    /// How many source frames there are, at this rate, for each one that the model looks at.
    fn thinning(&self, rate: f64) -> u32;

    /// Names of the kinds of anomaly that [`FrameScore::kind`] counts.
    fn kinds(&self) -> &[String];

    /// Takes the next frame; `emit` gets each frame once and in order when its score is known.
    ///
    /// # Errors
    /// If the model cannot be run; the stream cannot go on.
    fn push(
        &mut self,
        stream: &mut Self::Stream,
        frame: &Frame,
        emit: &mut dyn FnMut(&FrameScore),
    ) -> Result<(), Error>;

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

    fn lag(&self, rate: f64) -> u64 {
        (self.latency() + 1) * thinning(rate, self.detectors().input.frame_rate)
    }

    fn thinning(&self, rate: f64) -> u32 {
        u32::try_from(thinning(rate, self.detectors().input.frame_rate)).unwrap_or(u32::MAX)
    }

    fn kinds(&self) -> &[String] {
        self.detectors().local.as_ref().map_or(&[], |local| local.kinds.as_slice())
    }

    fn push(
        &mut self,
        stream: &mut Stream,
        frame: &Frame,
        emit: &mut dyn FnMut(&FrameScore),
    ) -> Result<(), Error> {
        Engine::push(self, stream, frame, emit)
    }

    fn finish(
        &mut self,
        stream: &mut Stream,
        emit: &mut dyn FnMut(&FrameScore),
    ) -> Result<(), Error> {
        Engine::finish(self, stream, emit)
    }
}
