//! The stage: where and when a pseudo clip plays, and the routes and walkers on it.

use std::f32::consts::PI;
use std::ops::Range;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use video::Frame;

use super::canvas::{Canvas, Look, Mark, Placement};
use super::grain::Grain;
use super::site::Site;
use super::sprite::Sprite;
use super::tubes::Tube;

/// Places that are tried for a route; the one that keeps it longest on the site's ways is taken.
const PLACES: usize = 16;

/// Where and when a pseudo clip plays.
pub(super) struct Stage<'a> {
    /// The site.
    pub site: &'a Site,
    /// The site whose walkers are borrowed: its own, unless it has none.
    pub lender: &'a Site,
    /// All frames of the normal clip.
    pub footage: &'a [Frame],
    /// Frames of the pseudo clip.
    pub span: usize,
    /// Frames per second.
    pub rate: f32,
    /// Shortest and longest event in frames.
    pub event_frames: [usize; 2],
    /// Soft noise with patches of some pixels, for textures.
    pub clouds: &'a Grain,
}

impl<'a> Stage<'a> {
    /// Width and height of the picture.
    pub fn size(&self) -> [f32; 2] {
        let frame = &self.site.background.frame;
        [frame.width() as f32, frame.height() as f32]
    }

    /// When an event of the usual length happens.
    pub fn period(&self, rng: &mut ChaCha8Rng) -> Range<usize> {
        let [shortest, longest] = self.event_frames.map(|n| n.min(self.span));
        self.period_of(rng, shortest, longest)
    }

    /// When an event of `shortest` to `longest` frames happens.
    pub fn period_of(&self, rng: &mut ChaCha8Rng, shortest: usize, longest: usize) -> Range<usize> {
        let frames = rng.random_range(shortest..=longest).min(self.span);
        let first = rng.random_range(0..=self.span - frames);
        first..first + frames
    }

    /// A walker that gets somewhere.
    pub fn mover(&self, rng: &mut ChaCha8Rng) -> Option<&'a Tube> {
        let movers = &self.lender.movers;
        (!movers.is_empty()).then(|| &self.lender.tubes[movers[rng.random_range(0..movers.len())]])
    }

    /// A walker that gets somewhere and is most likely a single person, by being slim.
    pub fn person(&self, rng: &mut ChaCha8Rng) -> Option<&'a Tube> {
        let mut tube = self.mover(rng)?;
        for _ in 0..6 {
            let middle = &tube.sprites[tube.sprites.len() / 2];
            if middle.height as f32 > 1.6 * middle.width as f32 {
                break;
            }
            tube = self.mover(rng)?;
        }
        Some(tube)
    }

    /// A random piece of the usual ways: a foot point.
    pub fn foot(&self, rng: &mut ChaCha8Rng) -> [f32; 2] {
        let [w, h] = self.size();
        let tubes = &self.site.tubes;
        if tubes.is_empty() {
            return [rng.random_range(0.05..0.95) * w, rng.random_range(0.3..0.97) * h];
        }
        let path = &tubes[rng.random_range(0..tubes.len())].path;
        let foot = path[rng.random_range(0..path.len())];
        let reach = 0.4 * self.site.height;
        foot.map(|v| v + rng.random_range(-reach..reach))
    }

    /// A usual direction, in radians.
    pub fn direction(&self, rng: &mut ChaCha8Rng) -> f32 {
        match self.mover(rng) {
            Some(tube) => tube.velocity[1].atan2(tube.velocity[0]),
            None => rng.random_range(-0.4..0.4) + if rng.random() { PI } else { 0.0 },
        }
    }

    /// `frames` foot points of a thing that moves by `step(i)` pixels from frame i to i + 1, where it
    /// stays long in the picture. Steps are those at the row where walkers have their usual height,
    /// and change with the perspective; the way trembles a little, as every tracked one does.
    pub fn route(
        &self,
        rng: &mut ChaCha8Rng,
        frames: usize,
        step: impl Fn(usize) -> [f32; 2],
    ) -> Vec<[f32; 2]> {
        let [w, h] = self.size();
        let inside = |p: &&[f32; 2]| {
            let tall = self.site.height_at(p[1]);
            (0.0..w).contains(&p[0]) && (0.5 * tall..h + 0.2 * tall).contains(&p[1])
        };
        let mut best = (0, Vec::new());
        for _ in 0..PLACES {
            let pivot = rng.random_range(0..frames);
            let foot = self.foot(rng);
            let mut route = vec![foot; frames];
            let moved = |from: [f32; 2], i: usize, sign: f32| {
                let zoom = sign * self.site.height_at(from[1]) / self.site.height;
                let step = step(i);
                [from[0] + zoom * step[0], from[1] + zoom * step[1]]
            };
            for i in pivot + 1..frames {
                route[i] = moved(route[i - 1], i - 1, 1.0);
            }
            for i in (0..pivot).rev() {
                route[i] = moved(route[i + 1], i, -1.0);
            }
            // Nothing drives through walls: where people walk counts most.
            let score: usize =
                route.iter().filter(inside).map(|&p| if self.site.is_way(p) { 4 } else { 1 }).sum();
            if best.1.is_empty() || score > best.0 {
                best = (score, route);
            }
            if best.0 == 4 * frames {
                break;
            }
        }
        let amplitude = rng.random_range(0.002..0.012) * self.site.height;
        let mut wobble = [0.0; 2];
        for point in &mut best.1 {
            for k in 0..2 {
                wobble[k] = 0.7 * wobble[k] + amplitude * rng.random_range(-1.0..1.0f32);
                point[k] += wobble[k];
            }
        }
        best.1
    }

    /// A route at constant velocity, `speed` times a walker's, `direction` in radians.
    pub fn straight(
        &self,
        rng: &mut ChaCha8Rng,
        frames: usize,
        speed: f32,
        direction: f32,
    ) -> Vec<[f32; 2]> {
        let speed = speed * self.site.speed;
        let (sin, cos) = direction.sin_cos();
        self.route(rng, frames, |_| [speed * cos, speed * sin])
    }

    /// A rigid thing of a walker's usual size (at height [`Site::height`]) moves along `route` from
    /// frame `first` on.
    pub fn ride(
        &self,
        canvas: &mut Canvas<'_>,
        rng: &mut ChaCha8Rng,
        first: usize,
        sprite: &Sprite,
        route: &[[f32; 2]],
        mark: Mark,
    ) {
        let look = Look::draw(rng, self.site.background.noise);
        for (i, &at) in route.iter().enumerate() {
            let size = self.site.height_at(at[1]) / self.site.height;
            let place = Placement {
                at,
                scale: [size, size],
                angle: 0.0,
                smear: smear(route, i, look.exposure),
            };
            canvas.paste(first + i, sprite, &place, &look, mark);
        }
    }

    /// Size of a `tube` shown with its foot at row `y`, its sprite filmed at row `filmed`.
    pub fn tube_size(&self, tube: &Tube, filmed: f32, y: f32) -> f32 {
        let filmed = if std::ptr::eq(self.site, self.lender) {
            self.site.height_at(filmed)
        } else {
            tube.height
        };
        (self.site.height_at(y) / filmed).clamp(0.25, 2.5)
    }

    /// Size of a `tube` shown where walkers have their usual height.
    pub fn usual_size(&self, tube: &Tube) -> f32 {
        let filmed = if std::ptr::eq(self.site, self.lender) {
            self.site.height_at(tube.path[0][1])
        } else {
            tube.height
        };
        (self.site.height / filmed).clamp(0.25, 2.5)
    }

    /// Colours of a random piece of the footage, by position in pixels; turned and stretched, so that
    /// it does not look like glass.
    pub fn texture(&self, rng: &mut ChaCha8Rng) -> impl Fn(f32, f32) -> [f32; 3] + use<'a> {
        let frame = &self.footage[rng.random_range(0..self.footage.len())];
        let (w, h) = (frame.width(), frame.height());
        let (x0, y0) = (rng.random_range(0..w) as f32, rng.random_range(0..h) as f32);
        let (sin, cos) = rng.random_range(0.0..2.0 * PI).sin_cos();
        let stretch = rng.random_range(0.7..2.5);
        move |x, y| {
            let (x, y) = (stretch * (cos * x - sin * y), stretch * (sin * x + cos * y));
            let x = (x0 + x).rem_euclid(w as f32) as usize % w;
            let y = (y0 + y).rem_euclid(h as f32) as usize % h;
            let at = (y * w + x) * 3;
            [0, 1, 2].map(|c| frame.rgb()[at + c] as f32)
        }
    }

    /// A random paint of a luma level out of `levels`; coloured where the footage is.
    pub fn paint(&self, rng: &mut ChaCha8Rng, levels: Range<f32>) -> [f32; 3] {
        let level = rng.random_range(levels);
        if self.site.background.grey {
            return [level; 3];
        }
        let strength = rng.random_range(0.0..0.5);
        [0; 3].map(|_| (level * (1.0 + strength * rng.random_range(-1.0..1.0f32))).min(255.0))
    }
}

/// Motion during the exposure at point `i` of a route.
fn smear(route: &[[f32; 2]], i: usize, exposure: f32) -> [f32; 2] {
    let (a, b) = (route[i.saturating_sub(1)], route[(i + 1).min(route.len() - 1)]);
    let steps = ((i + 1).min(route.len() - 1) - i.saturating_sub(1)).max(1) as f32;
    [0, 1].map(|k| exposure * (b[k] - a[k]) / steps)
}

/// A tube played again: at another place, speed, size, pace and direction.
pub(super) struct Walker<'a> {
    /// The tube whose path is followed.
    pub tube: &'a Tube,
    /// Its sprites, or what replaces them one by one.
    pub sprites: &'a [Sprite],
    /// Multiple of the tube's speed.
    pub speed: f32,
    /// Sprites shown per frame; 1 is the tube's own pace, 0 a frozen pose.
    pub pace: f32,
    /// Clockwise turn of the path in radians.
    pub turn: f32,
    /// Size on top of the perspective.
    pub scale: f32,
    /// Lean about the foot in radians.
    pub lean: f32,
}

impl<'a> Walker<'a> {
    /// The tube as filmed.
    pub fn new(tube: &'a Tube) -> Self {
        Self {
            tube,
            sprites: &tube.sprites,
            speed: 1.0,
            pace: 1.0,
            turn: 0.0,
            scale: 1.0,
            lean: 0.0,
        }
    }

    /// A multiple of walking speed, as a multiple of this tube's; a dawdler is taken as walking.
    pub fn at_speed(mut self, stage: &Stage<'_>, multiple: f32) -> Self {
        let own = (stage.usual_size(self.tube) * self.tube.speed()).max(1e-3);
        self.speed = multiple * own.max(0.8 * stage.site.speed) / own;
        self
    }

    /// The displacement of the path at time `s` in frames; beyond its end it goes on from there.
    fn displacement(&self, s: f32) -> [f32; 2] {
        let path = &self.tube.path;
        let last = path.len() - 1;
        let rounds = (s / last as f32).floor();
        let within = s - rounds * last as f32;
        let i = (within as usize).min(last - 1);
        let part = within - i as f32;
        [0, 1].map(|k| {
            let at = path[i][k] + part * (path[i + 1][k] - path[i][k]);
            at - path[0][k] + rounds * (path[last][k] - path[0][k])
        })
    }

    /// Index of the sprite at time `s` in frames: forth and back, for a jump would show.
    fn pose(&self, s: f32) -> usize {
        let last = self.sprites.len() - 1;
        let i = s as usize % (2 * last).max(1);
        if i > last { 2 * last - i } else { i }
    }

    /// Walks at its speed in the frames of `period`, all with one mark.
    pub fn walk(
        &self,
        stage: &Stage<'_>,
        canvas: &mut Canvas<'_>,
        rng: &mut ChaCha8Rng,
        period: Range<usize>,
        mark: Mark,
    ) {
        let steps = self.steps(stage, rng, period.len(), |i| (i as f32, mark));
        let look = Look::draw(rng, stage.site.background.noise);
        self.show(stage, canvas, &look, period.start, &steps);
    }

    /// The steps of a walk of `frames` frames along a route that is drawn for it; `scene(i)` gives for its
    /// i-th frame the way walked so far, in frames at the walker's speed, and the mark.
    pub fn steps(
        &self,
        stage: &Stage<'_>,
        rng: &mut ChaCha8Rng,
        frames: usize,
        scene: impl Fn(usize) -> (f32, Mark),
    ) -> Vec<Step> {
        let mirrored = rng.random_bool(0.5);
        let pose = rng.random_range(0.0..self.sprites.len() as f32);
        let size = stage.usual_size(self.tube);
        let (sin, cos) = self.turn.sin_cos();
        let route = stage.route(rng, frames, |i| {
            let a = self.displacement(self.speed * scene(i).0);
            let b = self.displacement(self.speed * scene(i + 1).0);
            let (dx, dy) = (size * (b[0] - a[0]), size * (b[1] - a[1]));
            let (dx, dy) = (cos * dx - sin * dy, sin * dx + cos * dy);
            [if mirrored { -dx } else { dx }, dy]
        });
        route
            .into_iter()
            .enumerate()
            .map(|(i, at)| {
                let (walked, mark) = scene(i);
                Step { at, pose: pose + self.pace * walked, mirrored, mark }
            })
            .collect()
    }

    /// The sprite of a step, and its size there.
    pub fn drawn(&self, stage: &Stage<'_>, step: &Step) -> (&'a Sprite, f32) {
        let pose = self.pose(step.pose);
        let filmed = self.tube.path[pose][1];
        (&self.sprites[pose], self.scale * stage.tube_size(self.tube, filmed, step.at[1]))
    }

    /// Shows the walker step by step from frame `first` on.
    pub fn show(
        &self,
        stage: &Stage<'_>,
        canvas: &mut Canvas<'_>,
        look: &Look,
        first: usize,
        steps: &[Step],
    ) {
        let route: Vec<[f32; 2]> = steps.iter().map(|s| s.at).collect();
        for (i, step) in steps.iter().enumerate() {
            let (sprite, size) = self.drawn(stage, step);
            let place = Placement {
                at: step.at,
                scale: [if step.mirrored { -size } else { size }, size],
                angle: self.lean,
                smear: smear(&route, i, look.exposure),
            };
            canvas.paste(first + i, sprite, &place, look, step.mark);
        }
    }
}

/// A walker in one frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// Its foot, in pixels.
    pub at: [f32; 2],
    /// Time in its tube in frames, which chooses the sprite.
    pub pose: f32,
    /// Whether the sprite is mirrored.
    pub mirrored: bool,
    /// What it means.
    pub mark: Mark,
}
