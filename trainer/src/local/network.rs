//! The local network: two strided convolutions, residual blocks, one logit map for each kind.
//!
//! ```text
//! stack [n, 1 + offsets, h, w]
//!   conv 5×5 /2 → batch norm → ReLU          [n, 24, h/2, w/2]
//!   conv 3×3 /2 → batch norm → ReLU          [n, 48, h/4, w/4]
//!   4 × x + ReLU(BN(conv 3×3, dilated))      [n, 48, h/4, w/4]
//!   dropout (training), conv 1×1 + bias      [n, kinds, h/4, w/4]
//! ```
//!
//! No depthwise convolution and no squeeze-excite, so that all of it quantizes well. Odd sizes round
//! up at each halving.

use std::collections::HashMap;

use candle_core::{Device, Result, Tensor, bail};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::config::NetworkConfig;
use super::conv::{Steps, conv2d};
use super::layer::layer as layer_in_training;
use super::norm::{BatchStats, EPSILON};

/// Tensors of the network by name.
pub type Tensors = HashMap<String, Tensor>;

/// One convolution followed by a batch norm.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Layer {
    /// Prefix of the tensors' names.
    name: String,
    inputs: usize,
    outputs: usize,
    kernel: usize,
    steps: Steps,
    /// Whether the layer's input is added to its output.
    residual: bool,
}

/// The network's structure.
#[derive(Debug, Clone)]
pub struct Network {
    layers: Vec<Layer>,
    /// Channels that the head reads.
    features: usize,
    kinds: usize,
}

/// A learned tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Name in a checkpoint, PyTorch style.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Whether weight decay applies: to convolution weights, not to scales, shifts and biases.
    pub decays: bool,
}

impl Network {
    /// A network that reads `inputs` channels and writes `kinds` maps.
    #[must_use]
    pub fn new(config: &NetworkConfig, inputs: usize, kinds: usize) -> Self {
        let mut layers = Vec::new();
        let mut channels = inputs;
        for (index, (outputs, kernel)) in config.stem.into_iter().zip([5, 3]).enumerate() {
            layers.push(Layer {
                name: format!("local.stem.{index}"),
                inputs: channels,
                outputs,
                kernel,
                steps: Steps { stride: 2, padding: kernel / 2, dilation: 1 },
                residual: false,
            });
            channels = outputs;
        }
        for (index, dilation) in config.dilations.iter().copied().enumerate() {
            layers.push(Layer {
                name: format!("local.blocks.{index}"),
                inputs: channels,
                outputs: channels,
                kernel: 3,
                steps: Steps { stride: 1, padding: dilation, dilation },
                residual: true,
            });
        }
        Self { layers, features: channels, kinds }
    }

    /// The learned tensors, in a fixed order.
    #[must_use]
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut all = Vec::new();
        let mut add = |name: String, shape: &[usize], decays| {
            all.push(Parameter { name, shape: shape.to_vec(), decays });
        };
        for layer in &self.layers {
            let Layer { name, inputs, outputs, kernel, .. } = layer;
            add(format!("{name}.weight"), &[*outputs, *inputs, *kernel, *kernel], true);
            add(format!("{name}.bn.weight"), &[*outputs], false);
            add(format!("{name}.bn.bias"), &[*outputs], false);
        }
        add("local.head.weight".into(), &[self.kinds, self.features, 1, 1], true);
        add("local.head.bias".into(), &[self.kinds], false);
        all
    }

    /// Fresh weights: uniform with variance 2 / fan-in for convolutions (He et al. 2015), a tenth of
    /// that spread for the head, one and zero for scales and shifts.
    ///
    /// # Errors
    /// On a device error.
    pub fn initial(&self, rng: &mut ChaCha8Rng, device: &Device) -> Result<Tensors> {
        let tensor = |parameter: Parameter| {
            let count: usize = parameter.shape.iter().product();
            let data: Vec<f32> = if parameter.decays {
                let fan_in = (count / parameter.shape[0]) as f32;
                let head = if parameter.name.starts_with("local.head") { 0.1 } else { 1.0 };
                let bound = head * (6.0 / fan_in).sqrt();
                (0..count).map(|_| rng.random_range(-bound..bound)).collect()
            } else {
                vec![if parameter.name.ends_with("bn.weight") { 1.0 } else { 0.0 }; count]
            };
            Ok((parameter.name, Tensor::from_vec(data, parameter.shape, device)?))
        };
        self.parameters().into_iter().map(tensor).collect()
    }

    /// Logit maps `[n, kinds, ⌈h/4⌉, ⌈w/4⌉]` in training mode: batch norms use the batch's own
    /// statistics, which are also given, by layer. `keep` `[n, features, ⌈h/4⌉, ⌈w/4⌉]` is the
    /// dropout mask, already divided by the kept share.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape, or on a device error.
    pub fn forward_train(
        &self,
        tensors: &Tensors,
        stack: &Tensor,
        keep: Option<&Tensor>,
    ) -> Result<(Tensor, Vec<BatchStats>)> {
        let mut stats = Vec::new();
        let mut x = stack.clone(); // [n, inputs, h, w]
        for layer in &self.layers {
            let get = |part: &str| find(tensors, &layer.name, part);
            let affine = (get("bn.weight")?, get("bn.bias")?);
            let (y, batch) =
                layer_in_training(&x, get("weight")?, affine, layer.steps, layer.residual)?;
            stats.push(batch);
            x = y; // [n, outputs, h', w']
        }
        let x = match keep {
            Some(keep) => (x * keep)?,
            None => x,
        };
        Ok((self.head(tensors, &x)?, stats))
    }

    /// Logit maps `[n, kinds, ⌈h/4⌉, ⌈w/4⌉]` in evaluation mode: running statistics, no dropout.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape, or on a device error.
    pub fn forward_eval(&self, tensors: &Tensors, stack: &Tensor) -> Result<Tensor> {
        let mut x = stack.clone(); // [n, inputs, h, w]
        for layer in &self.layers {
            let get = |part: &str| find(tensors, &layer.name, part);
            let column = (1, layer.outputs, 1, 1);
            let scale = (get("bn.weight")? / (get("bn.running_var")? + EPSILON)?.sqrt()?)?;
            let shift = (get("bn.bias")? - (get("bn.running_mean")? * &scale)?)?; // [outputs]
            let y = conv2d(&x, get("weight")?, layer.steps)? // [n, outputs, h', w']
                .broadcast_mul(&scale.reshape(column)?)?
                .broadcast_add(&shift.reshape(column)?)?
                .relu()?;
            x = if layer.residual { (x + y)? } else { y };
        }
        self.head(tensors, &x)
    }

    /// Names of the running statistics, mean and variance, of each layer.
    pub fn statistics_names(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.layers.iter().map(|layer| {
            (format!("{}.bn.running_mean", layer.name), format!("{}.bn.running_var", layer.name))
        })
    }

    /// Channels of the dropout mask.
    pub(super) fn features(&self) -> usize {
        self.features
    }

    fn head(&self, tensors: &Tensors, x: &Tensor) -> Result<Tensor> {
        let steps = Steps { stride: 1, padding: 0, dilation: 1 };
        let bias = find(tensors, "local.head", "bias")?.reshape((1, self.kinds, 1, 1))?;
        conv2d(x, find(tensors, "local.head", "weight")?, steps)?.broadcast_add(&bias)
    }
}

fn find<'a>(tensors: &'a Tensors, layer: &str, part: &str) -> Result<&'a Tensor> {
    match tensors.get(&format!("{layer}.{part}")) {
        Some(tensor) => Ok(tensor),
        None => bail!("the local network's tensor {layer}.{part} is missing"),
    }
}
