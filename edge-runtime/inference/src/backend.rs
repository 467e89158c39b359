//! The seam between this crate and the inference engines.

use std::path::PathBuf;

use crate::ort_backend::OrtBackend;
use crate::tract_backend::TractBackend;
use crate::{Error, Provider};

/// The inference engines that a graph can run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendKind {
    /// ONNX Runtime, loaded at run time; fast, and absent on some machines.
    Ort,
    /// tract, pure Rust; always there.
    Tract,
}

impl BackendKind {
    /// The name that bundles, configurations and command lines use: `ort` or `tract`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ort => "ort",
            Self::Tract => "tract",
        }
    }

    /// The kind of a name; `None` if there is no such backend.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Ort, Self::Tract].into_iter().find(|kind| kind.name() == name)
    }
}

impl std::fmt::Display for BackendKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// How a backend is set up.
#[derive(Debug, Clone)]
pub struct BackendOptions {
    /// The ONNX Runtime library. Without one it is looked for: environment `ORT_DYLIB_PATH`, then
    /// `target/tools/onnxruntime/libonnxruntime.so` beside or above the program, then wherever the
    /// system's loader finds `libonnxruntime.so`.
    pub ort_library: Option<PathBuf>,
    /// Threads that one run of a graph may use; 0 lets ONNX Runtime choose. tract uses one.
    pub threads: usize,
    /// What ONNX Runtime computes with. tract has the processor alone.
    pub provider: Provider,
    /// What becomes of the engines that TensorRT builds.
    pub engines: Engines,
}

impl Default for BackendOptions {
    /// The library is looked for; one thread; the processor.
    fn default() -> Self {
        Self { ort_library: None, threads: 1, provider: Provider::Cpu, engines: Engines::default() }
    }
}

/// What becomes of the engines that TensorRT builds.
#[derive(Debug, Clone, Default)]
pub struct Engines {
    /// The folder in which they are kept. Without one they are built at each start.
    pub folder: Option<PathBuf>,
    /// SHA-256 of the bundle that the graphs are of, in hexadecimal.
    pub bundle: String,
    /// Told at the start of building and every ten seconds while it goes on.
    pub progress: Option<fn(&Building<'_>)>,
}

/// Engines are being built, which may take minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Building<'a> {
    /// The graph that they are for.
    pub graph: &'a str,
    /// Seconds since it began.
    pub seconds: u64,
    /// Whether they are only read: they were built by an earlier start.
    pub kept: bool,
}

impl std::fmt::Display for Building<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { graph, seconds, kept } = self;
        match (kept, seconds) {
            (true, s) => write!(f, "reading the TensorRT engines of graph `{graph}`, {s} s"),
            (false, 0) => write!(
                f,
                "building the TensorRT engines of graph `{graph}`; that may take minutes, once"
            ),
            (false, s) => write!(f, "building the TensorRT engines of graph `{graph}` for {s} s"),
        }
    }
}

/// An inference engine.
pub trait Backend: Send + Sync {
    /// Which one it is.
    fn kind(&self) -> BackendKind;
    /// What it computes with.
    fn provider(&self) -> Provider {
        Provider::Cpu
    }
    /// One line for logs and reports: engine, where it was found, threads.
    fn describe(&self) -> String;
    /// Loads an ONNX model with static shapes and `f32` inputs and outputs. `name` is for messages.
    ///
    /// # Errors
    /// [`Error::Load`], [`Error::Shape`] for a dynamic shape or another element type.
    fn load(&self, name: &str, onnx: &[u8]) -> Result<Box<dyn Graph>, Error>;
    /// As [`Backend::load`], for a graph that runs seldom beside others: the memory that a run computes in
    /// is given back after it, which costs that run a little.
    ///
    /// # Errors
    /// As [`Backend::load`].
    fn load_seldom(&self, name: &str, onnx: &[u8]) -> Result<Box<dyn Graph>, Error> {
        self.load(name, onnx)
    }
    /// To be called when all graphs of a bundle are loaded and its golden vectors agree: what was built
    /// for them is worth keeping.
    fn keep(&self) {}
    /// To be called when graphs of a bundle cannot be loaded, or do not do what they should. True if they
    /// were made of something that an earlier start kept: it is gone now, and another try may succeed.
    fn forget(&self, _reason: &str) -> bool {
        false
    }
}

/// An input or output of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name in the ONNX model.
    pub name: String,
    /// Its shape, all of it known.
    pub shape: Vec<usize>,
}

impl TensorInfo {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A graph that is ready to run.
pub trait Graph: Send {
    /// Its inputs, in the model's order.
    fn inputs(&self) -> &[TensorInfo];
    /// Its outputs, in the model's order.
    fn outputs(&self) -> &[TensorInfo];
    /// Runs the graph: `inputs` row-major in the order of [`Graph::inputs`], each of full length;
    /// `outputs`, one for each of [`Graph::outputs`], are resized to fit.
    ///
    /// # Errors
    /// [`Error::Shape`] if counts or lengths are wrong, [`Error::Run`].
    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [Vec<f32>]) -> Result<(), Error>;
}

/// Opens one backend.
///
/// # Errors
/// [`Error::NoLibrary`] if ONNX Runtime is not there or broken, [`Error::NoProvider`] if it cannot compute
/// with the provider.
pub fn open_backend(
    kind: BackendKind,
    options: &BackendOptions,
) -> Result<Box<dyn Backend>, Error> {
    Ok(match kind {
        BackendKind::Ort => Box::new(OrtBackend::open(options)?),
        BackendKind::Tract => Box::new(TractBackend::new()),
    })
}

/// Opens the first of the preferred backends that can be used, logging why others were not.
///
/// # Errors
/// [`Error::NoBackend`] with the reasons if there is none.
pub fn best_backend(
    preferred: &[BackendKind],
    options: &BackendOptions,
) -> Result<Box<dyn Backend>, Error> {
    let mut reasons = Vec::new();
    for &kind in preferred {
        match open_backend(kind, options) {
            Ok(backend) => {
                log::info!("backend: {}", backend.describe());
                return Ok(backend);
            }
            Err(error) => {
                log::warn!("backend {kind} is not used: {error}");
                reasons.push(format!("{kind}: {error}"));
            }
        }
    }
    let none = || "none was asked for".to_owned();
    let reasons = if reasons.is_empty() { none() } else { reasons.join("; ") };
    Err(Error::NoBackend { reasons })
}

/// Checks what is given to [`Graph::run`].
pub(crate) fn check_run(
    graph: &str,
    infos: (&[TensorInfo], &[TensorInfo]),
    inputs: &[&[f32]],
    outputs: &[Vec<f32>],
) -> Result<(), Error> {
    let wrong = |tensor: String, found: String, expected: String| {
        Err(Error::Shape { graph: graph.into(), tensor, found, expected })
    };
    for (what, found, expected) in [
        ("number of inputs", inputs.len(), infos.0.len()),
        ("number of outputs", outputs.len(), infos.1.len()),
    ] {
        if found != expected {
            return wrong(what.into(), found.to_string(), expected.to_string());
        }
    }
    for (info, data) in infos.0.iter().zip(inputs) {
        if data.len() != info.len() {
            let expected = format!("{:?}", info.shape);
            return wrong(
                format!("input `{}`", info.name),
                format!("{} values", data.len()),
                expected,
            );
        }
    }
    Ok(())
}
