//! The parameters by name, and their initial values.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};

use super::noise::{Purpose, open_unit, stream};
use super::{Error, ModelSize};

/// How a parameter starts, after PyTorch's defaults for its layer.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Start {
    Uniform(f64),
    Constant(f64),
}

/// Named parameters. Order is that of the names, so that everything done over them is repeatable.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    vars: BTreeMap<String, Var>,
}

impl Parameters {
    /// Fresh parameters of the network, and of the domain discriminator with `domain_hidden`
    /// hidden units (names `domain.0.*`, `domain.2.*`) if that is given.
    ///
    /// Convolution and linear layers start uniform in ±1/√fan-in, layer norms at 1 and 0, memory
    /// slots uniform in ±1/√E (UR-DMU, `memory.py`).
    ///
    /// # Errors
    /// If memory on the device is short.
    pub fn init(
        size: &ModelSize,
        domain_hidden: Option<usize>,
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> Result<Self, Error> {
        let mut vars = BTreeMap::new();
        for (index, (name, shape, start)) in layout(size, domain_hidden).into_iter().enumerate() {
            let count = shape.iter().product();
            let values: Vec<f64> = match start {
                Start::Constant(value) => vec![value; count],
                Start::Uniform(bound) => {
                    let mut rng = stream(seed, Purpose::Init, index as u64);
                    (0..count).map(|_| bound * (2.0 * open_unit(&mut rng) - 1.0)).collect()
                }
            };
            let tensor = Tensor::from_vec(values, shape, device)?.to_dtype(dtype)?;
            vars.insert(name, Var::from_tensor(&tensor)?);
        }
        Ok(Self { vars })
    }

    /// Parameters from tensors by name; those that the network does not have are left out.
    ///
    /// # Errors
    /// [`Error::Tensor`] naming the first tensor that is missing, has another shape than the sizes
    /// say, or holds a value that is not finite.
    pub fn from_tensors(
        tensors: &BTreeMap<String, Tensor>,
        size: &ModelSize,
        domain_hidden: Option<usize>,
        dtype: DType,
        device: &Device,
    ) -> Result<Self, Error> {
        let mut vars = BTreeMap::new();
        for (name, shape, _) in layout(size, domain_hidden) {
            let fail = |problem: String| Err(Error::Tensor { name: name.clone(), problem });
            let Some(tensor) = tensors.get(&name) else {
                return fail("is missing: not a UR-DMU checkpoint".into());
            };
            if tensor.dims() != shape {
                return fail(format!("has shape {:?}, expected {shape:?}", tensor.dims()));
            }
            let sum = tensor.to_dtype(DType::F64)?.abs()?.sum_all()?.to_scalar::<f64>()?;
            if !sum.is_finite() {
                return fail("holds a value that is not finite".into());
            }
            let tensor = tensor.to_dtype(dtype)?.to_device(device)?;
            vars.insert(name, Var::from_tensor(&tensor.copy()?)?);
        }
        Ok(Self { vars })
    }

    #[cfg(test)]
    pub(super) fn of(vars: impl IntoIterator<Item = (String, Var)>) -> Self {
        Self { vars: vars.into_iter().collect() }
    }

    /// A parameter.
    ///
    /// # Errors
    /// [`Error::Tensor`] if there is none of that name.
    pub fn get(&self, name: &str) -> Result<&Tensor, Error> {
        self.vars
            .get(name)
            .map(Var::as_tensor)
            .ok_or_else(|| Error::Tensor { name: name.to_owned(), problem: "is missing".into() })
    }

    /// All parameters in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.vars.iter().map(|(name, var)| (name.as_str(), var))
    }

    /// Copies of all parameters.
    ///
    /// # Errors
    /// If memory is short.
    pub fn tensors(&self) -> Result<BTreeMap<String, Tensor>, Error> {
        self.vars.iter().map(|(n, v)| Ok((n.clone(), v.as_tensor().detach().copy()?))).collect()
    }
}

/// Name, shape and start of every parameter. Names as in the public checkpoints.
fn layout(size: &ModelSize, domain_hidden: Option<usize>) -> Vec<(String, Vec<usize>, Start)> {
    let mut list = Vec::new();
    let e = size.embedding;
    let inner = size.heads * size.head_size;
    let mut dense = |name: &str, shape: Vec<usize>, bias: bool| {
        let bound = 1.0 / (shape[1..].iter().product::<usize>() as f64).sqrt();
        let outputs = shape[0];
        list.push((format!("{name}.weight"), shape, Start::Uniform(bound)));
        if bias {
            list.push((format!("{name}.bias"), vec![outputs], Start::Uniform(bound)));
        }
    };
    dense("embedding.conv_1.0", vec![e, size.feature_size, 3], true);
    for i in 0..size.layers {
        let layer = format!("selfatt.layers.{i}");
        dense(&format!("{layer}.0.fn.to_qkv"), vec![4 * inner, e], false);
        dense(&format!("{layer}.0.fn.to_out.0"), vec![e, 2 * inner], true);
        dense(&format!("{layer}.1.fn.net.0"), vec![size.feed_forward, e], true);
        dense(&format!("{layer}.1.fn.net.3"), vec![e, size.feed_forward], true);
    }
    dense("encoder_mu.0", vec![e, e], true);
    dense("encoder_var.0", vec![e, e], true);
    dense("cls_head.mlp.0", vec![size.classifier_hidden, 2 * e], true);
    dense("cls_head.mlp.2", vec![1, size.classifier_hidden], true);
    if let Some(hidden) = domain_hidden {
        dense("domain.0", vec![hidden, e], true);
        dense("domain.2", vec![1, hidden], true);
    }
    for i in 0..size.layers {
        for part in 0..2 {
            let norm = format!("selfatt.layers.{i}.{part}.norm");
            list.push((format!("{norm}.weight"), vec![e], Start::Constant(1.0)));
            list.push((format!("{norm}.bias"), vec![e], Start::Constant(0.0)));
        }
    }
    let bound = 1.0 / (e as f64).sqrt();
    let slots = |n: usize| (vec![n, e], Start::Uniform(bound));
    let (shape, start) = slots(size.abnormal_slots);
    list.push(("Amemory.memory_block".into(), shape, start));
    let (shape, start) = slots(size.normal_slots);
    list.push(("Nmemory.memory_block".into(), shape, start));
    list
}
