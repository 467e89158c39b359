//! How soon an event is noticed.

/// Frames from an event's onset to its first alarm, a score above `threshold`: 0 if the first frame
/// of the event alarms. `None` if no frame of the event does. `event` is a range of frames, 1-based,
/// both ends included; what lies beyond the scores does not alarm.
///
/// An alarm that was already running when the event began counts as a delay of 0: at a fixed
/// false-alarm rate there are few, and nobody has to wait for it.
///
/// # Panics
/// If the range does not begin at 1 or later.
pub fn detection_delay(scores: &[f64], event: (u64, u64), threshold: f64) -> Option<u64> {
    let (first, last) = event;
    assert!(first >= 1, "frames of an event count from 1");
    let end = scores.len().min(last as usize);
    let during = scores.get(first as usize - 1..end)?;
    during.iter().position(|score| *score > threshold).map(|frames| frames as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_by_hand() {
        let scores = [0.9, 0.1, 0.5, 0.6, 0.2];
        assert_eq!(detection_delay(&scores, (2, 5), 0.5), Some(2));
        assert_eq!(detection_delay(&scores, (4, 4), 0.5), Some(0));
        // A score equal to the threshold is no alarm; one before the event is not its own.
        assert_eq!(detection_delay(&scores, (2, 3), 0.5), None);
        assert_eq!(detection_delay(&scores, (1, 5), 0.5), Some(0));
        assert_eq!(detection_delay(&scores, (7, 9), 0.5), None);
        assert_eq!(detection_delay(&scores, (5, 9), 0.1), Some(0));
    }
}
