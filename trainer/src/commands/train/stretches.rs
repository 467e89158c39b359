//! Which parts of long footage are used: stretches spread over all of it, not its beginning.

use std::iter;
use std::ops::Range;

/// Frames of a stretch at most: half a minute shows somebody cross the picture.
const LONGEST: usize = 300;
/// Stretches at least.
const FEWEST: usize = 16;

/// The frames to use of clips of these lengths, all in model frames: everything if that is at most
/// `limit`, else stretches that lie evenly over the whole, none shorter than `shortest`. A stretch is
/// as long as the usual clip, and half a minute at most; it does not reach from one clip into another.
pub fn spread(lengths: &[usize], limit: usize, shortest: usize) -> Vec<Vec<Range<usize>>> {
    let total: usize = lengths.iter().sum();
    if total <= limit {
        return lengths.iter().map(|&length| iter::once(0..length).collect()).collect();
    }
    let mut sorted = lengths.to_vec();
    sorted.sort_unstable();
    let usual = sorted[sorted.len() / 2];
    // Few frames in all are still to be from everywhere.
    let longest = LONGEST.min(limit / FEWEST).max(shortest);
    let stretch = usual.clamp(shortest, longest).min(limit);
    let count = (limit / stretch.max(1)).max(1);
    let mut used = vec![Vec::new(); lengths.len()];
    let mut room = limit;
    for i in 0..count {
        // The middle of the i-th of as many parts of the whole.
        let mut middle = (2 * i + 1) * total / (2 * count);
        let mut clip = 0;
        while middle >= lengths[clip] {
            middle -= lengths[clip];
            clip += 1;
        }
        let own: &mut Vec<Range<usize>> = &mut used[clip];
        let free = own.last().map_or(0, |last| last.end);
        let first = middle.saturating_sub(stretch / 2).min(lengths[clip].saturating_sub(stretch));
        let range = first.max(free)..(first + stretch).min(lengths[clip]);
        if range.len() >= shortest && range.len() <= room {
            room -= range.len();
            own.push(range);
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn footage_that_fits_is_used_as_it_is() {
        let whole: Vec<_> = spread(&[100, 200], 300, 16).into_iter().flatten().collect();
        assert_eq!(whole, [0..100, 0..200]);
        assert_eq!(spread(&[], 300, 16), Vec::<Vec<Range<usize>>>::new());
    }

    #[test]
    fn a_long_video_is_cut_to_its_first_ten_minutes() {
        // Three hours in one file, ten minutes of it: twenty stretches of half a minute, nine minutes
        // from one to the next, the first and the last near the ends.
        let used = spread(&[108_000], 6000, 16).remove(0);
        assert_eq!(used.len(), 20);
        assert!(used.iter().all(|range| range.len() == 300));
        assert!(used[0].start < 5400 && used[19].end > 102_600);
        assert!(used.windows(2).all(|w| w[1].start - w[0].start == 5400));
    }

    #[test]
    fn every_length_of_clip_fills_the_room_from_all_over() {
        for lengths in [vec![150; 100], vec![9000; 12], vec![40; 400], vec![20_000, 30, 300, 4000]]
        {
            let used = spread(&lengths, 6000, 16);
            let frames: usize = used.iter().flatten().map(ExactSizeIterator::len).sum();
            assert!((4000..=6000).contains(&frames), "{lengths:?}: {frames}");
            for (length, ranges) in lengths.iter().zip(&used) {
                assert!(ranges.iter().all(|r| r.len() >= 16 && r.end <= *length), "{ranges:?}");
                assert!(ranges.windows(2).all(|w| w[0].end <= w[1].start), "{ranges:?}");
            }
            let quarter = lengths.len().div_ceil(4);
            for part in used.chunks(quarter).filter(|_| lengths.len() > 10) {
                let frames: usize = part.iter().flatten().map(ExactSizeIterator::len).sum();
                assert!(frames > 900, "{lengths:?}: a quarter of the clips gives {frames}");
            }
        }
    }
}
