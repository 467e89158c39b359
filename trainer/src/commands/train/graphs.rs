//! From trained weights to the graphs of each backend: INT8 for ONNX Runtime, fp32 for tract.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use inference::{Backend, BackendKind, Graph};
use model_export::graphs;
use model_export::onnx::{self, ModelProto};
use model_export::quantize::{Method, Options, quantize};
use model_export::weights::{Array, Weights};

/// A graph of the model in both precisions.
pub struct Exported {
    pub name: &'static str,
    pub fp32: Vec<u8>,
    /// Quantized for ONNX Runtime; `None` for what stays in fp32: the head, which is small, and a
    /// backbone whose features are to be.
    pub int8: Option<Vec<u8>>,
}

impl Exported {
    /// Quantizes a model with calibration samples, each a tensor for every input.
    ///
    /// Ranges are all of what calibration saw, for backbone and local network alike. Narrower ones (least
    /// squared error, percentiles) are better on footage like it and far worse on other
    /// (docs/design/quantization.md), and what the camera is there for is not like it: the rare extreme is
    /// the very thing that the local network is for, and giving it up for a finer step elsewhere costs
    /// several logits at the peak of an event, the whole range a tenth of one.
    pub fn quantized(
        name: &'static str,
        model: &ModelProto,
        samples: &mut dyn Iterator<Item = Vec<Vec<f32>>>,
        backend: &dyn Backend,
    ) -> Result<Self> {
        let fp32 = onnx::to_bytes(model);
        // What makes the stack inside a local graph that streams: luma levels stay what they are.
        let keep_float = vec![graphs::local::STACK_NODES.to_owned()];
        let method = Method::MinMax;
        let options = Options { method, keep_float, layer_errors: false, ..Options::default() };
        let quantized = quantize(model, samples, &options, backend)
            .with_context(|| format!("quantizing graph {name}"))?;
        for output in &quantized.report.outputs {
            log::info!(
                "{name}: INT8 against fp32 on calibration footage: {} cosine {:.4}, {:.1} dB",
                output.name,
                output.cosine,
                output.sqnr_db
            );
        }
        Ok(Self { name, fp32, int8: Some(onnx::to_bytes(&quantized.model)) })
    }

    /// What a backend runs on the camera.
    pub fn bytes(&self, backend: BackendKind) -> &[u8] {
        match (backend, &self.int8) {
            (BackendKind::Ort, Some(int8)) => int8,
            _ => &self.fp32,
        }
    }

    /// Loads what the camera runs.
    pub fn load(&self, backend: &dyn Backend) -> Result<(String, Box<dyn Graph>)> {
        let graph = backend.load(self.name, self.bytes(backend.kind()))?;
        Ok((self.name.to_string(), graph))
    }

    /// Writes the graphs where `model-export pack` finds them.
    pub fn write(&self, checkpoint: &Path) -> Result<()> {
        let folder = checkpoint.join("graphs");
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let (precision, other) =
            if self.int8.is_some() { ("int8", "fp32") } else { ("fp32", "int8") };
        // One that an earlier training left must not be packed beside this one.
        let stale = folder.join(format!("{}.ort.{other}.onnx", self.name));
        if stale.exists() {
            std::fs::remove_file(&stale).with_context(|| stale.display().to_string())?;
        }
        for (file, bytes) in [
            (format!("{}.ort.{precision}.onnx", self.name), self.bytes(BackendKind::Ort)),
            (format!("{}.tract.fp32.onnx", self.name), self.bytes(BackendKind::Tract)),
        ] {
            let path = folder.join(file);
            std::fs::write(&path, bytes).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

/// Tensors as `model-export` takes them.
pub fn weights<'a>(
    source: &str,
    tensors: impl IntoIterator<Item = (&'a String, &'a candle_core::Tensor)>,
) -> Result<Weights> {
    let mut arrays = BTreeMap::new();
    for (name, tensor) in tensors {
        let data = tensor.flatten_all()?.to_vec1::<f32>()?;
        arrays.insert(name.clone(), Array { shape: tensor.dims().to_vec(), data });
    }
    Ok(Weights::new(source, arrays))
}
