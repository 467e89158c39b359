//! Causal convolutions over time, with what they remember of earlier frames.
//!
//! Activations are `[frames, channels, height, width]`. With the frames first, the `k` frames that a
//! kernel of `k` taps sees are one contiguous piece of memory, which is also `k · channels` channels of
//! one picture: a three-dimensional convolution is a two-dimensional one over frames stacked as
//! channels, and stacking costs nothing. (candle has no three-dimensional convolution.)

use candle_core::{DType, Tensor};

use crate::wan::error::Result;
use crate::wan::weights::Scope;

/// What causal layers remember of a video that comes in chunks: the last frames of each one's input.
///
/// Layers run in the same order for each chunk, so each finds its place by counting.
#[derive(Debug, Default)]
pub(super) struct Memory {
    slots: Vec<Option<Tensor>>,
    next: usize,
    chunks: usize,
}

impl Memory {
    /// Begins the next chunk.
    pub fn begin(&mut self) {
        self.chunks += 1;
        self.next = 0;
    }

    /// Whether this is the first chunk.
    pub fn first(&self) -> bool {
        self.chunks <= 1
    }

    /// The place of the layer whose turn it is.
    pub fn slot(&mut self) -> &mut Option<Tensor> {
        if self.next == self.slots.len() {
            self.slots.push(None);
        }
        self.next += 1;
        &mut self.slots[self.next - 1]
    }
}

/// A convolution that sees no future frame.
#[derive(Debug)]
pub(super) struct CausalConv {
    /// `[outputs, taps · inputs, k, k]`.
    weight: Tensor,
    /// `[1, outputs, 1, 1]`.
    bias: Tensor,
    taps: usize,
    padding: usize,
}

impl CausalConv {
    /// A kernel of `taps` frames × `side` × `side`, padded so that pictures keep their size.
    pub fn load(
        scope: &Scope<'_>,
        inputs: usize,
        outputs: usize,
        taps: usize,
        side: usize,
    ) -> Result<Self> {
        let weight = scope.get("weight", &[outputs, inputs, taps, side, side], DType::F32)?;
        let weight = weight.permute((0, 2, 1, 3, 4))?.contiguous()?;
        Ok(Self {
            weight: weight.reshape((outputs, taps * inputs, side, side))?,
            bias: scope.get("bias", &[outputs], DType::F32)?.reshape((1, outputs, 1, 1))?,
            taps,
            padding: side / 2,
        })
    }

    /// The next frames of a video; what came before is in memory, and before that are zeros.
    ///
    /// `[frames, inputs, h, w]` → `[frames, outputs, h, w]`.
    pub fn forward(&self, x: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        if self.taps == 1 {
            return self.valid(x, 1);
        }
        let slot = memory.slot();
        let seen = match slot.as_ref() {
            Some(before) => Tensor::cat(&[before, x], 0)?,
            None => x.clone(),
        };
        let (frames, ..) = x.dims4()?;
        let kept = (self.taps - 1).min(seen.dim(0)?);
        *slot = Some(seen.narrow(0, seen.dim(0)? - kept, kept)?.contiguous()?);
        let missing = frames + self.taps - 1 - seen.dim(0)?;
        let seen = if missing > 0 { seen.pad_with_zeros(0, missing, 0)? } else { seen };
        self.valid(&seen, 1)
    }

    /// Over the given frames alone, every `stride`-th, without padding in time.
    ///
    /// `[frames, inputs, h, w]` → `[(frames − taps) / stride + 1, outputs, h, w]`.
    pub fn valid(&self, x: &Tensor, stride: usize) -> Result<Tensor> {
        let (frames, inputs, h, w) = x.dims4()?;
        let x = x.contiguous()?;
        // One frame at a time: a convolution's columns are nine times its input.
        let frame = |first| {
            let stacked = x.narrow(0, first, self.taps)?;
            let stacked = stacked.reshape((1, self.taps * inputs, h, w))?;
            Ok(stacked.conv2d(&self.weight, self.padding, 1, 1, 1)?)
        };
        let last = (frames + 1).saturating_sub(self.taps);
        let frames: Vec<Tensor> = (0..last).step_by(stride).map(frame).collect::<Result<_>>()?;
        if frames.is_empty() {
            let problem = format!("{} frames are too few for {} taps", x.dim(0)?, self.taps);
            return Err(candle_core::Error::msg(problem).into());
        }
        Ok(Tensor::cat(&frames, 0)?.broadcast_add(&self.bias)?)
    }
}

/// A convolution of each picture for itself.
#[derive(Debug)]
pub(super) struct Conv2d {
    weight: Tensor,
    bias: Tensor,
    stride: usize,
    padding: usize,
}

impl Conv2d {
    /// A kernel of `side` × `side`.
    pub fn load(
        scope: &Scope<'_>,
        [inputs, outputs]: [usize; 2],
        side: usize,
        stride: usize,
        padding: usize,
    ) -> Result<Self> {
        Ok(Self {
            weight: scope.get("weight", &[outputs, inputs, side, side], DType::F32)?,
            bias: scope.get("bias", &[outputs], DType::F32)?.reshape((1, outputs, 1, 1))?,
            stride,
            padding,
        })
    }

    /// `[frames, inputs, h, w]` → `[frames, outputs, h', w']`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.contiguous()?;
        let frame =
            |i| Ok(x.narrow(0, i, 1)?.conv2d(&self.weight, self.padding, self.stride, 1, 1)?);
        let frames: Vec<Tensor> = (0..x.dim(0)?).map(frame).collect::<Result<_>>()?;
        Ok(Tensor::cat(&frames, 0)?.broadcast_add(&self.bias)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn wave(shape: &[usize], step: f32) -> Tensor {
        let n: usize = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|i| (i as f32 * step).sin()).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn conv() -> CausalConv {
        let bias = wave(&[1, 4, 1, 1], 0.9);
        CausalConv { weight: wave(&[4, 3 * 2, 3, 3], 0.7), bias, taps: 3, padding: 1 }
    }

    fn values(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn chunks_give_what_the_whole_gives() {
        let (conv, x) = (conv(), wave(&[9, 2, 5, 4], 0.31));
        let mut memory = Memory::default();
        memory.begin();
        let whole = conv.forward(&x, &mut memory).unwrap();
        let mut memory = Memory::default();
        let mut parts = Vec::new();
        for (first, length) in [(0, 1), (1, 1), (2, 4), (6, 3)] {
            memory.begin();
            parts.push(conv.forward(&x.narrow(0, first, length).unwrap(), &mut memory).unwrap());
        }
        let parts = Tensor::cat(&parts, 0).unwrap();
        assert_eq!(values(&whole), values(&parts));
    }

    #[test]
    fn no_frame_sees_the_future() {
        let (conv, x) = (conv(), wave(&[4, 2, 5, 4], 0.31));
        let changed =
            Tensor::cat(&[x.narrow(0, 0, 3).unwrap(), wave(&[1, 2, 5, 4], 2.3)], 0).unwrap();
        let outputs = [x, changed].map(|x| {
            let mut memory = Memory::default();
            memory.begin();
            conv.forward(&x, &mut memory).unwrap()
        });
        let early = |x: &Tensor| values(&x.narrow(0, 0, 3).unwrap());
        let late = |x: &Tensor| values(&x.narrow(0, 3, 1).unwrap());
        assert_eq!(early(&outputs[0]), early(&outputs[1]));
        assert_ne!(late(&outputs[0]), late(&outputs[1]));
    }
}
