//! Fakes shared by the tests: detectors, graphs computed in Rust, small ONNX models.
#![allow(dead_code, clippy::unwrap_used)]

use inference::{Detectors, Error, FrameScore, Graph, RawScores, TensorInfo};
use model_bundle::manifest::{
    Calibration, EventSpec, InitialState, InputSpec, LocalSpec, MotionSpec, SemanticSpec,
    SmoothingSpec, SnippetSpec, StateSpec, StreamSpec, ZScore,
};
use prost::Message;
use tract_onnx::pb;
use video::Frame;

pub const WIDTH: usize = 32;
pub const HEIGHT: usize = 16;

/// A graph computed by a Rust function of its input.
pub struct FakeGraph<F> {
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    compute: F,
}

impl<F: FnMut(&[f32], &mut [f32]) + Send + 'static> FakeGraph<F> {
    pub fn boxed(input: &[usize], output: &[usize], compute: F) -> Box<dyn Graph> {
        let info = |name: &str, shape: &[usize]| {
            vec![TensorInfo { name: name.into(), shape: shape.to_vec() }]
        };
        Box::new(Self { inputs: info("in", input), outputs: info("out", output), compute })
    }
}

impl<F: FnMut(&[f32], &mut [f32]) + Send> Graph for FakeGraph<F> {
    fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [Vec<f32>]) -> Result<(), Error> {
        assert_eq!(inputs[0].len(), self.inputs[0].len());
        outputs[0].resize(self.outputs[0].len(), 0.0);
        (self.compute)(inputs[0], &mut outputs[0]);
        Ok(())
    }
}

/// A graph of one input `frame` and one state that is computed by a Rust function of both: it writes the
/// output and the next state.
pub struct FakeStream<F> {
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    compute: F,
}

impl<F: FnMut(&[f32], &[f32], &mut [f32], &mut [f32]) + Send + 'static> FakeStream<F> {
    pub fn boxed(
        frame: &[usize],
        (output, name): (&[usize], &str),
        state: &[usize],
        compute: F,
    ) -> Box<dyn Graph> {
        let info =
            |name: &str, shape: &[usize]| TensorInfo { name: name.into(), shape: shape.to_vec() };
        Box::new(Self {
            inputs: vec![info("frame", frame), info("state", state)],
            outputs: vec![info(name, output), info("next", state)],
            compute,
        })
    }
}

impl<F: FnMut(&[f32], &[f32], &mut [f32], &mut [f32]) + Send> Graph for FakeStream<F> {
    fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [Vec<f32>]) -> Result<(), Error> {
        for (output, info) in outputs.iter_mut().zip(&self.outputs) {
            output.resize(info.len(), 0.0);
        }
        let [output, next] = outputs else { panic!("an output and a state") };
        (self.compute)(inputs[0], inputs[1], output, next);
        Ok(())
    }
}

/// The description of [`FakeStream`]'s state.
pub fn one_state(shape: &[u32], initial: InitialState) -> StreamSpec {
    let (input, output) = ("state".into(), "next".into());
    StreamSpec { states: vec![StateSpec { input, output, shape: shape.to_vec(), initial }] }
}

const IDENTITY: ZScore = ZScore { mean: 0.0, std: 1.0 };

/// Detectors without a detector: input 32x16 at 10 frames per second, no smoothing, no lag.
pub fn bare() -> Detectors {
    Detectors {
        input: InputSpec { width: WIDTH as u32, height: HEIGHT as u32, frame_rate: 10.0 },
        local: None,
        motion: None,
        semantic: None,
        smoothing: SmoothingSpec { sigma: 0.0, radius: 0, lag: 0 },
        calibration: Calibration {
            threshold: 0.0,
            scale: 1.0,
            false_alarms_per_hour: 1.0,
            normal: None,
        },
        events: EventSpec {
            enter: 0.5,
            exit: 0.4,
            min_duration: 0.0,
            end_after: 1.0,
            cool_down: 1.0,
        },
    }
}

pub fn motion() -> MotionSpec {
    MotionSpec { box_size: 4, epsilon: 0.5, z: IDENTITY, weight: 1.0, excess_over: None }
}

/// Two kinds, maps at a quarter of the input, looking 2 back and 1 ahead.
pub fn local() -> LocalSpec {
    LocalSpec {
        graph: "local".into(),
        offsets: vec![-2, 1],
        mean: 0.0,
        std: 1.0,
        diff_scale: 1.0,
        stream: None,
        map_stride: 4,
        pool: 1,
        kinds: vec!["fast".into(), "bike".into()],
        z: IDENTITY,
        weight: 1.0,
    }
}

/// Snippets of `frames` every `stride`, 8x8 pixels, one feature, a window of 3.
pub fn semantic(frames: u32, stride: u32) -> SemanticSpec {
    SemanticSpec {
        backbone: "backbone".into(),
        head: "head".into(),
        snippet: SnippetSpec {
            frames,
            stride,
            width: 8,
            height: 8,
            mean: [0.0; 3],
            std: [1.0; 3],
            stream: None,
        },
        feature_size: 1,
        window: 3,
        grid: None,
        z: IDENTITY,
        weight: 1.0,
        excess_over: None,
    }
}

/// The local network's stand-in: kind 0 is the centre's first pixel in cell 0, kind 1 is the sum of
/// the differences of pixel 0 in the last cell; everything else is -1000.
pub fn local_graph() -> Box<dyn Graph> {
    let pixels = WIDTH * HEIGHT;
    FakeGraph::boxed(&[1, 3, HEIGHT, WIDTH], &[1, 2, HEIGHT / 4, WIDTH / 4], move |x, y| {
        y.fill(-1000.0);
        y[0] = x[0];
        *y.last_mut().unwrap() = x[pixels] + x[2 * pixels];
    })
}

/// The backbone's stand-in: the sum of each frame's first red pixel.
pub fn backbone_graph(frames: usize) -> Box<dyn Graph> {
    FakeGraph::boxed(&[1, 3, frames, 8, 8], &[1, 1], move |x, y| {
        y[0] = (0..frames).map(|i| x[i * 64]).sum();
    })
}

/// The head's stand-in: newest + oldest / 1000 of the window.
pub fn head_graph() -> Box<dyn Graph> {
    FakeGraph::boxed(&[1, 3, 1], &[1, 3], |x, y| {
        y[..2].fill(f32::NAN);
        y[2] = x[2] + x[0] / 1000.0;
    })
}

/// Snippets for [`streaming_backbone`].
pub fn streaming_semantic(frames: u32, stride: u32) -> SemanticSpec {
    let semantic = semantic(frames, stride);
    let stream = Some(one_state(&[1, 2], InitialState::Zero));
    SemanticSpec { snippet: SnippetSpec { stream, ..semantic.snippet }, ..semantic }
}

/// The feature of a frame is its first red and 100 times that of the frame before.
pub fn streaming_backbone() -> Box<dyn Graph> {
    FakeStream::boxed(&[1, 3, 8, 8], (&[1, 1], "features"), &[1, 2], |frame, state, y, next| {
        y[0] = frame[0] + 100.0 * state[1];
        next.copy_from_slice(&[f32::NAN, frame[0]]);
    })
}

/// As [`local_graph`], from the newest frame and a ring of the three before it: two back, one ahead.
pub fn streaming_local() -> (LocalSpec, Box<dyn Graph>) {
    let ring = [1, 3, HEIGHT, WIDTH];
    let stream = one_state(&ring.map(|size| size as u32), InitialState::FirstFrame);
    let pixels = WIDTH * HEIGHT;
    let maps = [1, 2, HEIGHT / 4, WIDTH / 4];
    let compute = move |frame: &[f32], ring: &[f32], y: &mut [f32], next: &mut [f32]| {
        let centre = ring[2 * pixels];
        y.fill(-1000.0);
        y[0] = centre;
        *y.last_mut().unwrap() = (ring[0] - centre) + (frame[0] - centre);
        next[..2 * pixels].copy_from_slice(&ring[pixels..]);
        next[2 * pixels..].copy_from_slice(frame);
    };
    let graph = FakeStream::boxed(&[1, 1, HEIGHT, WIDTH], (&maps, "maps"), &ring, compute);
    (LocalSpec { stream: Some(stream), ..local() }, graph)
}

pub fn grey(level: u8) -> Frame {
    Frame::from_luma(WIDTH, HEIGHT, &[level; WIDTH * HEIGHT]).unwrap()
}

/// Runs frames through an engine; the scores, each with the number of frames pushed when it came,
/// and the raw values.
pub fn run(
    engine: &mut inference::Engine,
    rate: f64,
    frames: &[Frame],
) -> (Vec<(FrameScore, usize)>, Vec<RawScores>) {
    let mut stream = engine.stream(rate);
    let (mut scores, mut raws) = (Vec::new(), Vec::new());
    for (i, frame) in frames.iter().enumerate() {
        let mut emit = |s: &FrameScore| scores.push((*s, i + 1));
        engine
            .push_with_raw(&mut stream, frame, &mut emit, &mut |r: &RawScores| {
                raws.push(*r);
            })
            .unwrap();
    }
    let mut emit = |s: &FrameScore| scores.push((*s, usize::MAX));
    engine
        .finish_with_raw(&mut stream, &mut emit, &mut |r: &RawScores| {
            raws.push(*r);
        })
        .unwrap();
    (scores, raws)
}

fn value_info(name: &str, shape: &[Option<i64>]) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::{Dimension, dimension::Value};
    let dim = shape
        .iter()
        .map(|d| Dimension {
            value: Some(match d {
                Some(n) => Value::DimValue(*n),
                None => Value::DimParam("n".into()),
            }),
            ..Default::default()
        })
        .collect();
    let tensor = pb::type_proto::Tensor {
        elem_type: pb::tensor_proto::DataType::Float as i32,
        shape: Some(pb::TensorShapeProto { dim }),
    };
    pb::ValueInfoProto {
        name: name.into(),
        r#type: Some(pb::TypeProto {
            value: Some(pb::type_proto::Value::TensorType(tensor)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// An ONNX model `output = Conv(input, weights)` with 3x3 kernels and padding 1: input
/// `[1, 2, 4, 5]`, output `[1, 3, 4, 5]`. A dynamic one has no static batch size.
pub fn conv_model(weights: &[f32], dynamic: bool) -> Vec<u8> {
    let batch = if dynamic { None } else { Some(1) };
    let ints = |name: &str, values: &[i64]| pb::AttributeProto {
        name: name.into(),
        r#type: pb::attribute_proto::AttributeType::Ints as i32,
        ints: values.to_vec(),
        ..Default::default()
    };
    let node = pb::NodeProto {
        op_type: "Conv".into(),
        input: vec!["input".into(), "weights".into()],
        output: vec!["output".into()],
        attribute: vec![ints("kernel_shape", &[3, 3]), ints("pads", &[1, 1, 1, 1])],
        ..Default::default()
    };
    let initializer = pb::TensorProto {
        name: "weights".into(),
        data_type: pb::tensor_proto::DataType::Float as i32,
        dims: vec![3, 2, 3, 3],
        raw_data: weights.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ..Default::default()
    };
    let graph = pb::GraphProto {
        name: "conv".into(),
        node: vec![node],
        initializer: vec![initializer],
        input: vec![value_info("input", &[batch, Some(2), Some(4), Some(5)])],
        output: vec![value_info("output", &[batch, Some(3), Some(4), Some(5)])],
        ..Default::default()
    };
    model(graph)
}

/// An ONNX model that passes `input` through to `output`, by way of `Relu`.
pub fn relu_model(input: &str, output: &str, shape: &[i64]) -> Vec<u8> {
    let shape: Vec<Option<i64>> = shape.iter().copied().map(Some).collect();
    model(pb::GraphProto {
        name: "relu".into(),
        node: vec![pb::NodeProto {
            op_type: "Relu".into(),
            input: vec![input.into()],
            output: vec![output.into()],
            ..Default::default()
        }],
        input: vec![value_info(input, &shape)],
        output: vec![value_info(output, &shape)],
        ..Default::default()
    })
}

fn model(graph: pb::GraphProto) -> Vec<u8> {
    pb::ModelProto {
        ir_version: 8,
        opset_import: vec![pb::OperatorSetIdProto { domain: String::new(), version: 17 }],
        graph: Some(graph),
        ..Default::default()
    }
    .encode_to_vec()
}
