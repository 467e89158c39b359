//! What is kept of an incident: the picture of the frame with the highest score, with the region drawn
//! into it, and, if asked for, a clip from before it to after it.

mod clips;
mod draw;
mod folder;
mod movie;
mod recording;
mod ring;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use alert_wire::Region;
use video::Frame;

use crate::config::EvidenceConfig;
use crate::later::{Later, Size};
use clips::Clips;
use folder::Folder;

pub use clips::ClipFeed;
pub use draw::draw_region;
pub use ring::Ring;

/// Ending of a picture's name.
const PICTURE: &str = "jpg";
/// Ending of a clip's name.
const CLIP: &str = "mov";

/// Why a picture or a clip could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder cannot be used.
    #[error("evidence {path}: {source}; make it writable or change `evidence.dir`")]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is larger than the folder may be.
    #[error("evidence {path}: {size} bytes are more than `evidence.max_bytes`, {limit}; raise it")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The disk does not take what is written.
    #[error("evidence {0}: the disk is too slow for another picture; it is left out")]
    Slow(PathBuf),
    /// The picture cannot be encoded.
    #[error(transparent)]
    Encode(#[from] video::Error),
}

/// Pictures and clips of incidents, in a folder with a limit of size and age.
pub struct Evidence {
    config: EvidenceConfig,
    folder: Folder,
    clips: Option<Clips>,
    later: Option<Arc<Later>>,
}

impl Evidence {
    /// Opens the folder, making it if needed; what is there counts towards the limit.
    ///
    /// # Errors
    /// If the folder cannot be used.
    pub fn open(config: &EvidenceConfig) -> Result<Self, Error> {
        let folder = Folder::open(config)?;
        let clips = Clips::start(config, &folder)?;
        Ok(Self { config: config.clone(), folder, clips, later: None })
    }

    /// Pictures are written by the thread that writes from now on.
    #[must_use]
    pub fn later(self, later: &Arc<Later>) -> Self {
        Self { later: Some(Arc::clone(later)), ..self }
    }

    /// Where a camera's frames go for its clips, if clips are kept. An incident is announced at most
    /// `delay` seconds after it began. With `wait` no frame that is due is left out, for sources that
    /// can wait.
    pub fn feed(&self, camera: usize, id: &str, delay: f64, wait: bool) -> Option<ClipFeed> {
        self.clips.as_ref().map(|clips| clips.feed(camera, id, delay, wait))
    }

    /// Keeps the picture of an incident, in place of an earlier one of the same incident. Returns
    /// its path relative to the folder, which may be written later. With `wait` it is not left out
    /// because the disk is slow.
    ///
    /// # Errors
    /// If it cannot be encoded or written, or too many wait to be.
    pub fn save(
        &mut self,
        camera: &str,
        incident: &str,
        frame: &Frame,
        region: Option<Region>,
        wait: bool,
    ) -> Result<String, Error> {
        let name = format!("{camera}/{incident}.{PICTURE}");
        let region = region.filter(|_| self.config.draw_region);
        match &self.later {
            None => write(&self.folder, &name, frame.clone(), region, self.config.quality)?,
            Some(later) => {
                let (folder, quality) = (self.folder.clone(), self.config.quality);
                let (path, frame) = (name.clone(), frame.clone());
                let job = move || Ok(write(&folder, &path, frame, region, quality)?);
                if !later.put(Size::Large, wait, job) {
                    return Err(Error::Slow(self.config.dir.clone()));
                }
            }
        }
        Ok(name)
    }

    /// Bytes in use.
    pub fn bytes(&self) -> u64 {
        self.folder.bytes()
    }

    /// Deletes what is too old at this time.
    pub fn expire(&self, now: SystemTime) {
        match &self.later {
            None => self.folder.expire(now),
            Some(later) => {
                let folder = self.folder.clone();
                later.put(Size::Small, false, move || {
                    folder.expire(now);
                    Ok(())
                });
            }
        }
    }
}

fn write(
    folder: &Folder,
    name: &str,
    mut frame: Frame,
    region: Option<Region>,
    quality: u8,
) -> Result<(), Error> {
    if let Some(region) = region {
        draw_region(&mut frame, region);
    }
    let jpeg = video::encode_jpeg(&frame, quality)?;
    folder.store(name, jpeg.len() as u64, |file| file.write_all(&jpeg))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    pub(super) fn config(dir: &Path) -> EvidenceConfig {
        EvidenceConfig {
            dir: dir.into(),
            max_bytes: 1 << 20,
            max_days: None,
            quality: 80,
            draw_region: true,
            clip_before: 0.0,
            clip_after: 0.0,
        }
    }

    fn noise(seed: u32) -> Frame {
        let mut state = seed;
        let rgb = (0..64 * 64 * 3)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        Frame::from_rgb(64, 64, rgb).unwrap()
    }

    #[test]
    fn a_better_picture_replaces_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut evidence = Evidence::open(&config(dir.path())).unwrap();
        evidence.save("door", "a", &noise(1), None, false).unwrap();
        evidence.save("door", "a", &noise(2), None, false).unwrap();
        let file = dir.path().join("door/a.jpg");
        assert_eq!(evidence.bytes(), fs::metadata(&file).unwrap().len());
        assert_eq!(fs::read(file).unwrap(), video::encode_jpeg(&noise(2), 80).unwrap());
    }

    #[test]
    fn the_region_is_drawn_only_if_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let region = Some(Region { x: 0.25, y: 0.25, width: 0.5, height: 0.5 });
        let grey = Frame::from_rgb(64, 64, vec![128; 64 * 64 * 3]).unwrap();
        for drawn in [true, false] {
            let config = EvidenceConfig { draw_region: drawn, ..config(dir.path()) };
            let mut evidence = Evidence::open(&config).unwrap();
            let name = evidence.save("door", "a", &grey, region, false).unwrap();
            let picture = image::open(dir.path().join(name)).unwrap().to_rgb8();
            let [r, g, _] = picture.get_pixel(16, 32).0;
            assert_eq!(r.abs_diff(g) > 60, drawn, "{r} {g}");
        }
    }
}
