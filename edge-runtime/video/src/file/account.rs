//! How much of a file there should be, and how far it has been read.

use ffmpeg_next as ffmpeg;

use ffmpeg::Packet;
use ffmpeg::format::context::Input;

/// Seconds by which a Matroska file's packets may end before its declared duration. Writers round
/// it and count subtitles and the like; a cut recording lacks more than this.
const DURATION_SLACK: f64 = 1.0;

/// What the container declares about its end, and how far the packets have come.
pub(super) struct End {
    /// Packets of the video stream, where the container has an index or states a count.
    pub(super) declared: Option<u64>,
    /// Packets of the video stream read so far.
    pub(super) packets: u64,
    /// Frame number that the timestamps have reached: AVI states the number of frames but leaves
    /// out the packets of repeated ones.
    reached: u64,
    /// Duration in seconds that the container declares, for containers without a count.
    duration: Option<f64>,
    /// End of the last packet of any stream, in seconds.
    last: f64,
}

impl End {
    /// Whether the file has ended before what it declares.
    pub(super) fn is_early(&self) -> bool {
        match (self.declared, self.duration) {
            (Some(declared), _) => self.packets.max(self.reached) < declared,
            (None, Some(duration)) => self.last < duration - DURATION_SLACK,
            (None, None) => false,
        }
    }

    /// Nothing has been read yet.
    pub(super) fn new(input: &Input, indexed: Option<Indexed>) -> Self {
        let duration = (input.format().name().contains("matroska") && input.duration() > 0)
            .then(|| input.duration() as f64 / ffmpeg::ffi::AV_TIME_BASE as f64);
        Self { declared: indexed.map(|i| i.packets), packets: 0, reached: 0, duration, last: 0.0 }
    }

    /// Keeps account of how far the packets have come in time. `rate` is that of the video stream,
    /// whose number is `video`.
    pub(super) fn note(&mut self, input: &Input, packet: &Packet, video: usize, rate: f64) {
        let Some(stream) = input.stream(packet.stream()) else {
            return;
        };
        let Some(time) = packet.dts().or(packet.pts()) else {
            return;
        };
        let start = match stream.start_time() {
            ffmpeg::ffi::AV_NOPTS_VALUE => 0,
            start => start,
        };
        let base = f64::from(stream.time_base());
        self.last = self.last.max((time + packet.duration()) as f64 * base);
        if packet.stream() == video && time >= start {
            let frames = (time - start) as f64 * base * rate;
            self.reached = self.reached.max(frames.round() as u64 + 1);
        }
    }
}

/// What a container declares about its video stream.
#[derive(Clone, Copy)]
pub(super) struct Indexed {
    /// Packets that reading will give.
    pub(super) packets: u64,
    /// Frames that decoding them will show.
    pub(super) shown: u64,
}

/// Counts the frames of a stream: by the index for MP4, whose edit list may show fewer than the
/// file holds; by the declared count otherwise; `None` if nothing is declared.
pub(super) fn index_frames(input: &Input, stream: usize, declared: i64) -> Option<Indexed> {
    let declared = u64::try_from(declared).ok().filter(|&n| n > 0)?;
    let plain = Some(Indexed { packets: declared, shown: declared });
    if !input.format().name().contains("mp4") {
        return plain;
    }
    // SAFETY: the format context is open, `stream` is one of its streams, and the index entries
    // belong to it and are only read before anything else touches it. FFmpeg's index getters take
    // a mutable stream only because one of them may build the index lazily.
    let (entries, shown) = unsafe {
        let pointer = *(*input.as_ptr()).streams.add(stream);
        let count = ffmpeg::ffi::avformat_index_get_entries_count(pointer);
        let shown = (0..count)
            .filter(|&i| {
                let entry = ffmpeg::ffi::avformat_index_get_entry(pointer, i);
                !entry.is_null() && (*entry).flags() & ffmpeg::ffi::AVINDEX_DISCARD_FRAME == 0
            })
            .count();
        (u64::try_from(count).unwrap_or(0), shown as u64)
    };
    // A fragmented file's index grows as it is read; its header count is of the first fragment.
    if entries == 0 { plain } else { Some(Indexed { packets: entries, shown }) }
}
