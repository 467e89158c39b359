//! tract: inference in pure Rust, on every machine.

use std::sync::Arc;

use tract_onnx::pb;
use tract_onnx::prelude::*;

use crate::backend::check_run;
use crate::error::one_line;
use crate::{Backend, BackendKind, Error, Graph, TensorInfo};

pub(crate) struct TractBackend;

impl TractBackend {
    pub(crate) fn new() -> Self {
        Self
    }
}

impl Backend for TractBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Tract
    }

    fn describe(&self) -> String {
        "tract (pure Rust, 1 thread)".into()
    }

    fn load(&self, name: &str, onnx: &[u8]) -> Result<Box<dyn Graph>, Error> {
        let failed =
            |e: TractError| Error::Load { graph: name.into(), backend: "tract", reason: chain(&e) };
        let framework = tract_onnx::onnx();
        let proto = framework.proto_model_for_read(&mut &*onnx).map_err(failed)?;
        let (inputs, outputs) =
            static_ports(name, proto.graph.as_ref().unwrap_or(&pb::GraphProto::default()))?;
        let mut model = framework.model_for_proto_model(&proto).map_err(failed)?;
        for (i, input) in inputs.iter().enumerate() {
            model.set_input_fact(i, f32::fact(&input.shape).into()).map_err(failed)?;
        }
        let plan = model.into_optimized().and_then(|m| m.into_runnable()).map_err(failed)?;
        Ok(Box::new(TractGraph { name: name.into(), plan, inputs, outputs }))
    }
}

/// Inputs and outputs of a graph, initializers left out.
///
/// # Errors
/// [`Error::Shape`] for one that is no float tensor with a static shape; `name` is the graph's.
pub fn static_ports(
    name: &str,
    graph: &pb::GraphProto,
) -> Result<(Vec<TensorInfo>, Vec<TensorInfo>), Error> {
    let constant = |v: &&pb::ValueInfoProto| !graph.initializer.iter().any(|i| i.name == v.name);
    let info = |what: &str, value: &pb::ValueInfoProto| {
        static_shape(value).map(|shape| TensorInfo { name: value.name.clone(), shape }).ok_or_else(
            || Error::Shape {
                graph: name.into(),
                tensor: format!("{what} `{}`", value.name),
                found: "of another type or shape".into(),
                expected: "a float tensor with a static shape".into(),
            },
        )
    };
    let inputs = graph.input.iter().filter(constant).map(|v| info("input", v));
    let inputs = inputs.collect::<Result<_, _>>()?;
    let outputs = graph.output.iter().map(|v| info("output", v)).collect::<Result<_, _>>()?;
    Ok((inputs, outputs))
}

/// An error and its causes, the innermost of which usually names the operator.
fn chain(error: &TractError) -> String {
    one_line(format!("{error:#}"))
}

/// The shape of an `f32` tensor, if all of it is known.
fn static_shape(value: &pb::ValueInfoProto) -> Option<Vec<usize>> {
    use pb::tensor_shape_proto::dimension::Value;
    let Some(pb::type_proto::Value::TensorType(tensor)) = &value.r#type.as_ref()?.value else {
        return None;
    };
    if tensor.elem_type != pb::tensor_proto::DataType::Float as i32 {
        return None;
    }
    let dimension = |d: &pb::tensor_shape_proto::Dimension| match d.value {
        Some(Value::DimValue(n)) => usize::try_from(n).ok(),
        _ => None,
    };
    tensor.shape.as_ref()?.dim.iter().map(dimension).collect()
}

struct TractGraph {
    name: String,
    plan: Arc<TypedRunnableModel>,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
}

impl Graph for TractGraph {
    fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [Vec<f32>]) -> Result<(), Error> {
        check_run(&self.name, (&self.inputs, &self.outputs), inputs, outputs)?;
        let failed = |e: TractError| Error::Run { graph: self.name.clone(), reason: chain(&e) };
        let mut values: TVec<TValue> = tvec!();
        for (info, data) in self.inputs.iter().zip(inputs) {
            values.push(Tensor::from_shape(&info.shape, data).map_err(failed)?.into_tvalue());
        }
        let results = self.plan.run(values).map_err(failed)?;
        for ((result, out), info) in results.iter().zip(outputs).zip(&self.outputs) {
            let view = result.to_plain_array_view::<f32>().map_err(failed)?;
            if view.shape() != info.shape {
                return Err(Error::Shape {
                    graph: self.name.clone(),
                    tensor: format!("output `{}`", info.name),
                    found: format!("{:?}", view.shape()),
                    expected: format!("{:?}", info.shape),
                });
            }
            out.clear();
            out.extend(view.iter());
        }
        Ok(())
    }
}
