//! The whole way with the real programs: footage → checkpoint → bundle → camera → broker.
//!
//! One small model is trained for all tests. Its scores mean little, its whole way is that of a
//! large one. Where weights, ONNX Runtime or a broker are missing, the tests say so and pass:
//! `cargo xtask test` fetches them first.
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

mod ablation;
mod bundle;
mod cells;
#[path = "../common/mod.rs"]
mod common;
mod delivery;
mod replay;
mod site;
mod student;
mod training;
