//! The frame rate of a file.

use std::path::Path;

use ffmpeg_next as ffmpeg;

use ffmpeg::Packet;
use ffmpeg::format::stream::Stream;

use super::open;

/// Rates beyond this are no camera's: some containers give their unit of time for a rate.
const HIGHEST: f64 = 250.0;
/// Packets whose times are looked at where the container tells no rate.
const LOOKED_AT: usize = 300;

/// Frames per second: what the container says on average, else what its first packets are apart, else
/// the lowest rate at which all time stamps are whole.
pub(super) fn rate(path: &Path, stream: &Stream<'_>) -> Option<f64> {
    let believed = |rate: &f64| rate.is_finite() && *rate > 0.0 && *rate <= HIGHEST;
    let told = Some(f64::from(stream.avg_frame_rate())).filter(believed);
    told.or_else(|| measured(path, stream.index()).filter(believed))
        .or_else(|| Some(f64::from(stream.rate())).filter(believed))
}

/// The rate of the first packets, read from the file once more.
fn measured(path: &Path, stream: usize) -> Option<f64> {
    let mut input = open::input(path).ok()?;
    let base = f64::from(input.stream(stream)?.time_base());
    let mut packet = Packet::empty();
    let (mut first, mut last, mut count) = (i64::MAX, i64::MIN, 0u32);
    while count < LOOKED_AT as u32 && packet.read(&mut input).is_ok() {
        if packet.stream() == stream
            && let Some(time) = packet.pts().or(packet.dts())
        {
            (first, last) = (first.min(time), last.max(time));
            count += 1;
        }
    }
    let span = last.checked_sub(first).filter(|span| *span > 0)?;
    Some(f64::from(count - 1) / (span as f64 * base))
}
