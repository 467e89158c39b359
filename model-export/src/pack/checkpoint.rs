//! The checkpoint directory that `model-export pack` reads.
//!
//! | File | Content |
//! |---|---|
//! | `config.toml` | `[detectors]` ([`Detectors`]) and `[provenance]`; other tables are not read |
//! | `graphs/NAME.BACKEND.PRECISION.onnx` | a graph, for example `graphs/local.ort.int8.onnx` |
//! | `golden/NAME.json` | name and shape of the graph's golden input, and of its states if it streams |
//! | `golden/NAME.input.bin` | their values one after the other, little-endian `f32`, row-major |

use std::collections::BTreeMap;
use std::path::Path;

use inference::BackendKind;
use model_bundle::manifest::Detectors;
use model_bundle::validate::PRECISIONS;
use serde::{Deserialize, Serialize};

use super::signing::io;
use super::{Error, GoldenInput, GraphInput, InputTensor};

/// What a checkpoint holds for packing.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The detectors.
    pub detectors: Detectors,
    /// Where the model comes from.
    pub provenance: BTreeMap<String, String>,
    /// The graphs, sorted by file name.
    pub graphs: Vec<GraphInput>,
    /// The golden inputs, sorted by graph.
    pub golden: Vec<GoldenInput>,
}

/// `config.toml`, as far as packing goes.
#[derive(Deserialize)]
struct Config {
    detectors: Detectors,
    #[serde(default)]
    provenance: BTreeMap<String, String>,
}

/// `golden/NAME.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GoldenHeader {
    name: String,
    shape: Vec<usize>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    states: Vec<GoldenState>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GoldenState {
    name: String,
    shape: Vec<usize>,
}

impl Checkpoint {
    /// Reads a checkpoint directory.
    pub fn read(dir: &Path) -> Result<Self, Error> {
        let config = read_config(&dir.join("config.toml"))?;
        let graphs = read_graphs(&dir.join("graphs"))?;
        let mut names: Vec<&str> = graphs.iter().map(|g| g.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let golden = names
            .into_iter()
            .map(|name| read_golden(&dir.join("golden"), name))
            .collect::<Result<_, _>>()?;
        Ok(Self { detectors: config.detectors, provenance: config.provenance, graphs, golden })
    }
}

/// Reads the `[detectors]` of a checkpoint's `config.toml`.
///
/// # Errors
/// If the file cannot be read or they are not valid.
pub fn read_detectors(path: &Path) -> Result<Detectors, Error> {
    Ok(read_config(path)?.detectors)
}

fn read_config(path: &Path) -> Result<Config, Error> {
    let text = std::fs::read_to_string(path).map_err(io("read", path))?;
    let config: Config = toml::from_str(&text).map_err(|e| wrong(path, one_line(&e)))?;
    model_bundle::detectors::validate(&config.detectors).map_err(|e| wrong(path, e.to_string()))?;
    Ok(config)
}

/// Writes a golden input where [`Checkpoint::read`] finds it.
pub fn write_golden(dir: &Path, golden: &GoldenInput) -> Result<(), Error> {
    let dir = dir.join("golden");
    std::fs::create_dir_all(&dir).map_err(io("write", &dir))?;
    let tensors = golden.inputs.iter();
    let mut states: Vec<GoldenState> =
        tensors.map(|t| GoldenState { name: t.name.clone(), shape: t.shape.clone() }).collect();
    if states.is_empty() {
        return Err(wrong(
            &dir,
            format!("graph {} has no golden input to be written", golden.graph),
        ));
    }
    let GoldenState { name, shape } = states.remove(0);
    let header = GoldenHeader { name, shape, states };
    let path = dir.join(format!("{}.json", golden.graph));
    let text = serde_json::to_string(&header).map_err(|e| wrong(&path, e.to_string()))?;
    std::fs::write(&path, text).map_err(io("write", &path))?;
    let path = dir.join(format!("{}.input.bin", golden.graph));
    let values = golden.inputs.iter().flat_map(|tensor| &tensor.values);
    let bytes: Vec<u8> = values.flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(&path, bytes).map_err(io("write", &path))
}

/// The graphs of a directory; none if the directory is not there (a model of the motion prior
/// alone has no graphs).
fn read_graphs(dir: &Path) -> Result<Vec<GraphInput>, Error> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let entries: Result<Vec<_>, _> = std::fs::read_dir(dir).map_err(io("read", dir))?.collect();
    let mut paths: Vec<_> =
        entries.map_err(io("read", dir))?.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    let mut graphs = Vec::new();
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(stem) = name.strip_suffix(".onnx") else {
            continue;
        };
        let parsed = match stem.split('.').collect::<Vec<_>>()[..] {
            [name, backend, precision] if PRECISIONS.contains(&precision) => {
                BackendKind::from_name(backend).map(|kind| (name, kind, precision))
            }
            _ => None,
        };
        let Some((name, backend, precision)) = parsed else {
            return Err(wrong(&path, "is not named NAME.(ort|tract).(int8|fp32).onnx"));
        };
        let (name, precision) = (name.to_owned(), precision.to_owned());
        let onnx = std::fs::read(&path).map_err(io("read", &path))?;
        graphs.push(GraphInput { name, backend, precision, onnx });
    }
    Ok(graphs)
}

fn read_golden(dir: &Path, graph: &str) -> Result<GoldenInput, Error> {
    let path = dir.join(format!("{graph}.json"));
    let text = std::fs::read_to_string(&path).map_err(io("read", &path))?;
    let header: GoldenHeader =
        serde_json::from_str(&text).map_err(|e| wrong(&path, e.to_string()))?;
    let path = dir.join(format!("{graph}.input.bin"));
    let bytes = std::fs::read(&path).map_err(io("read", &path))?;
    let count = |shape: &[usize]| shape.iter().try_fold(1usize, |n, size| n.checked_mul(*size));
    let shapes: Vec<&[usize]> = std::iter::once(header.shape.as_slice())
        .chain(header.states.iter().map(|state| state.shape.as_slice()))
        .collect();
    let counts: Option<Vec<usize>> = shapes.iter().map(|shape| count(shape)).collect();
    let needed = |counts: &[usize]| {
        counts.iter().try_fold(0usize, |sum, n| sum.checked_add(n.checked_mul(4)?))
    };
    let Some(counts) = counts.filter(|counts| needed(counts) == Some(bytes.len())) else {
        let problem = format!("has {} bytes, which is not 4 a value of {shapes:?}", bytes.len());
        return Err(wrong(&path, problem));
    };
    let mut values = bytes.as_chunks::<4>().0.iter().map(|c| f32::from_le_bytes(*c));
    let first = GoldenState { name: header.name, shape: header.shape };
    let inputs = std::iter::once(first).chain(header.states).zip(counts).map(|(tensor, count)| {
        let values = values.by_ref().take(count).collect();
        InputTensor { name: tensor.name, shape: tensor.shape, values }
    });
    Ok(GoldenInput { graph: graph.to_owned(), inputs: inputs.collect() })
}

fn wrong(path: &Path, problem: impl Into<String>) -> Error {
    Error::Checkpoint { path: path.to_path_buf(), problem: problem.into() }
}

/// A TOML error's message and line; its own text draws the line over several.
fn one_line(error: &toml::de::Error) -> String {
    error.message().replace('\n', " ")
}
