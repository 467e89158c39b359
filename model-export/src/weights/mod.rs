//! Reading weights from the files that their authors publish.
//!
//! [`Weights::read`] knows by its content which kind of file it has: safetensors, a NumPy pickle
//! (the Flax checkpoint of I3D), or the original PyTorch pickle (torchvision before 1.6). Weights
//! are data from outside: a file is read without running anything in it, every size is checked
//! against the file before it is believed, and an error names the tensor and the file.

mod find;
mod numpy;
mod pickle;
mod torch;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

pub use find::{DIRECTORY_VARIABLE, find};

/// Why weights could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No directory holds the file.
    #[error(
        "weights {name} not found in {searched}: fetch them with `cargo xtask weights` or point \
         {DIRECTORY_VARIABLE} at their directory"
    )]
    NotFound {
        /// Name of the file.
        name: String,
        /// Directories looked into, in order.
        searched: String,
    },
    /// The file could not be read.
    #[error("cannot read weights {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no weights file of a known kind, or damaged.
    #[error("weights {file}: {reason}")]
    Format {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor is not there.
    #[error("weights {file} have no tensor {tensor}: are they the weights of this network?")]
    Missing {
        /// The file.
        file: String,
        /// Name of the tensor.
        tensor: String,
    },
    /// A tensor has another shape than the network.
    #[error(
        "tensor {tensor} of weights {file} has shape {found:?}, the network needs {expected:?}"
    )]
    Shape {
        /// The file.
        file: String,
        /// Name of the tensor.
        tensor: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape the network needs.
        expected: Vec<usize>,
    },
    /// A note beside the tensors is not what it should be.
    #[error("weights {file}: metadata {key} is {text:?}, it must be a whole number above 0")]
    Metadata {
        /// The file.
        file: String,
        /// Name of the note.
        key: String,
        /// What it says.
        text: String,
    },
    /// A tensor holds a NaN or an infinity.
    #[error("tensor {tensor} of weights {file} is not finite at element {element}: fetch it anew")]
    NotFinite {
        /// The file.
        file: String,
        /// Name of the tensor.
        tensor: String,
        /// Row-major index of the first such element.
        element: usize,
    },
}

/// A tensor: row-major `f32`.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Shape; its product is the length of `data`.
    pub shape: Vec<usize>,
    /// Values, row-major.
    pub data: Vec<f32>,
}

/// Tensors by name, and where they come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    source: String,
    tensors: BTreeMap<String, Array>,
    metadata: BTreeMap<String, String>,
}

impl Weights {
    /// Weights made in memory; `source` stands for the file name in errors.
    pub fn new(source: &str, tensors: BTreeMap<String, Array>) -> Self {
        Self { source: source.to_owned(), tensors, metadata: BTreeMap::new() }
    }

    /// The same with notes beside the tensors, as a safetensors file has them.
    #[must_use]
    pub fn with_metadata(self, metadata: BTreeMap<String, String>) -> Self {
        Self { metadata, ..self }
    }

    /// Reads a weights file, whichever of the known kinds it is.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Format`] if it is damaged or of another kind.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes =
            std::fs::read(path).map_err(|source| Error::Io { path: path.to_path_buf(), source })?;
        Self::from_bytes(&path.display().to_string(), &bytes)
    }

    /// Reads the file called `name` from the weights directory, see [`find`].
    ///
    /// # Errors
    /// [`Error::NotFound`] if it is not there, and those of [`Self::read`].
    pub fn fetched(name: &str) -> Result<Self, Error> {
        Self::read(&find(name)?)
    }

    /// Like [`Self::read`] for the bytes of a file; `source` stands for its name in errors.
    ///
    /// # Errors
    /// [`Error::Format`] if they are damaged or of another kind.
    pub fn from_bytes(source: &str, bytes: &[u8]) -> Result<Self, Error> {
        let tensors = match bytes {
            _ if begins_like_safetensors(bytes) => return Self::of_safetensors(source, bytes),
            [0x80, ..] if torch::recognises(bytes) => torch::read(bytes),
            [0x80, ..] => numpy::read(bytes),
            [b'P', b'K', ..] => {
                Err("a zip archive, as PyTorch writes now: save it as safetensors".to_owned())
            }
            _ => return Self::of_safetensors(source, bytes),
        };
        let format = |reason| Error::Format { file: source.to_owned(), reason };
        Ok(Self::new(source, tensors.map_err(format)?))
    }

    /// Reads a safetensors file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Format`] if it is no safetensors file of `f32`.
    pub fn from_safetensors(path: &Path) -> Result<Self, Error> {
        let bytes =
            std::fs::read(path).map_err(|source| Error::Io { path: path.to_path_buf(), source })?;
        Self::of_safetensors(&path.display().to_string(), &bytes)
    }

    fn of_safetensors(source: &str, bytes: &[u8]) -> Result<Self, Error> {
        let format = |reason| Error::Format { file: source.to_owned(), reason };
        let (tensors, metadata) = from_safetensors(bytes).map_err(format)?;
        Ok(Self::new(source, tensors).with_metadata(metadata))
    }

    /// File the weights come from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// A tensor by name.
    pub fn get(&self, name: &str) -> Option<&Array> {
        self.tensors.get(name)
    }

    /// A note beside the tensors: a safetensors file's metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// A note that is a whole number above zero; `None` if there is no such note.
    ///
    /// # Errors
    /// [`Error::Metadata`] if it is anything else.
    pub fn number(&self, key: &str) -> Result<Option<usize>, Error> {
        let Some(text) = self.metadata(key) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(number) if number > 0 => Ok(Some(number)),
            _ => {
                let (file, key) = (self.source.clone(), key.to_owned());
                Err(Error::Metadata { file, key, text: text.to_owned() })
            }
        }
    }

    /// All tensors in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Array)> {
        self.tensors.iter().map(|(name, array)| (name.as_str(), array))
    }

    /// A tensor that has to be there, of any shape, and finite.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::NotFinite`].
    pub fn require(&self, name: &str) -> Result<&Array, Error> {
        let (file, tensor) = (self.source.clone(), name.to_owned());
        match self.tensors.get(name) {
            None => Err(Error::Missing { file, tensor }),
            Some(array) => match array.data.iter().position(|v| !v.is_finite()) {
                Some(element) => Err(Error::NotFinite { file, tensor, element }),
                None => Ok(array),
            },
        }
    }

    /// The values of a tensor that has to be there, finite and of this shape.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::NotFinite`], [`Error::Shape`].
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<&[f32], Error> {
        let array = self.require(name)?;
        if array.shape != shape || array.data.len() != shape.iter().product::<usize>() {
            return Err(self.misshapen(name, array, shape));
        }
        Ok(&array.data)
    }

    /// The error for a tensor that does not have the shape `expected`.
    pub fn misshapen(&self, name: &str, array: &Array, expected: &[usize]) -> Error {
        Error::Shape {
            file: self.source.clone(),
            tensor: name.to_owned(),
            found: array.shape.clone(),
            expected: expected.to_vec(),
        }
    }
}

/// Whether the bytes begin with the length of a header inside them, and that header with a brace. The
/// length alone may begin like a pickle, with 0x80.
fn begins_like_safetensors(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return false;
    };
    rest.first() == Some(&b'{') && u64::from_le_bytes(*length) <= rest.len() as u64
}

/// Tensors and notes of a safetensors file.
type Contents = (BTreeMap<String, Array>, BTreeMap<String, String>);

/// What a safetensors file holds. Tensors that are not `f32` are counters and are left out if
/// integers, refused if floats.
fn from_safetensors(bytes: &[u8]) -> Result<Contents, String> {
    use safetensors::{Dtype, SafeTensors};
    let unknown = |error| format!("neither safetensors nor a pickle of weights ({error})");
    let file = SafeTensors::deserialize(bytes).map_err(unknown)?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(unknown)?;
    let notes = header.metadata().iter().flatten();
    let notes = notes.map(|(key, value)| (key.clone(), value.clone())).collect();
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        match view.dtype() {
            Dtype::F32 => {
                let array = Array { shape: view.shape().to_vec(), data: floats(view.data()) };
                tensors.insert(name.to_owned(), array);
            }
            Dtype::I64 | Dtype::I32 | Dtype::U32 | Dtype::U8 => {}
            other => return Err(format!("tensor {name} is {other:?}, only F32 can be read")),
        }
    }
    Ok((tensors, notes))
}

/// Little-endian `f32`; a rest of less than four bytes is left out.
fn floats(bytes: &[u8]) -> Vec<f32> {
    let chunks = bytes.as_chunks::<4>().0;
    chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(shape: &[usize], data: Vec<f32>) -> Weights {
        let array = Array { shape: shape.to_vec(), data };
        Weights::new("w.safetensors", BTreeMap::from([("a.weight".to_owned(), array)]))
    }

    #[test]
    fn errors_name_the_tensor_and_the_file() {
        let good = weights(&[2], vec![1.0, 2.0]);
        assert_eq!(good.tensor("a.weight", &[2]).unwrap(), [1.0, 2.0]);
        for error in [
            good.tensor("a.weight", &[1, 2]).unwrap_err(),
            weights(&[2], vec![0.0, f32::NAN]).tensor("a.weight", &[2]).unwrap_err(),
            weights(&[2], vec![0.0]).tensor("a.weight", &[2]).unwrap_err(),
        ] {
            let text = error.to_string();
            assert!(text.contains("a.weight") && text.contains("w.safetensors"), "{text}");
        }
        let text = good.tensor("b.bias", &[2]).unwrap_err().to_string();
        assert!(text.contains("b.bias") && text.contains("w.safetensors"), "{text}");
    }

    #[test]
    fn safetensors_are_read() {
        use safetensors::{Dtype, serialize, tensor::TensorView};
        let data: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, vec![1, 2], &data).unwrap();
        let count = TensorView::new(Dtype::I64, vec![1], &[0; 8]).unwrap();
        let notes = [("width", "96"), ("height", "-1")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let bytes = serialize([("w", view), ("steps", count)], Some(notes.into())).unwrap();
        let read = Weights::from_bytes("f", &bytes).unwrap();
        assert_eq!(
            (read.number("width").unwrap(), read.number("depth").unwrap()),
            (Some(96), None)
        );
        let text = read.number("height").unwrap_err().to_string();
        assert!(text.contains("height") && text.contains("-1"), "{text}");
        assert_eq!(read.tensor("w", &[1, 2]).unwrap(), [1.5, -2.0]);
        assert!(read.get("steps").is_none());
    }

    #[test]
    fn a_header_as_long_as_a_pickle_begins_is_no_pickle() {
        use safetensors::{Dtype, serialize, tensor::TensorView};
        let view = || TensorView::new(Dtype::F32, vec![1], &[0, 0, 0x80, 0x3f]).unwrap();
        // Headers are padded to eight bytes: one of these lengths begins with 0x80.
        let files = (1..260).map(|n| serialize([("w".repeat(n), view())], None).unwrap());
        let file = files.into_iter().find(|file| file[0] == 0x80).unwrap();
        let read = Weights::from_bytes("f", &file).unwrap();
        assert_eq!(read.iter().map(|(_, array)| array.data.clone()).collect::<Vec<_>>(), [[1.0]]);
    }

    #[test]
    fn other_files_are_refused_by_name() {
        for bytes in [&b""[..], b"PK\x03\x04", b"hello, world", &[0x80], &[0x80, 4, b'}']] {
            let text = Weights::from_bytes("f.ckpt", bytes).unwrap_err().to_string();
            assert!(text.contains("f.ckpt"), "{text}");
        }
    }
}
