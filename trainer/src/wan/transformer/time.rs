//! Time steps, and what they do to a block: scale, shift and gate.

use candle_core::{DType, Tensor};

use crate::wan::error::Result;
use crate::wan::layers::LayerNorm;

/// Time steps of the tokens: runs of tokens with the same one, in token order.
///
/// Most models have one time step for all. TI2V-5B has time step 0 for the tokens of the given first
/// frame, which come first, so that two runs say it all; per-token tables of its modulation would be
/// 600 MB at 832×480×81.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeSteps(pub Vec<Run>);

/// Tokens in a row that have the same time step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Run {
    /// How many.
    pub tokens: usize,
    /// Their time step, 0 to `num_train_timesteps`.
    pub step: f32,
}

impl TimeSteps {
    /// `f` of each run's rows of `x` `[tokens, channels]` and the run's number, put together again.
    pub(super) fn each(
        &self,
        x: &Tensor,
        f: impl Fn(&Tensor, usize) -> Result<Tensor>,
    ) -> Result<Tensor> {
        if self.0.len() == 1 {
            return f(x, 0);
        }
        let mut first = 0;
        let mut parts = Vec::with_capacity(self.0.len());
        for (i, run) in self.0.iter().enumerate() {
            parts.push(f(&x.narrow(0, first, run.tokens)?, i)?);
            first += run.tokens;
        }
        Ok(Tensor::cat(&parts, 0)?)
    }
}

/// Scale, shift and gate rows, `[runs, channels]` each, float32.
pub(super) struct Modulation(Vec<Tensor>);

impl Modulation {
    /// `table` `[rows, channels]` plus the time's projection `[runs, rows, channels]`.
    pub(super) fn new(table: &Tensor, time: &Tensor) -> Result<Self> {
        let rows = table.dim(0)?;
        let sum = time.to_dtype(DType::F32)?.broadcast_add(&table.unsqueeze(0)?)?;
        let row = |i| Ok(sum.narrow(1, i, 1)?.squeeze(1)?);
        (0..rows).map(row).collect::<Result<_>>().map(Self)
    }

    /// `norm(x) · (1 + scale) + shift` in float32, in the type of `x`; rows are those of shift and scale.
    pub(super) fn norm(
        &self,
        norm: &LayerNorm,
        x: &Tensor,
        steps: &TimeSteps,
        [shift, scale]: [usize; 2],
    ) -> Result<Tensor> {
        let (shift, scale) = (&self.0[shift], (&self.0[scale] + 1.0)?);
        let scaled = steps.each(&norm.forward(x)?, |x, run| {
            let scaled = x.broadcast_mul(&scale.narrow(0, run, 1)?)?;
            Ok(scaled.broadcast_add(&shift.narrow(0, run, 1)?)?)
        })?;
        Ok(scaled.to_dtype(x.dtype())?)
    }

    /// `x + y · gate` in float32, in the type of `x`.
    pub(super) fn add(
        &self,
        x: &Tensor,
        y: &Tensor,
        steps: &TimeSteps,
        gate: usize,
    ) -> Result<Tensor> {
        let gated = steps.each(&y.to_dtype(DType::F32)?, |y, run| {
            Ok(y.broadcast_mul(&self.0[gate].narrow(0, run, 1)?)?)
        })?;
        Ok((x.to_dtype(DType::F32)? + gated)?.to_dtype(x.dtype())?)
    }
}
