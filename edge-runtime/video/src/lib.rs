//! Frames: reading and writing video files and image folders, resizing, colour conversion.
//!
//! Host and camera read pictures through this one crate, so that the same file gives both the same
//! pixels.

mod frame;

pub use frame::Frame;
