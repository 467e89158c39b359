//! The weights of a directory: one safetensors file, or shards with their index.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use candle_core::safetensors::Load as _;
use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::Error;
use crate::hash::hex;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// All floating-point tensors of the directory, as float32.
pub(super) struct Weights {
    path: PathBuf,
    tensors: HashMap<String, Tensor>,
}

impl Weights {
    /// Reads every file.
    pub fn open(dir: &Path, device: &Device) -> Result<Self, Error> {
        let mut tensors = HashMap::new();
        for path in files(dir)? {
            let bytes = Error::read_bytes(&path)?;
            let file = SafeTensors::deserialize(&bytes).map_err(|e| {
                Error::damaged(
                    &path,
                    format!("is not a whole safetensors file: {e}; copy it again"),
                )
            })?;
            for (name, view) in file.tensors() {
                use safetensors::Dtype::{BF16, F16, F32, F64};
                if matches!(view.dtype(), F32 | F16 | BF16 | F64) {
                    tensors.insert(name, view.load(device)?.to_dtype(DType::F32)?);
                }
            }
        }
        Ok(Self { path: dir.into(), tensors })
    }

    /// The tensor `name`, which must have the shape.
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor, Error> {
        let tensor = self.tensors.get(name).ok_or_else(|| {
            Error::damaged(&self.path, format!("the weights have no tensor {name}"))
        })?;
        if tensor.dims() != shape {
            let problem = format!(
                "tensor {name} has shape {:?}, but config.json asks for {shape:?}",
                tensor.dims()
            );
            return Err(Error::damaged(&self.path, problem));
        }
        Ok(tensor.clone())
    }
}

/// The files that the weights are in, in order.
fn files(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: HashMap<String, String>,
    }
    if dir.join(SINGLE).exists() {
        return Ok(vec![dir.join(SINGLE)]);
    }
    let path = dir.join(INDEX);
    if !path.exists() {
        let what = if dir.join("pytorch_model.bin").exists() {
            format!("{SINGLE} (pytorch_model.bin is not read: save the model as safetensors)")
        } else {
            format!("{SINGLE} (or {INDEX} with its shards)")
        };
        return Err(Error::Missing { dir: dir.into(), what });
    }
    let index: Index = serde_json::from_str(&Error::read_text(&path)?)
        .map_err(|e| Error::damaged(&path, format!("is not an index of shards: {e}")))?;
    let names: BTreeSet<&str> = index.weight_map.values().map(String::as_str).collect();
    if let Some(name) =
        names.iter().find(|name| Path::new(name).file_name().is_none_or(|n| n != **name))
    {
        return Err(Error::damaged(&path, format!("shard {name:?} is not a file's name")));
    }
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}

/// SHA-256, in hex, over names and content of the files that embeddings depend on.
pub(super) fn fingerprint(dir: &Path) -> Result<String, Error> {
    let others = [
        "config.json",
        "merges.txt",
        "preprocessor_config.json",
        "processor_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.json",
    ];
    let present = others.map(|name| dir.join(name)).into_iter().filter(|path| path.exists());
    let mut hash = Sha256::new();
    for path in present.chain(files(dir)?) {
        let bytes = Error::read_bytes(&path)?;
        hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    Ok(hex(&hash.finalize()))
}
