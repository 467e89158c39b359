//! What spans crates: the demonstration, and tests of the real programs against real parts.

pub mod broker;
pub mod programs;
pub mod small_bundle;
pub mod subscriber;
