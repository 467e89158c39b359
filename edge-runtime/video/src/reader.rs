//! Reading a clip frame by frame.

use std::path::Path;

use crate::images::Folder;
use crate::{Error, Frame};

/// Frames per second given to a folder of images, which says nothing about time: the rate of the
/// UCSD data sets, the ones that come as images.
pub const DEFAULT_IMAGE_RATE: f64 = 10.0;

/// What is known of a clip before its frames are read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VideoInfo {
    /// Width of every frame in pixels.
    pub width: usize,
    /// Height of every frame in pixels.
    pub height: usize,
    /// Frames per second, greater than zero; the average of a clip whose rate changes.
    pub frame_rate: f64,
    /// Number of frames, where the container declares it.
    pub frames: Option<u64>,
}

/// Reads a video file (through FFmpeg) or a folder of images frame by frame.
pub struct Reader {
    source: Source,
}

enum Source {
    #[cfg(feature = "ffmpeg")]
    File(Box<crate::file::File>),
    Folder(Folder),
}

impl Reader {
    /// Opens a video file or a folder of images; the latter at [`DEFAULT_IMAGE_RATE`].
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Unreadable`], [`Error::Codec`], [`Error::Empty`], [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_with_rate(path, DEFAULT_IMAGE_RATE)
    }

    /// Opens a video file or a folder of images; the latter at `image_rate` frames per second.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn open_with_rate(path: &Path, image_rate: f64) -> Result<Self, Error> {
        if !path.exists() {
            return Err(Error::Missing { path: path.into() });
        }
        let source = if path.is_dir() {
            Source::Folder(Folder::open(path, image_rate)?)
        } else {
            Self::open_file(path)?
        };
        Ok(Self { source })
    }

    #[cfg(feature = "ffmpeg")]
    fn open_file(path: &Path) -> Result<Source, Error> {
        Ok(Source::File(Box::new(crate::file::File::open(path)?)))
    }

    #[cfg(not(feature = "ffmpeg"))]
    fn open_file(path: &Path) -> Result<Source, Error> {
        Err(Error::NoFfmpeg { path: path.into() })
    }

    /// Size, rate and, where known, length.
    pub fn info(&self) -> &VideoInfo {
        match &self.source {
            #[cfg(feature = "ffmpeg")]
            Source::File(file) => file.info(),
            Source::Folder(folder) => folder.info(),
        }
    }

    /// Seconds from the clip's first frame to the one that was read last, by the file's time stamps;
    /// never goes back. A folder of images has its frames evenly, at its rate.
    pub fn time(&self) -> f64 {
        match &self.source {
            #[cfg(feature = "ffmpeg")]
            Source::File(file) => file.time(),
            Source::Folder(folder) => folder.time(),
        }
    }

    /// Reads the next frame into `frame`, which takes the size of the clip. `false` at the clean
    /// end of the clip, with `frame` left as it was. A video file allocates nothing here after its
    /// first frames, apart from what its decoder does.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::Corrupt`] and [`Error::SizeChanged`] name the file and the
    /// first frame that could not be read. The clip cannot be read on after an error.
    pub fn read(&mut self, frame: &mut Frame) -> Result<bool, Error> {
        match &mut self.source {
            #[cfg(feature = "ffmpeg")]
            Source::File(file) => file.read(frame),
            Source::Folder(folder) => folder.read(frame),
        }
    }
}
