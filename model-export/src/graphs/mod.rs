//! The networks as ONNX graphs, one file each: `build(weights, config)`.
//!
//! Batch norms are folded into the convolution before them when the graph is built, so that what
//! is quantized and run is convolutions with a bias. All shapes are static.

pub mod head;
pub mod i3d;
pub mod local;
pub mod mobilenetv2;
pub mod tsm_mobilenetv2;

use crate::onnx::{GraphBuilder, Value, Window};
use crate::{onnx, weights};

/// Why a network's graph could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The weights are not those of the network.
    #[error(transparent)]
    Weights(#[from] weights::Error),
    /// The configuration gives no valid graph.
    #[error(transparent)]
    Graph(#[from] onnx::Error),
    /// A configured value is out of range.
    #[error("{graph}: {reason}")]
    Config {
        /// Name of the network.
        graph: &'static str,
        /// What is wrong, and what would be right.
        reason: String,
    },
}

/// A backbone that ends at a layer and keeps the places of the picture apart: its output `features`
/// `[1, cells, d]` is the layer's map, averaged over a snippet's time, cells row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cells {
    /// The layer, by the name that the network gives it.
    pub layer: String,
    /// Places of the map, along each axis, that are averaged to one cell; 1 leaves them apart. At the
    /// right and at the bottom a cell may have fewer.
    pub pool: usize,
}

impl Cells {
    /// Columns and rows of a map of `size` (width, height).
    #[must_use]
    pub fn grid(&self, size: (usize, usize)) -> (usize, usize) {
        (size.0.div_ceil(self.pool.max(1)), size.1.div_ceil(self.pool.max(1)))
    }

    /// The output from a map `[1, d, h, w]`.
    fn output(&self, graph: &mut GraphBuilder, map: &Value) -> Result<Value, onnx::Error> {
        let &[_, channels, height, width] = map.shape() else {
            unreachable!("both backbones give a map of four axes")
        };
        let mut x = map.clone();
        if self.pool > 1 {
            let mut window = Window::new(&[self.pool; 2]).strided(&[self.pool; 2]);
            // What is missing at the end is padding, which the mean leaves out of its count.
            let missing = |size: usize| (0, size.next_multiple_of(self.pool) - size);
            window.pads = vec![missing(height), missing(width)];
            x = graph.average_pool("cells/pool", &x, &window)?;
        }
        let (columns, rows) = self.grid((width, height));
        let x = graph.transpose("cells/channels_last", &x, &[0, 2, 3, 1])?; // [1, rows, columns, d]
        graph.reshape("cells", &x, &[1, rows * columns, channels])
    }
}

/// A batch norm in evaluation: `(x - mean) / sqrt(variance + epsilon) * scale + bias`, each value
/// for one channel.
struct BatchNorm<'a> {
    mean: &'a [f32],
    variance: &'a [f32],
    scale: Option<&'a [f32]>,
    bias: &'a [f32],
    epsilon: f32,
}

impl<'a> BatchNorm<'a> {
    /// Epsilon of PyTorch's batch norms.
    const TORCH_EPSILON: f32 = 1e-5;

    /// The PyTorch batch norm `name` over `channels`.
    fn torch(
        weights: &'a weights::Weights,
        name: &str,
        channels: usize,
    ) -> Result<Self, weights::Error> {
        let get = |part: &str| weights.tensor(&format!("{name}.{part}"), &[channels]);
        Ok(Self {
            mean: get("running_mean")?,
            variance: get("running_var")?,
            scale: Some(get("weight")?),
            bias: get("bias")?,
            epsilon: Self::TORCH_EPSILON,
        })
    }

    /// Weight and bias of the convolution that does what `weight` `[channels, ...]` (with `bias`)
    /// and this batch norm do one after the other. Computed in `f64`: it is done once, and what is
    /// rounded here no quantizer can give back.
    fn fold(&self, weight: &[f32], bias: Option<&[f32]>) -> (Vec<f32>, Vec<f32>) {
        let channels = self.mean.len();
        let per_channel = weight.len() / channels.max(1);
        let gain = |c: usize| {
            let scale = self.scale.map_or(1.0, |scale| f64::from(scale[c]));
            scale / (f64::from(self.variance[c]) + f64::from(self.epsilon)).sqrt()
        };
        let folded = weight
            .iter()
            .enumerate()
            .map(|(i, &w)| (f64::from(w) * gain(i / per_channel)) as f32)
            .collect();
        let shift = (0..channels).map(|c| {
            let before = bias.map_or(0.0, |bias| f64::from(bias[c]));
            ((before - f64::from(self.mean[c])) * gain(c) + f64::from(self.bias[c])) as f32
        });
        (folded, shift.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_gives_the_batch_norm_of_the_convolution() {
        let norm = BatchNorm {
            mean: &[1.0, -2.0],
            variance: &[3.0, 0.0],
            scale: Some(&[4.0, 0.5]),
            bias: &[10.0, 20.0],
            epsilon: 1.0,
        };
        let (weight, bias) = norm.fold(&[1.0, 2.0, 3.0, 4.0], Some(&[5.0, 6.0]));
        // Gains: 4 / sqrt(4) = 2 and 0.5 / sqrt(1).
        assert_eq!(weight, [2.0, 4.0, 1.5, 2.0]);
        assert_eq!(bias, [(5.0 - 1.0) * 2.0 + 10.0, (6.0 + 2.0) * 0.5 + 20.0]);
    }
}
