//! From graphs and detectors to a signed bundle.
//!
//! [`pack`] runs every graph, records what came out as golden vectors, writes the manifest, signs, and
//! then loads the result the way a camera does. Quantized graphs for ONNX Runtime are run by the
//! [arbiter](crate::quantize::arbiter), others on the backend that they are for: what a camera is held
//! against does not depend on the processor that packed. The same input and key give the same file, byte
//! for byte, on processors of one kind; float graphs differ in the last bits on others.

pub mod checkpoint;
mod error;
pub mod signing;

use std::collections::BTreeMap;

use inference::exactness::saturating;
use inference::{Backend, BackendKind, BackendOptions, Engine, TensorInfo};
use model_bundle::manifest::{Detectors, GoldenEntry, GoldenTensor, GraphEntry, SCHEMA};
use model_bundle::{Bundle, BundleBuilder, Manifest, Trust};

use crate::quantize::arbiter::Arbiter;

pub use error::Error;
pub use signing::SigningKey;

/// Tolerance of an INT8 graph's golden output. The integers are the same on every processor; what stays in
/// float around them is not, and may move a level that lies on the edge between two.
pub const INT8_TOLERANCE: f64 = 1e-3;

/// Tolerance of an fp32 graph's golden output: the order of summation alone differs between CPUs,
/// which is about 1e-6 a layer; this leaves room for depth and for fused multiply-add.
pub const FP32_TOLERANCE: f64 = 1e-3;

/// Everything that goes into a bundle.
#[derive(Debug, Clone)]
pub struct PackInput {
    /// Name of the model, `[a-z0-9-]{1,64}`.
    pub name: String,
    /// Semantic version of the model.
    pub version: String,
    /// Security epoch, see [`Manifest::security_epoch`].
    pub security_epoch: u32,
    /// Devices that the bundle is for; `any` stands for every device.
    pub device_classes: Vec<String>,
    /// The detectors, their calibration and their fusion.
    pub detectors: Detectors,
    /// The graphs, one for each name and backend.
    pub graphs: Vec<GraphInput>,
    /// At least one input for each graph name.
    pub golden: Vec<GoldenInput>,
    /// Where the model comes from: data hashes, seeds, tool version.
    pub provenance: BTreeMap<String, String>,
    /// Tolerances of the golden outputs.
    pub tolerances: Tolerances,
    /// Whether INT8 graphs may be packed whose sums saturate on some processors
    /// ([`inference::exactness`]).
    pub allow_saturation: bool,
}

/// A graph to be packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphInput {
    /// Name by which the detectors refer to it.
    pub name: String,
    /// The backend it is for.
    pub backend: BackendKind,
    /// `int8` or `fp32`.
    pub precision: String,
    /// The ONNX model.
    pub onnx: Vec<u8>,
}

impl GraphInput {
    /// Whether it is quantized for ONNX Runtime's integer kernels.
    fn is_integer(&self) -> bool {
        self.precision == "int8" && self.backend == BackendKind::Ort
    }
}

/// An input with which every backend's graph of one name is tried.
#[derive(Debug, Clone, PartialEq)]
pub struct GoldenInput {
    /// Name of the graph.
    pub graph: String,
    /// A tensor for each of the graph's inputs, in their order: one, or a frame and the states.
    pub inputs: Vec<InputTensor>,
}

/// What a graph is given for one of its inputs.
#[derive(Debug, Clone, PartialEq)]
pub struct InputTensor {
    /// Name of the graph's input.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Values, row-major.
    pub values: Vec<f32>,
}

impl GoldenInput {
    /// For a graph with one input.
    pub fn single(graph: &str, name: &str, shape: Vec<usize>, values: Vec<f32>) -> Self {
        let input = InputTensor { name: name.to_owned(), shape, values };
        Self { graph: graph.to_owned(), inputs: vec![input] }
    }
}

/// Largest accepted mean absolute difference of a golden output, divided by its mean absolute value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerances {
    /// For INT8 graphs; [`INT8_TOLERANCE`] unless there is a reason.
    pub int8: f64,
    /// For fp32 graphs; [`FP32_TOLERANCE`] unless there is a reason.
    pub fp32: f64,
}

impl Default for Tolerances {
    fn default() -> Self {
        Self { int8: INT8_TOLERANCE, fp32: FP32_TOLERANCE }
    }
}

/// Packs and signs a bundle; returns the file's bytes.
///
/// Each graph is also run on its own backend; one that cannot be opened here is
/// [`Error::BackendUnavailable`], because it cannot be tried.
pub fn pack(
    input: &PackInput,
    key: &SigningKey,
    options: &BackendOptions,
) -> Result<Vec<u8>, Error> {
    // What can be refused without running anything is refused first.
    model_bundle::detectors::validate(&input.detectors)?;
    if !input.allow_saturation {
        refuse_saturation(&input.graphs)?;
    }
    let backends = open_backends(input, options)?;
    let mut builder = BundleBuilder::new();
    let mut graphs = Vec::with_capacity(input.graphs.len());
    for graph in &input.graphs {
        graphs.push(GraphEntry {
            name: graph.name.clone(),
            backend: graph.backend.name().to_owned(),
            precision: graph.precision.clone(),
            blob: builder.add(&graph.onnx)?,
        });
    }
    let mut golden = Vec::new();
    for graph in &input.graphs {
        // `open_backends` opened the backend of every graph.
        let Some(backend) = backends.iter().find(|b| b.kind() == graph.backend) else {
            continue;
        };
        let recorder = if graph.is_integer() { &Arbiter } else { backend.as_ref() };
        golden.extend(run_golden(input, graph, recorder, &mut builder)?);
    }
    let manifest = Manifest {
        schema: SCHEMA,
        name: input.name.clone(),
        version: input.version.clone(),
        security_epoch: input.security_epoch,
        device_classes: input.device_classes.clone(),
        detectors: input.detectors.clone(),
        graphs,
        golden,
        provenance: input.provenance.clone(),
    };
    let payload = builder.payload(&manifest)?;
    let bytes = key.finish(&payload, &signing::comment(&manifest))?;
    load_like_a_camera(bytes, &backends)
}

/// Refuses graphs whose sums saturate on some processors, naming the layers.
fn refuse_saturation(graphs: &[GraphInput]) -> Result<(), Error> {
    for graph in graphs.iter().filter(|graph| graph.is_integer()) {
        let name = &graph.name;
        let layers = saturating(name, &graph.onnx).map_err(|source| Error::Graph {
            graph: name.clone(),
            backend: graph.backend.name(),
            source: Box::new(source),
        })?;
        if !layers.is_empty() {
            let layers: Vec<String> = layers.iter().map(ToString::to_string).collect();
            return Err(Error::Saturates { graph: name.clone(), layers: layers.join(", ") });
        }
    }
    Ok(())
}

fn open_backends(
    input: &PackInput,
    options: &BackendOptions,
) -> Result<Vec<Box<dyn Backend>>, Error> {
    let mut backends: Vec<Box<dyn Backend>> = Vec::new();
    for graph in &input.graphs {
        if backends.iter().any(|b| b.kind() == graph.backend) {
            continue;
        }
        let backend = graph.backend.name();
        let opened = inference::open_backend(graph.backend, options)
            .map_err(|source| Error::BackendUnavailable { backend, source: Box::new(source) })?;
        log::debug!("{backend}: {}", opened.describe());
        backends.push(opened);
    }
    Ok(backends)
}

/// Runs one graph on each golden input of its name.
fn run_golden(
    input: &PackInput,
    graph: &GraphInput,
    backend: &dyn Backend,
    builder: &mut BundleBuilder,
) -> Result<Vec<GoldenEntry>, Error> {
    let backend_name = graph.backend.name();
    let failed = |source| Error::Graph {
        graph: graph.name.clone(),
        backend: backend_name,
        source: Box::new(source),
    };
    let wrong = |problem: String| Error::Golden { graph: graph.name.clone(), problem };
    let mut loaded = backend.load(&graph.name, &graph.onnx).map_err(failed)?;
    let ports = (loaded.inputs().to_vec(), loaded.outputs().to_vec());
    let tolerance =
        if graph.precision == "int8" { input.tolerances.int8 } else { input.tolerances.fp32 };
    let mut entries = Vec::new();
    for golden in input.golden.iter().filter(|g| g.graph == graph.name) {
        fits(golden, &ports.0).map_err(wrong)?;
        let values: Vec<&[f32]> = golden.inputs.iter().map(|i| i.values.as_slice()).collect();
        let mut outputs = vec![Vec::new(); ports.1.len()];
        loaded.run(&values, &mut outputs).map_err(failed)?;
        let finite = outputs.iter().flatten().all(|v| v.is_finite());
        if !finite || outputs.first().is_none_or(|output| output.iter().all(|v| *v == 0.0)) {
            // A relative tolerance says nothing of an output of zeros.
            return Err(wrong(format!(
                "gives zeros or values that are not finite on {backend_name}"
            )));
        }
        let outputs: Vec<&[f32]> = outputs.iter().map(Vec::as_slice).collect();
        let mut states = tensors(&ports.0, &values, builder)?;
        let mut next = tensors(&ports.1, &outputs, builder)?;
        entries.push(GoldenEntry {
            graph: graph.name.clone(),
            backend: backend_name.to_owned(),
            input: states.remove(0),
            states,
            output: next.remove(0),
            next,
            tolerance,
        });
    }
    Ok(entries)
}

/// Checks golden tensors against a graph's inputs, of which there is at least one then; the error
/// says what does not fit.
fn fits(golden: &GoldenInput, ports: &[TensorInfo]) -> Result<(), String> {
    if golden.inputs.is_empty() || golden.inputs.len() != ports.len() {
        let (found, wanted) = (golden.inputs.len(), ports.len());
        return Err(format!("takes {wanted} tensors, there are {found} golden ones"));
    }
    for (InputTensor { name, shape, values }, port) in golden.inputs.iter().zip(ports) {
        if port.name != *name || port.shape != *shape {
            return Err(format!(
                "takes `{}` {:?}, the golden input is `{name}` {shape:?}",
                port.name, port.shape
            ));
        }
        if shape.iter().product::<usize>() != values.len() {
            return Err(format!("golden input of shape {shape:?} has {} values", values.len()));
        }
    }
    Ok(())
}

fn tensors(
    ports: &[TensorInfo],
    values: &[&[f32]],
    builder: &mut BundleBuilder,
) -> Result<Vec<GoldenTensor>, Error> {
    let mut tensors = Vec::with_capacity(ports.len());
    for (port, values) in ports.iter().zip(values) {
        tensors.push(GoldenTensor {
            name: port.name.clone(),
            shape: port.shape.iter().map(|extent| *extent as u64).collect(),
            blob: builder.add_tensor(values)?,
        });
    }
    Ok(tensors)
}

/// Loads the bundle on each backend that it is complete for, golden vectors and all.
fn load_like_a_camera(bytes: Vec<u8>, backends: &[Box<dyn Backend>]) -> Result<Vec<u8>, Error> {
    let bundle = Bundle::from_bytes(bytes, &Trust::Embedded)?;
    let graphs = &bundle.manifest().graphs;
    for backend in backends {
        let name = backend.kind().name();
        let complete = graphs.iter().all(|graph| bundle.graph(&graph.name, name).is_some());
        if complete {
            Engine::load(&bundle, backend.as_ref())
                .map_err(|source| Error::SelfTest { backend: name, source: Box::new(source) })?;
        }
    }
    Ok(bundle.as_bytes().to_vec())
}
