//! Both branches of the attention, on q, k, v and t where the projection has left them.

use rayon::prelude::*;

use super::nearby::Nearby;
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
/// global weights `[B, H, T, T]` for the backward pass.
pub(super) fn forward(heads: Heads, projection: &[f32], local: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let Heads { t, h, c } = heads;
    let videos = projection.len() / (t * heads.projected());
    let mut out = vec![0.0; videos * t * heads.attended()];
    let mut kept = vec![0.0; videos * h * t * t];
    out.par_chunks_mut(t * heads.attended())
        .zip(projection.par_chunks(t * heads.projected()))
        .zip(kept.par_chunks_mut(h * t * t))
        .for_each(|((out, video), kept)| {
            for head in 0..h {
                let weights = &mut kept[head * t * t..][..t * t];
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

/// Rows of the result that are computed together where nothing is kept.
const ROWS: usize = 128;

/// As [`forward`] without a backward pass: a block of rows at a time, so that memory grows with the
/// length of a video and not with its square.
pub(super) fn forward_lean(heads: Heads, projection: &[f32], nearby: &Nearby) -> Vec<f32> {
    let Heads { t, h, c } = heads;
    let videos = projection.len() / (t * heads.projected());
    let mut out = vec![0.0; videos * t * heads.attended()];
    let blocks = t.div_ceil(ROWS);
    let each: Vec<(usize, &mut [f32])> = out
        .chunks_mut(t * heads.attended())
        .flat_map(|video| video.chunks_mut(ROWS * heads.attended()))
        .enumerate()
        .collect();
    each.into_par_iter().for_each(|(number, out)| {
        let video = &projection[number / blocks * t * heads.projected()..][..t * heads.projected()];
        let first = number % blocks * ROWS;
        let rows = first..(first + ROWS).min(t);
        let mut weights = vec![0.0; rows.len() * t];
        let columns = nearby.columns(&rows);
        let local: Vec<f32> = rows.clone().flat_map(|i| nearby.row(i, columns.clone())).collect();
        for head in 0..h {
            let from =
                |row: usize, part: usize| heads.part(&video[row * heads.projected()..], part, head);
            let mut scores = MatrixMut { data: &mut weights, row_stride: t, col_stride: 1 };
            let k = transposed(from(0, 1));
            matmul((rows.len(), c, t), &mut scores, from(first, 0), k, false);
            softmax(&mut weights, t, (c as f32).powf(-0.5));
            let mut global = heads.half_mut(out, 0, head);
            matmul((rows.len(), t, c), &mut global, square(&weights, t), from(0, 2), false);
            let near = square(&local, columns.len());
            let mut nearby = heads.half_mut(out, 1, head);
            let depth = columns.len();
            matmul((rows.len(), depth, c), &mut nearby, near, from(columns.start, 3), false);
        }
    });
    out
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_in_blocks_give_what_all_at_once_give() {
        // Two videos, longer than a block and than the reach of the local weights.
        let heads = Heads { t: 400, h: 2, c: 3 };
        let values = 2 * heads.t * heads.projected();
        let projection: Vec<f32> =
            (0..values).map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 1.0).collect();
        let whole = forward(heads, &projection, &Nearby::new(heads.t, true).whole).0;
        let lean = forward_lean(heads, &projection, &Nearby::new(heads.t, false));
        assert_eq!(whole.len(), lean.len());
        let furthest = whole.iter().zip(&lean).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(furthest < 1e-6, "{furthest}");
    }
}
