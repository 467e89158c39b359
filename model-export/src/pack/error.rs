//! Why a bundle could not be packed.

use std::path::PathBuf;

/// Why a bundle could not be packed or signed. Each message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A backend that a graph is for is not on this machine.
    #[error("backend {backend} is not available here, and golden vectors need it: {source}")]
    BackendUnavailable {
        /// `ort` or `tract`.
        backend: &'static str,
        /// The backend's reason.
        source: Box<inference::Error>,
    },
    /// A graph cannot be loaded or run.
    #[error("graph {graph} does not run on {backend}: {source}")]
    Graph {
        /// Name of the graph.
        graph: String,
        /// `ort` or `tract`.
        backend: &'static str,
        /// The backend's reason.
        source: Box<inference::Error>,
    },
    /// A graph and its golden input do not fit each other.
    #[error("graph {graph} {problem}")]
    Golden {
        /// Name of the graph.
        graph: String,
        /// What is wrong.
        problem: String,
    },
    /// Sums of a quantized graph saturate on some processors.
    #[error(
        "graph {graph}: on x86 without VNNI the sums of {layers} saturate, so that cameras of that kind \
         would score differently; quantize it again (--weights pairs, the default), or give \
         --allow-saturation"
    )]
    Saturates {
        /// Name of the graph.
        graph: String,
        /// The layers.
        layers: String,
    },
    /// The packed bundle does not load the way a camera loads it.
    #[error("packed bundle does not load on {backend}: {source}")]
    SelfTest {
        /// `ort` or `tract`.
        backend: &'static str,
        /// The engine's reason.
        source: Box<inference::Error>,
    },
    /// The bundle's content is not valid.
    #[error(transparent)]
    Bundle(#[from] model_bundle::Error),
    /// A file of the checkpoint is missing or wrong.
    #[error("checkpoint file {path}: {problem}", path = path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The secret key cannot be used.
    #[error("secret key {path}: {problem}", path = path.display())]
    Key {
        /// The key file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The system could not provide random numbers for a new key.
    #[error("cannot generate a key: {0}")]
    KeyGeneration(String),
    /// A file cannot be read or written.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}
