//! The window that a convolution or a pooling slides over its input.

use super::{AttributeProto, Error, ints, shape_error};

/// Kernel, stride, dilation and padding along each spatial axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Kernel size along each axis.
    pub kernel: Vec<usize>,
    /// Step along each axis.
    pub stride: Vec<usize>,
    /// Distance of kernel elements along each axis; 1 is a dense kernel.
    pub dilation: Vec<usize>,
    /// Padding before and after along each axis.
    pub pads: Vec<(usize, usize)>,
    /// Channel groups of a convolution; 1 is an ordinary one.
    pub groups: usize,
}

impl Window {
    /// A dense window with stride 1 and no padding.
    pub fn new(kernel: &[usize]) -> Self {
        Self {
            kernel: kernel.to_vec(),
            stride: vec![1; kernel.len()],
            dilation: vec![1; kernel.len()],
            pads: vec![(0, 0); kernel.len()],
            groups: 1,
        }
    }

    /// TensorFlow's `SAME` padding for an input of `size`: `ceil(size / stride)` results, the odd
    /// element of the padding at the end.
    pub fn same(kernel: &[usize], stride: &[usize], size: &[usize]) -> Self {
        let pads = kernel.iter().zip(stride).zip(size).map(|((&kernel, &stride), &size)| {
            let reach = (size.div_ceil(stride).max(1) - 1) * stride + kernel;
            let total = reach.saturating_sub(size);
            (total / 2, total - total / 2)
        });
        Self { pads: pads.collect(), ..Self::new(kernel) }.strided(stride)
    }

    /// The same window with another stride.
    #[must_use]
    pub fn strided(mut self, stride: &[usize]) -> Self {
        self.stride = stride.to_vec();
        self
    }

    /// The same window with `pad` elements before and after along every axis, as PyTorch pads.
    #[must_use]
    pub fn padded(mut self, pad: usize) -> Self {
        self.pads = vec![(pad, pad); self.kernel.len()];
        self
    }

    /// The same window with its elements `dilation` apart along every axis.
    #[must_use]
    pub fn dilated(mut self, dilation: usize) -> Self {
        self.dilation = vec![dilation; self.kernel.len()];
        self
    }

    /// The same window for a convolution in `groups` groups of channels.
    #[must_use]
    pub fn grouped(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Size of the result for an input of `size`.
    pub(super) fn output(&self, node: &str, size: &[usize]) -> Result<Vec<usize>, Error> {
        let rank = self.kernel.len();
        if [size.len(), self.stride.len(), self.dilation.len(), self.pads.len()] != [rank; 4] {
            let reason = format!("a window of {rank} axes does not fit an input of size {size:?}");
            return Err(shape_error(node, reason));
        }
        let axes = size.iter().enumerate().map(|(axis, &size)| {
            let (before, after) = self.pads[axis];
            let reach = self.kernel[axis].checked_sub(1)? * self.dilation[axis] + 1;
            let room = (size + before + after).checked_sub(reach)?;
            Some(room.checked_div(self.stride[axis])? + 1)
        });
        axes.collect::<Option<_>>().ok_or_else(|| {
            let reason = format!("a window of {:?} does not fit an input of {size:?}", self.kernel);
            shape_error(node, reason)
        })
    }

    /// The attributes that `Conv` and the poolings share.
    pub(super) fn attributes(&self) -> Vec<AttributeProto> {
        let (before, after) = (self.pads.iter().map(|p| p.0), self.pads.iter().map(|p| p.1));
        vec![
            ints("kernel_shape", self.kernel.iter().copied()),
            ints("strides", self.stride.iter().copied()),
            ints("pads", before.chain(after)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_is_tensorflows() {
        // 7 elements by steps of 2 from 224: 112 results need 5 more elements, 2 before, 3 after.
        let window = Window::same(&[7], &[2], &[224]);
        assert_eq!(window.pads, [(2, 3)]);
        assert_eq!(window.output("w", &[224]).unwrap(), [112]);
        // An odd input needs the same on both sides; a kernel no longer than its stride none.
        assert_eq!(Window::same(&[3], &[2], &[7]).pads, [(1, 1)]);
        assert_eq!(Window::same(&[2], &[2], &[14]).pads, [(0, 0)]);
        assert_eq!(Window::same(&[2], &[2], &[7]).pads, [(0, 1)]);
    }

    #[test]
    fn a_dilated_window_reaches_further() {
        let window = Window::new(&[3, 3]).dilated(4).padded(4);
        assert_eq!(window.output("w", &[60, 90]).unwrap(), [60, 90]);
        assert!(Window::new(&[3]).dilated(4).output("w", &[8]).is_err());
        assert!(Window::new(&[3]).output("w", &[8, 8]).is_err());
    }
}
