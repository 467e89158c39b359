//! Reading, verifying and writing model bundles (`*.pavad`).
//!
//! A bundle is the only thing that passes from the host to the camera. This crate knows the file
//! and its signature and nothing of neural networks: a bundle is verified here, whole, before an
//! inference engine sees a byte of it.

pub mod manifest;

pub use manifest::Manifest;
