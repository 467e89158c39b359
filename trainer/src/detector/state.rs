//! The state of a training run on disk: parameters, optimiser moments, step. With it a run that was
//! cut off goes on bit for bit as if it had not been.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{Device, Result as TensorResult, Tensor};
use sha2::{Digest, Sha256};

use super::fused::{self, adam::Update};
use super::parameters::Parameters;
use super::validation::Selection;
use super::{Bag, DetectorConfig, Error, checkpoint};
use crate::hash::hex;

/// Adam's decay rates and the constant under its division (PyTorch's defaults).
const BETAS: (f64, f64) = (0.9, 0.999);
const EPSILON: f64 = 1e-8;

/// Adam (Kingma and Ba, 2015) with an L2 penalty on the gradients, as PyTorch's `Adam`.
#[derive(Debug)]
pub(super) struct Adam {
    moments: BTreeMap<String, (Tensor, Tensor)>,
}

impl Adam {
    pub(super) fn new(parameters: &Parameters) -> TensorResult<Self> {
        let zeros = |(name, var): (&str, &candle_core::Var)| {
            Ok((name.to_owned(), (var.zeros_like()?, var.zeros_like()?)))
        };
        Ok(Self { moments: parameters.iter().map(zeros).collect::<TensorResult<_>>()? })
    }

    /// One step; `step` counts from 1. A parameter without a gradient stays as it is.
    pub(super) fn update(
        &mut self,
        parameters: &Parameters,
        grads: &candle_core::backprop::GradStore,
        config: &DetectorConfig,
        step: usize,
    ) -> TensorResult<()> {
        let (beta1, beta2) = BETAS;
        let correction1 = 1.0 - beta1.powi(step as i32);
        let correction2 = (1.0 - beta2.powi(step as i32)).sqrt();
        for (name, var) in parameters.iter() {
            let (Some(grad), Some((m, v))) = (grads.get(var), self.moments.get_mut(name)) else {
                continue;
            };
            if fused::fits(grad) {
                let (value, grad) = (var.as_tensor(), grad.contiguous()?);
                let decay = config.weight_decay as f32;
                let (beta, rest) = (beta1 as f32, (1.0 - beta1) as f32);
                m.inplace_op3(&grad, value, &Update::First { beta, rest, decay })?;
                let (beta, rest) = (beta2 as f32, (1.0 - beta2) as f32);
                v.inplace_op3(&grad, value, &Update::Second { beta, rest, decay })?;
                let rate = (config.lr / correction1) as f32;
                let (root, epsilon) = (correction2 as f32, EPSILON as f32);
                value.inplace_op3(m, v, &Update::Parameter { rate, root, epsilon })?;
                continue;
            }
            let value = var.as_tensor().detach();
            let grad = (grad.detach() + (&value * config.weight_decay)?)?;
            *m = ((&*m * beta1)? + (&grad * (1.0 - beta1))?)?;
            *v = ((&*v * beta2)? + (grad.sqr()? * (1.0 - beta2))?)?;
            let scale = ((v.sqrt()? / correction2)? + EPSILON)?;
            var.set(&(value - (m.div(&scale)? * (config.lr / correction1))?)?)?;
        }
        Ok(())
    }
}

/// Where a run keeps its state, and what run it is.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    identity: [(&'static str, String); 3],
}

impl StateFile {
    /// The state file in `dir`, which is made if need be.
    pub(super) fn new(
        dir: &Path,
        config: &DetectorConfig,
        seed: u64,
        data: String,
    ) -> Result<Self, Error> {
        std::fs::create_dir_all(dir).map_err(|e| Error::io(dir, e))?;
        // How long to train and how often to save may change between runs.
        let same = DetectorConfig { steps: 1, checkpoint_every: 1, ..config.clone() };
        let config = serde_json::to_string(&same).expect("a configuration is plain data");
        Ok(Self {
            path: dir.join("training-state.safetensors"),
            identity: [("configuration", config), ("seed", seed.to_string()), ("data", data)],
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn save(
        &self,
        step: usize,
        parameters: &Parameters,
        adam: &Adam,
        selection: &Selection,
    ) -> Result<(), Error> {
        let mut tensors = BTreeMap::new();
        for (name, var) in parameters.iter() {
            tensors.insert(format!("model.{name}"), var.as_tensor().detach());
        }
        for (name, (m, v)) in &adam.moments {
            tensors.insert(format!("adam.m.{name}"), m.clone());
            tensors.insert(format!("adam.v.{name}"), v.clone());
        }
        for (name, tensor) in &selection.weights {
            tensors.insert(format!("best.{name}"), tensor.clone());
        }
        let mut metadata: HashMap<String, String> =
            self.identity.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        metadata.insert("step".into(), step.to_string());
        if let Some(best) = selection.best {
            let best = serde_json::to_string(&best).expect("a validation is plain data");
            metadata.insert("best".into(), best);
            metadata.insert("validated".into(), selection.latest.to_string());
        }
        checkpoint::write(&self.path, &tensors, metadata)
    }

    /// The saved step, after putting its values in place; `None` if nothing was saved.
    pub(super) fn load(
        &self,
        parameters: &Parameters,
        adam: &mut Adam,
        selection: &mut Selection,
        device: &Device,
    ) -> Result<Option<usize>, Error> {
        let damaged = |problem: String| Error::Damaged {
            path: self.path.clone(),
            problem: format!("{problem}; remove it to start anew"),
        };
        let bytes = match std::fs::read(&self.path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(|e| Error::io(&self.path, e))?,
        };
        let (_, header) =
            safetensors::SafeTensors::read_metadata(&bytes).map_err(|e| damaged(e.to_string()))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        for (what, value) in &self.identity {
            if metadata.get(*what) != Some(value) {
                return Err(Error::StateMismatch { path: self.path.clone(), what });
            }
        }
        let number = |key: &str| {
            let value = metadata.get(key).and_then(|s| s.parse::<usize>().ok());
            value.ok_or_else(|| damaged(format!("it has no number `{key}`")))
        };
        let step = number("step")?;
        let tensors = checkpoint::read(&self.path)?;
        let get = |name: String, like: &Tensor| {
            let tensor = tensors.get(&name).filter(|t| t.dims() == like.dims());
            let tensor = tensor.ok_or_else(|| damaged(format!("tensor `{name}` does not fit")))?;
            Ok::<_, Error>(tensor.to_device(device)?.to_dtype(like.dtype())?)
        };
        for (name, var) in parameters.iter() {
            var.set(&get(format!("model.{name}"), var)?)?;
        }
        for (name, (m, v)) in &mut adam.moments {
            *m = get(format!("adam.m.{name}"), m)?;
            *v = get(format!("adam.v.{name}"), v)?;
        }
        if let Some(best) = metadata.get("best") {
            let best = serde_json::from_str(best).map_err(|e| damaged(format!("`best`: {e}")))?;
            let kept = tensors
                .iter()
                .filter_map(|(name, tensor)| Some((name.strip_prefix("best.")?, tensor)));
            *selection = Selection {
                best: Some(best),
                weights: kept.map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect(),
                latest: number("validated")?,
            };
        }
        Ok(Some(step))
    }
}

/// SHA-256 over names, shapes and values of all bags, in hexadecimal.
pub(super) fn digest(normal: &[Bag], pseudo: &[Bag]) -> String {
    let mut hash = Sha256::new();
    for bags in [normal, pseudo] {
        hash.update((bags.len() as u64).to_le_bytes());
        for bag in bags {
            for n in [bag.name.len(), bag.snippets, bag.cells, bag.d] {
                hash.update((n as u64).to_le_bytes());
            }
            hash.update(bag.name.as_bytes());
            let labels = bag.changed.iter().flatten().map(|changed| u8::from(*changed));
            hash.update(labels.collect::<Vec<_>>());
            for value in &bag.features {
                hash.update(value.to_le_bytes());
            }
        }
    }
    hex(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Var};

    use super::*;

    /// torch.optim.Adam([1, -2], lr=0.1, weight_decay=0.01) on loss = p0² + 3·p1, three steps.
    fn three_steps(dtype: DType) -> Vec<f64> {
        let tensor = Tensor::new(&[1.0f64, -2.0], &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        let parameters = Parameters::of([("p".to_owned(), Var::from_tensor(&tensor).unwrap())]);
        let mut adam = Adam::new(&parameters).unwrap();
        let config = DetectorConfig { lr: 0.1, weight_decay: 0.01, ..DetectorConfig::default() };
        for step in 1..=3 {
            let p = parameters.get("p").unwrap();
            let loss = (p.narrow(0, 0, 1).unwrap().sqr().unwrap().sum_all().unwrap()
                + (p.narrow(0, 1, 1).unwrap().sum_all().unwrap() * 3.0).unwrap())
            .unwrap();
            let grads = loss.backward().unwrap();
            adam.update(&parameters, &grads, &config, step).unwrap();
        }
        parameters.get("p").unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
    }

    #[test]
    fn adam_takes_the_steps_of_pytorch() {
        let expected = [0.701_586_272_938, -2.299_996_787_898];
        // f32 takes the updates in place.
        for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 1e-6)] {
            let got = three_steps(dtype);
            for (a, b) in got.iter().zip(expected) {
                assert!((a - b).abs() < tolerance, "{dtype:?} {got:?}");
            }
        }
    }
}
