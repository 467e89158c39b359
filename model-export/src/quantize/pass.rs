//! Running a model so that inner tensors come out.

use std::collections::BTreeMap;

use inference::{Backend, Graph};
use prost::Message as _;
use tract_onnx::pb::ModelProto;

use super::calibrate::Kept;
use super::graph::{Index, with_outputs};
use super::plan::plan;
use super::{Error, Options};

/// The model with some inner tensors as further outputs.
pub(super) struct Pass {
    pub graph: Box<dyn Graph>,
    /// Names of the outputs, in the engine's order.
    pub names: Vec<String>,
    /// Values of the last run, in the same order.
    pub values: Vec<Vec<f32>>,
    /// The further outputs: this pass is the one that measures them.
    pub extra: Vec<String>,
}

impl Pass {
    /// Loads the model so that all of `tensors` come out, in as many passes as `memory_limit` bytes
    /// of outputs need.
    pub fn load(
        model: &ModelProto,
        tensors: &[String],
        memory_limit: usize,
        backend: &dyn Backend,
    ) -> Result<Vec<Self>, Error> {
        let all = Self::one(model, tensors, backend)?;
        let bytes: BTreeMap<&str, usize> = all
            .graph
            .outputs()
            .iter()
            .map(|o| (o.name.as_str(), o.shape.iter().product::<usize>() * size_of::<f32>()))
            .collect();
        let mut parts: Vec<Vec<String>> = vec![Vec::new()];
        let mut used = 0;
        for tensor in tensors {
            let size = bytes.get(tensor.as_str()).copied().unwrap_or(0);
            if used > 0 && used + size > memory_limit {
                parts.push(Vec::new());
                used = 0;
            }
            used += size;
            parts.last_mut().expect("there is a first part").push(tensor.clone());
        }
        if parts.len() == 1 {
            return Ok(vec![all]);
        }
        drop(all);
        parts.iter().map(|part| Self::one(model, part, backend)).collect()
    }

    pub fn one(
        model: &ModelProto,
        tensors: &[String],
        backend: &dyn Backend,
    ) -> Result<Self, Error> {
        let graph = backend.load("calibration", &with_outputs(model, tensors).encode_to_vec())?;
        let names: Vec<String> = graph.outputs().iter().map(|o| o.name.clone()).collect();
        let values = vec![Vec::new(); names.len()];
        Ok(Self { graph, names, values, extra: tensors.to_vec() })
    }

    /// Runs one sample; the outputs are then in `values`.
    pub fn run(&mut self, sample: &[Vec<f32>]) -> Result<(), Error> {
        let inputs: Vec<&[f32]> = sample.iter().map(Vec::as_slice).collect();
        self.graph.run(&inputs, &mut self.values)?;
        Ok(())
    }

    /// The last value of an output.
    pub fn value(&self, tensor: &str) -> Option<&[f32]> {
        self.names.iter().position(|n| n == tensor).map(|i| self.values[i].as_slice())
    }
}

/// Whether a sample has a buffer of the right length for each input.
pub(super) fn check_sample(
    graph: &dyn Graph,
    sample: &[Vec<f32>],
    number: usize,
) -> Result<(), Error> {
    let inputs = graph.inputs();
    let wrong = |reason| Err(Error::Sample { sample: number, reason });
    if inputs.len() != sample.len() {
        return wrong(format!("has {} inputs, the graph {}", sample.len(), inputs.len()));
    }
    for (info, values) in inputs.iter().zip(sample) {
        let expected: usize = info.shape.iter().product();
        if values.len() != expected {
            return wrong(format!(
                "has {} values for input `{}`, whose shape {:?} needs {expected}",
                values.len(),
                info.name,
                info.shape
            ));
        }
    }
    Ok(())
}

/// Sets the outputs of samples to those of this model.
pub(super) fn outputs(
    model: &ModelProto,
    samples: &mut [Kept],
    backend: &dyn Backend,
) -> Result<(), Error> {
    let names: Vec<&str> =
        model.graph.iter().flat_map(|g| g.output.iter().map(|o| o.name.as_str())).collect();
    let mut pass = Pass::one(model, &[], backend)?;
    for sample in samples {
        pass.run(&sample.inputs)?;
        let value = |name: &&str| pass.value(name).unwrap_or_default().to_vec();
        sample.outputs = names.iter().map(value).collect();
    }
    Ok(())
}

/// Whether the model is well-formed, has something to quantize, and the engine takes it as it was given:
/// once inner tensors are outputs, an operator that it does not know is no longer what it complains of.
pub(super) fn check(
    model: &ModelProto,
    options: &Options,
    backend: &dyn Backend,
) -> Result<(), Error> {
    let plan = plan(&Index::new(model)?, options)?;
    if plan.layers.is_empty() {
        return Err(Error::NothingToQuantize { float: plan.float_layers.len() });
    }
    backend.load("model", &model.encode_to_vec())?;
    Ok(())
}
