//! ONNX Runtime, loaded at run time so that one program runs with and without it.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use ort::environment::Environment;
use ort::ep::{self, ExecutionProviderDispatch};
use ort::logging::LogLevel;
use ort::memory::Allocator;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{IoBinding, Session};
use ort::value::{Outlet, Tensor, TensorElementType};

use crate::backend::{Building, Engines, check_run};
use crate::engine_cache::{EngineCache, EngineKey};
use crate::error::one_line;
use crate::{Backend, BackendKind, BackendOptions, Error, Graph, Provider, TensorInfo, nvidia};

/// File name that the system's loader is asked for.
const LIBRARY: &str = "libonnxruntime.so";
/// Where `cargo xtask` puts the library, under the workspace root.
const TOOLS: &str = "target/tools/onnxruntime/libonnxruntime.so";

/// Time between two words of progress while an engine is built.
const PROGRESS: Duration = Duration::from_secs(10);

/// The library that this process has loaded: it can be only one, and it stays loaded.
static LOADED: Mutex<Option<(Environment, PathBuf)>> = Mutex::new(None);

pub(crate) struct OrtBackend {
    environment: Environment,
    library: PathBuf,
    threads: usize,
    provider: Provider,
    /// The GPU, for people.
    device: Option<String>,
    /// Where TensorRT's engines are kept; none if they cannot be.
    cache: Option<EngineCache>,
    progress: Option<fn(&Building<'_>)>,
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
        let BackendOptions { threads, provider, ref engines, .. } = *options;
        let progress = engines.progress;
        let mut backend =
            Self { environment, library, threads, provider, device: None, cache: None, progress };
        if provider.is_gpu() {
            let unusable = |reason| Error::NoProvider { provider: provider.name(), reason };
            // Whether a provider's own library and NVIDIA's can be loaded shows when it is registered.
            backend.builder(true, None).map_err(unusable)?;
            let (device, driver) = nvidia::gpu().map_err(unusable)?;
            if provider == Provider::TensorRt {
                backend.cache = open_cache(engines, &device, &driver);
            }
            backend.device = Some(device);
        }
        Ok(backend)
    }

    /// The providers of a session, in the order in which it asks them to take nodes of the graph; the
    /// processor takes what is left. With an `arena` it keeps what a run computes in for the next run.
    fn providers(&self, arena: bool, engines: Option<&Path>) -> Vec<ExecutionProviderDispatch> {
        // Rounded to TF32, products of fp32 graphs miss the bundle's golden vectors.
        let cuda = || ep::CUDA::default().with_tf32(false).build().error_on_failure();
        let mut providers = match self.provider {
            Provider::Cpu => vec![],
            Provider::Cuda => vec![cuda()],
            Provider::TensorRt => {
                let mut tensorrt = ep::TensorRT::default();
                if let Some(folder) = engines {
                    // No cache of timings beside them: it would only help to build the same engines again.
                    tensorrt =
                        tensorrt.with_engine_cache(true).with_engine_cache_path(folder.display());
                }
                vec![tensorrt.build().error_on_failure(), cuda()]
            }
        };
        providers.push(ep::CPU::default().with_arena_allocator(arena).build().error_on_failure());
        providers
    }

    fn builder(&self, arena: bool, engines: Option<&Path>) -> Result<SessionBuilder, String> {
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
            .map_err(text)?
            .with_execution_providers(self.providers(arena, engines))
            .map_err(text)
    }

    /// Makes a session, which is when TensorRT builds its engines or reads them.
    fn session(&self, name: &str, onnx: &[u8], arena: bool) -> Result<Session, String> {
        let commit = |engines: Option<&Path>| {
            let mut builder = self.builder(arena, engines)?;
            builder.commit_from_memory(onnx).map_err(one_line)
        };
        if self.provider != Provider::TensorRt {
            return commit(None);
        }
        let folder = self.cache.as_ref().map(|cache| cache.graph_folder(name)).transpose();
        let folder = folder.map_err(|e| format!("folder of its engines: {e}"))?;
        let kept = self.cache.as_ref().is_some_and(EngineCache::is_kept);
        let tell = |seconds| {
            if let Some(progress) = self.progress {
                progress(&Building { graph: name, seconds, kept });
            }
        };
        telling(PROGRESS, &tell, || commit(folder.as_deref()))
    }
}

/// Does something, and tells how many seconds it has taken so far: at its start and after each span of
/// `every`.
fn telling<T>(every: Duration, tell: &(dyn Fn(u64) + Sync), work: impl FnOnce() -> T) -> T {
    tell(0);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let (done, wait) = channel::<()>();
        scope.spawn(move || {
            while wait.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                tell(started.elapsed().as_secs());
            }
        });
        let result = work();
        drop(done);
        result
    })
}

/// Where this machine's engines for a bundle are kept. Without such a place they are built at each start,
/// which is slow but right.
fn open_cache(engines: &Engines, device: &str, driver: &str) -> Option<EngineCache> {
    let root = engines.folder.as_ref()?;
    let without = |reason: String| {
        log::warn!("TensorRT engines are built at each start: {}: {reason}", root.display());
    };
    let Some(release) = nvidia::driver_release(Path::new("/")) else {
        without("the driver's release cannot be told, on which engines depend".into());
        return None;
    };
    let tensorrt = nvidia::tensorrt().inspect_err(|reason| without(reason.clone())).ok()?;
    let key = EngineKey {
        bundle: engines.bundle.clone(),
        device: device.to_owned(),
        driver: format!("{driver}, {release}"),
        tensorrt,
        onnxruntime: ort::info().to_owned(),
    };
    // TensorRT takes a relative path from its own idea of the current folder.
    let root = std::path::absolute(root).unwrap_or_else(|_| root.clone());
    EngineCache::open(&root, key).inspect_err(|e| without(e.to_string())).ok()
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
        let provider = match (&self.device, self.provider) {
            (Some(device), provider) => format!("{provider} on {device}, "),
            (None, _) => String::new(),
        };
        format!("ort ({provider}ONNX Runtime from {}, {threads})", self.library.display())
    }

    fn provider(&self) -> Provider {
        self.provider
    }

    fn load(&self, name: &str, onnx: &[u8]) -> Result<Box<dyn Graph>, Error> {
        self.graph(name, onnx, true)
    }

    fn load_seldom(&self, name: &str, onnx: &[u8]) -> Result<Box<dyn Graph>, Error> {
        self.graph(name, onnx, false)
    }

    fn keep(&self) {
        if let Some(cache) = &self.cache
            && let Err(e) = cache.keep()
        {
            let folder = cache.folder();
            log::warn!("TensorRT engines cannot be kept in {}: {e}", folder.display());
        }
    }

    fn forget(&self, reason: &str) -> bool {
        self.cache.as_ref().is_some_and(|cache| cache.forget(reason))
    }
}

impl OrtBackend {
    fn graph(&self, name: &str, onnx: &[u8], arena: bool) -> Result<Box<dyn Graph>, Error> {
        let failed = |reason| Error::Load { graph: name.into(), backend: "ort", reason };
        let session = self.session(name, onnx, arena).map_err(failed)?;
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
            copied_when_bound: self.provider.is_gpu(),
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
    /// Whether an input's values go to another device when it is bound, so that it must be bound again
    /// for each run.
    copied_when_bound: bool,
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
        let failed = |e: ort::Error| Error::Run { graph: self.name.clone(), reason: one_line(e) };
        if self.copied_when_bound {
            for (info, tensor) in self.inputs.iter().zip(&self.input_tensors) {
                self.binding.bind_input(&info.name, tensor).map_err(failed)?;
            }
            self.binding.synchronize_inputs().map_err(failed)?;
        }
        self.session.run_binding(&self.binding).map_err(failed)?;
        if self.copied_when_bound {
            self.binding.synchronize_outputs().map_err(failed)?;
        }
        for (tensor, out) in self.output_tensors.iter().zip(outputs) {
            out.clear();
            out.extend_from_slice(tensor.extract_tensor().1);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_work_is_told_of_and_short_work_once() {
        let told = Mutex::new(Vec::new());
        let tell = |seconds| told.lock().unwrap_or_else(|e| e.into_inner()).push(seconds);
        assert_eq!(telling(Duration::from_secs(60), &tell, || 7), 7);
        assert_eq!(told.lock().map(|t| t.clone()).unwrap_or_default(), [0]);
        let wait = || {
            // Until it has been told of again, however slow the machine is.
            while told.lock().map(|t| t.len()).unwrap_or(0) < 4 {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        telling(Duration::from_millis(2), &tell, wait);
    }
}
