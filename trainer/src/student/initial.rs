//! The tensors that training starts from, and the file of a trained student.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{Device, Tensor};
use model_export::weights::Weights;

use super::{Error, Network};
use crate::files;
use crate::local::Tensors;

/// The network's tensors of a weights file, all but the projection, which published weights do not
/// have.
///
/// # Errors
/// [`Error::Weights`] names the tensor that is missing or misshapen.
pub fn backbone(network: &Network, weights: &Weights) -> Result<Tensors, Error> {
    let parameters = network.parameters().into_iter().map(|p| (p.name, p.shape));
    let statistics = network.statistics().map(|(name, length)| (name, vec![length]));
    parameters
        .filter(|(name, _)| name.starts_with("features."))
        .chain(statistics)
        .map(|(name, shape)| {
            let values = weights.tensor(&name, &shape)?;
            Ok((name, Tensor::from_slice(values, shape, &Device::Cpu)?))
        })
        .collect()
}

/// The tensors on a device, if all but the projection are there.
pub(super) fn checked(
    network: &Network,
    tensors: &Tensors,
    device: &Device,
) -> Result<Tensors, Error> {
    let parameters = network.parameters().into_iter().map(|p| (p.name, p.shape));
    let statistics = network.statistics().map(|(name, length)| (name, vec![length]));
    let backbone = parameters.filter(|(name, _)| name.starts_with("features."));
    let checked = backbone.chain(statistics).map(|(name, shape)| match tensors.get(&name) {
        Some(tensor) if tensor.dims() == shape => Ok((name, tensor.to_device(device)?)),
        Some(tensor) => Err(candle_core::Error::Msg(format!(
            "the student's tensor {name} has shape {:?}, not {shape:?}",
            tensor.dims()
        ))),
        None => Err(candle_core::Error::Msg(format!("the student's tensor {name} is missing"))),
    });
    Ok(checked.collect::<Result<_, _>>()?)
}

/// Writes a trained student: torchvision's names, `projection.weight` and `projection.bias`; the
/// metadata say for which picture it was trained and by which teacher.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written.
pub fn save(
    path: &Path,
    tensors: &Tensors,
    (width, height): (usize, usize),
    teacher: &str,
) -> Result<(), Error> {
    let metadata = HashMap::from([
        ("width".to_owned(), width.to_string()),
        ("height".to_owned(), height.to_string()),
        ("teacher".to_owned(), teacher.to_owned()),
    ]);
    let sorted: BTreeMap<&String, &Tensor> = tensors.iter().collect();
    let bytes = safetensors::serialize(sorted, Some(metadata))
        .map_err(|error| candle_core::Error::Msg(error.to_string()))?;
    files::replace(path, &bytes).map_err(|source| Error::Io { path: path.to_owned(), source })
}
