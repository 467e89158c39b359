//! Weights of a model: one safetensors file or several with an index, mapped into memory.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::path::{Path, PathBuf};

use candle_core::safetensors::{Load, MmapedSafetensors};
use candle_core::{DType, Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::error::{Error, Result};

/// The tensors of a model folder. Nothing is read before it is asked for, and what is read goes
/// straight to the device.
pub(crate) struct Weights {
    folder: PathBuf,
    files: Vec<(PathBuf, MmapedSafetensors)>,
    /// Which file has a tensor.
    route: HashMap<String, usize>,
    device: Device,
    used: RefCell<BTreeSet<String>>,
    /// Instead of files: numbers in −1 to 1, of which every tensor is made.
    numbers: Option<Tensor>,
}

/// How many numbers all tensors without files are made of.
const NUMBERS: usize = 1 << 20;

impl Weights {
    /// Opens `stem.safetensors`, or the files of `stem.safetensors.index.json`.
    pub fn open(folder: &Path, stem: &str, device: &Device) -> Result<Self> {
        let index = folder.join(format!("{stem}.safetensors.index.json"));
        let single = folder.join(format!("{stem}.safetensors"));
        let named = if index.exists() { Some(shards(&index)?) } else { None };
        let names: Vec<PathBuf> = match &named {
            Some(map) => map.values().collect::<BTreeSet<_>>().into_iter().cloned().collect(),
            None if single.exists() => vec![single],
            None => {
                let hint = format!(
                    "nor is {}; weights are read as safetensors (a .bin file must be converted)",
                    index.display()
                );
                return Err(Error::Missing { path: single, hint });
            }
        };
        let mut files = Vec::new();
        let mut route = HashMap::new();
        for path in names {
            let file = map(&path)?;
            route.extend(file.tensors().into_iter().map(|(name, _)| (name, files.len())));
            files.push((path, file));
        }
        for (tensor, path) in named.iter().flatten() {
            if route.get(tensor).is_none_or(|&i| files[i].0 != *path) {
                let problem = format!("the index puts it into {}", path.display());
                return Err(Error::Tensor { path: index, tensor: tensor.clone(), problem });
            }
        }
        let folder = folder.into();
        let used = RefCell::default();
        Ok(Self { folder, files, route, device: device.clone(), used, numbers: None })
    }

    /// Weights of any name and shape, without files: the same on every device, made in no time.
    pub fn random(device: &Device) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let numbers: Vec<f32> = (0..NUMBERS).map(|_| rng.random_range(-1.0..1.0)).collect();
        Ok(Self {
            folder: PathBuf::new(),
            files: Vec::new(),
            route: HashMap::new(),
            device: device.clone(),
            used: RefCell::default(),
            numbers: Some(Tensor::from_vec(numbers, NUMBERS, device)?),
        })
    }

    /// All tensors, by name.
    pub fn root(&self) -> Scope<'_> {
        Scope { weights: self, prefix: String::new() }
    }

    /// The device that tensors are loaded to.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Says which tensors of the files nobody asked for.
    pub fn warn_of_unused(&self) {
        let used = self.used.borrow();
        let mut unused = self.route.keys().filter(|name| !used.contains(*name));
        if let Some(name) = unused.next() {
            let more = unused.count();
            let folder = self.folder.display();
            log::warn!("{folder}: `{name}` and {more} other tensors are no part of the model");
        }
    }

    fn load(&self, name: &str, shape: &[usize], dtype: DType) -> Result<Tensor> {
        if let Some(numbers) = &self.numbers {
            return random(numbers, name, shape, dtype);
        }
        let Some(&file) = self.route.get(name) else {
            let problem = "is missing; the configuration does not belong to these weights, or the \
                           download is incomplete"
                .into();
            let path = self.folder.clone();
            return Err(Error::Tensor { path, tensor: name.into(), problem });
        };
        let (path, file) = &self.files[file];
        let wrong =
            |problem: String| Error::Tensor { path: path.clone(), tensor: name.into(), problem };
        let view = file.get(name).map_err(|e| wrong(e.to_string()))?;
        if view.shape() != shape {
            let problem =
                format!("has shape {:?}, the configuration asks for {shape:?}", view.shape());
            return Err(wrong(problem));
        }
        let tensor = view.load(&self.device).map_err(|e| wrong(e.to_string()))?;
        self.used.borrow_mut().insert(name.into());
        match tensor.dtype() {
            DType::F64 | DType::F32 | DType::F16 | DType::BF16 => Ok(tensor.to_dtype(dtype)?),
            other => Err(wrong(format!("has type {other:?}; only plain floats are supported"))),
        }
    }
}

/// A tensor that keeps activations at their size: 1 for the weight of a norm, else uniform in
/// ±√(3 / inputs); the numbers from a place that the name says, over and over.
fn random(numbers: &Tensor, name: &str, shape: &[usize], dtype: DType) -> Result<Tensor> {
    let (count, inputs) = (shape.iter().product::<usize>(), shape[1..].iter().product::<usize>());
    if shape.len() == 1 && name.ends_with("weight") {
        return Ok(Tensor::ones(shape, dtype, numbers.device())?);
    }
    let bound = if shape.len() == 1 { 0.02 } else { (3.0 / inputs as f64).sqrt() };
    let first = name.bytes().fold(7, |hash, byte| (31 * hash + usize::from(byte)) % NUMBERS);
    let times = (first + count).div_ceil(NUMBERS);
    let values = (numbers * bound)?.to_dtype(dtype)?;
    let values = values.broadcast_as((times, NUMBERS))?.flatten_all()?;
    // A copy, so that what lies before and after is not kept.
    Ok(values.narrow(0, first, count)?.copy()?.reshape(shape)?)
}

/// Tensors whose names begin alike.
#[derive(Clone)]
pub(crate) struct Scope<'a> {
    weights: &'a Weights,
    prefix: String,
}

impl<'a> Scope<'a> {
    /// What begins with `name.`.
    pub fn at(&self, name: impl Display) -> Scope<'a> {
        Scope { weights: self.weights, prefix: format!("{}{name}.", self.prefix) }
    }

    /// A tensor in the given type.
    ///
    /// # Errors
    /// If it is missing or has another shape.
    pub fn get(&self, name: &str, shape: &[usize], dtype: DType) -> Result<Tensor> {
        self.weights.load(&format!("{}{name}", self.prefix), shape, dtype)
    }

    /// Whether there is such a tensor.
    pub fn has(&self, name: &str) -> bool {
        self.weights.route.contains_key(&format!("{}{name}", self.prefix))
    }
}

/// Tensor to file, from an index.
fn shards(index: &Path) -> Result<BTreeMap<String, PathBuf>> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let bytes =
        std::fs::read(index).map_err(|source| Error::Read { path: index.into(), source })?;
    let damaged = |problem: String| Error::Damaged { path: index.into(), problem };
    let parsed: Index = serde_json::from_slice(&bytes)
        .map_err(|e| damaged(format!("no index of safetensors files: {e}")))?;
    let folder = index.parent().unwrap_or(Path::new("."));
    parsed
        .weight_map
        .into_iter()
        .map(|(tensor, file)| {
            // A file name and nothing else: an index has no business outside its folder.
            if Path::new(&file).file_name() != Some(file.as_ref()) {
                return Err(damaged(format!("`{file}` is no file name")));
            }
            Ok((tensor, folder.join(file)))
        })
        .collect()
}

fn map(path: &Path) -> Result<MmapedSafetensors> {
    if !path.exists() {
        let hint = "the index names it; fetch the model again".into();
        return Err(Error::Missing { path: path.into(), hint });
    }
    // SAFETY: the map is only read. That nobody truncates or rewrites the file meanwhile cannot be
    // checked; weights are downloaded once and then left alone, and candle, transformers and
    // diffusers rely on the same.
    let mapped = unsafe { MmapedSafetensors::new(path) };
    mapped.map_err(|e| Error::Damaged {
        path: path.into(),
        problem: format!("no safetensors file, or cut short ({e}); fetch it again"),
    })
}
