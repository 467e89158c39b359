//! From a picture of any size to the model's input, as `CLIPImageProcessor` of transformers does it.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use video::Frame;

use super::Error;
use super::resample::{Filter, resize};

/// Files that the settings are in; of a newer processor they are one of several parts.
const FILES: [&str; 2] = ["preprocessor_config.json", "processor_config.json"];

/// Largest side that a picture is resized to.
const LARGEST: usize = 8192;

/// Resize, crop, rescale, normalise.
#[derive(Debug)]
pub(super) struct Preprocess {
    path: PathBuf,
    resize: Option<(Target, Filter)>,
    /// Width and height.
    crop: Option<(usize, usize)>,
    rescale: Option<f64>,
    /// Mean and standard deviation of each channel.
    normalize: Option<([f32; 3], [f32; 3])>,
    side: usize,
}

/// What a picture is resized to.
#[derive(Debug, Clone, Copy)]
enum Target {
    /// The shorter side; the aspect is kept.
    Shortest(usize),
    /// Width and height.
    Exactly(usize, usize),
}

/// The settings as they are written.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Settings {
    do_resize: Option<bool>,
    size: Option<Size>,
    resample: Option<u64>,
    do_center_crop: Option<bool>,
    crop_size: Option<Size>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    do_normalize: Option<bool>,
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
}

impl Default for Settings {
    /// What `CLIPImageProcessor` is when nothing is said.
    fn default() -> Self {
        Self {
            do_resize: Some(true),
            size: Some(Size::Shortest { shortest_edge: 224 }),
            resample: Some(3),
            do_center_crop: Some(true),
            crop_size: Some(Size::One(224)),
            do_rescale: Some(true),
            rescale_factor: Some(1.0 / 255.0),
            do_normalize: Some(true),
            image_mean: Some([0.481_454_66, 0.457_827_5, 0.408_210_73]),
            image_std: Some([0.268_629_54, 0.261_302_6, 0.275_777_1]),
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Size {
    One(usize),
    Both { height: usize, width: usize },
    Shortest { shortest_edge: usize },
}

impl Preprocess {
    /// Reads the settings of the directory; `side` is what the model takes.
    pub fn read(dir: &Path, side: usize) -> Result<Self, Error> {
        let path = FILES.map(|name| dir.join(name)).into_iter().find(|path| path.exists());
        let Some(path) = path else {
            return Err(Error::Missing { dir: dir.into(), what: FILES.join(" (or ") + ")" });
        };
        let text = Error::read_text(&path)?;
        let damaged = |problem: String| Error::Damaged { path: path.clone(), problem };
        let mut value: Value = serde_json::from_str(&text)
            .map_err(|e| damaged(format!("is not a JSON object: {e}")))?;
        if let Some(part) = value.get_mut("image_processor") {
            value = part.take();
        }
        let settings = Settings::deserialize(value).map_err(|e| damaged(e.to_string()))?;
        Self::new(&settings, path.clone(), side).map_err(damaged)
    }

    fn new(settings: &Settings, path: PathBuf, side: usize) -> Result<Self, String> {
        let default = Settings::default();
        let on = |flag: Option<bool>| flag.unwrap_or(true);
        let within = |name: &str, n: usize| {
            if (1..=LARGEST).contains(&n) {
                Ok(n)
            } else {
                Err(format!("{name} {n} must be 1 to {LARGEST}"))
            }
        };
        let resize = if on(settings.do_resize) {
            let target = match settings.size.or(default.size) {
                Some(Size::Both { height, width }) => {
                    Target::Exactly(within("size.width", width)?, within("size.height", height)?)
                }
                Some(Size::One(n) | Size::Shortest { shortest_edge: n }) => {
                    Target::Shortest(within("size.shortest_edge", n)?)
                }
                None => return Err("size is missing".into()),
            };
            let number = settings.resample.unwrap_or(3);
            let filter = Filter::of(number).ok_or(format!("resample {number} must be 0 to 5"))?;
            Some((target, filter))
        } else {
            None
        };
        let crop = if on(settings.do_center_crop) {
            Some(match settings.crop_size.or(default.crop_size) {
                Some(Size::Both { height, width }) => {
                    (within("crop_size.width", width)?, within("crop_size.height", height)?)
                }
                Some(Size::One(n)) => (within("crop_size", n)?, n),
                _ => return Err("crop_size must be a number or height and width".into()),
            })
        } else {
            None
        };
        if let Some((width, height)) = crop.filter(|crop| *crop != (side, side)) {
            return Err(format!(
                "crop_size is {width} x {height}, but config.json's vision_config.image_size is {side}"
            ));
        }
        let std = settings.image_std.or(default.image_std).unwrap_or([1.0; 3]);
        if std.iter().any(|s| !(s.is_finite() && *s > 0.0)) {
            return Err(format!("image_std {std:?} must be greater than 0"));
        }
        let mean = settings.image_mean.or(default.image_mean).unwrap_or([0.0; 3]);
        Ok(Self {
            path,
            resize,
            crop,
            rescale: on(settings.do_rescale)
                .then(|| settings.rescale_factor.unwrap_or(1.0 / 255.0)),
            normalize: on(settings.do_normalize).then_some((mean, std)),
            side,
        })
    }

    /// Width and height of the model's input.
    pub fn side(&self) -> usize {
        self.side
    }

    /// The model's input, `[3, side, side]`.
    pub fn pixels(&self, frame: &Frame) -> Result<Vec<f32>, Error> {
        let from = (frame.width(), frame.height());
        let resized = match self.resize {
            Some((target, filter)) => {
                let (width, height) = match target {
                    Target::Exactly(width, height) => (width, height),
                    Target::Shortest(short) => shortest(from, short),
                };
                &resize(frame, width, height, filter)
            }
            None => frame,
        };
        let picture = match self.crop {
            Some((width, height)) => &centre_crop(resized, width, height),
            None => resized,
        };
        let to = (picture.width(), picture.height());
        if to != (self.side, self.side) {
            return Err(Error::Picture { path: self.path.clone(), from, to, side: self.side });
        }
        // One float for each of 256 levels and each channel.
        let levels = [0, 1, 2].map(|c| {
            let mut levels = [0.0f32; 256];
            for (level, value) in levels.iter_mut().enumerate() {
                let scaled = match self.rescale {
                    Some(factor) => (level as f64 * factor) as f32,
                    None => level as f32,
                };
                *value = match &self.normalize {
                    Some((mean, std)) => (scaled - mean[c]) / std[c],
                    None => scaled,
                };
            }
            levels
        });
        let channel = |c: usize| picture.rgb().iter().skip(c).step_by(3).map(move |&v| (c, v));
        Ok((0..3).flat_map(channel).map(|(c, v)| levels[c][v as usize]).collect())
    }
}

/// Width and height with the shorter side `short`; the longer one is rounded down.
fn shortest((width, height): (usize, usize), short: usize) -> (usize, usize) {
    let long = |long: usize, of: usize| ((short * long) as f64 / of as f64) as usize;
    if width <= height { (short, long(height, width)) } else { (long(width, height), short) }
}

/// The middle of the picture; what lies outside of it is black.
fn centre_crop(frame: &Frame, width: usize, height: usize) -> Frame {
    let (w, h) = (frame.width() as isize, frame.height() as isize);
    let start = |inside: isize, wanted: usize| (inside - wanted as isize).div_euclid(2);
    let (left, top) = (start(w, width), start(h, height));
    let mut out = Frame::new(width, height);
    for y in 0..height {
        let from_y = top + y as isize;
        if !(0..h).contains(&from_y) {
            continue;
        }
        for x in 0..width {
            let from_x = left + x as isize;
            if (0..w).contains(&from_x) {
                let (to, from) = ((y * width + x) * 3, ((from_y * w + from_x) * 3) as usize);
                out.rgb_mut()[to..to + 3].copy_from_slice(&frame.rgb()[from..from + 3]);
            }
        }
    }
    out
}
