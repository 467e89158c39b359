//! Places that differ in kind, drawn in three dimensions: people with limbs, clothes and shadows before
//! a camera that stands elsewhere in each.
//!
//! They are what the synthesizer is judged by, so nothing here is shared with it: bodies are posed joint
//! by joint, while it pastes cut-out pictures. Normal life has in it what looks like an event and is
//! none: sitting down, crouching, picking up, pushing, carrying, standing about. Every step of
//! everybody's script says whether it is part of an event; the labels are exactly that, where it is seen.

mod backdrop;
mod body;
mod figure;
mod paint;
mod places;
mod script;
#[cfg(test)]
mod tests;
mod things;
mod viewpoint;

use video::Frame;

use self::backdrop::{Backdrop, Light};
use self::paint::{Painter, Shapes};
use self::places::{Life, Place};
use self::script::Actor;
use self::viewpoint::Viewpoint;
use super::random::Random;

/// Seconds of a frame.
const DT: f32 = 1.0 / super::FRAME_RATE as f32;
/// Seconds that an event may take, entering and leaving included: none begins so late that the clip
/// would cut it short.
const LONGEST_EVENT: f32 = 24.0;
/// Frames of life before the camera is switched on.
const BEFORE: usize = 400;
/// Frames for which an event may be covered by what stands in front of it.
const COVERED: usize = 10;
/// Noise values; frames begin at different ones.
const GRAIN: usize = 1 << 17;

/// The kinds of place.
pub const NAMES: [&str; 6] = ["near", "far", "top-down", "corridor", "night", "crowd"];

/// A place with its camera.
#[derive(Debug)]
pub struct DrawnSite {
    seed: u64,
    view: Viewpoint,
    backdrop: Backdrop,
    light: Light,
    place: Box<dyn Place>,
}

impl DrawnSite {
    /// The place `name`, one of [`DRAWN`](super::DRAWN), of a seed, `width` × `height` pixels; none of another name.
    pub fn new(name: &str, width: usize, height: usize, seed: u64) -> Option<Self> {
        let mut random = Random::new(seed, 1);
        let (place, view, setting) = places::make(name, (width, height), &mut random)?;
        let backdrop = Backdrop::new((width, height), &view, &setting, seed as u32);
        Some(Self { seed, view, backdrop, light: setting.light, place })
    }

    /// The kinds of event that happen here.
    pub fn events(&self) -> &'static [&'static str] {
        self.place.events()
    }

    /// Clip number `index`, `frames` long, in which an event of a kind happens again and again. Clips of
    /// one place differ by their index alone.
    pub fn clip(&self, index: u64, frames: usize, event: Option<&'static str>) -> DrawnClip<'_> {
        let mut random = Random::new(self.seed, 1000 + index);
        let clock = random.between(0.0, 600.0);
        let mut noise = Random::new(self.seed, 1_000_000 + index);
        let mut life = Life::new(random);
        self.place.open(&mut life);
        for _ in 0..BEFORE {
            life.step(self.place.as_ref(), DT);
        }
        DrawnClip {
            site: self,
            life,
            painter: Painter::new(&self.view, &self.backdrop, &self.light),
            shapes: Shapes::default(),
            grain: (0..GRAIN).map(|_| noise.grain()).collect(),
            noise,
            clock,
            event,
            until_event: 3.0,
            covered: usize::MAX,
            done: 0,
            frames,
        }
    }

    /// Whether somebody, or what he put down, is in the picture, and in sight if that is asked for.
    fn sees(&self, actor: &Actor, in_sight: bool) -> bool {
        let inside = |point| {
            self.view.see(point).is_some_and(|s| {
                let (w, h) = (self.backdrop.width as f32, self.backdrop.height as f32);
                (2.0..w - 2.0).contains(&s.x)
                    && (2.0..h - 2.0).contains(&s.y)
                    && (!in_sight || self.backdrop.shows(s.x, s.y, s.depth))
            })
        };
        let body = actor.body();
        let there = !actor.is_away() && (inside(body.pelvis) || inside(body.chest));
        there || actor.thing.is_some_and(|thing| inside(thing.at))
    }
}

/// A clip being filmed: an iterator over frames.
#[derive(Debug)]
pub struct DrawnClip<'a> {
    site: &'a DrawnSite,
    life: Life,
    painter: Painter<'a>,
    shapes: Shapes,
    grain: Vec<f32>,
    noise: Random,
    clock: f32,
    event: Option<&'static str>,
    until_event: f32,
    /// Frames since the event under way was last in sight.
    covered: usize,
    done: usize,
    frames: usize,
}

impl DrawnClip<'_> {
    /// Films the next frame; whether it shows an event, or `None` after the last.
    pub fn film(&mut self, frame: &mut Frame) -> Option<bool> {
        if self.done == self.frames {
            return None;
        }
        self.done += 1;
        self.clock += DT;
        self.life.step(self.site.place.as_ref(), DT);
        self.stage();
        self.draw(frame);
        Some(self.shows_event())
    }

    /// Whether an event is seen; one that is covered for a moment is not over.
    fn shows_event(&mut self) -> bool {
        let under_way = || self.life.actors.iter().filter(|actor| actor.abnormal());
        if under_way().any(|actor| self.site.sees(actor, true)) {
            self.covered = 0;
            return true;
        }
        let covered = under_way().any(|actor| self.site.sees(actor, false));
        self.covered = if covered { self.covered.saturating_add(1) } else { usize::MAX };
        self.covered < COVERED
    }

    /// Begins the next event when it is time.
    fn stage(&mut self) {
        let Some(event) = self.event else { return };
        if self.life.actors.iter().any(Actor::expected) {
            self.until_event = self.life.random.between(4.0, 7.0);
            return;
        }
        self.until_event -= DT;
        let seconds_left = (self.frames - self.done) as f32 * DT;
        if self.until_event <= 0.0 && seconds_left > LONGEST_EVENT {
            self.site.place.stage(event, &mut self.life);
        }
    }

    fn draw(&mut self, frame: &mut Frame) {
        self.shapes.all.clear();
        self.shapes.pools.clear();
        for actor in &self.life.actors {
            actor.draw(&mut self.shapes);
        }
        self.painter.paint(&self.shapes, self.clock);
        let gain = 1.0 + 0.04 * (self.clock * 0.05).sin() + 0.03 * (self.clock * 0.13).sin();
        let start = self.noise.below(GRAIN);
        self.painter.expose(gain, &self.grain, start, frame);
    }
}
