//! The camera program: capture, streaming inference, events, MQTT.
//!
//! The modules stand in the order of the data:
//! [`capture`] → [`engine`] (the shared `inference::Engine`) → [`detection`] → [`evidence`] →
//! [`publish`].

pub mod capture;
pub mod clock;
pub mod config;
pub mod detection;
pub mod evidence;
pub mod publish;
