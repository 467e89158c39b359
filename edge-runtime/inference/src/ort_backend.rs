//! ONNX Runtime, loaded at run time so that one program runs with and without it.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::memory::Allocator;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{IoBinding, Session};
use ort::value::{Outlet, Tensor, TensorElementType};

use crate::backend::check_run;
use crate::error::one_line;
use crate::{Backend, BackendKind, BackendOptions, Error, Graph, TensorInfo};

/// File name that the system's loader is asked for.
const LIBRARY: &str = "libonnxruntime.so";
/// Where `cargo xtask` puts the library, under the workspace root.
const TOOLS: &str = "target/tools/onnxruntime/libonnxruntime.so";

/// The library that this process has loaded: it can be only one, and it stays loaded.
static LOADED: Mutex<Option<(Environment, PathBuf)>> = Mutex::new(None);

pub(crate) struct OrtBackend {
    environment: Environment,
    library: PathBuf,
    threads: usize,
}

impl OrtBackend {
    pub(crate) fn open(options: &BackendOptions) -> Result<Self, Error> {
        let paths = candidates(options)?;
        let mut loaded = LOADED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if loaded.is_none() {
            *loaded = Some(load_first(&paths)?);
        }
        let (environment, library) = loaded.clone().expect("loaded just above");
        if !paths.contains(&library) {
            log::warn!("ONNX Runtime is already loaded from {}", library.display());
        }
        Ok(Self { environment, library, threads: options.threads })
    }

    fn builder(&self) -> Result<SessionBuilder, String> {
        fn text<T>(error: ort::Error<T>) -> String {
            one_line(error)
        }
        Session::builder(&self.environment)
            .map_err(text)?
            .with_log_level(LogLevel::Error)
            .map_err(text)?
            .with_optimization_level(GraphOptimizationLevel::All)
            .map_err(text)?
            .with_deterministic_compute(true)
            .map_err(text)?
            .with_inter_threads(1)
            .map_err(text)?
            .with_intra_threads(self.threads)
            .map_err(text)?
            // A camera has other work for its processor than waiting for the next frame.
            .with_intra_op_spinning(false)
            .map_err(text)
    }
}

/// The files to try, in order. A path that was asked for is the only one: to run with another
/// library than the one named would be a surprise.
fn candidates(options: &BackendOptions) -> Result<Vec<PathBuf>, Error> {
    let named = options.ort_library.clone().or_else(|| {
        std::env::var_os("ORT_DYLIB_PATH").filter(|v| !v.is_empty()).map(PathBuf::from)
    });
    if let Some(path) = named {
        if !path.is_file() {
            let reason = format!("{}: no such file", path.display());
            return Err(Error::NoLibrary { reason });
        }
        // A relative path would be taken from the program's folder instead of the current one.
        return Ok(vec![std::path::absolute(&path).unwrap_or(path)]);
    }
    let program = std::env::current_exe().unwrap_or_default();
    let mut paths: Vec<PathBuf> =
        program.ancestors().skip(1).map(|dir| dir.join(TOOLS)).filter(|p| p.is_file()).collect();
    paths.push(LIBRARY.into());
    Ok(paths)
}

fn load_first(paths: &[PathBuf]) -> Result<(Environment, PathBuf), Error> {
    let mut reasons = Vec::new();
    for path in paths {
        match load(path) {
            Ok(environment) => return Ok((environment, path.clone())),
            Err(reason) => reasons.push(reason),
        }
    }
    Err(Error::NoLibrary { reason: reasons.join("; ") })
}

fn load(path: &Path) -> Result<Environment, String> {
    ort::init_from(path)
        .map_err(one_line)?
        .with_name("inference")
        .with_telemetry(false)
        .build()
        .map_err(one_line)
}

impl Backend for OrtBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Ort
    }

    fn describe(&self) -> String {
        let threads = match self.threads {
            0 => "as many threads as it likes".into(),
            1 => "1 thread".into(),
            n => format!("{n} threads"),
        };
        format!("ort (ONNX Runtime from {}, {threads})", self.library.display())
    }

    fn load(&self, name: &str, onnx: &[u8]) -> Result<Box<dyn Graph>, Error> {
        let failed = |reason| Error::Load { graph: name.into(), backend: "ort", reason };
        let session = self
            .builder()
            .and_then(|mut builder| builder.commit_from_memory(onnx).map_err(one_line))
            .map_err(failed)?;
        let inputs = infos(name, "input", session.inputs())?;
        let outputs = infos(name, "output", session.outputs())?;
        let mut binding = session.create_binding().map_err(|e| failed(one_line(e)))?;
        let allocate = |info: &TensorInfo| {
            Tensor::<f32>::new(&Allocator::default(), info.shape.clone())
                .map_err(|e| failed(one_line(e)))
        };
        let (mut input_tensors, mut output_tensors) = (Vec::new(), Vec::new());
        for info in &inputs {
            let tensor = allocate(info)?;
            binding.bind_input(&info.name, &tensor).map_err(|e| failed(one_line(e)))?;
            input_tensors.push(tensor);
        }
        for info in &outputs {
            let mut tensor = allocate(info)?;
            binding.bind_output(&info.name, &mut tensor).map_err(|e| failed(one_line(e)))?;
            output_tensors.push(tensor);
        }
        Ok(Box::new(OrtGraph {
            name: name.into(),
            session,
            binding,
            inputs,
            outputs,
            input_tensors,
            output_tensors,
        }))
    }
}

/// Names and shapes of a session's inputs or outputs.
fn infos(graph: &str, what: &str, outlets: &[Outlet]) -> Result<Vec<TensorInfo>, Error> {
    let info = |outlet: &Outlet| {
        let shape: Option<Vec<usize>> = outlet
            .dtype()
            .tensor_shape()
            .and_then(|shape| shape.iter().map(|&d| usize::try_from(d).ok()).collect());
        match shape {
            Some(shape) if outlet.dtype().tensor_type() == Some(TensorElementType::Float32) => {
                Ok(TensorInfo { name: outlet.name().into(), shape })
            }
            _ => Err(Error::Shape {
                graph: graph.into(),
                tensor: format!("{what} `{}`", outlet.name()),
                found: one_line(outlet.dtype()),
                expected: "a float tensor with a static shape".into(),
            }),
        }
    };
    outlets.iter().map(info).collect()
}

/// A session whose input and output tensors are bound once; a run copies in, runs, copies out.
struct OrtGraph {
    name: String,
    session: Session,
    binding: IoBinding,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    input_tensors: Vec<Tensor<f32>>,
    output_tensors: Vec<Tensor<f32>>,
}

impl Graph for OrtGraph {
    fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [Vec<f32>]) -> Result<(), Error> {
        check_run(&self.name, (&self.inputs, &self.outputs), inputs, outputs)?;
        for (tensor, data) in self.input_tensors.iter_mut().zip(inputs) {
            tensor.extract_tensor_mut().1.copy_from_slice(data);
        }
        self.session
            .run_binding(&self.binding)
            .map_err(|e| Error::Run { graph: self.name.clone(), reason: one_line(e) })?;
        for (tensor, out) in self.output_tensors.iter().zip(outputs) {
            out.clear();
            out.extend_from_slice(tensor.extract_tensor().1);
        }
        Ok(())
    }
}
