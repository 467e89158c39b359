//! Score maps of a recording as a NumPy file, written while the recording plays.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use inference::{Engine, FrameScore, ScoreMap, Stream};
use video::Frame;

use crate::engine::{Hub, Scorer};
use crate::error::Error;
use crate::zones::Zones;

/// Bytes before the first value: enough for any number of frames, and a multiple of 64, as NumPy's
/// format wants it.
const HEADER: usize = 192;

/// The local detector's maps of one recording: `[frames, height, width]`, `float32`, one frame for
/// each model frame, in NumPy's format 1.0.
///
/// The number of frames is known at the end alone: the header has room for it and is written again
/// then. Until [`MapFile::finish`] the file has another name, so that one cut short is never taken
/// for a whole one.
pub struct MapFile {
    path: PathBuf,
    part: PathBuf,
    writer: BufWriter<File>,
    size: (usize, usize),
    frames: u64,
    finished: bool,
}

impl MapFile {
    /// Begins a file of maps of `width` × `height` cells, in place of an earlier one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(path: &Path, width: usize, height: usize) -> Result<Self, Error> {
        let fail = |source| Error::Write { path: path.into(), source };
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(fail)?;
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let part = path.with_file_name(name);
        let mut writer = BufWriter::new(File::create(&part).map_err(fail)?);
        writer.write_all(&header(0, (width, height))).map_err(fail)?;
        let size = (width, height);
        Ok(Self { path: path.into(), part, writer, size, frames: 0, finished: false })
    }

    /// Appends the map of the next model frame.
    ///
    /// # Errors
    /// If it cannot be written, or is not the next one.
    pub fn write(&mut self, map: &ScoreMap<'_>) -> Result<(), Error> {
        if (map.frame, map.width, map.height) != (self.frames, self.size.0, self.size.1) {
            return Err(Error::Failed(format!(
                "{}: map {} of {}x{} cells came where map {} of {}x{} was due",
                self.path.display(),
                map.frame,
                map.width,
                map.height,
                self.frames,
                self.size.0,
                self.size.1
            )));
        }
        for value in map.z {
            self.writer.write_all(&value.to_le_bytes()).map_err(|e| self.fail(e))?;
        }
        self.frames += 1;
        Ok(())
    }

    /// Completes the header and gives the file its name.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self) -> Result<(), Error> {
        let header = header(self.frames, self.size);
        let writer = &mut self.writer;
        let done = writer
            .seek(SeekFrom::Start(0)) // writes what is buffered first
            .and_then(|_| writer.write_all(&header))
            .and_then(|()| writer.flush())
            .and_then(|()| writer.get_ref().sync_all())
            .and_then(|()| fs::rename(&self.part, &self.path));
        self.finished = done.is_ok();
        done.map_err(|e| self.fail(e))
    }

    fn fail(&self, source: io::Error) -> Error {
        Error::Write { path: self.path.clone(), source }
    }
}

impl Drop for MapFile {
    fn drop(&mut self) {
        if !self.finished {
            // What was cut short is of no use; there is nobody left to tell if it stays.
            drop(fs::remove_file(&self.part));
        }
    }
}

/// Magic, version and description of the array, filled up with spaces.
fn header(frames: u64, (width, height): (usize, usize)) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&((HEADER - 10) as u16).to_le_bytes());
    let text = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({frames}, {height}, {width}), }}"
    );
    // At most 60 digits beside 59 characters: it always fits.
    bytes.extend_from_slice(text.as_bytes());
    bytes.resize(HEADER - 1, b' ');
    bytes.push(b'\n');
    bytes
}

/// The engine, with its maps going to a file. If the file cannot be written the run is stopped.
pub struct MapScorer<'a> {
    engine: &'a mut Engine,
    hub: Arc<Hub>,
    file: MapFile,
    error: Option<Error>,
}

impl<'a> MapScorer<'a> {
    /// Scores with `engine`; the run that is stopped if writing fails is that of `hub`.
    pub fn new(engine: &'a mut Engine, file: MapFile, hub: &Arc<Hub>) -> Self {
        Self { engine, hub: Arc::clone(hub), file, error: None }
    }

    /// Completes the file.
    ///
    /// # Errors
    /// If it could not be written; there is no file then.
    pub fn finish(self) -> Result<(), Error> {
        match self.error {
            Some(error) => Err(error),
            None => self.file.finish(),
        }
    }
}

/// Writes a map unless an earlier one could not be.
fn keep(map: &ScoreMap<'_>, file: &mut MapFile, error: &mut Option<Error>, hub: &Hub) {
    if error.is_none()
        && let Err(e) = file.write(map)
    {
        *error = Some(e);
        hub.stop();
    }
}

impl Scorer for MapScorer<'_> {
    type Stream = Stream;

    fn stream(&self, rate: f64) -> Stream {
        self.engine.stream(rate)
    }

    fn look_only_at(&self, stream: &mut Stream, zones: &Zones) -> bool {
        Scorer::look_only_at(self.engine, stream, zones)
    }

    fn lag(&self) -> u64 {
        Scorer::lag(self.engine)
    }

    fn rate(&self) -> f64 {
        Scorer::rate(self.engine)
    }

    fn kinds(&self) -> &[String] {
        Scorer::kinds(self.engine)
    }

    fn push(
        &mut self,
        stream: &mut Stream,
        frame: &Frame,
        time: f64,
        emit: &mut dyn FnMut(&FrameScore),
    ) -> Result<bool, inference::Error> {
        let Self { engine, hub, file, error } = self;
        let mut maps = |map: &ScoreMap<'_>| keep(map, file, error, hub);
        engine.push_with_maps(stream.at(time), frame, emit, &mut maps)?;
        Ok(stream.looked())
    }

    fn finish(
        &mut self,
        stream: &mut Stream,
        emit: &mut dyn FnMut(&FrameScore),
    ) -> Result<(), inference::Error> {
        let Self { engine, hub, file, error } = self;
        let mut maps = |map: &ScoreMap<'_>| keep(map, file, error, hub);
        engine.finish_with_maps(stream, emit, &mut maps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(frame: u64, z: &[f32]) -> ScoreMap<'_> {
        ScoreMap { frame, width: 2, height: 1, z }
    }

    #[test]
    fn the_header_tells_the_number_of_frames_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("maps/clip.npy");
        let mut file = MapFile::create(&path, 2, 1).unwrap();
        file.write(&map(0, &[1.0, -2.5])).unwrap();
        file.write(&map(1, &[0.5, 4.0])).unwrap();
        assert!(!path.exists(), "an unfinished file looks finished");
        file.finish().unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes.len(), HEADER + 4 * 4);
        assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\xb6\x00");
        let text = std::str::from_utf8(&bytes[10..HEADER]).unwrap();
        let said = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1, 2), }";
        assert_eq!(text.trim_end(), said);
        assert!(text.ends_with('\n'));
        let values: Vec<f32> = bytes[HEADER..]
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        assert_eq!(values, [1.0, -2.5, 0.5, 4.0]);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn the_longest_header_fits() {
        let bytes = header(u64::MAX, (usize::MAX, usize::MAX));
        assert_eq!(bytes.len(), HEADER);
        assert!(bytes.ends_with(b" \n") && bytes.windows(3).any(|w| w == b", }"));
    }

    #[test]
    fn a_file_cut_short_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.npy");
        let mut file = MapFile::create(&path, 2, 1).unwrap();
        file.write(&map(0, &[1.0, 2.0])).unwrap();
        let error = file.write(&map(2, &[1.0, 2.0])).unwrap_err().to_string();
        assert!(error.contains("clip.npy") && error.contains("map 1 of 2x1 was due"), "{error}");
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
