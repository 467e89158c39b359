//! A procedural surveillance scene, for demonstrations and tests without any data.
//!
//! A square seen from above at a slant: people walk on their ways, the light drifts, the sensor is
//! noisy. Normal clips show only that. Event clips add what training never sees: someone runs, a
//! vehicle crosses, someone falls, an object is thrown. Everything follows from the seed.
//!
//! [`Scene`] is that square. [`DrawnSite`] is one of several places that differ from it and from each
//! other in kind, with events of their own.

mod actors;
mod canvas;
mod drawn;
mod random;
mod site;

use actors::{Person, Thrown, Vehicle};
use canvas::Canvas;
pub use drawn::{DrawnClip, DrawnSite, NAMES as DRAWN};
use random::Random;
use site::Site;
use video::Frame;

/// Frames per second of the scene.
pub const FRAME_RATE: f64 = 10.0;
const DT: f32 = 0.1;

/// Seconds that an event may take: none begins so late that the clip would cut it short.
const LONGEST_EVENT: f32 = 8.0;

/// What happens in an event clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Someone runs across.
    Run,
    /// A vehicle crosses the square.
    Vehicle,
    /// Someone falls and gets up again.
    Fall,
    /// Someone throws an object.
    Throw,
}

impl Event {
    /// All kinds of event.
    pub const ALL: [Self; 4] = [Self::Run, Self::Vehicle, Self::Fall, Self::Throw];

    /// The name, as used in the names of clips.
    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Vehicle => "vehicle",
            Self::Fall => "fall",
            Self::Throw => "throw",
        }
    }
}

/// A site with its camera.
#[derive(Debug, Clone)]
pub struct Scene {
    site: Site,
    seed: u64,
}

impl Scene {
    /// The site of a seed, `width` × `height` pixels.
    pub fn new(width: usize, height: usize, seed: u64) -> Self {
        Self { site: Site::new(width, height, seed), seed }
    }

    /// Clip number `index`, `frames` long; `event` happens about once every twelve seconds in it.
    /// Clips of one scene differ by their index alone.
    pub fn clip(&self, index: u64, frames: usize, event: Option<Event>) -> Clip<'_> {
        let mut random = Random::new(self.seed, 1000 + index);
        let clock = random.between(0.0, 600.0);
        let mut clip = Clip {
            site: &self.site,
            random,
            noise: Random::new(self.seed, 1_000_000 + index),
            canvas: self.site.background.clone(),
            people: Vec::new(),
            until_next: 0.0,
            clock,
            event,
            staged: Staged::Nothing { left: 4.0 },
            done: 0,
            frames,
        };
        // The square is already peopled when the camera is switched on.
        for _ in 0..400 {
            clip.walk();
        }
        clip
    }
}

/// The event under way.
#[derive(Debug)]
enum Staged {
    /// Nothing for the seconds left.
    Nothing {
        left: f32,
    },
    Run(Person),
    Vehicle(Vehicle),
    Fall(Person),
    Throw(Thrown, f32),
}

/// A clip being filmed: an iterator over frames.
#[derive(Debug)]
pub struct Clip<'a> {
    site: &'a Site,
    random: Random,
    noise: Random,
    canvas: Canvas,
    people: Vec<Person>,
    until_next: f32,
    clock: f32,
    event: Option<Event>,
    staged: Staged,
    done: usize,
    frames: usize,
}

impl Clip<'_> {
    /// Films the next frame; whether it shows an event, or `None` after the last.
    pub fn film(&mut self, frame: &mut Frame) -> Option<bool> {
        if self.done == self.frames {
            return None;
        }
        self.done += 1;
        self.walk();
        let abnormal = self.stage();
        self.draw(frame);
        Some(abnormal)
    }

    /// Everyday life goes on for one frame.
    fn walk(&mut self) {
        self.clock += DT;
        self.until_next -= DT;
        if self.until_next <= 0.0 {
            if self.people.len() < 9 {
                self.people.push(Person::new(self.site, &mut self.random));
            }
            self.until_next = self.random.between(1.0, 5.0);
        }
        for person in &mut self.people {
            person.step(DT, self.site, &mut self.random);
        }
        self.people.retain(|p| !p.gone());
    }

    /// The event goes on for one frame; whether it can be seen.
    fn stage(&mut self) -> bool {
        let (site, random) = (self.site, &mut self.random);
        let seconds_left = (self.frames - self.done) as f32 * DT;
        match &mut self.staged {
            Staged::Nothing { left } => {
                *left -= DT;
                if *left <= 0.0 && seconds_left > LONGEST_EVENT {
                    self.staged = match self.event {
                        None => Staged::Nothing { left: f32::MAX },
                        Some(Event::Run) => Staged::Run(Person::runner(site, random)),
                        Some(Event::Vehicle) => Staged::Vehicle(Vehicle::new(site, random)),
                        Some(Event::Fall) => Staged::Fall(Person::faller(site, random)),
                        Some(Event::Throw) => match self.people.iter().find(|p| p.inside(site)) {
                            Some(p) => Staged::Throw(Thrown::new(p.feet(), site, random), 0.0),
                            None => Staged::Nothing { left: 0.5 },
                        },
                    };
                }
                false
            }
            Staged::Run(person) => {
                person.step(DT, site, random);
                let (x, _) = person.feet();
                let visible = x > 0.0 && x < site.width as f32;
                if person.gone() {
                    self.staged = Staged::Nothing { left: random.between(8.0, 12.0) };
                }
                visible
            }
            Staged::Vehicle(vehicle) => {
                vehicle.step(DT, site);
                let visible = vehicle.visible(site);
                if vehicle.gone(site) {
                    self.staged = Staged::Nothing { left: random.between(8.0, 12.0) };
                }
                visible
            }
            Staged::Fall(person) => {
                let was_down = person.is_down();
                if !was_down && person.inside(site) {
                    // Once: when the person stands again, the event is over.
                    person.fall();
                }
                person.step(DT, site, random);
                let down = person.is_down();
                if was_down && !down {
                    let stands_again = person.clone();
                    self.people.push(stands_again);
                    self.staged = Staged::Nothing { left: random.between(8.0, 12.0) };
                } else if person.gone() {
                    self.staged = Staged::Nothing { left: 1.0 };
                }
                down
            }
            Staged::Throw(thrown, rested) => {
                thrown.step(DT);
                let flying = !thrown.at_rest;
                if !flying {
                    *rested += DT;
                    // Somebody picks it up out of sight of the story: it is gone after a while.
                    if *rested > 3.0 {
                        self.staged = Staged::Nothing { left: random.between(6.0, 9.0) };
                    }
                }
                flying
            }
        }
    }

    fn draw(&mut self, frame: &mut Frame) {
        self.canvas.pixels.copy_from_slice(&self.site.background.pixels);
        // Whoever stands nearer to the camera covers those behind.
        let mut order: Vec<&Person> = self.people.iter().collect();
        if let Staged::Run(person) | Staged::Fall(person) = &self.staged {
            order.push(person);
        }
        order.sort_by(|a, b| a.feet().1.total_cmp(&b.feet().1));
        if let Staged::Vehicle(vehicle) = &self.staged {
            vehicle.draw(&mut self.canvas, self.site);
        }
        for person in order {
            person.draw(&mut self.canvas, self.site);
        }
        if let Staged::Throw(thrown, _) = &self.staged {
            thrown.draw(&mut self.canvas);
        }
        // Clouds: two slow waves, up to a tenth brighter or darker.
        let light = 1.0 + 0.06 * (self.clock * 0.05).sin() + 0.04 * (self.clock * 0.13).sin();
        let noise = &mut self.noise;
        self.canvas.to_frame(light, || 2.2 * noise.grain(), frame);
    }
}
