//! The seam between the loop and the model.

use inference::{Engine, Error, FrameScore, Stream, Wake};
use video::Frame;

use crate::zones::Zones;

/// Scores frames of many streams in turn. Implemented by [`inference::Engine`] and by fakes.
pub trait Scorer {
    /// What is remembered of one stream.
    type Stream;

    /// Before the first stream: long calls may go to a thread of their own, and `wake` is called when
    /// there is something to [collect](Self::collect).
    fn begin(&mut self, _wake: Wake) {}

    /// Begins a stream of `rate` frames per second; 0 if that is not known.
    fn stream(&self, rate: f64) -> Self::Stream;

    /// Makes a stream that has just begun one of a live camera: where the machine is too slow for it,
    /// something is given up.
    fn go_live(&self, _stream: &mut Self::Stream) {}

    /// Looks at every so manieth frame only of those that the model would look at.
    fn look_every(&self, _stream: &mut Self::Stream, _every: u64) {}

    /// Whether the next frame, or the end, can be taken without waiting for what is computed aside.
    fn is_ready(&self, _stream: &Self::Stream) -> bool {
        true
    }

    /// Snippets of the stream that were given up.
    fn given_up(&self, _stream: &Self::Stream) -> u64 {
        0
    }

    /// Lets a stream that has just begun look only at some places. False if it cannot: the places
    /// hold nothing that the model looks at.
    fn look_only_at(&self, stream: &mut Self::Stream, zones: &Zones) -> bool;

    /// Most frames that the model looks at from a frame's arrival to its score.
    fn lag(&self) -> u64;

    /// Frames that the model looks at by which scores of a live stream may be later than that.
    fn slack(&self) -> u64 {
        0
    }

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

    /// Takes up what was computed aside for a stream, if anything; `emit` gets the frames whose scores are
    /// known by it.
    ///
    /// # Errors
    /// As [`Self::push`].
    fn collect(
        &mut self,
        _stream: &mut Self::Stream,
        _emit: &mut dyn FnMut(&FrameScore),
    ) -> Result<(), Error> {
        Ok(())
    }

    /// No frame comes any more: what is left is begun to be computed. [`Self::finish`] waits for it unless
    /// the stream [is ready](Self::is_ready).
    ///
    /// # Errors
    /// If the model cannot be run.
    fn end(&mut self, _stream: &mut Self::Stream) -> Result<(), Error> {
        Ok(())
    }

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

/// Lets the threads that take and score frames go before the one that calls this.
fn give_way() {
    // SAFETY: takes no pointer; 0 is the calling thread.
    let set = unsafe { libc::setpriority(libc::PRIO_PROCESS as _, 0, LATER) };
    if set != 0 {
        log::debug!("priority: {}", std::io::Error::last_os_error());
    }
}

/// How nice the thread of long calls is.
const LATER: libc::c_int = 5;

impl Scorer for Engine {
    type Stream = Stream;

    fn begin(&mut self, wake: Wake) {
        if let Err(e) = self.compute_aside(give_way, wake) {
            log::warn!("no thread for the semantic detector: {e}; its calls stop the frames");
        }
    }

    fn stream(&self, rate: f64) -> Stream {
        Engine::stream(self, rate)
    }

    fn go_live(&self, stream: &mut Stream) {
        stream.go_live();
    }

    fn look_every(&self, stream: &mut Stream, every: u64) {
        stream.look_every(every);
    }

    fn is_ready(&self, stream: &Stream) -> bool {
        stream.is_ready()
    }

    fn given_up(&self, stream: &Stream) -> u64 {
        stream.given_up()
    }

    fn slack(&self) -> u64 {
        Engine::slack(self)
    }

    fn collect(
        &mut self,
        stream: &mut Stream,
        emit: &mut dyn FnMut(&FrameScore),
    ) -> Result<(), Error> {
        Engine::collect(self, stream, emit)
    }

    fn end(&mut self, stream: &mut Stream) -> Result<(), Error> {
        Engine::end(self, stream)
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
