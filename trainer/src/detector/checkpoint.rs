//! Reading and writing tensors by name.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::TensorView;

use super::Error;
use crate::files;

/// Reads all tensors of a `.safetensors` file, or of a PyTorch `state_dict` (`.pkl`, `.pt`,
/// `.pth`, as the public UR-DMU checkpoints are), to the CPU. A leading `module.`, which PyTorch's
/// data parallelism adds to each name, is taken off.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, [`Error::Damaged`] if it is not what its name says.
pub fn read(path: &Path) -> Result<BTreeMap<String, Tensor>, Error> {
    let damaged = |e: candle_core::Error| Error::Damaged {
        path: path.to_path_buf(),
        problem: one_line(&e.to_string()),
    };
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let pickled = path
        .extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| ["pkl", "pt", "pth"].contains(&e.to_ascii_lowercase().as_str()));
    let tensors: Vec<(String, Tensor)> = if pickled {
        candle_core::pickle::read_all(path).map_err(damaged)?
    } else {
        candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
            .map_err(damaged)?
            .into_iter()
            .collect()
    };
    Ok(tensors
        .into_iter()
        .map(|(name, tensor)| (name.strip_prefix("module.").unwrap_or(&name).to_owned(), tensor))
        .collect())
}

/// Writes tensors as `f32` to a `.safetensors` file, with `metadata`; a reader sees the old file or
/// the new one, never a part.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written.
pub fn write(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: HashMap<String, String>,
) -> Result<(), Error> {
    let mut raw = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let values = tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        raw.push((name.as_str(), tensor.dims().to_vec(), bytes));
    }
    let views = raw.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
        (*name, view.expect("the bytes are those of the shape"))
    });
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| Error::Damaged {
        path: path.to_path_buf(),
        problem: format!("cannot be written: {e}"),
    })?;
    files::replace(path, &bytes).map_err(|e| Error::io(path, e))
}

fn one_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        let tensor = Tensor::new(&[[1.0f32, -2.5], [3.0, 1e-30]], &Device::Cpu).unwrap();
        let tensors = BTreeMap::from([("module.a.b".to_owned(), tensor.clone())]);
        write(&path, &tensors, HashMap::new()).unwrap();
        let back = read(&path).unwrap();
        assert_eq!(back["a.b"].to_vec2::<f32>().unwrap(), tensor.to_vec2::<f32>().unwrap());
    }

    #[test]
    fn a_pytorch_state_dict_is_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/state_dict.pth");
        let tensors = read(&path).unwrap();
        let memory = tensors["Amemory.memory_block"].to_vec2::<f32>().unwrap();
        assert_eq!(memory, [[0.0, 0.5, 1.0], [1.5, 2.0, 2.5]]);
    }

    #[test]
    fn damage_and_absence_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        assert!(matches!(read(&path), Err(Error::Io { .. })));
        std::fs::write(&path, b"\x10\0\0\0\0\0\0\0 not json at all").unwrap();
        let error = read(&path).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }));
        assert!(error.to_string().contains("x.safetensors"), "{error}");
    }
}
