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
        }
    }
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
