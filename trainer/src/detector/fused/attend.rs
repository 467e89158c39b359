//! Both branches of the attention, on q, k, v and t where the projection has left them.

use rayon::prelude::*;

use crate::local::gemm::{Matrix, MatrixMut, matmul};

/// Sizes of an attention: T snippets, H heads of width C.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heads {
    pub t: usize,
    pub h: usize,
    pub c: usize,
}

impl Heads {
    /// Columns of the projection: q, k, v, t of all heads.
    fn projected(self) -> usize {
        4 * self.h * self.c
    }

    /// Columns of the result: for each head its global half, then its local half.
    fn attended(self) -> usize {
        2 * self.h * self.c
    }

    /// Part 0 to 3 (q, k, v, t) of a head of one video's projection `[T, 4 H C]`.
    fn part(self, video: &[f32], part: usize, head: usize) -> Matrix<'_> {
        let at = (part * self.h + head) * self.c;
        Matrix { data: &video[at..], row_stride: self.projected(), col_stride: 1 }
    }

    fn part_mut(self, video: &mut [f32], part: usize, head: usize) -> MatrixMut<'_> {
        let at = (part * self.h + head) * self.c;
        MatrixMut { data: &mut video[at..], row_stride: self.projected(), col_stride: 1 }
    }

    /// The global (0) or local (1) half of a head of one video's result `[T, 2 H C]`.
    fn half(self, video: &[f32], half: usize, head: usize) -> Matrix<'_> {
        let at = (2 * head + half) * self.c;
        Matrix { data: &video[at..], row_stride: self.attended(), col_stride: 1 }
    }

    fn half_mut(self, video: &mut [f32], half: usize, head: usize) -> MatrixMut<'_> {
        let at = (2 * head + half) * self.c;
        MatrixMut { data: &mut video[at..], row_stride: self.attended(), col_stride: 1 }
    }
}

fn square(data: &[f32], t: usize) -> Matrix<'_> {
    Matrix { data, row_stride: t, col_stride: 1 }
}

fn transposed(m: Matrix<'_>) -> Matrix<'_> {
    Matrix { data: m.data, row_stride: m.col_stride, col_stride: m.row_stride }
}

/// softmax over each row of `scores · scale`, in place.
fn softmax(scores: &mut [f32], t: usize, scale: f32) {
    for row in scores.chunks_exact_mut(t) {
        let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.iter_mut().for_each(|v| *v = ((*v - highest) * scale).exp());
        let share = 1.0 / row.iter().sum::<f32>();
        row.iter_mut().for_each(|v| *v *= share);
    }
}

/// `[B, T, 2 H C]` from the projection `[B, T, 4 H C]` and the local weights `[T, T]`; and the
/// global weights `[B, H, T, T]` for the backward pass if `keep`, else nothing.
pub(super) fn forward(
    heads: Heads,
    projection: &[f32],
    local: &[f32],
    keep: bool,
) -> (Vec<f32>, Vec<f32>) {
    let Heads { t, h, c } = heads;
    let videos = projection.len() / (t * heads.projected());
    let mut out = vec![0.0; videos * t * heads.attended()];
    let mut kept = vec![0.0; if keep { videos * h * t * t } else { 0 }];
    let mut weights: Vec<&mut [f32]> = kept.chunks_mut(h * t * t).collect();
    weights.resize_with(videos, Default::default);
    out.par_chunks_mut(t * heads.attended())
        .zip(projection.par_chunks(t * heads.projected()))
        .zip(weights)
        .for_each(|((out, video), kept)| {
            let mut own = vec![0.0; if keep { 0 } else { t * t }];
            for head in 0..h {
                let weights =
                    if keep { &mut kept[head * t * t..][..t * t] } else { own.as_mut_slice() };
                let (q, k, v) = (
                    heads.part(video, 0, head),
                    heads.part(video, 1, head),
                    heads.part(video, 2, head),
                );
                let mut scores = MatrixMut { data: weights, row_stride: t, col_stride: 1 };
                matmul((t, c, t), &mut scores, q, transposed(k), false);
                softmax(weights, t, (c as f32).powf(-0.5));
                matmul((t, t, c), &mut heads.half_mut(out, 0, head), square(weights, t), v, false);
                let nearby = heads.part(video, 3, head);
                matmul(
                    (t, t, c),
                    &mut heads.half_mut(out, 1, head),
                    square(local, t),
                    nearby,
                    false,
                );
            }
        });
    (out, kept)
}

/// The gradient of the projection, from that of the result and the kept weights.
pub(super) fn backward(
    heads: Heads,
    projection: &[f32],
    local: &[f32],
    weights: &[f32],
    grad: &[f32],
) -> Vec<f32> {
    let Heads { t, h, c } = heads;
    let scale = (c as f32).powf(-0.5);
    let mut out = vec![0.0; projection.len()];
    out.par_chunks_mut(t * heads.projected())
        .zip(projection.par_chunks(t * heads.projected()))
        .zip(weights.par_chunks(h * t * t))
        .zip(grad.par_chunks(t * heads.attended()))
        .for_each(|(((out, video), weights), grad)| {
            let mut d = vec![0.0; t * t];
            for head in 0..h {
                let weights = &weights[head * t * t..][..t * t];
                let (q, k, v) = (
                    heads.part(video, 0, head),
                    heads.part(video, 1, head),
                    heads.part(video, 2, head),
                );
                let (global, nearby) = (heads.half(grad, 0, head), heads.half(grad, 1, head));
                let p = square(weights, t);
                matmul((t, t, c), &mut heads.part_mut(out, 2, head), transposed(p), global, false);
                let mut to = MatrixMut { data: &mut d, row_stride: t, col_stride: 1 };
                matmul((t, c, t), &mut to, global, transposed(v), false);
                // Through the softmax: p (d − Σ p d), and the scale of the scores.
                for (d, p) in d.chunks_exact_mut(t).zip(weights.chunks_exact(t)) {
                    let along: f32 = d.iter().zip(p).map(|(d, p)| d * p).sum();
                    d.iter_mut().zip(p).for_each(|(d, p)| *d = p * (*d - along) * scale);
                }
                let ds = square(&d, t);
                matmul((t, t, c), &mut heads.part_mut(out, 0, head), ds, k, false);
                matmul((t, t, c), &mut heads.part_mut(out, 1, head), transposed(ds), q, false);
                let near = transposed(square(local, t));
                matmul((t, t, c), &mut heads.part_mut(out, 3, head), near, nearby, false);
            }
        });
    out
}
