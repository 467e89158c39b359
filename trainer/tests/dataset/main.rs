//! Data sets: tiny copies in every published layout, the checks of the real program, damaged files.
// Helpers outside of `#[test]` functions are not covered by `allow-unwrap-in-tests`.
#![allow(clippy::unwrap_used)]

mod check;
mod damaged;
mod folds;
mod layouts;
mod mat;
mod shared;
mod site;
