//! Which frames of a test video are abnormal.

use super::Error;

/// Ground truth of one video, by frame. Files that count from 0 or leave the end out are brought
/// to one convention when they are read: frames count from 1, both ends of a range are included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Truth {
    /// Abnormal ranges, first and last frame; everything else is normal, however long the video is.
    Ranges(Vec<(u64, u64)>),
    /// A label for each frame.
    Frames(Vec<bool>),
}

impl Truth {
    /// A video without anything abnormal.
    pub fn normal() -> Self {
        Self::Ranges(Vec::new())
    }

    /// The number of frames, if the labels say it.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Ranges(_) => None,
            Self::Frames(frames) => Some(frames.len() as u64),
        }
    }

    /// The last abnormal frame; 0 if there is none.
    pub fn last(&self) -> u64 {
        match self {
            Self::Ranges(ranges) => ranges.iter().map(|(_, last)| *last).max().unwrap_or(0),
            Self::Frames(frames) => {
                frames.iter().rposition(|abnormal| *abnormal).map_or(0, |at| at as u64 + 1)
            }
        }
    }

    /// The number of abnormal frames, as labelled: a frame in two ranges counts once, frames beyond
    /// the video's end count.
    pub fn abnormal(&self) -> u64 {
        match self {
            Self::Frames(frames) => frames.iter().filter(|abnormal| **abnormal).count() as u64,
            Self::Ranges(ranges) => {
                let mut ranges = ranges.clone();
                ranges.sort_unstable();
                let mut reached = 0;
                let mut count = 0_u64;
                for (first, last) in ranges {
                    let first = first.max(reached + 1);
                    if first <= last {
                        count = count.saturating_add(last - first + 1);
                        reached = last;
                    }
                }
                count
            }
        }
    }

    /// Whether each frame of a video of `count` frames is abnormal. A range that goes beyond the end
    /// is cut there, as the evaluation programs of UCF-Crime and XD-Violence do.
    ///
    /// # Errors
    /// [`Error::Length`] if there is a label for each frame, but of another number of frames.
    pub fn frames(&self, clip: &str, count: usize) -> Result<Vec<bool>, Error> {
        match self {
            Self::Frames(frames) if frames.len() == count => Ok(frames.clone()),
            Self::Frames(frames) => Err(Error::Length {
                clip: clip.into(),
                labels: frames.len() as u64,
                frames: count as u64,
            }),
            Self::Ranges(ranges) => {
                let mut abnormal = vec![false; count];
                for &(first, last) in ranges {
                    let first = first.max(1).min(count as u64 + 1) as usize;
                    let last = last.min(count as u64) as usize;
                    if first <= last {
                        abnormal[first - 1..last].fill(true);
                    }
                }
                Ok(abnormal)
            }
        }
    }

    /// The abnormal ranges, as a labels file has them.
    pub fn ranges(&self) -> Vec<(u64, u64)> {
        let frames = match self {
            Self::Ranges(ranges) => return ranges.clone(),
            Self::Frames(frames) => frames,
        };
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for frame in (1_u64..).zip(frames).filter(|(_, abnormal)| **abnormal).map(|(at, _)| at) {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == frame => *last = frame,
                _ => ranges.push((frame, frame)),
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_by_hand() {
        let truth = Truth::Ranges(vec![(5, 9), (2, 3), (8, 10)]);
        assert_eq!((truth.abnormal(), truth.last(), truth.length()), (8, 10, None));
        let frames = truth.frames("a", 6).unwrap();
        assert_eq!(frames, [false, true, true, false, true, true]);
        assert_eq!(truth.frames("a", 0).unwrap(), [false; 0]);
        assert_eq!(Truth::Ranges(vec![(1, u64::MAX)]).abnormal(), u64::MAX);
        assert_eq!(Truth::normal().last(), 0);
    }

    #[test]
    fn frame_labels_by_hand() {
        let truth = Truth::Frames(vec![true, false, true, true]);
        assert_eq!((truth.abnormal(), truth.last(), truth.length()), (3, 4, Some(4)));
        assert_eq!(truth.ranges(), [(1, 1), (3, 4)]);
        assert_eq!(truth.frames("a", 4).unwrap(), [true, false, true, true]);
        let error = truth.frames("a", 5).unwrap_err().to_string();
        assert!(error.contains("4 frame labels for 5 frames"), "{error}");
    }
}
