//! What can go wrong when a model is loaded or run.

/// An error of a backend, a model or a stream. Each message is one line that names the graph or
/// the frame and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// ONNX Runtime could not be loaded.
    #[error(
        "ONNX Runtime is not available ({reason}); set ORT_DYLIB_PATH to libonnxruntime.so, or use \
         the `tract` backend"
    )]
    NoLibrary {
        /// What was tried and how it failed.
        reason: String,
    },
    /// ONNX Runtime cannot compute with a provider.
    #[error(
        "ONNX Runtime's {provider} provider cannot be used ({reason}); {}, or take `{provider}` out of \
         the providers",
        remedy(.provider)
    )]
    NoProvider {
        /// Name of the provider.
        provider: &'static str,
        /// What was tried and how it failed.
        reason: String,
    },
    /// None of the backends asked for can be used.
    #[error("no backend can be used: {reasons}")]
    NoBackend {
        /// Why each failed.
        reasons: String,
    },
    /// A backend cannot load a graph.
    #[error("graph `{graph}`: {backend} cannot load it: {reason}; export the model again")]
    Load {
        /// Name of the graph.
        graph: String,
        /// Name of the backend.
        backend: &'static str,
        /// What the backend said.
        reason: String,
    },
    /// A backend failed while running a graph.
    #[error("graph `{graph}`: running it failed: {reason}")]
    Run {
        /// Name of the graph.
        graph: String,
        /// What the backend said.
        reason: String,
    },
    /// A graph's tensor, or one given to it, is not what it should be.
    #[error("graph `{graph}`: {tensor} is {found}, expected {expected}; export the model again")]
    Shape {
        /// Name of the graph.
        graph: String,
        /// Which tensor.
        tensor: String,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// The detectors refer to a graph that is not there.
    #[error("graph `{graph}` is missing{for_backend}; export the model with it")]
    NoGraph {
        /// Name of the graph.
        graph: String,
        /// ` for BACKEND`, or empty where the backend does not matter.
        for_backend: String,
    },
    /// A graph does not compute here what it computed on the host.
    #[error(
        "graph `{graph}` on {backend}: output differs from the host's by {measured:.3e} (mean \
         absolute, relative), more than {tolerance:.3e}; use another backend or export the model \
         for this machine"
    )]
    Golden {
        /// Name of the graph.
        graph: String,
        /// Name of the backend.
        backend: &'static str,
        /// Relative mean absolute difference that was measured.
        measured: f64,
        /// Largest accepted one.
        tolerance: f64,
    },
    /// A detector's raw value is infinite or not a number.
    #[error(
        "{detector} detector: its value at model frame {frame} is {value}; the model is broken"
    )]
    NotFinite {
        /// `local`, `motion` or `semantic`.
        detector: &'static str,
        /// Model frame, from 0.
        frame: u64,
        /// The value.
        value: f64,
    },
    /// Frames were pushed into a stream that had been finished.
    #[error("the stream was finished at source frame {frame}; start a new one")]
    Finished {
        /// Number of source frames that the stream had.
        frame: u64,
    },
    /// The description of the detectors is not valid.
    #[error(transparent)]
    Detectors(#[from] model_bundle::Error),
    /// A part of the bundle cannot be read.
    #[error(transparent)]
    Bundle(model_bundle::Error),
    /// A frame cannot be resized.
    #[error(transparent)]
    Frame(#[from] video::Error),
}

/// What a machine needs for a provider.
fn remedy(provider: &str) -> &'static str {
    match provider {
        "tensorrt" => {
            "install ONNX Runtime with its TensorRT provider, TensorRT, CUDA and a driver"
        }
        _ => "install ONNX Runtime with its CUDA provider, CUDA, cuDNN and a driver",
    }
}

/// An error and its causes on one line, for the end of a program. Many errors say their cause in their own
/// message, because it is followed by what to do; it is not said a second time.
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = one_line(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = one_line(error);
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line
}

/// A foreign message on one line.
pub(crate) fn one_line(message: impl std::fmt::Display) -> String {
    message.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Outer(&'static str, #[source] std::io::Error);

    #[test]
    fn a_cause_is_said_once() {
        let full = || std::io::Error::other("No space left\non device");
        let said = with_causes(&Outer("a.bin: No space left on device; free some space", full()));
        assert_eq!(said, "a.bin: No space left on device; free some space");
        let said = with_causes(&Outer("writing the report", full()));
        assert_eq!(said, "writing the report: No space left on device");
    }
}
