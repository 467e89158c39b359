//! Frames: reading and writing video files and image folders, resizing, colour conversion.
//!
//! Host and camera read pictures through this one crate, so that the same file gives both the same
//! pixels. Every conversion here is integer arithmetic or FFmpeg's bit-exact C path, so the pixels
//! do not depend on the processor either.

mod clips;
#[cfg(feature = "ffmpeg")]
mod decoder;
mod error;
#[cfg(feature = "ffmpeg")]
mod file;
mod frame;
mod images;
mod jpeg;
mod order;
mod reader;
mod resize;
#[cfg(feature = "ffmpeg")]
mod scaler;
#[cfg(feature = "ffmpeg")]
mod writer;
mod yuv;

pub use clips::{Clip, event_name, is_video, list_clips};
#[cfg(feature = "ffmpeg")]
pub use decoder::{Codec, LiveDecoder};
pub use error::Error;
pub use frame::Frame;
pub use images::read_image;
pub use jpeg::{decode_jpeg, encode_jpeg};
pub use reader::{DEFAULT_IMAGE_RATE, Reader, VideoInfo};
pub use resize::Resizer;
#[cfg(feature = "ffmpeg")]
pub use writer::Writer;
pub use yuv::{YuvColour, nv12_to_rgb, yuyv_to_rgb};
