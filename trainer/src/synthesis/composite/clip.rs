//! One pseudo clip: what happens in it, and what came of it.

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::canvas::{Canvas, Mark};
use super::kinds::{self, KINDS};
use super::stage::Stage;
use super::{Composite, CompositeConfig, Request};
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
        let frames = self.clips[clip].frames.len();
        let span = self.config.frames.min(frames);
        let first = rng.random_range(0..=frames - span);
        let kinds: Vec<Role> = self
            .performers
            .iter()
            .zip(&self.rates)
            .zip(1..)
            .map(|((&performer, &rate), label)| Role { performer, rate, label })
            .collect();
        let name = format!("composite-{:x}-{index}", self.seed);
        self.act(rng, name, (clip, first), &self.config, &kinds)
    }

    /// Makes the clip of a request with the kinds that can occur (index in [`KINDS`] and rate).
    pub(super) fn compose_request(
        &self,
        request: &Request<'_>,
        cast: &[(usize, f64)],
    ) -> PseudoClip {
        let mut rng = ChaCha8Rng::seed_from_u64(request.seed);
        let frames = self.clips[request.clip].frames.len();
        let span = request.config.frames.min(frames);
        let first = request.frame.min(frames - span);
        let kinds: Vec<Role> = cast
            .iter()
            .map(|&(performer, rate)| Role { performer, rate, label: performer as u8 + 1 })
            .collect();
        let name = format!("composite-{:x}", request.seed);
        self.act(&mut rng, name, (request.clip, first), request.config, &kinds)
    }

    /// Lets events of `kinds` happen in `config.frames` frames of footage from `source` on.
    fn act(
        &self,
        rng: &mut ChaCha8Rng,
        name: String,
        source: (usize, usize),
        config: &CompositeConfig,
        kinds: &[Role],
    ) -> PseudoClip {
        let (clip, first) = source;
        let footage = &self.clips[clip].frames[..];
        let span = config.frames.min(footage.len());
        let site = &self.sites[self.site_of[clip]];
        let lender = if site.movers.is_empty() { &self.sites[self.lender] } else { site };
        let stage = Stage {
            site,
            lender,
            footage,
            span,
            rate: self.clips[clip].frame_rate as f32,
            event_frames: config.event_frames,
            clouds: &self.clouds,
        };

        let mut canvas = Canvas::new(&footage[first..first + span], site, &self.grain);
        let [least, most] = config.benign;
        for _ in 0..rng.random_range(least..=most) {
            kinds::benign(&stage, &mut canvas, rng);
        }
        for role in draw_kinds(kinds, config.events, rng) {
            for _ in 0..TRIES {
                let mark = Mark::Kind(role.label);
                (KINDS[role.performer].perform)(&stage, &mut canvas, rng, mark);
                if canvas.labelled_frames(role.label, SEEN) >= SEEN_FRAMES {
                    break;
                }
            }
        }
        let Canvas { frames, labels, .. } = canvas;
        let labels_used = kinds.iter().map(|role| role.label as usize).max().unwrap_or(0);
        PseudoClip { name, events: events(&labels, labels_used), frames, labels, source }
    }
}

/// A kind that may occur in a clip.
#[derive(Debug, Clone, Copy)]
struct Role {
    /// Index in [`KINDS`].
    performer: usize,
    /// How often, relative to the others.
    rate: f64,
    /// Label of its pixels.
    label: u8,
}

/// At most `events` different kinds in random order, each drawn by its rate from those left.
fn draw_kinds(kinds: &[Role], events: usize, rng: &mut ChaCha8Rng) -> Vec<Role> {
    let mut left = kinds.to_vec();
    let mut drawn = Vec::new();
    while drawn.len() < events && !left.is_empty() {
        let total: f64 = left.iter().map(|role| role.rate).sum();
        let mut at = rng.random_range(0.0..total);
        let i = left.iter().position(|role| {
            at -= role.rate;
            at < 0.0
        });
        drawn.push(left.remove(i.unwrap_or(left.len() - 1)));
    }
    drawn.shuffle(rng);
    drawn
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
