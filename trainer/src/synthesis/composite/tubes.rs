//! Tubes: the same figure followed through successive frames.

use video::Frame;

use super::{background::Background, foreground::Component, sprite::Sprite};

/// Longest tube; longer tracks give several.
const LONGEST: usize = 64;
/// Shortest track that is kept at all.
pub(super) const SHORTEST: usize = 8;
/// A figure this near to the border, in pixels, may reach beyond it.
const BORDER: usize = 2;

/// A figure found in successive frames of a clip.
#[derive(Debug)]
pub(super) struct Track {
    /// Index of the clip.
    pub clip: usize,
    /// Frame of the first component.
    pub first: usize,
    /// One component for each frame.
    pub parts: Vec<Component>,
}

/// A track's sprites and how they move.
#[derive(Debug)]
pub(super) struct Tube {
    /// Index of the clip.
    pub clip: usize,
    /// One sprite for each frame, anchored at the smoothed foot point.
    pub sprites: Vec<Sprite>,
    /// The smoothed foot point in each frame, in pixels.
    pub path: Vec<[f32; 2]>,
    /// Mean velocity in pixels a frame.
    pub velocity: [f32; 2],
    /// Median height in pixels.
    pub height: f32,
}

/// Links the components of successive frames (`frames[t]` are those of frame t) into tracks by
/// largest overlap with the predicted position; a track ends where its size jumps, for there it
/// merged with another figure or came apart.
pub(super) fn link(clip: usize, frames: Vec<Vec<Component>>) -> Vec<Track> {
    let mut done = Vec::new();
    let mut open: Vec<Track> = Vec::new();
    for (t, parts) in frames.into_iter().enumerate() {
        let mut pairs = Vec::new();
        for (i, track) in open.iter().enumerate() {
            for (j, part) in parts.iter().enumerate() {
                let overlap = overlap(track, part);
                if overlap > 0.3 {
                    pairs.push((overlap, i, j));
                }
            }
        }
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        let mut successor = vec![None; open.len()];
        let mut taken = vec![false; parts.len()];
        for (_, i, j) in pairs {
            if successor[i].is_none() && !taken[j] {
                successor[i] = Some(j);
                taken[j] = true;
            }
        }
        let mut parts: Vec<Option<Component>> = parts.into_iter().map(Some).collect();
        let mut still_open = Vec::new();
        for (mut track, successor) in open.into_iter().zip(successor) {
            match successor.and_then(|j| parts[j].take()) {
                Some(part) if alike(&track, &part) => {
                    track.parts.push(part);
                    if track.parts.len() == LONGEST { &mut done } else { &mut still_open }
                        .push(track);
                }
                Some(part) => {
                    done.push(track);
                    still_open.push(Track { clip, first: t, parts: vec![part] });
                }
                None => done.push(track),
            }
        }
        still_open.extend(parts.into_iter().flatten().map(|part| Track {
            clip,
            first: t,
            parts: vec![part],
        }));
        open = still_open;
    }
    done.append(&mut open);
    done.retain(|track| track.parts.len() >= SHORTEST);
    done.sort_by_key(|track| (track.first, track.parts[0].y, track.parts[0].x));
    done
}

/// Shared area of the predicted box of the track and the box of `part`, relative to the smaller.
fn overlap(track: &Track, part: &Component) -> f32 {
    let n = track.parts.len();
    let last = &track.parts[n - 1];
    let step = match n {
        1 => [0.0; 2],
        _ => {
            let before = &track.parts[n - 2];
            [last.centre[0] - before.centre[0], last.centre[1] - before.centre[1]]
        }
    };
    let (x, y) = (last.x as f32 + step[0], last.y as f32 + step[1]);
    let shared = |a: f32, a_len: usize, b: usize, b_len: usize| {
        ((a + a_len as f32).min((b + b_len) as f32) - a.max(b as f32)).max(0.0)
    };
    let both =
        shared(x, last.width, part.x, part.width) * shared(y, last.height, part.y, part.height);
    both / (last.width * last.height).min(part.width * part.height) as f32
}

/// Whether `part` has about the size the track had in its last frames.
fn alike(track: &Track, part: &Component) -> bool {
    let recent = &track.parts[track.parts.len().saturating_sub(5)..];
    let area = recent.iter().map(|p| p.area).sum::<usize>() as f32 / recent.len() as f32;
    (0.6..=1.67).contains(&(part.area as f32 / area))
}

impl Track {
    /// Median over the frames of what `measure` gives for a component.
    pub fn median(&self, measure: impl Fn(&Component) -> f32) -> f32 {
        median(self.parts.iter().map(measure).collect()).unwrap_or(0.0)
    }

    /// Distance from the first to the last centre, in pixels.
    pub fn displacement(&self) -> f32 {
        let (a, b) = (self.parts[0].centre, self.parts[self.parts.len() - 1].centre);
        (b[0] - a[0]).hypot(b[1] - a[1])
    }

    /// The longest part of the track in which the figure does not reach the border of a `width` ×
    /// `height` picture, which would cut it; `None` if that is shorter than [`SHORTEST`].
    pub fn inside(self, width: usize, height: usize) -> Option<Self> {
        let within = |p: &Component| {
            p.x.min(p.y).min(width - p.x - p.width).min(height - p.y - p.height) > BORDER
        };
        let (mut from, mut longest) = (0, 0..0);
        for (i, part) in self.parts.iter().enumerate() {
            if !within(part) {
                from = i + 1;
            } else if i + 1 - from > longest.len() {
                longest = from..i + 1;
            }
        }
        let Self { clip, first, parts } = self;
        let parts: Vec<Component> =
            parts.into_iter().skip(longest.start).take(longest.len()).collect();
        (parts.len() >= SHORTEST).then_some(Self { clip, first: first + longest.start, parts })
    }

    /// Cuts the sprites out of the clip's `frames`.
    pub fn cut(&self, frames: &[Frame], background: &Background) -> Tube {
        let height = self.median(|p| p.height as f32);
        // The bottom edge of the mask jumps with every step; the centre hardly does.
        let feet: Vec<[f32; 2]> =
            self.parts.iter().map(|p| [p.centre[0], p.centre[1] + 0.5 * height]).collect();
        let path: Vec<[f32; 2]> = (0..feet.len())
            .map(|i| {
                // A window that stays symmetric at the ends keeps a straight path straight.
                let r = i.min(feet.len() - 1 - i).min(3);
                let window = &feet[i - r..=i + r];
                [0, 1].map(|k| window.iter().map(|p| p[k]).sum::<f32>() / window.len() as f32)
            })
            .collect();
        let sprites = self
            .parts
            .iter()
            .zip(&path)
            .enumerate()
            .map(|(i, (part, &foot))| Sprite::cut(&frames[self.first + i], background, part, foot))
            .collect();
        Tube {
            clip: self.clip,
            velocity: [0, 1].map(|k| slope(path.iter().map(|p| p[k]))),
            sprites,
            path,
            height,
        }
    }
}

impl Tube {
    /// Mean speed in pixels a frame.
    pub fn speed(&self) -> f32 {
        self.velocity[0].hypot(self.velocity[1])
    }

    /// The row of the feet half-way.
    pub fn foot(&self) -> f32 {
        self.path[self.path.len() / 2][1]
    }

    /// Bytes its sprites take.
    pub fn bytes(&self) -> usize {
        self.sprites.iter().map(|s| s.width * s.height * 8).sum()
    }
}

/// The median; `None` of nothing.
pub(super) fn median(mut values: Vec<f32>) -> Option<f32> {
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable_by(middle, f32::total_cmp).1)
}

/// The value that half of the weight, of (value, weight), lies at or below; `None` of nothing.
pub(super) fn weighted_median(mut values: Vec<(f32, f32)>) -> Option<f32> {
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut left = values.iter().map(|v| v.1).sum::<f32>() / 2.0;
    let middle = values.iter().find(|v| {
        left -= v.1;
        left <= 0.0
    });
    middle.map(|v| v.0)
}

/// Least-squares slope of a series over its index.
fn slope(values: impl ExactSizeIterator<Item = f32>) -> f32 {
    let middle = (values.len() as f32 - 1.0) / 2.0;
    let (mut up, mut down) = (0.0, 0.0);
    for (i, value) in values.enumerate() {
        let x = i as f32 - middle;
        up += x * value;
        down += x * x;
    }
    if down > 0.0 { up / down } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(x: usize, y: usize, width: usize, height: usize) -> Component {
        Component {
            x,
            y,
            width,
            height,
            area: width * height,
            centre: [x as f32 + width as f32 / 2.0, y as f32 + height as f32 / 2.0],
            mask: vec![true; width * height],
        }
    }

    #[test]
    fn crossing_walkers_keep_their_tracks() {
        // One goes right by 3 a frame, one left, on lines that just overlap.
        let frames = (0..20).map(|t| vec![part(3 * t, 10, 6, 16), part(57 - 3 * t, 27, 6, 16)]);
        let tracks = link(0, frames.collect());
        assert_eq!(tracks.len(), 2);
        assert!(tracks.iter().all(|t| t.parts.len() == 20));
        assert_eq!(tracks[0].displacement(), 57.0);
    }

    #[test]
    fn a_jump_in_size_ends_a_track() {
        let frames = (0..24).map(|t| vec![part(t, 10, if t < 12 { 6 } else { 14 }, 16)]);
        let tracks = link(0, frames.collect());
        assert_eq!(tracks.iter().map(|t| t.first).collect::<Vec<_>>(), [0, 12]);
    }

    #[test]
    fn weights_count_in_the_median() {
        assert_eq!(weighted_median(vec![(5.0, 1.0), (1.0, 2.0), (9.0, 4.0)]), Some(9.0));
        assert_eq!(weighted_median(vec![(3.0, 1.0), (1.0, 1.0), (2.0, 1.0)]), Some(2.0));
        assert_eq!(weighted_median(Vec::new()), None);
    }

    #[test]
    fn slope_of_a_line() {
        assert_eq!(slope([1.0, 3.0, 5.0, 7.0].into_iter()), 2.0);
        assert_eq!(slope([1.0].into_iter()), 0.0);
    }
}
