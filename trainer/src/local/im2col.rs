//! The geometry of a convolution, and the copies between pictures and columns.
//!
//! A picture with rows of width `w` is first split into the `stride` phases of each row
//! (`x[0], x[s], x[2s], …` then `x[1], x[1 + s], …`). In that layout the pixels that one tap of
//! the kernel meets along an output row are contiguous whatever the stride, so every copy here is a
//! `memcpy` or a vector addition.

/// Shapes and steps of one convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub images: usize,
    /// Input channels and size.
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    /// Output channels and size.
    pub out_channels: usize,
    pub out_height: usize,
    pub out_width: usize,
    pub kernel: (usize, usize),
    pub stride: usize,
    pub padding: usize,
    pub dilation: usize,
}

/// Columns in flight at once, in floats: small enough to stay in a core's second-level cache
/// between the copy that makes them and the product that reads them.
const BLOCK_FLOATS: usize = 96 * 1024;

impl Geometry {
    /// Rows of the column matrix: one for each weight of an output channel.
    pub fn taps(&self) -> usize {
        self.channels * self.kernel.0 * self.kernel.1
    }

    /// Pixels of an output map.
    pub fn out_pixels(&self) -> usize {
        self.out_height * self.out_width
    }

    /// Pixels of an input map.
    pub fn in_pixels(&self) -> usize {
        self.height * self.width
    }

    /// Width of one phase of a row, padded to the widest.
    fn phase_width(&self) -> usize {
        self.width.div_ceil(self.stride)
    }

    /// Length of a row split into phases.
    fn phased_row(&self) -> usize {
        self.phase_width() * self.stride
    }

    /// Floats of a picture split into phases.
    pub fn phased_len(&self) -> usize {
        self.channels * self.height * self.phased_row()
    }

    /// Output rows that make one block of columns.
    pub fn block_rows(&self) -> usize {
        (BLOCK_FLOATS / (self.taps() * self.out_width).max(1)).clamp(1, self.out_height.max(1))
    }

    /// Splits the rows of a picture `[channels, height, width]` into phases.
    pub fn split_phases(&self, image: &[f32], phased: &mut [f32]) {
        if self.stride == 1 {
            phased.copy_from_slice(image);
            return;
        }
        let phase_width = self.phase_width();
        let rows = image.chunks_exact(self.width).zip(phased.chunks_exact_mut(self.phased_row()));
        for (row, split) in rows {
            for (phase, out) in split.chunks_exact_mut(phase_width).enumerate() {
                for (value, pixel) in
                    out.iter_mut().zip(row.iter().skip(phase).step_by(self.stride))
                {
                    *value = *pixel;
                }
            }
        }
    }

    /// The inverse of [`Geometry::split_phases`].
    pub fn join_phases(&self, phased: &[f32], image: &mut [f32]) {
        if self.stride == 1 {
            image.copy_from_slice(phased);
            return;
        }
        let phase_width = self.phase_width();
        let rows = image.chunks_exact_mut(self.width).zip(phased.chunks_exact(self.phased_row()));
        for (row, split) in rows {
            for (phase, values) in split.chunks_exact(phase_width).enumerate() {
                for (pixel, value) in row.iter_mut().skip(phase).step_by(self.stride).zip(values) {
                    *pixel = *value;
                }
            }
        }
    }

    /// Calls `visit(tap, output row from `first`, phased offset of the first pixel, output columns
    /// that meet the picture)` for every tap and every output row in `first..first + rows`. The
    /// offset is `None` where the whole row falls into the padding.
    fn for_each_run(
        &self,
        first: usize,
        rows: usize,
        mut visit: impl FnMut(usize, usize, Option<(usize, std::ops::Range<usize>)>),
    ) {
        let (phase_width, phased_row) = (self.phase_width(), self.phased_row());
        let stride = self.stride as isize;
        for channel in 0..self.channels {
            for ky in 0..self.kernel.0 {
                for kx in 0..self.kernel.1 {
                    let tap = (channel * self.kernel.0 + ky) * self.kernel.1 + kx;
                    // Output column x meets input column x * stride + shift.
                    let shift = (kx * self.dilation) as isize - self.padding as isize;
                    let phase = shift.rem_euclid(stride) as usize;
                    let start = shift.div_euclid(stride);
                    let in_phase =
                        (self.width + self.stride - 1 - phase.min(self.width)) / self.stride;
                    let low = (-start).clamp(0, self.out_width as isize) as usize;
                    let high =
                        (in_phase as isize - start).clamp(low as isize, self.out_width as isize);
                    let columns = low..high as usize;
                    for row in 0..rows {
                        let y = ((first + row) * self.stride + ky * self.dilation) as isize
                            - self.padding as isize;
                        let run = (y >= 0 && y < self.height as isize && !columns.is_empty()).then(
                            || {
                                let line = (channel * self.height + y as usize) * phased_row;
                                let offset = line + phase * phase_width;
                                ((offset as isize + start + low as isize) as usize, columns.clone())
                            },
                        );
                        visit(tap, row, run);
                    }
                }
            }
        }
    }

    /// Writes the columns `[taps, rows · out_width]` of output rows `first..first + rows`.
    pub fn gather(&self, phased: &[f32], first: usize, rows: usize, columns: &mut [f32]) {
        let width = self.out_width;
        self.for_each_run(first, rows, |tap, row, run| {
            let at = (tap * rows + row) * width;
            let line = &mut columns[at..at + width];
            match run {
                Some((offset, range)) => {
                    line[..range.start].fill(0.0);
                    line[range.end..].fill(0.0);
                    let length = range.len();
                    line[range].copy_from_slice(&phased[offset..offset + length]);
                }
                None => line.fill(0.0),
            }
        });
    }

    /// Adds columns back onto the pixels they came from: the transpose of [`Geometry::gather`].
    pub fn scatter_add(&self, columns: &[f32], first: usize, rows: usize, phased: &mut [f32]) {
        let width = self.out_width;
        self.for_each_run(first, rows, |tap, row, run| {
            if let Some((offset, range)) = run {
                let at = (tap * rows + row) * width;
                let length = range.len();
                let line = &columns[at..at + width][range];
                for (pixel, value) in phased[offset..offset + length].iter_mut().zip(line) {
                    *pixel += *value;
                }
            }
        });
    }
}
