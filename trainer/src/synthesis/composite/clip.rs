//! One pseudo clip: what happens in it, and what came of it.

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Composite;
use super::canvas::{Canvas, Mark};
use super::kinds::{self, KINDS};
use super::stage::Stage;
use crate::synthesis::{LabelMap, PseudoClip, PseudoEvent};

/// Pixels that a frame must show of an event to belong to it.
const SEEN: usize = 4;
/// Frames that an event must be seen in; otherwise it is tried again.
const SEEN_FRAMES: usize = 4;
/// Tries for an event to be seen.
const TRIES: usize = 4;

impl Composite<'_> {
    /// Makes the clip number `index`; a function of it and the seed alone.
    pub(super) fn compose(&self, index: u64) -> PseudoClip {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        // Stream 0 drew the noise tiles.
        rng.set_stream(index.wrapping_add(1));
        let rng = &mut rng;

        let mut at = rng.random_range(0..self.clips.iter().map(|c| c.frames.len()).sum::<usize>());
        let mut clip = 0;
        while at >= self.clips[clip].frames.len() {
            at -= self.clips[clip].frames.len();
            clip += 1;
        }
        let footage = &self.clips[clip].frames[..];
        let span = self.config.frames.min(footage.len());
        let first = rng.random_range(0..=footage.len() - span);
        let site = &self.sites[self.site_of[clip]];
        let lender = if site.movers.is_empty() { &self.sites[self.lender] } else { site };
        let stage = Stage {
            site,
            lender,
            footage,
            span,
            rate: self.clips[clip].frame_rate as f32,
            event_frames: self.config.event_frames,
            clouds: &self.clouds,
        };

        let mut canvas = Canvas::new(&footage[first..first + span], site, &self.grain);
        let [least, most] = self.config.benign;
        for _ in 0..rng.random_range(least..=most) {
            kinds::benign(&stage, &mut canvas, rng);
        }
        for kind in self.draw_kinds(rng) {
            let label = kind as u8 + 1;
            for _ in 0..TRIES {
                (KINDS[self.performers[kind]].perform)(&stage, &mut canvas, rng, Mark::Kind(label));
                if canvas.labelled_frames(label, SEEN) >= SEEN_FRAMES {
                    break;
                }
            }
        }
        let Canvas { frames, labels, .. } = canvas;
        PseudoClip {
            name: format!("composite-{:x}-{index}", self.seed),
            events: events(&labels, self.kinds.len()),
            frames,
            labels,
            source: (clip, first),
        }
    }

    /// Different kinds in random order, each drawn by its rate from those left.
    fn draw_kinds(&self, rng: &mut ChaCha8Rng) -> Vec<usize> {
        let mut left: Vec<usize> = (0..self.kinds.len()).collect();
        let mut drawn = Vec::new();
        while drawn.len() < self.config.events && !left.is_empty() {
            let total: f64 = left.iter().map(|&k| self.rates[k]).sum();
            let mut at = rng.random_range(0.0..total);
            let i = left.iter().position(|&k| {
                at -= self.rates[k];
                at < 0.0
            });
            drawn.push(left.remove(i.unwrap_or(left.len() - 1)));
        }
        drawn.shuffle(rng);
        drawn
    }
}

/// The first and last frame of every kind that the labels show.
fn events(labels: &[LabelMap], kinds: usize) -> Vec<PseudoEvent> {
    let mut spans: Vec<Option<(usize, usize)>> = vec![None; kinds];
    for (t, map) in labels.iter().enumerate() {
        let mut pixels = [0usize; 256];
        map.data.iter().for_each(|&label| pixels[label as usize] += 1);
        for (kind, span) in spans.iter_mut().enumerate() {
            if pixels[kind + 1] >= SEEN {
                *span = Some((span.map_or(t, |s| s.0), t));
            }
        }
    }
    let mut events: Vec<PseudoEvent> = spans
        .into_iter()
        .enumerate()
        .filter_map(|(kind, span)| span.map(|(first, last)| PseudoEvent { kind, first, last }))
        .collect();
    events.sort_by_key(|e| (e.first, e.kind));
    events
}
