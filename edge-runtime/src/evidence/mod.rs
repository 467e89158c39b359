//! Pictures of incidents: the frame with the highest score, with the region drawn into it.

mod draw;
mod ring;

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use alert_wire::Region;
use video::Frame;

use crate::config::EvidenceConfig;

pub use draw::draw_region;
pub use ring::Ring;

/// Why a picture could not be kept.
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
    /// The picture cannot be encoded.
    #[error(transparent)]
    Encode(#[from] video::Error),
}

/// 2026-01-01. A picture of an earlier time was taken while the clock was not set, and how old it is
/// nobody knows: its age is no reason to delete it.
const CLOCK_SET: Duration = Duration::from_secs(1_767_225_600);
const DAY: f64 = 86_400.0;

/// A picture in the folder.
#[derive(Debug)]
struct Kept {
    path: PathBuf,
    size: u64,
    taken: SystemTime,
}

/// A folder of pictures with a limit of size, and of age if one is set; beyond it the oldest are
/// deleted.
#[derive(Debug)]
pub struct Evidence {
    config: EvidenceConfig,
    /// Oldest first.
    files: VecDeque<Kept>,
    bytes: u64,
    picture: Frame,
}

impl Evidence {
    /// Opens the folder, making it if needed; pictures that are there count towards the limit.
    ///
    /// # Errors
    /// If the folder cannot be used.
    pub fn open(config: &EvidenceConfig) -> Result<Self, Error> {
        let fail = |path: &Path, source| Error::Io { path: path.into(), source };
        fs::create_dir_all(&config.dir).map_err(|e| fail(&config.dir, e))?;
        let mut found: Vec<(SystemTime, PathBuf, u64)> = Vec::new();
        for camera in fs::read_dir(&config.dir).map_err(|e| fail(&config.dir, e))?.flatten() {
            let Ok(pictures) = fs::read_dir(camera.path()) else {
                continue;
            };
            for picture in pictures.flatten() {
                let path = picture.path();
                let is_picture = path.extension().is_some_and(|e| e == "jpg");
                if let (true, Ok(meta)) = (is_picture, picture.metadata()) {
                    let changed = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    found.push((changed, path, meta.len()));
                }
            }
        }
        found.sort();
        let mut evidence = Self {
            config: config.clone(),
            bytes: found.iter().map(|f| f.2).sum(),
            files: found
                .into_iter()
                .map(|(taken, path, size)| Kept { path, size, taken })
                .collect(),
            picture: Frame::default(),
        };
        evidence.make_room(0);
        evidence.expire(SystemTime::now());
        Ok(evidence)
    }

    /// Keeps the picture of an incident, in place of an earlier one of the same incident. Returns
    /// its path relative to the folder.
    ///
    /// # Errors
    /// If it cannot be encoded or written.
    pub fn save(
        &mut self,
        camera: &str,
        incident: &str,
        frame: &Frame,
        region: Option<Region>,
    ) -> Result<String, Error> {
        let jpeg = match region.filter(|_| self.config.draw_region) {
            None => video::encode_jpeg(frame, self.config.quality)?,
            Some(region) => {
                self.picture.clone_from(frame);
                draw_region(&mut self.picture, region);
                video::encode_jpeg(&self.picture, self.config.quality)?
            }
        };
        let name = format!("{camera}/{incident}.jpg");
        let path = self.config.dir.join(&name);
        if let Some(at) = self.files.iter().position(|kept| kept.path == path)
            && let Some(kept) = self.files.remove(at)
        {
            self.bytes -= kept.size;
        }
        let size = jpeg.len() as u64;
        self.make_room(size);
        let fail = |source| Error::Io { path: path.clone(), source };
        let part = path.with_extension("part");
        fs::create_dir_all(self.config.dir.join(camera))
            .and_then(|()| fs::write(&part, &jpeg))
            .and_then(|()| fs::rename(&part, &path))
            .map_err(fail)?;
        self.files.push_back(Kept { path, size, taken: SystemTime::now() });
        self.bytes += size;
        Ok(name)
    }

    /// Bytes in use.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Deletes what is too old at this time.
    pub fn expire(&mut self, now: SystemTime) {
        let Some(days) = self.config.max_days else { return };
        let set = SystemTime::UNIX_EPOCH + CLOCK_SET;
        // The clock may jump, so the oldest picture need not have the earliest time.
        let old = |kept: &Kept| {
            let age = now.duration_since(kept.taken).unwrap_or_default();
            kept.taken >= set && age.as_secs_f64() > days * DAY
        };
        while let Some(at) = self.files.iter().position(old)
            && let Some(kept) = self.files.remove(at)
        {
            self.delete(&kept);
        }
    }

    fn make_room(&mut self, size: u64) {
        while self.bytes + size > self.config.max_bytes
            && let Some(kept) = self.files.pop_front()
        {
            self.delete(&kept);
        }
    }

    fn delete(&mut self, kept: &Kept) {
        self.bytes -= kept.size;
        if let Err(e) = fs::remove_file(&kept.path) {
            log::warn!("{}: {e}", kept.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(dir: &Path, max_bytes: u64) -> EvidenceConfig {
        EvidenceConfig {
            dir: dir.into(),
            max_bytes,
            max_days: None,
            quality: 80,
            draw_region: true,
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
    fn the_oldest_pictures_give_way() {
        let dir = tempfile::tempdir().unwrap();
        let one = video::encode_jpeg(&noise(1), 80).unwrap().len() as u64;
        let limit = one * 3 + one / 2;
        let mut evidence = Evidence::open(&config(dir.path(), limit)).unwrap();
        for i in 0..5 {
            let name = evidence.save("door", &format!("i{i}"), &noise(i), None).unwrap();
            assert_eq!(name, format!("door/i{i}.jpg"));
            assert!(evidence.bytes() <= limit);
        }
        let there: Vec<bool> =
            (0..5).map(|i| dir.path().join(format!("door/i{i}.jpg")).exists()).collect();
        assert_eq!(there, [false, false, true, true, true]);
        drop(evidence);
        // After a restart with a smaller limit.
        let evidence = Evidence::open(&config(dir.path(), one + one / 2)).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("door")).unwrap().count(), 1);
        assert!(evidence.bytes() > 0);
    }

    #[test]
    fn pictures_grow_old() {
        let dir = tempfile::tempdir().unwrap();
        let config = EvidenceConfig { max_days: Some(2.0), ..config(dir.path(), 1 << 20) };
        let mut evidence = Evidence::open(&config).unwrap();
        evidence.save("door", "old", &noise(1), None).unwrap();
        evidence.save("door", "unset", &noise(2), None).unwrap();
        let now = SystemTime::now();
        // One was taken three days ago, one while the clock still stood in 1970.
        for (name, taken) in [
            ("old", now - Duration::from_secs(3 * 86_400)),
            ("unset", SystemTime::UNIX_EPOCH + Duration::from_secs(100)),
        ] {
            let file =
                fs::File::options().write(true).open(dir.path().join(format!("door/{name}.jpg")));
            file.unwrap().set_modified(taken).unwrap();
        }
        let mut evidence = Evidence::open(&config).unwrap();
        evidence.save("door", "new", &noise(3), None).unwrap();
        let there = |name: &str| dir.path().join(format!("door/{name}.jpg")).exists();
        assert_eq!([there("old"), there("unset"), there("new")], [false, true, true]);
        evidence.expire(now + Duration::from_secs(86_400));
        assert!(there("new"));
        evidence.expire(now + Duration::from_secs(3 * 86_400));
        assert_eq!([there("unset"), there("new")], [true, false]);
        assert_eq!(
            evidence.bytes(),
            fs::metadata(dir.path().join("door/unset.jpg")).unwrap().len()
        );
    }

    #[test]
    fn a_better_picture_replaces_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut evidence = Evidence::open(&config(dir.path(), 1 << 20)).unwrap();
        evidence.save("door", "a", &noise(1), None).unwrap();
        evidence.save("door", "a", &noise(2), None).unwrap();
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
            let config = EvidenceConfig { draw_region: drawn, ..config(dir.path(), 1 << 20) };
            let mut evidence = Evidence::open(&config).unwrap();
            let name = evidence.save("door", "a", &grey, region).unwrap();
            let picture = image::open(dir.path().join(name)).unwrap().to_rgb8();
            let [r, g, _] = picture.get_pixel(16, 32).0;
            assert_eq!(r.abs_diff(g) > 60, drawn, "{r} {g}");
        }
    }
}
