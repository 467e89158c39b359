//! What can go wrong with pictures and video files.

use std::path::PathBuf;

/// An error of reading or writing pictures. Each message is one line that names the file, where
/// there is one the frame (counted from 0), and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing at the path.
    #[error("{}: no such file or folder; check the path", path.display())]
    Missing {
        /// The path asked for.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{}: {source}; check permissions and free space", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is not one that can be read: wrong format, or so damaged that nothing is left.
    #[error("{}: not a readable video or image: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// The container is fine, but no decoder (or encoder) for its codec is installed.
    #[error(
        "{}: no codec for {codec} in the installed FFmpeg; convert the file to H.264, or install \
         an FFmpeg that has it", path.display()
    )]
    Codec {
        /// The file.
        path: PathBuf,
        /// FFmpeg's name of the codec.
        codec: String,
    },
    /// The file ends too early.
    #[error(
        "{}: frame {frame}: the file ends here{}; it is truncated, copy it again",
        path.display(),
        expected.map(|n| format!(", though {n} frames are declared")).unwrap_or_default()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The first frame that could not be read.
        frame: u64,
        /// The number of frames that the container declares, where it does.
        expected: Option<u64>,
    },
    /// The data of a frame is damaged.
    #[error("{}: frame {frame}: damaged data ({reason}); copy or re-encode the file", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The first frame that could not be read.
        frame: u64,
        /// What the decoder said.
        reason: String,
    },
    /// The pictures of one folder differ in size.
    #[error(
        "{}: frame {frame}: {width}x{height} pixels, but the folder began with \
         {expected_width}x{expected_height}; one folder is one clip of one size", path.display()
    )]
    SizeChanged {
        /// The picture.
        path: PathBuf,
        /// Its number in the folder.
        frame: u64,
        /// Its width.
        width: usize,
        /// Its height.
        height: usize,
        /// Width of the first picture.
        expected_width: usize,
        /// Height of the first picture.
        expected_height: usize,
    },
    /// A folder without anything that could be read.
    #[error("{}: no video files (mp4, mkv, avi, ts, flv, h264, dav, ...) and no png, jpg, bmp, tif or pnm images here", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// Two clips would have the same name.
    #[error(
        "{} and {}: both would be clip `{name}`; rename one", first.display(), second.display()
    )]
    DuplicateClip {
        /// The name.
        name: String,
        /// One of them.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A size or rate that cannot be written, resized or encoded.
    #[error("{what}: {width}x{height} pixels: {reason}")]
    Size {
        /// What was to be made.
        what: String,
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// Why not.
        reason: &'static str,
    },
    /// A video file could not be written.
    #[error("{}: cannot write: {reason}; check the folder and the free space", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What FFmpeg said.
        reason: String,
    },
    /// This program was built without FFmpeg.
    #[error(
        "{}: this program was built without the `ffmpeg` feature and reads folders of images only",
        path.display()
    )]
    NoFfmpeg {
        /// The video file.
        path: PathBuf,
    },
}
