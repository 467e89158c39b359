//! The model: the bundle, whom it is trusted from, and the backend that runs it.

use std::path::{Path, PathBuf};

use inference::exactness::saturating_graphs;
use inference::processor::{IntegerKernels, adds_exactly};
use inference::{Backend, BackendKind, BackendOptions, Engine, Engines, Provider};
use model_bundle::{Bundle, Contents, Manifest, OnDisk, PublicKey, Trust};

use crate::config::{BackendName, ModelConfig, ProviderName};
use crate::error::Error;
use crate::{service, vitals};

impl From<BackendName> for BackendKind {
    fn from(name: BackendName) -> Self {
        match name {
            BackendName::Ort => Self::Ort,
            BackendName::Tract => Self::Tract,
        }
    }
}

impl From<ProviderName> for Provider {
    fn from(name: ProviderName) -> Self {
        match name {
            ProviderName::TensorRt => Self::TensorRt,
            ProviderName::Cuda => Self::Cuda,
            ProviderName::Cpu => Self::Cpu,
        }
    }
}

/// One of the ways to run a bundle, in the order in which they are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The backend.
    pub backend: BackendKind,
    /// What it computes with.
    pub provider: Provider,
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.backend {
            BackendKind::Ort => write!(f, "ort with {}", self.provider),
            BackendKind::Tract => f.write_str("tract"),
        }
    }
}

impl Choice {
    /// Opens the backend for the graphs of a bundle, of which `digest` is the SHA-256.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn open(
        self,
        config: &ModelConfig,
        digest: String,
    ) -> Result<Box<dyn Backend>, inference::Error> {
        let options = BackendOptions {
            ort_library: config.ort_library.clone(),
            threads: config.threads,
            provider: self.provider,
            engines: Engines {
                folder: config.engine_dir.clone(),
                bundle: digest,
                progress: Some(service::building),
            },
        };
        inference::open_backend(self.backend, &options)
    }
}

/// The ways to run a bundle that a configuration allows.
pub fn choices(config: &ModelConfig) -> Vec<Choice> {
    let backends = config.backends.as_deref().unwrap_or(&BackendName::ALL);
    let of = |&name: &BackendName| match name {
        BackendName::Ort => config
            .providers
            .iter()
            .map(|&p| Choice { backend: BackendKind::Ort, provider: p.into() })
            .collect(),
        BackendName::Tract => vec![Choice { backend: BackendKind::Tract, provider: Provider::Cpu }],
    };
    backends.iter().flat_map(of).collect()
}

/// What a bundle says of itself. Its graphs have gone to the backend and are not kept.
#[derive(Debug, Clone)]
pub struct About {
    manifest: Manifest,
    signer: PublicKey,
    digest: String,
}

impl About {
    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The key that signed the bundle.
    pub fn signer(&self) -> &PublicKey {
        &self.signer
    }

    /// SHA-256 of the file, in lower-case hexadecimal.
    pub fn digest_hex(&self) -> String {
        self.digest.clone()
    }
}

/// A verified bundle, loaded.
pub struct Model {
    /// What the bundle says of itself.
    pub bundle: About,
    /// Its detectors on a backend.
    pub engine: Engine,
    /// The backend: engine, where it was found, threads.
    pub backend: String,
    /// `ort` or `tract`.
    pub backend_name: &'static str,
    /// What the backend computes with: `tensorrt`, `cuda` or `cpu`.
    pub provider: &'static str,
    /// Precision of the graphs in use: `int8` if any is, else `fp32`.
    pub precision: String,
    /// The processor's instructions for sums of 8-bit products, such as `avx512-vnni`, `avx2`, `dotprod`.
    pub kernels: &'static str,
    /// Whether the INT8 graphs in use give the integers here that they give everywhere: false where layers
    /// [saturate](inference::exactness).
    pub exact: bool,
    /// Whether the bundle was signed by a key that the user trusts.
    pub origin_checked: bool,
}

/// Reads a key: its text, or the path of a `.pub` file.
///
/// # Errors
/// If the file cannot be read or is not a key.
pub fn public_key(text: &str) -> Result<PublicKey, Error> {
    let path = Path::new(text);
    let key =
        if path.exists() || !text.starts_with("RW") { PublicKey::read(path) } else { text.parse() };
    key.map_err(|e| Error::Usage(format!("public key {text:?}: {e}; give the .pub file")))
}

/// The keys that a bundle may be signed by.
///
/// # Errors
/// If one of them cannot be read.
pub fn trust(config: &ModelConfig) -> Result<Trust, Error> {
    let keys = config.public_keys.iter().map(|k| public_key(k)).collect::<Result<Vec<_>, _>>()?;
    Ok(if keys.is_empty() { Trust::Embedded } else { Trust::Keys(keys) })
}

/// Reads and verifies the bundle. With no key the one inside it is used, which proves that the file
/// is whole but not where it comes from; the caller should say so.
///
/// # Errors
/// If a key or the bundle is damaged, or the bundle is not signed by a trusted key.
pub fn open_bundle(config: &ModelConfig) -> Result<Bundle, Error> {
    let trust = trust(config)?;
    let path = &config.bundle;
    Bundle::open(path, &trust).map_err(|e| match e {
        model_bundle::Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Error::Usage(format!("{}: no such bundle; check the path", path.display()))
        }
        other => {
            // The bundle's own messages name the file only where it could not be read.
            let message = other.to_string();
            let message =
                message.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&message);
            Error::Bundle { path: path.clone(), message: message.to_owned() }
        }
    })
}

impl Model {
    /// Verifies the bundle and loads it on the first backend of the list that can run it, after
    /// checking the bundle's golden vectors.
    ///
    /// # Errors
    /// If the bundle is refused, or no backend can run it.
    pub fn load(config: &ModelConfig) -> Result<Self, Error> {
        Self::from_bundle(open_bundle(config)?, config, &config.bundle)
    }

    /// As [`Model::load`], but on the bundle's fp32 graphs whatever the backend: to measure what INT8
    /// costs.
    ///
    /// # Errors
    /// As [`Model::load`]; also if a graph is there as INT8 only.
    pub fn load_fp32(config: &ModelConfig) -> Result<Self, Error> {
        Self::open(open_bundle(config)?, config, &config.bundle, true)
    }

    /// As [`Model::load`], of a bundle that is verified already; `path` is named in errors.
    ///
    /// # Errors
    /// If no backend can run it.
    pub fn from_bundle(bundle: Bundle, config: &ModelConfig, path: &Path) -> Result<Self, Error> {
        Self::open(bundle, config, path, false)
    }

    fn open(bundle: Bundle, config: &ModelConfig, path: &Path, fp32: bool) -> Result<Self, Error> {
        let load = if fp32 { Engine::load_fp32 } else { Engine::load };
        let about = About {
            manifest: bundle.manifest().clone(),
            signer: *bundle.signer(),
            digest: bundle.digest_hex(),
        };
        let bundle = leave_on_disk(bundle, path);
        let bundle = bundle.as_ref();
        let mut reasons = Vec::new();
        let mut missing = true;
        let choices = choices(config);
        for (number, choice) in choices.iter().enumerate() {
            let loaded = choice
                .open(config, about.digest.clone())
                .and_then(|backend| Ok((load(bundle, backend.as_ref())?, backend)));
            match loaded {
                Ok((engine, backend)) => {
                    let why = if reasons.is_empty() { "first choice" } else { "others failed" };
                    log::info!("backend: {} ({why})", backend.describe());
                    let name = choice.backend.name();
                    let mut graphs = bundle.manifest().graphs.iter();
                    let int8 = !fp32
                        && !choice.provider.is_gpu()
                        && graphs.any(|g| g.backend == name && g.precision == "int8");
                    let exact = !int8 || exact_here(bundle, backend.as_ref());
                    vitals::give_back_memory();
                    return Ok(Self {
                        engine,
                        backend: backend.describe(),
                        backend_name: name,
                        provider: choice.provider.name(),
                        precision: if int8 { "int8" } else { "fp32" }.into(),
                        kernels: IntegerKernels::here().name(),
                        exact,
                        origin_checked: !config.public_keys.is_empty(),
                        bundle: about,
                    });
                }
                Err(e) => {
                    let next = match choices.get(number + 1) {
                        Some(next) => format!("next is {next}"),
                        None => "there is no other".into(),
                    };
                    log::warn!("backend {choice} is not used: {e}; {next}");
                    missing &= matches!(
                        e,
                        inference::Error::NoLibrary { .. } | inference::Error::NoProvider { .. }
                    );
                    reasons.push(format!("{choice}: {e}"));
                }
            }
        }
        let message = format!("no backend can run the bundle: {}", reasons.join("; "));
        Err(if missing {
            Error::Unavailable(message)
        } else {
            Error::Bundle { path: path.to_owned(), message }
        })
    }

    /// Refuses a bundle that is made for other devices.
    ///
    /// # Errors
    /// If neither `any` nor `device_class` is among the bundle's device classes.
    pub fn check_device(&self, path: &Path, device_class: &str) -> Result<(), Error> {
        check_device(self.bundle.manifest(), path, device_class)
    }
}

/// Whether the bundle's INT8 graphs are exact on this processor; the log says which layers are not, and
/// what to do. What the library does is tried: a later one may have other kernels.
fn exact_here(bundle: &dyn Contents, backend: &dyn Backend) -> bool {
    let here = IntegerKernels::here();
    match adds_exactly(backend) {
        Ok(true) => return true,
        Ok(false) => {}
        Err(e) => log::warn!("whether integer sums are exact on this processor: {e}"),
    }
    match saturating_graphs(bundle) {
        Ok(graphs) if graphs.is_empty() => true,
        Ok(graphs) => {
            for (graph, layers) in &graphs {
                log::warn!(
                    "graph `{graph}`: sums of {} layers saturate on this processor ({here}), the largest                      in {}: scores are not those of the host; {REMEDY}",
                    layers.len(),
                    layers
                        .iter()
                        .max_by_key(|l| l.largest)
                        .map_or_else(String::new, |l| l.to_string()),
                );
            }
            false
        }
        Err(e) => {
            log::warn!("whether the INT8 graphs are exact on this processor ({here}): {e}");
            false
        }
    }
}

/// What to do about a bundle whose sums saturate.
pub const REMEDY: &str = "train or quantize again with this version and pack: its INT8 graphs are exact on \
                          every processor";

/// Lets go of a bundle's bytes: its graphs are read again one by one, and most are never needed. Kept in
/// memory where there is no such file.
fn leave_on_disk(bundle: Bundle, path: &Path) -> Box<dyn Contents> {
    match OnDisk::new(&bundle, path) {
        Ok(on_disk) => Box::new(on_disk),
        Err(_) => Box::new(bundle),
    }
}

/// As [`Model::check_device`].
///
/// # Errors
/// As [`Model::check_device`].
pub fn check_device(manifest: &Manifest, path: &Path, device_class: &str) -> Result<(), Error> {
    let classes = &manifest.device_classes;
    if classes.iter().any(|c| c == "any" || c == device_class) {
        return Ok(());
    }
    Err(Error::Bundle {
        path: PathBuf::from(path),
        message: format!(
            "is for {}, this device is `{device_class}`; install the bundle for it",
            classes.join(", ")
        ),
    })
}
