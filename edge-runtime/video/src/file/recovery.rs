//! Pictures that refer to others which are not there, because the recording was cut or joined.

use ffmpeg_next::Packet;

use super::nal::Nals;

/// Seconds by which time stamps go ahead where two recordings were joined, at least.
const JOIN: f64 = 1.0;

/// What may be left out without being damage.
#[derive(Debug)]
pub(super) struct Recovery {
    /// Seconds of a unit of time.
    base: f64,
    /// Whether no key frame has come since the start of the file or of a part of it.
    unsure: bool,
    /// Whether that is the start of the file.
    starting: bool,
    /// Time of the key frame that came first after that. Pictures before it in time come after it in
    /// the file, and may refer to what is not there.
    key: Option<i64>,
    last: Option<i64>,
    /// Time of the packet that the decoder got last.
    sent: Option<i64>,
    /// How H.264's units are found in a packet; none for other codecs.
    nals: Option<Nals>,
    /// Whether the pictures since the last key frame may name some that were cut off.
    open: bool,
    left_out: u64,
}

impl Recovery {
    pub(super) fn new(base: f64, nals: Option<Nals>) -> Self {
        let (last, sent, key) = (None, None, None);
        let (unsure, starting, open) = (true, true, false);
        Self { base, unsure, starting, key, last, sent, nals, open, left_out: 0 }
    }

    /// Takes up a packet; whether the decoder is to have it.
    pub(super) fn takes(&mut self, packet: &Packet) -> bool {
        let time = packet.dts().or(packet.pts());
        if let (Some(time), Some(last)) = (time, self.last) {
            let step = (time - last) as f64 * self.base;
            if !(0.0..=JOIN).contains(&step) {
                self.unsure = true;
            }
        }
        self.last = time.or(self.last);
        self.sent = packet.pts();
        if packet.is_key() {
            let idr = |nals: &Nals| packet.data().is_some_and(|data| nals.has_idr(data));
            self.open = self.unsure && self.nals.as_ref().is_some_and(|nals| !idr(nals));
            // Only after a cut do pictures refer to what is not there.
            self.key = if self.unsure { packet.pts() } else { None };
            (self.unsure, self.starting) = (false, false);
        } else if self.starting {
            self.left_out += 1;
            return false;
        }
        true
    }

    /// Whether the decoder is to go on over what it cannot find. After a cut at a key frame that resets
    /// nothing (an open group of pictures) H.264's pictures may tell it to forget some that it never
    /// had. That does no harm to what is shown; what does is marked in the picture.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Whether a picture of this time that was decoded is left out all the same, because it may refer to
    /// what was cut off; it is counted then.
    pub(super) fn leaves_out(&mut self, time: Option<i64>) -> bool {
        let leading = self.open && time.zip(self.key).is_some_and(|(time, key)| time < key);
        self.left_out += u64::from(leading);
        leading
    }

    /// Whether a failure to decode the packet that was sent last is excused; it is counted then.
    pub(super) fn excuses_packet(&mut self) -> bool {
        self.excuses_picture(self.sent)
    }

    /// Whether a picture of this time that is damaged is excused; it is counted then.
    pub(super) fn excuses_picture(&mut self, time: Option<i64>) -> bool {
        let before = time.zip(self.key).is_some_and(|(time, key)| time < key);
        let excused = self.unsure || before;
        self.left_out += u64::from(excused);
        excused
    }

    /// Pictures that were left out.
    pub(super) fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }
}
