//! What is normal at a site: its background, its walkers, their size, speed and paths.

use rayon::prelude::*;
use video::Frame;

use super::background::{Background, thin, thin_evenly};
use super::foreground::{Foreground, spread};
use super::perspective::Perspective;
use super::tubes::{Track, Tube, link, median, weighted_median};
use crate::synthesis::NormalClip;

/// Tubes that are enough for variety; below it the criteria are relaxed.
const ENOUGH: usize = 24;
/// Memory that the tubes of one site may take, in bytes.
const TUBE_BYTES: usize = 256 << 20;

/// One camera view in one light, and what was seen there.
pub(super) struct Site {
    /// The background.
    pub background: Background,
    /// Walkers cut out, in the order of clips and frames.
    pub tubes: Vec<Tube>,
    /// Indices in `tubes` of those that get somewhere.
    pub movers: Vec<usize>,
    /// Height of a walker in pixels: the tubes' median, or a tenth of the picture without any.
    pub height: f32,
    /// Speed of a walker in pixels a frame.
    pub speed: f32,
    /// Where walkers' feet were, in [`cells`], grown by two.
    ways: Vec<bool>,
    /// Height of a walker by the row of the feet.
    perspective: Option<Perspective>,
    /// Figures that were left out because nobody can be so tall, or so small, where they were.
    pub contradicting: usize,
    /// Part of the picture that is never still.
    pub restless: f32,
}

/// The sites of `clips` and, for each clip, the index of its site.
pub(super) fn find(clips: &[NormalClip]) -> (Vec<Site>, Vec<usize>) {
    let own: Vec<Background> =
        clips.par_iter().map(|clip| Background::new(&thin(&clip.frames))).collect();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (clip, background) in own.iter().enumerate() {
        match groups.iter_mut().find(|group| own[group[0]].matches(background)) {
            Some(group) => group.push(clip),
            None => groups.push(vec![clip]),
        }
    }
    let mut site_of = vec![0; clips.len()];
    for (site, group) in groups.iter().enumerate() {
        group.iter().for_each(|&clip| site_of[clip] = site);
    }
    let sites = groups.iter().map(|group| Site::new(clips, &own, group)).collect();
    (sites, site_of)
}

impl Site {
    fn new(clips: &[NormalClip], own: &[Background], group: &[usize]) -> Self {
        let samples: Vec<&Frame> = group.iter().flat_map(|&c| thin(&clips[c].frames)).collect();
        let samples = thin_evenly(&samples);
        let background = Background::new(&samples);
        let foreground = Foreground::new(&background, &samples);
        let restless = foreground.restless();
        let tracks: Vec<Track> = group
            .par_iter()
            .flat_map(|&clip| {
                let frames = &clips[clip].frames;
                let then = background.during(&own[clip], &thin(frames), frames.len());
                let parts = frames.par_iter().map(|f| foreground.components(f, &then)).collect();
                link(clip, parts)
            })
            .collect();
        let chosen = choose(tracks, background.frame.width(), background.frame.height());
        let tubes: Vec<Tube> = chosen
            .par_iter()
            .map(|track| track.cut(&clips[track.clip].frames, &background))
            .collect();
        // A whole person in many frames counts more than a piece of one in few.
        let seen = |t: &Tube| (t.foot(), t.height, t.height * t.height * t.path.len() as f32);
        let perspective = Perspective::of(&tubes.iter().map(seen).collect::<Vec<_>>());
        let found = tubes.len();
        let whole = |t: &Tube| perspective.is_none_or(|p| p.admits(t.foot(), t.height));
        let tubes: Vec<Tube> = tubes.into_iter().filter(whole).collect();
        let contradicting = found - tubes.len();
        let tubes = within_memory(tubes);
        let going = |t: &Tube| t.speed() * t.path.len() as f32 >= 0.5 * t.height;
        let movers: Vec<usize> = (0..tubes.len()).filter(|&i| going(&tubes[i])).collect();
        let height = median(tubes.iter().map(|t| t.height).collect())
            .unwrap_or(background.frame.height() as f32 / 10.0);
        // Where nobody walks: 1.4 m/s by somebody 1.7 m tall.
        let walk = 1.4 / 1.7 * height / clips[group[0]].frame_rate as f32;
        let speed = median(movers.iter().map(|&i| tubes[i].speed()).collect()).unwrap_or(walk);
        let ways = ways(&tubes, height, &background.frame);
        Self {
            background,
            tubes,
            movers,
            height,
            speed,
            ways,
            perspective,
            contradicting,
            restless,
        }
    }

    /// Whether walkers go at or near a point of the picture; true where nobody walks at all.
    pub fn is_way(&self, [x, y]: [f32; 2]) -> bool {
        let (cell, columns, rows) = cells(self.height, &self.background.frame);
        let (column, row) = ((x / cell).max(0.0) as usize, (y / cell).max(0.0) as usize);
        self.tubes.is_empty() || self.ways[row.min(rows - 1) * columns + column.min(columns - 1)]
    }

    /// Height in pixels of a walker whose foot is at row `y`.
    pub fn height_at(&self, y: f32) -> f32 {
        match self.perspective {
            Some(line) => line.at(y).clamp(0.4 * self.height, 2.5 * self.height),
            None => self.height,
        }
    }
}

/// The tracks that show a whole walker: of the usual size, away from the border, at best upright
/// and followed for long. Criteria are relaxed until there are enough. Who does not move from the spot
/// counts only beside walkers, as tall as they are: what stands still may be a chair that was moved, or
/// a patch of sun.
fn choose(tracks: Vec<Track>, width: usize, height: usize) -> Vec<Track> {
    // Who comes from beyond the border is whole once inside.
    let tracks: Vec<Track> = tracks.into_iter().filter_map(|t| t.inside(width, height)).collect();
    // What moves shows the size that figures have here. Pixels vote, not tracks: fragments of
    // figures are many, but small.
    let tall = |track: &Track| track.median(|p| p.height as f32);
    let moves = |track: &Track| track.displacement() >= 0.4 * tall(track);
    let votes = tracks.iter().filter(|track| moves(track)).map(|track| {
        let area = track.median(|p| p.area as f32);
        (area, area * track.parts.len() as f32)
    });
    let Some(typical) = weighted_median(votes.collect()) else {
        return Vec::new();
    };
    // (longer than, height over width more than, area within a factor of)
    let tiers = [(15, 1.2, 2.5), (11, 0.8, 4.0), (7, 0.0, 6.0)];
    let mut kept: Vec<Track> = Vec::new();
    let mut rest = tracks;
    for (length, upright, factor) in tiers {
        let heights: Vec<f32> = kept.iter().map(tall).collect();
        let usual = median(heights).unwrap_or(0.0);
        let fits = |track: &Track| {
            let area = track.median(|p| p.area as f32);
            track.parts.len() > length
                && track.median(|p| p.height as f32 / p.width as f32) > upright
                && (typical / factor..=typical * factor).contains(&area)
                && track.median(|p| p.area as f32 / (p.width * p.height) as f32) > 0.35
                && (moves(track) || (0.75..1.33).contains(&(tall(track) / usual)))
        };
        let (fitting, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(fits);
        kept.extend(fitting);
        rest = others;
        if kept.len() >= ENOUGH {
            break;
        }
    }
    kept.sort_by_key(|t| (t.clip, t.first, t.parts[0].y, t.parts[0].x));
    kept
}

/// Edge in pixels, columns and rows of the cells in which ways are kept.
fn cells(height: f32, frame: &Frame) -> (f32, usize, usize) {
    let cell = (height / 3.0).max(2.0);
    let count = |n: usize| (n as f32 / cell).ceil() as usize;
    (cell, count(frame.width()), count(frame.height()))
}

/// The cells where feet were, grown by two.
fn ways(tubes: &[Tube], height: f32, frame: &Frame) -> Vec<bool> {
    let (cell, columns, rows) = cells(height, frame);
    let mut ways = vec![false; columns * rows];
    for foot in tubes.iter().flat_map(|t| &t.path) {
        let (column, row) = ((foot[0] / cell) as usize, (foot[1] / cell) as usize);
        ways[row.min(rows - 1) * columns + column.min(columns - 1)] = true;
    }
    spread(&mut ways, columns, rows, 2, 2, true);
    ways
}

/// Evenly thinned tubes that take at most [`TUBE_BYTES`].
fn within_memory(tubes: Vec<Tube>) -> Vec<Tube> {
    let total: usize = tubes.iter().map(Tube::bytes).sum();
    let every = total.div_ceil(TUBE_BYTES).max(1);
    tubes.into_iter().step_by(every).collect()
}
