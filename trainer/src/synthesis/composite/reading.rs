//! What was understood of a site: for the people who are to trust it.

use video::Frame;

use super::Composite;
use super::site::Site;

/// Pixels between two pictures of a sheet.
const GAP: usize = 4;

/// What was read of one camera view.
pub struct SiteReading {
    /// Names of the clips that show it.
    pub clips: Vec<String>,
    /// What is there when nobody is.
    pub background: Frame,
    /// The people that were cut out, each once, in rows.
    pub people: Frame,
    /// Where they were and how tall.
    pub figures: Vec<FigureReading>,
    /// Height in pixels of a usual person.
    pub height: f32,
    /// Pixels a frame.
    pub speed: f32,
    /// Heights in pixels of a person whose feet are at the top, the middle and the bottom of the picture.
    pub heights: [f32; 3],
    /// What speaks against all this.
    pub warnings: Vec<SiteWarning>,
}

/// What speaks against what was read of a site, and what would help.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SiteWarning {
    /// Nobody was seen walking.
    NobodyWalks,
    /// Few people were seen whole.
    FewPeople {
        /// How many.
        whole: usize,
    },
    /// Figures whose size does not fit the place.
    Contradicting {
        /// How many were left out.
        left_out: usize,
        /// Of how many.
        of: usize,
    },
    /// Parts of the picture are never still.
    Restless {
        /// Which part of it.
        share: f32,
    },
    /// A usual person covers few pixels.
    Far {
        /// Height in pixels.
        height: f32,
    },
}

/// People seen whole, fewer of which show too little of how people look and go.
const FEW: usize = 12;
/// Part of the figures that may contradict the others without a word.
const CONTRADICTING: f32 = 0.25;
/// Part of the picture that may never be still without a word.
const RESTLESS: f32 = 0.3;
/// Pixels of a person below which poses and things are not to be told apart.
const FAR: f32 = 16.0;

impl std::fmt::Display for SiteWarning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NobodyWalks => write!(
                f,
                "nobody walks through the picture: how tall people are, how fast, and how they look cannot be \
                 learned here, and falls, running and riding are not made; record while people pass"
            ),
            Self::FewPeople { whole } => write!(
                f,
                "only {whole} people were seen whole, from head to foot and for a second at least: \
                 pseudo-abnormal people all look like them; record longer, or where people are not cut \
                 by the border or furniture"
            ),
            Self::Contradicting { left_out, of } => write!(
                f,
                "{left_out} of {of} figures contradict the others in size and were left out: pieces of people, \
                 groups, or things; look whether the remaining ones are whole people"
            ),
            Self::Restless { share } => write!(
                f,
                "{:.0} % of the picture is never still: a moving camera, trees, water or screens; nobody is \
                 found there; fix the camera, or turn it away from them",
                100.0 * share
            ),
            Self::Far { height } => write!(
                f,
                "a usual person is {height:.0} pixels high: what somebody does, or carries, cannot be seen; \
                 use a longer lens, or a larger input_height"
            ),
        }
    }
}

/// Somebody who was followed.
#[derive(Debug, Clone)]
pub struct FigureReading {
    /// Clip in which.
    pub clip: String,
    /// Frames for which.
    pub frames: usize,
    /// Height in pixels.
    pub height: f32,
    /// Pixels a frame.
    pub speed: f32,
    /// Where the feet were, first to last, in pixels.
    pub way: Vec<[f32; 2]>,
}

impl Composite<'_> {
    /// What was read of each site.
    pub fn readings(&self) -> Vec<SiteReading> {
        (0..self.sites.len()).map(|i| self.reading(i, &self.sites[i])).collect()
    }

    fn reading(&self, index: usize, site: &Site) -> SiteReading {
        let clips = self.site_of.iter().enumerate().filter(|(_, of)| **of == index);
        let figures = site.tubes.iter().map(|tube| FigureReading {
            clip: self.clips[tube.clip].name.clone(),
            frames: tube.path.len(),
            height: tube.height,
            speed: tube.speed(),
            way: tube.path.clone(),
        });
        SiteReading {
            clips: clips.map(|(clip, _)| self.clips[clip].name.clone()).collect(),
            background: site.background.frame.clone(),
            people: people(site),
            figures: figures.collect(),
            height: site.height,
            speed: site.speed,
            heights: [0.0, 0.5, 1.0]
                .map(|at| site.height_at(at * site.background.frame.height() as f32)),
            warnings: warnings(site),
        }
    }
}

/// What speaks against what was read of a site.
pub(super) fn warnings(site: &Site) -> Vec<SiteWarning> {
    let whole = site.tubes.len();
    let of = whole + site.contradicting;
    let mut out = Vec::new();
    if site.movers.is_empty() {
        out.push(SiteWarning::NobodyWalks);
    } else if whole < FEW {
        out.push(SiteWarning::FewPeople { whole });
    }
    if site.contradicting as f32 > CONTRADICTING * of as f32 {
        out.push(SiteWarning::Contradicting { left_out: site.contradicting, of });
    }
    if site.restless > RESTLESS {
        out.push(SiteWarning::Restless { share: site.restless });
    }
    if !site.movers.is_empty() && site.height < FAR {
        out.push(SiteWarning::Far { height: site.height });
    }
    out
}

/// The middle sprite of every tube on the mean grey of the background.
fn people(site: &Site) -> Frame {
    const COLUMNS: usize = 16;
    let sprites: Vec<_> = site.tubes.iter().map(|t| &t.sprites[t.sprites.len() / 2]).collect();
    let Some(widest) = sprites.iter().map(|s| s.width).max() else { return Frame::default() };
    let tallest = sprites.iter().map(|s| s.height).max().unwrap_or(0);
    let (cell_w, cell_h) = (widest + GAP, tallest + GAP);
    let columns = sprites.len().min(COLUMNS);
    let mut sheet = Frame::new(cell_w * columns, cell_h * sprites.len().div_ceil(columns));
    sheet.rgb_mut().fill(120);
    let stride = sheet.width();
    for (i, sprite) in sprites.into_iter().enumerate() {
        let (left, top) = (i % columns * cell_w, i / columns * cell_h);
        for y in 0..sprite.height {
            for x in 0..sprite.width {
                let [r, g, b, a] = sprite.sample(x as f32 + 0.5, y as f32 + 0.5);
                let at = ((top + y) * stride + left + x) * 3;
                for (out, colour) in sheet.rgb_mut()[at..at + 3].iter_mut().zip([r, g, b]) {
                    *out = (colour + (1.0 - a) * f32::from(*out)).round().clamp(0.0, 255.0) as u8;
                }
            }
        }
    }
    sheet
}
