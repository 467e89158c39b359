//! The two halves of an encoder layer, each pre-norm, with dropout and residual.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::attend::{self, Heads};
use super::nearby::Nearby;
use super::{add_all, column_sums, dense, floats, gelu, masked, norm, with_floats};

/// A half's parameters one behind the other, flat; the halves say which and in what order.
pub(in crate::detector) fn pack(parameters: &[&Tensor]) -> Result<Tensor> {
    let flat: Vec<Tensor> = parameters.iter().map(|p| p.flatten_all()).collect::<Result<_>>()?;
    Tensor::cat(&flat, 0)
}

/// Cuts the packed parameters apart.
fn unpack<const N: usize>(packed: &[f32], sizes: [usize; N]) -> Result<[&[f32]; N]> {
    if packed.len() != sizes.iter().sum::<usize>() {
        bail!("{} parameters of a layer of {sizes:?}", packed.len());
    }
    let mut rest = packed;
    Ok(sizes.map(|size| {
        let (part, behind) = rest.split_at(size);
        rest = behind;
        part
    }))
}

fn tensors(
    x: &Tensor,
    packed: &Tensor,
    dx: Vec<f32>,
    dpacked: Vec<f32>,
) -> Result<(Option<Tensor>, Option<Tensor>)> {
    let dx = Tensor::from_vec(dx, x.shape(), x.device())?;
    Ok((Some(dx), Some(Tensor::from_vec(dpacked, packed.shape(), x.device())?)))
}

/// `x + dropout(attention(norm(x)) W + b)`, `[B, T, E]`. Packed: scale `[E]`, shift `[E]`, projection
/// `[4 H C, E]`, output weight `[E, 2 H C]` and bias `[E]`.
pub(in crate::detector) struct Attention {
    /// Heads and their width.
    pub heads: (usize, usize),
    /// Weights of the local branch; all of them where there will be a backward pass.
    pub nearby: Nearby,
    /// The dropout mask, already divided by the kept share.
    pub mask: Option<Vec<f32>>,
    /// What the backward pass needs; `None` where there will be none.
    pub kept: Option<OnceLock<AttentionKept>>,
}

/// Moments, normalised input, projection, global weights and result of the attention.
pub(in crate::detector) struct AttentionKept {
    moments: norm::Moments,
    normed: Vec<f32>,
    projection: Vec<f32>,
    weights: Vec<f32>,
    attended: Vec<f32>,
}

impl Attention {
    fn sizes(&self, x: &Shape) -> Result<(Heads, [usize; 5])> {
        let (_, t, e) = x.dims3()?;
        let (h, c) = self.heads;
        if self.nearby.snippets() != t || x.elem_count() == 0 {
            bail!("attention over {x:?} with local weights of {}", self.nearby.snippets());
        }
        Ok((Heads { t, h, c }, [e, e, 4 * h * c * e, e * 2 * h * c, e]))
    }
}

impl CustomOp2 for Attention {
    fn name(&self) -> &'static str {
        "encoder-attention"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        packed: &CpuStorage,
        packed_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (heads, sizes) = self.sizes(x_layout.shape())?;
        let (x, packed) = (floats(x, x_layout)?, floats(packed, packed_layout)?);
        let [scale, shift, project, weight, bias] = unpack(packed, sizes)?;
        let (normed, moments) = norm::forward(x, scale, shift); // [B, T, E]
        let projection = dense::forward(&normed, project, &[], scale.len()); // [B, T, 4 H C]
        let (attended, weights) = match &self.kept {
            Some(_) => attend::forward(heads, &projection, &self.nearby.whole),
            None => (attend::forward_lean(heads, &projection, &self.nearby), Vec::new()),
        }; // [B, T, 2 H C]
        let out = dense::forward(&attended, weight, bias, 2 * heads.h * heads.c); // [B, T, E]
        let mut out = masked(out, self.mask.as_deref());
        add_all(&mut out, x);
        if let Some(kept) = &self.kept {
            // An operation is applied once, so nothing is there yet.
            let _ = kept.set(AttentionKept { moments, normed, projection, weights, attended });
        }
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        packed: &Tensor,
        _out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(kept) = self.kept.as_ref().and_then(OnceLock::get) else {
            bail!("the backward pass of an attention that kept nothing");
        };
        let (heads, sizes) = self.sizes(x.shape())?;
        let (e, attended) = (sizes[0], 2 * heads.h * heads.c);
        let grad = grad.contiguous()?;
        let grad = with_floats(&grad, |g| Ok(g.to_vec()))?;
        with_floats(x, |data| {
            with_floats(packed, |values| {
                let [scale, _, project, weight, _] = unpack(values, sizes)?;
                let dz = masked(grad.clone(), self.mask.as_deref());
                let dweight = dense::weight_gradient(&dz, &kept.attended, e, attended);
                let dbias = column_sums(&dz, e);
                let dattended = dense::input_gradient(&dz, weight, e);
                let dprojection = attend::backward(
                    heads,
                    &kept.projection,
                    &self.nearby.whole,
                    &kept.weights,
                    &dattended,
                );
                drop((dz, dattended));
                let dproject = dense::weight_gradient(&dprojection, &kept.normed, 2 * attended, e);
                let dnormed = dense::input_gradient(&dprojection, project, 2 * attended);
                let (mut dx, dscale, dshift) = norm::backward(data, &kept.moments, scale, &dnormed);
                add_all(&mut dx, &grad);
                let dpacked = [dscale, dshift, dproject, dweight, dbias].concat();
                tensors(x, packed, dx, dpacked)
            })
        })
    }
}

/// `x + dropout(dropout(gelu(norm(x) W₁ + b₁)) W₂ + b₂)`, `[B, T, E]`. Packed: scale `[E]`, shift
/// `[E]`, W₁ `[F, E]`, b₁ `[F]`, W₂ `[E, F]`, b₂ `[E]`.
pub(in crate::detector) struct FeedForward {
    /// Width F.
    pub width: usize,
    /// The two dropout masks, already divided by the kept share.
    pub masks: [Option<Vec<f32>>; 2],
    /// What the backward pass needs; `None` where there will be none.
    pub kept: Option<OnceLock<FeedForwardKept>>,
}

/// Moments, normalised input, and the hidden layer before and after GELU and dropout.
pub(in crate::detector) struct FeedForwardKept {
    moments: norm::Moments,
    normed: Vec<f32>,
    before: Vec<f32>,
    after: Vec<f32>,
}

impl FeedForward {
    fn sizes(&self, x: &Shape) -> Result<[usize; 6]> {
        let (_, _, e) = x.dims3()?;
        let f = self.width;
        Ok([e, e, f * e, f, e * f, e])
    }
}

impl CustomOp2 for FeedForward {
    fn name(&self) -> &'static str {
        "encoder-feed-forward"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        packed: &CpuStorage,
        packed_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = self.sizes(x_layout.shape())?;
        let (x, packed) = (floats(x, x_layout)?, floats(packed, packed_layout)?);
        let [scale, shift, w1, b1, w2, b2] = unpack(packed, sizes)?;
        let (normed, moments) = norm::forward(x, scale, shift); // [B, T, E]
        let before = dense::forward(&normed, w1, b1, scale.len()); // [B, T, F]
        let after = gelu::forward(&before, self.masks[0].as_deref());
        let out = dense::forward(&after, w2, b2, self.width); // [B, T, E]
        let mut out = masked(out, self.masks[1].as_deref());
        add_all(&mut out, x);
        if let Some(kept) = &self.kept {
            let _ = kept.set(FeedForwardKept { moments, normed, before, after });
        }
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        packed: &Tensor,
        _out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(kept) = self.kept.as_ref().and_then(OnceLock::get) else {
            bail!("the backward pass of a feed-forward part that kept nothing");
        };
        let sizes = self.sizes(x.shape())?;
        let (e, f) = (sizes[0], self.width);
        let grad = grad.contiguous()?;
        let grad = with_floats(&grad, |g| Ok(g.to_vec()))?;
        with_floats(x, |data| {
            with_floats(packed, |values| {
                let [scale, _, w1, _, w2, _] = unpack(values, sizes)?;
                let dz = masked(grad.clone(), self.masks[1].as_deref());
                let dw2 = dense::weight_gradient(&dz, &kept.after, e, f);
                let db2 = column_sums(&dz, e);
                let dafter = dense::input_gradient(&dz, w2, e);
                let dbefore =
                    gelu::backward(&kept.before, masked(dafter, self.masks[0].as_deref()));
                let dw1 = dense::weight_gradient(&dbefore, &kept.normed, f, e);
                let db1 = column_sums(&dbefore, f);
                let dnormed = dense::input_gradient(&dbefore, w1, f);
                let (mut dx, dscale, dshift) = norm::backward(data, &kept.moments, scale, &dnormed);
                add_all(&mut dx, &grad);
                let dpacked = [dscale, dshift, dw1, db1, dw2, db2].concat();
                tensors(x, packed, dx, dpacked)
            })
        })
    }
}
