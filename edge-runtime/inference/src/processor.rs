//! What kind of processor computes the integer sums, by name and by trial.

use std::sync::OnceLock;

use prost::Message as _;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, type_proto,
};

use crate::{Backend, Error};

/// The instructions that a processor has for sums of 8-bit products, the best that ONNX Runtime uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntegerKernels {
    /// x86 with AVX-512 and VNNI: four products added in 32 bits.
    Avx512Vnni,
    /// x86 with AVX2 and VNNI, the same.
    AvxVnni,
    /// x86 with AVX-512 but without VNNI: two products added in saturating 16 bits.
    Avx512,
    /// x86 with AVX2 but without VNNI, the same.
    Avx2,
    /// x86 with less.
    Sse,
    /// ARM with products of matrices of 8-bit integers.
    I8mm,
    /// ARM with dot products.
    Dotprod,
    /// 64-bit ARM with neither.
    Neon,
    /// Another processor.
    Other,
}

impl IntegerKernels {
    /// Those of this processor.
    pub fn here() -> Self {
        static HERE: OnceLock<IntegerKernels> = OnceLock::new();
        *HERE.get_or_init(detect)
    }

    /// The name that logs and the status use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512Vnni => "avx512-vnni",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Sse => "sse",
            Self::I8mm => "i8mm",
            Self::Dotprod => "dotprod",
            Self::Neon => "neon",
            Self::Other => "other",
        }
    }

    /// Whether ONNX Runtime adds neighbouring products in 16 bits with these
    /// ([`exactness`](crate::exactness)).
    pub fn saturates(self) -> bool {
        matches!(self, Self::Avx512 | Self::Avx2)
    }
}

impl std::fmt::Display for IntegerKernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> IntegerKernels {
    use std::arch::is_x86_feature_detected as has;
    let avx512 = has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
    match () {
        () if avx512 && has!("avx512vnni") => IntegerKernels::Avx512Vnni,
        () if has!("avx2") && has!("avxvnni") => IntegerKernels::AvxVnni,
        () if avx512 => IntegerKernels::Avx512,
        () if has!("avx2") => IntegerKernels::Avx2,
        () => IntegerKernels::Sse,
    }
}

#[cfg(target_arch = "aarch64")]
fn detect() -> IntegerKernels {
    use std::arch::is_aarch64_feature_detected as has;
    match () {
        () if has!("i8mm") => IntegerKernels::I8mm,
        () if has!("dotprod") => IntegerKernels::Dotprod,
        () => IntegerKernels::Neon,
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detect() -> IntegerKernels {
    IntegerKernels::Other
}

/// Products that [`adds_exactly`] adds.
const PRODUCTS: usize = 64;

/// Tries whether a backend adds 64 products of 255 and 127 exactly. What [`IntegerKernels`] says by the
/// processor's features is so checked by what the library does.
///
/// # Errors
/// Those of loading and running a graph.
pub fn adds_exactly(backend: &dyn Backend) -> Result<bool, Error> {
    let mut graph = backend.load("trial of the integer sums", &trial().encode_to_vec())?;
    let mut outputs = vec![Vec::new()];
    graph.run(&[&[255.0; PRODUCTS]], &mut outputs)?;
    // Within half a step of the output's 255; pairs that saturate lose half of the sum.
    Ok(outputs[0].iter().all(|sum| (sum - SUM).abs() < SUM / 255.0))
}

/// What the sum of the trial's products is.
const SUM: f32 = 255.0 * 127.0 * PRODUCTS as f32;

/// A matrix of 64 weights of 127, in the QDQ form of the bundles' graphs.
fn trial() -> ModelProto {
    let constant = |name: &str, dims: &[i64], kind: DataType, raw_data: Vec<u8>| TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: kind as i32,
        raw_data,
        ..TensorProto::default()
    };
    let scale =
        |name: &str, value: f32| constant(name, &[], DataType::Float, value.to_le_bytes().into());
    let node = |op: &str, inputs: &[&str], output: &str| NodeProto {
        name: output.to_owned(),
        op_type: op.to_owned(),
        input: inputs.iter().map(|i| (*i).to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    };
    let columns = PRODUCTS as i64;
    let graph = GraphProto {
        name: "trial".to_owned(),
        input: vec![value("x", &[1, columns])],
        output: vec![value("y", &[1, 1])],
        initializer: vec![
            scale("one", 1.0),
            constant("zero", &[], DataType::Uint8, vec![0]),
            constant("weights", &[columns, 1], DataType::Int8, vec![127; PRODUCTS]),
            constant("no_shift", &[], DataType::Int8, vec![0]),
            scale("step", SUM / 255.0),
        ],
        node: vec![
            node("QuantizeLinear", &["x", "one", "zero"], "x8"),
            node("DequantizeLinear", &["x8", "one", "zero"], "activations"),
            node("DequantizeLinear", &["weights", "one", "no_shift"], "factors"),
            node("MatMul", &["activations", "factors"], "sum"),
            node("QuantizeLinear", &["sum", "step", "zero"], "y8"),
            node("DequantizeLinear", &["y8", "step", "zero"], "y"),
        ],
        ..GraphProto::default()
    };
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 13 }],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

fn value(name: &str, shape: &[i64]) -> ValueInfoProto {
    let dimension = |d: &i64| Dimension {
        denotation: String::new(),
        value: Some(dimension::Value::DimValue(*d)),
    };
    let tensor = type_proto::Tensor {
        elem_type: DataType::Float as i32,
        shape: Some(TensorShapeProto { dim: shape.iter().map(dimension).collect() }),
    };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            denotation: String::new(),
            value: Some(type_proto::Value::TensorType(tensor)),
        }),
        doc_string: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exactness::saturating;
    use crate::{BackendKind, BackendOptions, open_backend};

    #[test]
    fn the_trial_saturates_where_the_processor_does() {
        let backend = match open_backend(BackendKind::Ort, &BackendOptions::default()) {
            Ok(backend) => backend,
            Err(e) => return eprintln!("skipped: {e}"),
        };
        let here = IntegerKernels::here();
        eprintln!("integer kernels: {here}");
        assert_eq!(adds_exactly(backend.as_ref()).unwrap(), !here.saturates(), "{here}");
    }

    #[test]
    fn a_planted_layer_that_saturates_is_named() {
        let found = saturating("trial", &trial().encode_to_vec()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].layer.as_str(), found[0].channels, found[0].largest), ("sum", 1, 254));
        let mut held = trial();
        let graph = held.graph.get_or_insert_default();
        graph.initializer[2].raw_data = vec![64; PRODUCTS];
        assert_eq!(saturating("trial", &held.encode_to_vec()).unwrap(), []);
    }
}
