//! The sums of products, exact in 32 bits.

use rayon::prelude::*;

/// Output places that are computed together, so that a row of weights is read for several of them.
const BLOCK: usize = 16;

/// One spatial axis of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    pub size: usize,
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    /// Padding before the first place.
    pub begin: usize,
    pub outputs: usize,
}

impl Axis {
    /// An axis of which nothing is known but its size: a kernel of one.
    pub fn plain(size: usize) -> Self {
        Self { size, kernel: 1, stride: 1, dilation: 1, begin: 0, outputs: size }
    }

    /// The input place that tap `tap` of output `output` reads; none where it reads padding.
    fn source(self, output: usize, tap: usize) -> Option<usize> {
        (output * self.stride + tap * self.dilation)
            .checked_sub(self.begin)
            .filter(|i| *i < self.size)
    }
}

/// A layer of products: a convolution in three dimensions, of which the first ones may be plain.
#[derive(Debug, Clone)]
pub struct Convolution {
    pub axes: [Axis; 3],
    pub groups: usize,
    /// Input channels of a group.
    pub inputs: usize,
    /// Rows of weights, one for each output channel, tap by tap and channel by channel.
    pub rows: Vec<Vec<i16>>,
    /// What each output channel's sum begins with; empty for zeros.
    pub bias: Vec<i32>,
}

impl Convolution {
    /// Places of an output channel.
    pub fn places(&self) -> usize {
        self.axes.iter().map(|a| a.outputs).product()
    }

    /// The sums of a whole batch: `levels` `[batch, channels, places]`, counted from the zero point, so
    /// that padding is 0; gives `[batch, outputs, places]`.
    pub fn sums(&self, levels: &[i16], batch: usize) -> Vec<i32> {
        let image = levels.len() / batch.max(1);
        levels.chunks_exact(image.max(1)).flat_map(|image| self.image_sums(image)).collect()
    }

    fn image_sums(&self, levels: &[i16]) -> Vec<i32> {
        let (channels, outputs) = (self.groups * self.inputs, self.rows.len());
        let size: usize = self.axes.iter().map(|a| a.size).product();
        // Channels last, as the rows have them.
        let mut pixels = vec![0i16; levels.len()];
        for (channel, plane) in levels.chunks_exact(size).enumerate() {
            for (place, level) in plane.iter().enumerate() {
                pixels[place * channels + channel] = *level;
            }
        }
        let places = self.places();
        let blocks: Vec<Vec<i32>> = (0..places.div_ceil(BLOCK))
            .into_par_iter()
            .map(|block| self.block_sums(&pixels, block * BLOCK..places.min((block + 1) * BLOCK)))
            .collect();
        let mut sums = vec![0; outputs * places];
        for (block, found) in blocks.iter().enumerate() {
            let length = found.len() / outputs.max(1);
            for (output, found) in found.chunks_exact(length.max(1)).enumerate() {
                let start = output * places + block * BLOCK;
                sums[start..start + length].copy_from_slice(found);
            }
        }
        sums
    }

    /// Sums of some places, `[outputs, places]`.
    fn block_sums(&self, pixels: &[i16], places: std::ops::Range<usize>) -> Vec<i32> {
        let (count, per_group) = (places.len(), self.rows.len() / self.groups);
        let length = self.inputs * self.axes.iter().map(|a| a.kernel).product::<usize>();
        let mut sums = Vec::with_capacity(self.rows.len() * count);
        let mut patches = vec![0i16; count * length];
        for group in 0..self.groups {
            for (patch, place) in patches.chunks_exact_mut(length).zip(places.clone()) {
                self.gather(pixels, place, group, patch);
            }
            for output in group * per_group..(group + 1) * per_group {
                let first = self.bias.get(output).copied().unwrap_or(0);
                let row = &self.rows[output];
                sums.extend(patches.chunks_exact(length).map(|p| first.wrapping_add(dot(p, row))));
            }
        }
        sums
    }

    /// Fills what a row of weights is multiplied with at an output place.
    fn gather(&self, pixels: &[i16], place: usize, group: usize, patch: &mut [i16]) {
        let [t, y, x] = &self.axes;
        let at =
            [place / (y.outputs * x.outputs), place / x.outputs % y.outputs, place % x.outputs];
        let channels = self.groups * self.inputs;
        let mut taps = patch.chunks_exact_mut(self.inputs);
        for kt in 0..t.kernel {
            for ky in 0..y.kernel {
                for kx in 0..x.kernel {
                    let Some(tap) = taps.next() else { return };
                    let from = (t.source(at[0], kt), y.source(at[1], ky), x.source(at[2], kx));
                    if let (Some(it), Some(iy), Some(ix)) = from {
                        let pixel = (it * y.size + iy) * x.size + ix;
                        let start = pixel * channels + group * self.inputs;
                        tap.copy_from_slice(&pixels[start..start + self.inputs]);
                    } else {
                        tap.fill(0);
                    }
                }
            }
        }
    }
}

/// A sum of products. Wraps beyond 32 bits, as the kernels' accumulators do.
fn dot(a: &[i16], b: &[i16]) -> i32 {
    a.iter().zip(b).fold(0, |sum, (a, b)| sum.wrapping_add(i32::from(*a) * i32::from(*b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_padded_strided_convolution_by_hand() {
        // Two channels of 1x4, kernel 3, stride 2, padding 1, one output.
        let axis = Axis { size: 4, kernel: 3, stride: 2, dilation: 1, begin: 1, outputs: 2 };
        let conv = Convolution {
            axes: [Axis::plain(1), Axis::plain(1), axis],
            groups: 1,
            inputs: 2,
            rows: vec![vec![1, 10, 2, 20, 3, 30]],
            bias: vec![1000],
        };
        let sums = conv.sums(&[1, 2, 3, 4, -1, -2, -3, -4], 1);
        // Place 0: 2*1 + 3*2 and 20*-1 + 30*-2; place 1: 1*2 + 2*3 + 3*4 and ten times the negative.
        assert_eq!(sums, [1000 + 8 - 80, 1000 + 20 - 200]);
    }

    #[test]
    fn groups_see_their_own_channels() {
        let conv = Convolution {
            axes: [Axis::plain(1), Axis::plain(1), Axis::plain(40)],
            groups: 2,
            inputs: 1,
            rows: vec![vec![2], vec![3]],
            bias: Vec::new(),
        };
        let levels: Vec<i16> = (0..80).collect();
        let sums = conv.sums(&levels, 1);
        assert_eq!((sums[39], sums[40], sums[79]), (78, 120, 237));
        assert_eq!(conv.sums(&[levels.clone(), levels].concat(), 2)[80..], sums);
    }

    #[test]
    fn pairs_of_large_products_do_not_saturate() {
        assert_eq!(dot(&[255; 64], &[127; 64]), 2_072_640);
    }
}
