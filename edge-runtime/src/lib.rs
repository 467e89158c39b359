//! The camera program: capture, streaming inference, events, MQTT.
//!
//! The modules stand in the order of the data:
//! [`capture`] → [`engine`] (the shared `inference::Engine`) → [`detection`] → [`evidence`] →
//! [`publish`] and [`alarm`]; [`board`] is the machine that it all runs on. Against it flow commands:
//! [`control`].

pub mod alarm;
pub mod board;
pub mod capture;
pub mod clock;
pub mod config;
pub mod control;
pub mod detection;
pub mod engine;
pub mod error;
pub mod evidence;
pub mod files;
pub mod later;
pub mod life;
pub mod maps;
pub mod model;
pub mod publish;
#[cfg(test)]
mod random;
pub mod scene;
pub mod service;
#[cfg(test)]
mod simulations;
pub mod update;
pub mod vitals;
pub mod web;
pub mod zones;

pub use error::Error;
