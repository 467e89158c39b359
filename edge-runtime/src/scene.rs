//! What the picture as a whole says of the camera: frozen, dark, covered, moved; and the moments at
//! which everything changed at once, which are no incidents.
//!
//! A frame is reduced to the mean luma of [`COLUMNS`] × [`ROWS`] cells, each from 8 × 8 points, so
//! that a look costs some ten thousand pixels whatever the camera's resolution, and nothing is
//! allocated after the first frame.
//!
//! | State | When | For |
//! |---|---|---|
//! | `frozen` | every point is the same as in the frame before; a sensor's noise never lets that happen | `freeze_after` |
//! | `dark` | the mean is below 16 of 255 and no cell is above 32 | 2 s |
//! | `covered` | the points deviate by less than 4 of 255 from their mean | 2 s |
//! | `moved` | the cells correlate by less than 0.5 with their mean over the last minute | 5 s |
//!
//! A **global change** is a frame in which 6 of 10 cells differ by more than 10 of 255 from the frame
//! before: lights are switched, the infrared filter clicks, the exposure jumps. Scores near it say
//! nothing, so no incident begins there; one that has begun goes on. Scores are smoothed over time
//! and look ahead, hence the veto reaches to both sides of the change.

use video::Frame;

/// Cells in a row.
pub const COLUMNS: usize = 16;
/// Rows of cells.
pub const ROWS: usize = 12;
/// Points in a row of a cell, and rows of them.
const POINTS: usize = 8;
const CELLS: usize = COLUMNS * ROWS;

/// Luma below which a picture is dark, and that no cell of it may exceed.
const DARK: (f32, f32) = (16.0, 32.0);
/// Standard deviation below which nothing can be seen.
const FLAT: f32 = 4.0;
/// Change of a cell that counts, and the part of cells that make a global change.
const CHANGE: (f32, f32) = (10.0, 0.6);
/// Correlation below which the camera looks elsewhere.
const MOVED: f32 = 0.5;
/// Seconds over which the usual picture is formed.
const MEMORY: f64 = 60.0;
/// Seconds for which the states but `frozen` must hold.
const HOLD_DARK: f64 = 2.0;
const HOLD_MOVED: f64 = 5.0;
/// Seconds after which the usual picture is known well enough to compare with it.
const LEARN: f64 = 10.0;
/// Changes that are remembered; more than this in the few seconds of a veto need no more.
const CHANGES: usize = 64;

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct SceneRules {
    /// Seconds of the same picture after which the camera is frozen, 0 for never. Default 10.
    pub freeze_after: f64,
    /// Whether no incident begins near a global change. Default true.
    pub veto: bool,
    /// Seconds before a global change for which that holds. Default 1.5.
    pub veto_before: f64,
    /// Seconds after it. Default 3.
    pub veto_after: f64,
}

impl Default for SceneRules {
    fn default() -> Self {
        Self { freeze_after: 10.0, veto: true, veto_before: 1.5, veto_after: 3.0 }
    }
}

/// What is the matter with the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SceneState {
    /// Nothing.
    #[default]
    Ok,
    /// The picture does not change at all.
    Frozen,
    /// It is black.
    Dark,
    /// It has no structure: something is before the lens.
    Covered,
    /// It shows something else than for the last minute.
    Moved,
}

/// Looks at the frames of one camera.
#[derive(Debug)]
pub struct SceneMonitor {
    rules: SceneRules,
    points: Vec<u8>,
    before: Vec<u8>,
    cells: [f32; CELLS],
    cells_before: [f32; CELLS],
    usual: [f32; CELLS],
    frames: u64,
    /// Stream time of the first frame, and of the newest.
    first: f64,
    newest: f64,
    same_since: Option<f64>,
    dark_since: Option<f64>,
    flat_since: Option<f64>,
    moved_since: Option<f64>,
    changes: heapless::Deque<f64, CHANGES>,
}

impl SceneMonitor {
    /// Has seen nothing yet.
    pub fn new(rules: SceneRules) -> Self {
        Self {
            rules,
            points: vec![0; CELLS * POINTS * POINTS],
            before: vec![0; CELLS * POINTS * POINTS],
            cells: [0.0; CELLS],
            cells_before: [0.0; CELLS],
            usual: [0.0; CELLS],
            frames: 0,
            first: 0.0,
            newest: 0.0,
            same_since: None,
            dark_since: None,
            flat_since: None,
            moved_since: None,
            changes: heapless::Deque::new(),
        }
    }

    /// Takes the next frame; `time` is its stream time in seconds.
    pub fn push(&mut self, frame: &Frame, time: f64) {
        if frame.width() == 0 || frame.height() == 0 {
            return;
        }
        std::mem::swap(&mut self.points, &mut self.before);
        std::mem::swap(&mut self.cells, &mut self.cells_before);
        self.sample(frame);
        let first = self.frames == 0;
        if first {
            (self.first, self.newest, self.usual) = (time, time, self.cells);
        }
        let since = |holds: bool, since: Option<f64>| {
            if holds { since.or(Some(time)) } else { None }
        };
        let same = !first && self.points == self.before;
        // The picture has been the same since the frame before this one.
        self.same_since = if same { self.same_since.or(Some(self.newest)) } else { None };
        let (mean, deviation) = moments(&self.points);
        let brightest = self.cells.iter().copied().fold(0.0, f32::max);
        let dark = mean < DARK.0 && brightest < DARK.1;
        self.dark_since = since(dark, self.dark_since);
        self.flat_since = since(!dark && deviation < FLAT, self.flat_since);
        if !first && self.has_changed() {
            if self.changes.is_full() {
                self.changes.pop_front();
            }
            // There is room: one was taken out.
            let _ = self.changes.push_back(time);
        }
        let known = time - self.first >= LEARN;
        let elsewhere = known && correlation(&self.cells, &self.usual).is_some_and(|r| r < MOVED);
        self.moved_since = since(elsewhere, self.moved_since);
        self.learn((time - self.newest).max(0.0));
        self.newest = time;
        self.frames += 1;
    }

    /// The stream does not go on from where it was: the next frame is compared with nothing.
    pub fn gap(&mut self) {
        *self = Self::new(self.rules);
    }

    /// What is the matter now.
    pub fn state(&self) -> SceneState {
        let held = |since: Option<f64>, seconds: f64| {
            since.is_some_and(|since| self.newest - since >= seconds)
        };
        let freeze = self.rules.freeze_after;
        if freeze > 0.0 && held(self.same_since, freeze) {
            SceneState::Frozen
        } else if held(self.dark_since, HOLD_DARK) {
            SceneState::Dark
        } else if held(self.flat_since, HOLD_DARK) {
            SceneState::Covered
        } else if held(self.moved_since, HOLD_MOVED) {
            SceneState::Moved
        } else {
            SceneState::Ok
        }
    }

    /// Whether no incident may begin at this stream time.
    pub fn vetoes(&self, time: f64) -> bool {
        let SceneRules { veto, veto_before, veto_after, .. } = self.rules;
        let near = |change: &f64| (change - veto_before..=change + veto_after).contains(&time);
        veto && self.changes.iter().any(near)
    }

    fn sample(&mut self, frame: &Frame) {
        let (width, height, rgb) = (frame.width(), frame.height(), frame.rgb());
        let (across, down) = (COLUMNS * POINTS, ROWS * POINTS);
        self.cells = [0.0; CELLS];
        for row in 0..down {
            let y = (2 * row + 1) * height / (2 * down);
            for column in 0..across {
                let x = (2 * column + 1) * width / (2 * across);
                let at = (y * width + x) * 3;
                let [r, g, b] = [rgb[at], rgb[at + 1], rgb[at + 2]].map(u32::from);
                // ITU-R BT.601, in 256ths.
                let luma = ((77 * r + 150 * g + 29 * b) >> 8) as u8;
                self.points[row * across + column] = luma;
                self.cells[row / POINTS * COLUMNS + column / POINTS] += f32::from(luma);
            }
        }
        self.cells.iter_mut().for_each(|cell| *cell /= (POINTS * POINTS) as f32);
    }

    fn has_changed(&self) -> bool {
        let pairs = self.cells.iter().zip(&self.cells_before);
        let changed = pairs.filter(|(now, then)| (*now - *then).abs() > CHANGE.0).count();
        changed as f32 >= CHANGE.1 * CELLS as f32
    }

    /// Moves the usual picture towards this one, as an exponential mean over [`MEMORY`].
    fn learn(&mut self, seconds: f64) {
        let weight = (1.0 - (-seconds / MEMORY).exp()) as f32;
        for (usual, cell) in self.usual.iter_mut().zip(&self.cells) {
            *usual += weight * (cell - *usual);
        }
    }
}

/// Mean and standard deviation.
fn moments(points: &[u8]) -> (f32, f32) {
    let (mut sum, mut squares) = (0u64, 0u64);
    for &point in points {
        sum += u64::from(point);
        squares += u64::from(point) * u64::from(point);
    }
    let count = points.len() as f64;
    let mean = sum as f64 / count;
    let variance = (squares as f64 / count - mean * mean).max(0.0);
    (mean as f32, variance.sqrt() as f32)
}

/// Pearson's correlation; `None` if one of the pictures has no structure to compare.
fn correlation(a: &[f32; CELLS], b: &[f32; CELLS]) -> Option<f32> {
    let mean = |cells: &[f32; CELLS]| cells.iter().sum::<f32>() / CELLS as f32;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut product, mut square_a, mut square_b) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (x - mean_a, y - mean_b);
        product += x * y;
        square_a += x * x;
        square_b += y * y;
    }
    let least = FLAT * FLAT * CELLS as f32;
    (square_a > least && square_b > least).then(|| product / (square_a * square_b).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture with structure and a sensor's noise: `light` is added, `shift` moves it.
    fn picture(number: u32, light: i32, shift: usize) -> Frame {
        let (width, height) = (160, 120);
        let luma: Vec<u8> = (0..width * height)
            .map(|i| {
                let (x, y) = ((i % width + shift) / 20, i / width / 20);
                let ground = [40, 120, 80, 160, 60, 140, 100][(x * 5 + y * 3) % 7];
                let noise = (i as u32 ^ number).wrapping_mul(2_654_435_761) >> 30;
                (ground + light + noise as i32).clamp(0, 255) as u8
            })
            .collect();
        Frame::from_luma(width, height, &luma).unwrap()
    }

    /// Plays `seconds` at 10 frames a second; gives the state after it.
    fn play(
        monitor: &mut SceneMonitor,
        clock: &mut u32,
        seconds: u32,
        frame: impl Fn(u32) -> Frame,
    ) -> SceneState {
        for _ in 0..seconds * 10 {
            monitor.push(&frame(*clock), f64::from(*clock) / 10.0);
            *clock += 1;
        }
        monitor.state()
    }

    #[test]
    fn every_state_comes_and_goes() {
        let mut monitor = SceneMonitor::new(SceneRules::default());
        let mut clock = 0;
        let usual = |number| picture(number, 0, 0);
        assert_eq!(play(&mut monitor, &mut clock, 30, usual), SceneState::Ok);
        for (seconds, frame, state) in [
            (13, Box::new(|_| picture(1, 0, 0)) as Box<dyn Fn(u32) -> Frame>, SceneState::Frozen),
            (4, Box::new(|n| picture(n, -200, 0)), SceneState::Dark),
            (4, Box::new(|_| Frame::from_luma(8, 8, &[90; 64]).unwrap()), SceneState::Covered),
            (8, Box::new(|n| picture(n, 0, 50)), SceneState::Moved),
        ] {
            assert_eq!(play(&mut monitor, &mut clock, seconds, frame), state);
            assert_eq!(play(&mut monitor, &mut clock, 3, usual), SceneState::Ok, "after {state:?}");
        }
        // Light is not movement.
        assert_eq!(play(&mut monitor, &mut clock, 20, |n| picture(n, 60, 0)), SceneState::Ok);
        // Another view becomes the usual one.
        let elsewhere = |n| picture(n, 0, 50);
        assert_eq!(play(&mut monitor, &mut clock, 120, elsewhere), SceneState::Ok);
    }

    #[test]
    fn a_short_freeze_is_none_and_freezing_can_be_switched_off() {
        let still = |_| picture(1, 0, 0);
        let mut monitor = SceneMonitor::new(SceneRules::default());
        assert_eq!(play(&mut monitor, &mut 0, 9, still), SceneState::Ok);
        let mut off = SceneMonitor::new(SceneRules { freeze_after: 0.0, ..SceneRules::default() });
        assert_eq!(play(&mut off, &mut 0, 60, still), SceneState::Ok);
    }

    #[test]
    fn a_light_that_is_switched_vetoes_on_both_sides() {
        let mut monitor = SceneMonitor::new(SceneRules::default());
        let mut clock = 0;
        play(&mut monitor, &mut clock, 10, |n| picture(n, 0, 0));
        play(&mut monitor, &mut clock, 10, |n| picture(n, 40, 0));
        for (time, vetoed) in [(8.0, false), (8.6, true), (10.0, true), (12.9, true), (13.1, false)]
        {
            assert_eq!(monitor.vetoes(time), vetoed, "{time}");
        }
        // Something that moves through a third of the picture is none.
        let moving = |n: u32| {
            let mut frame = picture(n, 40, 0);
            let to = frame.rgb().len() / 3;
            frame.rgb_mut()[..to].fill(if n.is_multiple_of(2) { 250 } else { 5 });
            frame
        };
        play(&mut monitor, &mut clock, 5, moving);
        assert!(!monitor.vetoes(22.0));
        let mut off = SceneMonitor::new(SceneRules { veto: false, ..SceneRules::default() });
        play(&mut off, &mut 0, 1, |n| picture(n, 60 * (n % 2) as i32, 0));
        assert!(!off.vetoes(0.5));
    }

    #[test]
    fn a_gap_is_no_change() {
        let mut monitor = SceneMonitor::new(SceneRules::default());
        monitor.push(&picture(1, 0, 0), 0.0);
        monitor.gap();
        monitor.push(&picture(2, 80, 0), 0.1);
        assert!(!monitor.vetoes(0.1));
        monitor.push(&Frame::default(), 0.2);
        assert_eq!(monitor.state(), SceneState::Ok);
    }
}
