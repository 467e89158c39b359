//! The tensors that training starts from, and the file of a trained student.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use model_export::weights::Weights;
use serde_json::json;

use super::{Error, Network};
use crate::files;
use crate::local::Tensors;

/// The network's tensors of a weights file, all but the projection, which published weights do not
/// have.
///
/// # Errors
/// [`Error::Weights`] names the tensor that is missing or misshapen.
pub fn backbone(network: &Network, weights: &Weights) -> Result<Tensors, Error> {
    backbone_shapes(network)
        .map(|(name, shape)| {
            let values = weights.tensor(&name, &shape)?;
            Ok((name, Tensor::from_slice(values, shape, &Device::Cpu)?))
        })
        .collect()
}

/// Names and shapes of the network's tensors, all but the projection's.
fn backbone_shapes(network: &Network) -> impl Iterator<Item = (String, Vec<usize>)> {
    let parameters = network.parameters().into_iter().map(|p| (p.name, p.shape));
    let statistics = network.statistics().map(|(name, length)| (name, vec![length]));
    parameters.filter(|(name, _)| name.starts_with("features.")).chain(statistics)
}

/// The tensors on a device, if all but the projection are there.
pub(super) fn checked(
    network: &Network,
    tensors: &Tensors,
    device: &Device,
) -> Result<Tensors, Error> {
    let checked = backbone_shapes(network).map(|(name, shape)| match tensors.get(&name) {
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
/// The safetensors crate takes metadata in no order, and would write another file each time; here all
/// names are in order, so that the same student is the same bytes.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written, [`Error::Tensor`] if a tensor is not one of floats.
pub fn save(
    path: &Path,
    tensors: &Tensors,
    (width, height): (usize, usize),
    teacher: &str,
) -> Result<(), Error> {
    let metadata = BTreeMap::from([
        ("height", height.to_string()),
        ("teacher", teacher.to_owned()),
        ("width", width.to_string()),
    ]);
    let mut header = BTreeMap::from([("__metadata__", json!(metadata))]);
    let mut data: Vec<u8> = Vec::new();
    let sorted: BTreeMap<&String, &Tensor> = tensors.iter().collect();
    for (name, tensor) in sorted {
        let start = data.len();
        for value in tensor.flatten_all()?.to_vec1::<f32>()? {
            data.extend(value.to_le_bytes());
        }
        let entry = json!({
            "data_offsets": [start, data.len()], "dtype": "F32", "shape": tensor.dims()
        });
        header.insert(name, entry);
    }
    let mut header = json!(header).to_string().into_bytes();
    // Tensors begin at a multiple of eight bytes.
    header.resize(header.len().next_multiple_of(8), b' ');
    let bytes = [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat();
    files::replace(path, &bytes).map_err(|source| Error::Io { path: path.to_owned(), source })
}
