//! The arbiter: what a quantized graph computes, exactly, on any processor.
//!
//! Engines run a graph in QDQ form with integer kernels, and kernels differ between processors. The
//! arbiter is what they are held against: it adds the products of each layer in 32-bit integers, scales the
//! sum by one factor in `f32`, rounds half to even and saturates where a `QuantizeLinear` says so, and
//! nowhere else. That is what ONNX Runtime's `QLinearConv`, `QLinearMatMul` and `QGemm` compute where no
//! sum saturates on the way; the integers are the same to the last bit
//! (`model-export/tests/arbiter`).
//!
//! What stays in float between the quantized layers is computed by tract, node by node, and is equal on
//! all processors to the rounding of `f32` only. It is slow: some seconds for a snippet of I3D.

mod graph;
mod integer;
mod node;
mod value;

use inference::{Backend, BackendKind, Error, Graph};
use tract_onnx::pb::ModelProto;

use super::emit::dequantized;
use super::graph::{Index, with_outputs};

/// A backend that computes with exact integers. It takes the graphs that are for ONNX Runtime.
#[derive(Debug, Clone, Copy, Default)]
pub struct Arbiter;

impl Backend for Arbiter {
    fn kind(&self) -> BackendKind {
        BackendKind::Ort
    }

    fn describe(&self) -> String {
        "arbiter (exact integers; slow)".into()
    }

    fn load(&self, name: &str, onnx: &[u8]) -> Result<Box<dyn Graph>, Error> {
        graph::load(name, onnx)
    }
}

/// The quantized model with the integers of each layer as further outputs, as the reals that they stand
/// for; none for a layer that writes float. Two engines agree on an integer exactly if they agree on such a
/// real.
///
/// # Errors
/// If the graph is malformed.
pub fn with_layer_outputs(model: &ModelProto) -> Result<ModelProto, super::Error> {
    let index = Index::new(model)?;
    let extra: Vec<String> = index
        .order
        .iter()
        .map(|i| index.node(*i))
        .filter(|n| n.op_type == "QuantizeLinear")
        .filter_map(|n| n.input.first())
        .filter(|tensor| index.producer(&dequantized(tensor)).is_some())
        .map(|tensor| dequantized(tensor))
        .collect();
    Ok(with_outputs(model, &extra))
}
