//! A depthwise 3 × 3 convolution of one plane: every channel is filtered by a kernel of its own.
//!
//! As matrix products these have one row, and candle computes each channel as a convolution of its
//! own. Here a plane is copied into a padded one whose rows are split into the phases of the stride, so
//! that what a tap of the kernel meets along an output row is contiguous, and every loop below is one
//! that vector units take.

use std::cell::RefCell;

/// Taps of the kernel.
pub(super) const TAPS: usize = 9;

/// Sizes of a plane and of what comes of it, with a padding of 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plane {
    pub height: usize,
    pub width: usize,
    /// 1 or 2.
    pub stride: usize,
}

#[derive(Default)]
struct Scratch {
    padded: Vec<f32>,
    grad: Vec<f32>,
    sums: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The first `len` floats of a buffer that only grows, all zero.
fn zeroed(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    buffer[..len].fill(0.0);
    &mut buffer[..len]
}

impl Plane {
    /// Rows of the output.
    pub fn out_height(self) -> usize {
        (self.height - 1) / self.stride + 1
    }

    /// Columns of the output.
    pub fn out_width(self) -> usize {
        (self.width - 1) / self.stride + 1
    }

    /// Values of the plane.
    pub fn len(self) -> usize {
        self.height * self.width
    }

    /// Values of the output.
    pub fn out_len(self) -> usize {
        self.out_height() * self.out_width()
    }

    /// Width of a phase of a padded row.
    fn phase(self) -> usize {
        (self.width + 2).div_ceil(self.stride)
    }

    fn row(self) -> usize {
        self.phase() * self.stride
    }

    fn padded_len(self) -> usize {
        (self.height + 2) * self.row()
    }

    /// Where, in a padded row, the pixels begin that a column of the kernel meets.
    fn starts(self) -> [usize; 3] {
        if self.stride == 1 { [0, 1, 2] } else { [0, self.phase(), 1] }
    }

    /// Copies a plane into a padded one of zeros.
    fn pad(self, plane: &[f32], padded: &mut [f32]) {
        let rows = padded.chunks_exact_mut(self.row()).skip(1);
        for (from, to) in plane.chunks_exact(self.width).zip(rows) {
            if self.stride == 1 {
                to[1..=self.width].copy_from_slice(from);
                continue;
            }
            // Pixel x lies at padded column x + 1: even pixels in the odd phase.
            let (even, odd) = to.split_at_mut(self.phase());
            for (to, value) in odd.iter_mut().zip(from.iter().step_by(2)) {
                *to = *value;
            }
            for (to, value) in even[1..].iter_mut().zip(from.iter().skip(1).step_by(2)) {
                *to = *value;
            }
        }
    }

    /// The inverse of [`Plane::pad`]; what fell into the padding is dropped.
    fn unpad(self, padded: &[f32], plane: &mut [f32]) {
        let rows = padded.chunks_exact(self.row()).skip(1);
        for (to, from) in plane.chunks_exact_mut(self.width).zip(rows) {
            if self.stride == 1 {
                to.copy_from_slice(&from[1..=self.width]);
                continue;
            }
            let (even, odd) = from.split_at(self.phase());
            for (x, value) in to.iter_mut().enumerate() {
                *value = if x % 2 == 0 { odd[x / 2] } else { even[x / 2 + 1] };
            }
        }
    }

    /// What each tap meets along output row `y`.
    fn taps(self, padded: &[f32], y: usize) -> [&[f32]; TAPS] {
        let (starts, width) = (self.starts(), self.out_width());
        std::array::from_fn(|tap| {
            let row = (y * self.stride + tap / 3) * self.row();
            &padded[row + starts[tap % 3]..][..width]
        })
    }

    fn filter(self, padded: &[f32], kernel: &[f32; TAPS], bias: f32, out: &mut [f32]) {
        for (y, out) in out.chunks_exact_mut(self.out_width()).enumerate() {
            let taps = self.taps(padded, y);
            for (x, out) in out.iter_mut().enumerate() {
                let mut sum = bias;
                for tap in 0..TAPS {
                    sum += kernel[tap] * taps[tap][x];
                }
                *out = sum;
            }
        }
    }

    /// `bias + kernel ∗ plane`.
    pub fn forward(self, plane: &[f32], kernel: &[f32; TAPS], bias: f32, out: &mut [f32]) {
        SCRATCH.with_borrow_mut(|scratch| {
            let padded = zeroed(&mut scratch.padded, self.padded_len());
            self.pad(plane, padded);
            self.filter(padded, kernel, bias, out);
        });
    }

    /// Writes the gradient of the plane and gives that of the kernel.
    pub fn backward(
        self,
        plane: &[f32],
        kernel: &[f32; TAPS],
        grad: &[f32],
        plane_grad: &mut [f32],
    ) -> [f32; TAPS] {
        SCRATCH.with_borrow_mut(|Scratch { padded, grad: grad_buffer, sums }| {
            let padded = zeroed(padded, self.padded_len());
            self.pad(plane, padded);
            let padded_grad = zeroed(grad_buffer, self.padded_len());
            if self.stride == 1 {
                // The transpose of a correlation of stride 1 is one with the kernel turned round.
                self.pad(grad, padded_grad);
                let turned = std::array::from_fn(|tap| kernel[TAPS - 1 - tap]);
                self.filter(padded_grad, &turned, 0.0, plane_grad);
            } else {
                self.scatter(kernel, grad, padded_grad);
                self.unpad(padded_grad, plane_grad);
            }
            let width = self.out_width();
            let sums = zeroed(sums, TAPS * width);
            for (y, grad) in grad.chunks_exact(width).enumerate() {
                let taps = self.taps(padded, y);
                for (tap, sums) in taps.into_iter().zip(sums.chunks_exact_mut(width)) {
                    for ((sum, value), grad) in sums.iter_mut().zip(tap).zip(grad) {
                        *sum += value * grad;
                    }
                }
            }
            std::array::from_fn(|tap| sums[tap * width..][..width].iter().sum())
        })
    }

    fn scatter(self, kernel: &[f32; TAPS], grad: &[f32], padded_grad: &mut [f32]) {
        let (starts, width) = (self.starts(), self.out_width());
        for (y, grad) in grad.chunks_exact(width).enumerate() {
            for (tap, weight) in kernel.iter().enumerate() {
                let row = (y * self.stride + tap / 3) * self.row();
                let to = &mut padded_grad[row + starts[tap % 3]..][..width];
                for (to, grad) in to.iter_mut().zip(grad) {
                    *to += weight * grad;
                }
            }
        }
    }
}
