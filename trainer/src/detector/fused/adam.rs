//! Adam's three updates, each in place and on all threads.

use candle_core::{CpuStorage, InplaceOp3, Layout, Result, bail};
use rayon::prelude::*;

/// What an update does to a value `a`, given the values `b` and `c` at its place.
#[derive(Debug, Clone, Copy)]
pub(in crate::detector) enum Update {
    /// a: first moment, b: gradient, c: parameter. `a ← β a + (1 − β) (b + decay · c)`. 1 − β comes
    /// as `rest`: from a β in `f32` it would be wrong in the fifth digit.
    First { beta: f32, rest: f32, decay: f32 },
    /// a: second moment, b: gradient, c: parameter. `a ← β a + (1 − β) (b + decay · c)²`.
    Second { beta: f32, rest: f32, decay: f32 },
    /// a: parameter, b: first, c: second moment. `a ← a − rate · b / (√c / root + ε)`.
    Parameter { rate: f32, root: f32, epsilon: f32 },
}

impl Update {
    fn apply(self, a: f32, b: f32, c: f32) -> f32 {
        match self {
            Self::First { beta, rest, decay } => beta * a + rest * (b + decay * c),
            Self::Second { beta, rest, decay } => {
                let grad = b + decay * c;
                beta * a + rest * grad * grad
            }
            Self::Parameter { rate, root, epsilon } => a - rate * b / (c.sqrt() / root + epsilon),
        }
    }
}

impl InplaceOp3 for Update {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn cpu_fwd(
        &self,
        a: &mut CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
        c: &CpuStorage,
        c_layout: &Layout,
    ) -> Result<()> {
        let Some((start, end)) = a_layout.contiguous_offsets() else {
            bail!("adam: a parameter that is not contiguous");
        };
        let (b, c) = (super::floats(b, b_layout)?, super::floats(c, c_layout)?);
        let CpuStorage::F32(a) = a else { bail!("adam: a parameter that is not f32") };
        let chunks = a[start..end].par_chunks_mut(1 << 13).zip(b.par_chunks(1 << 13));
        chunks.zip(c.par_chunks(1 << 13)).for_each(|((a, b), c)| {
            a.iter_mut().zip(b).zip(c).for_each(|((a, b), c)| *a = self.apply(*a, *b, *c));
        });
        Ok(())
    }
}
