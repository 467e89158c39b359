//! Tests of the student: its operations against candle and finite differences, its network against
//! PyTorch.

mod network;
mod operations;
mod runs;

use crate::testing::{assert_close, random, values};
