//! The canvas: every change to a clip goes through here, and is labelled by what it changed.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use video::Frame;

use super::foreground::spread;
use super::grain::Grain;
use super::site::Site;
use super::sprite::Sprite;
use crate::synthesis::LabelMap;

/// Alpha below which a pixel is left as it is.
const TOUCH: f32 = 0.02;

/// What a change means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Normal motion: the labels stay as they are.
    Benign,
    /// The label of a kind, `k + 1`.
    Kind(u8),
}

/// Where and how a sprite lies on the frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placement {
    /// Where the anchor goes, in pixels.
    pub at: [f32; 2],
    /// Size along the sprite's axes; a negative first one mirrors it.
    pub scale: [f32; 2],
    /// Clockwise rotation about the anchor, in radians.
    pub angle: f32,
    /// Motion during the exposure, in pixels.
    pub smear: [f32; 2],
}

/// What the camera does to one pasted thing. Drawn alike for benign and abnormal pastes, so that
/// none of it tells them apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// Brightness, on top of the local light.
    gain: f32,
    /// Width of a slight blur, in pixels.
    softness: f32,
    /// Standard deviation of the coding noise of moving things, in levels.
    grain: f32,
    /// Share of the destination's own residual that is kept.
    residual: f32,
    /// Part of a frame's time in which the shutter is open.
    pub exposure: f32,
    phase: u32,
}

impl Look {
    /// A random look at a site whose still pixels have noise `noise`.
    pub fn draw(rng: &mut ChaCha8Rng, noise: f32) -> Self {
        Self {
            gain: rng.random_range(0.9..1.1),
            softness: if rng.random_bool(0.5) { rng.random_range(0.0..0.7) } else { 0.0 },
            grain: (0.7 + noise) * rng.random_range(0.4..1.6),
            residual: rng.random_range(0.6..1.0),
            exposure: if rng.random_bool(0.5) { rng.random_range(0.0..0.4) } else { 0.0 },
            phase: rng.random(),
        }
    }
}

/// A soft-edged region of a frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Region {
    /// Centre in pixels.
    pub centre: [f32; 2],
    /// Half width and half height in pixels, to where it fades out.
    pub radius: [f32; 2],
}

/// A clip in the making.
pub(super) struct Canvas<'a> {
    /// The frames so far.
    pub frames: Vec<Frame>,
    /// Their labels so far.
    pub labels: Vec<LabelMap>,
    source: &'a [Frame],
    site: &'a Site,
    grain: &'a Grain,
}

impl<'a> Canvas<'a> {
    /// A canvas on which nothing has changed yet.
    pub fn new(source: &'a [Frame], site: &'a Site, grain: &'a Grain) -> Self {
        let map = LabelMap::new(source[0].width(), source[0].height());
        Self { frames: source.to_vec(), labels: vec![map; source.len()], source, site, grain }
    }

    /// A change that a viewer could see: well above the noise, and above rounding.
    fn visible(&self) -> f32 {
        (3.0 * self.site.background.noise).max(5.0)
    }

    /// Frames in which at least `pixels` pixels are labelled `label`.
    pub fn labelled_frames(&self, label: u8, pixels: usize) -> usize {
        let enough = |m: &&LabelMap| m.data.iter().filter(|&&l| l == label).count() >= pixels;
        self.labels.iter().filter(enough).count()
    }

    /// Draws `sprite` into frame `t`.
    pub fn paste(&mut self, t: usize, sprite: &Sprite, place: &Placement, look: &Look, mark: Mark) {
        let visible = self.visible();
        let noise = self.site.background.noise;
        let source = &self.source[t];
        let still = self.site.background.frame.rgb();
        let (w, h) = (source.width(), source.height());
        let gain = look.gain
            * sprite.light.map_or(1.0, |filmed| {
                // Part of a difference in light is a difference in paint: go two thirds of the way.
                let here = self.site.background.light_at(place.at[0], place.at[1]);
                ((here + 10.0) / (filmed + 10.0)).powf(0.67).clamp(0.67, 1.5)
            });
        let phase = look.phase.wrapping_add(t as u32);
        let view = View::new(sprite, place, look.softness);
        let ([x0, x1], [y0, y1]) = view.bounds(w, h);
        let (out, labels) = (self.frames[t].rgb_mut(), &mut self.labels[t].data);
        for y in y0..y1 {
            for x in x0..x1 {
                let [r, g, b, a] = view.sample(x as f32 + 0.5, y as f32 + 0.5);
                if a < TOUCH {
                    continue;
                }
                let at = y * w + x;
                let grain = a * look.grain * self.grain.at(x, y, phase);
                let mut changed = 0.0f32;
                for (c, colour) in [r, g, b].into_iter().enumerate() {
                    let (i, filmed) = (at * 3 + c, source.rgb()[at * 3 + c] as f32);
                    // The destination's residual is the camera's noise at this place and time; what
                    // is too large for noise is something that moves there, and is covered.
                    let residual = filmed - still[i] as f32;
                    let kept = if residual.abs() <= 3.0 * noise + 1.0 { residual } else { 0.0 };
                    let value = colour * gain
                        + (1.0 - a) * out[i] as f32
                        + a * look.residual * kept
                        + grain;
                    out[i] = value.round().clamp(0.0, 255.0) as u8;
                    changed = changed.max((out[i] as f32 - filmed).abs());
                }
                mark_pixel(&mut labels[at], mark, a > 0.5, a > 0.5, changed > visible);
            }
        }
    }

    /// Shows `played` in a region of frame `t`, where `around` are the frames shown there before and
    /// after. Of what it changes, only moving pixels get the mark; the rest is ignored.
    pub fn replay(
        &mut self,
        t: usize,
        played: &Frame,
        around: [&Frame; 2],
        region: &Region,
        mark: Mark,
    ) {
        let visible = self.visible();
        let (w, h) = (played.width(), played.height());
        let span = |k: usize, n: usize| {
            let (c, r) = (region.centre[k], region.radius[k]);
            [(c - r).clamp(0.0, n as f32) as usize, (c + r).ceil().clamp(0.0, n as f32) as usize]
        };
        let ([x0, x1], [y0, y1]) = (span(0, w), span(1, h));
        let (rw, rh) = (x1 - x0, y1 - y0);
        let mut moving = vec![false; rw * rh];
        for (i, m) in moving.iter_mut().enumerate() {
            let (x, y) = (x0 + i % rw, y0 + i / rw);
            let differs = |f: &Frame| smooth_change(f, played, x, y) > 0.7 * visible;
            *m = smooth_change(&self.site.background.frame, played, x, y) > 1.5 * visible
                && around.iter().any(|f| differs(f));
        }
        // Specks are noise; a figure's inner pixels hardly change, but belong to it.
        spread(&mut moving, rw, rh, 1, 1, false);
        spread(&mut moving, rw, rh, 2, 2, true);
        let source = self.source[t].rgb();
        let (out, labels) = (self.frames[t].rgb_mut(), &mut self.labels[t].data);
        for (i, moving) in moving.into_iter().enumerate() {
            let (x, y) = (x0 + i % rw, y0 + i / rw);
            let across = (x as f32 + 0.5 - region.centre[0]) / region.radius[0];
            let down = (y as f32 + 0.5 - region.centre[1]) / region.radius[1];
            let r = (across.powi(4) + down.powi(4)).powf(0.25);
            let a = ((1.0 - r) / 0.25).clamp(0.0, 1.0);
            let a = a * a * (3.0 - 2.0 * a);
            let at = y * w + x;
            let mut touched = false;
            let colours = at * 3..at * 3 + 3;
            for (o, p) in out[colours.clone()].iter_mut().zip(&played.rgb()[colours]) {
                let value = (*o as f32 + a * (*p as f32 - *o as f32)).round() as u8;
                touched |= value != *o;
                *o = value;
            }
            if touched {
                let changed = change(&out[at * 3..], &source[at * 3..]) > visible;
                mark_pixel(&mut labels[at], mark, a > 0.5 && moving, a > 0.5, changed);
            }
        }
    }
}

/// The largest channel's difference of two pixels, in levels.
fn change(a: &[u8], b: &[u8]) -> f32 {
    (0..3).map(|c| a[c].abs_diff(b[c])).max().unwrap_or(0) as f32
}

/// The difference of two frames' luma, averaged over 3 × 3 pixels: noise averages out, motion does
/// not.
fn smooth_change(a: &Frame, b: &Frame, x: usize, y: usize) -> f32 {
    let (w, h) = (a.width(), a.height());
    let mut sum = 0;
    for y in y.saturating_sub(1)..=(y + 1).min(h - 1) {
        let row = (y * w + x.saturating_sub(1)) * 3..(y * w + (x + 2).min(w)) * 3;
        let (a, b) = (&a.rgb()[row.clone()], &b.rgb()[row]);
        sum += a.iter().zip(b).map(|(a, b)| *a as i32 - *b as i32).sum::<i32>();
    }
    sum.abs() as f32 / 27.0
}

/// Labels a touched pixel: `shows` the thing marked, `hides` what was there before, and differs
/// visibly from the footage or not.
fn mark_pixel(label: &mut u8, mark: Mark, shows: bool, hides: bool, visible: bool) {
    let marked = *label != LabelMap::NORMAL;
    match mark {
        Mark::Kind(kind) if shows && visible => *label = kind,
        // Normal motion is normal; over something marked it hides it.
        Mark::Benign if !marked => {}
        Mark::Benign if !hides && visible => {}
        // What shows through a soft edge keeps its label as long as it can be seen.
        Mark::Kind(_) if marked && !hides && visible => {}
        _ => *label = LabelMap::IGNORE,
    }
}

/// A placed sprite, as seen from the frame.
struct View<'s> {
    sprite: &'s Sprite,
    at: [f32; 2],
    scale: [f32; 2],
    turn: [f32; 2],
    /// Offsets in pixels over which a pixel is averaged.
    taps: Vec<[f32; 2]>,
}

impl<'s> View<'s> {
    fn new(sprite: &'s Sprite, place: &Placement, softness: f32) -> Self {
        let length = place.smear[0].hypot(place.smear[1]);
        let n = (length.ceil() as usize + 1).min(7);
        let soft = 0.5 * softness;
        let mut taps = Vec::new();
        for i in 0..n {
            let part = if n > 1 { i as f32 / (n - 1) as f32 - 0.5 } else { 0.0 };
            let [x, y] = place.smear.map(|s| part * s);
            if soft > 0.0 {
                taps.extend(
                    [[-soft, 0.0], [soft, 0.0], [0.0, -soft], [0.0, soft]]
                        .map(|[a, b]| [x + a, y + b]),
                );
            } else {
                taps.push([x, y]);
            }
        }
        let (sin, cos) = place.angle.sin_cos();
        Self { sprite, at: place.at, scale: place.scale, turn: [cos, sin], taps }
    }

    /// Columns and rows of a `w` × `h` frame that the sprite may touch.
    fn bounds(&self, w: usize, h: usize) -> ([usize; 2], [usize; 2]) {
        let ([cos, sin], [ax, ay]) = (self.turn, self.sprite.anchor);
        let (sw, sh) = (self.sprite.width as f32, self.sprite.height as f32);
        let (mut low, mut high) = ([f32::MAX; 2], [f32::MIN; 2]);
        for (u, v) in [(-0.5, -0.5), (sw + 0.5, -0.5), (-0.5, sh + 0.5), (sw + 0.5, sh + 0.5)] {
            let (u, v) = ((u - ax) * self.scale[0], (v - ay) * self.scale[1]);
            let point = [self.at[0] + cos * u - sin * v, self.at[1] + sin * u + cos * v];
            for tap in &self.taps {
                for k in 0..2 {
                    low[k] = low[k].min(point[k] + tap[k]);
                    high[k] = high[k].max(point[k] + tap[k]);
                }
            }
        }
        let range = |k: usize, n: usize| {
            let n = n as f32;
            [low[k].floor().clamp(0.0, n) as usize, high[k].ceil().clamp(0.0, n) as usize]
        };
        (range(0, w), range(1, h))
    }

    /// Premultiplied colour and alpha at a point of the frame.
    fn sample(&self, x: f32, y: f32) -> [f32; 4] {
        let [cos, sin] = self.turn;
        let mut sum = [0.0; 4];
        for tap in &self.taps {
            let (dx, dy) = (x - self.at[0] - tap[0], y - self.at[1] - tap[1]);
            let u = (cos * dx + sin * dy) / self.scale[0] + self.sprite.anchor[0];
            let v = (cos * dy - sin * dx) / self.scale[1] + self.sprite.anchor[1];
            for (s, value) in sum.iter_mut().zip(self.sprite.sample(u, v)) {
                *s += value;
            }
        }
        sum.map(|s| s / self.taps.len() as f32)
    }
}
