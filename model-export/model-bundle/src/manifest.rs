//! The manifest: what a bundle says about itself, as plain data.
//!
//! The host fills it, the camera obeys it. Everything that makes a score reproducible is here, so
//! that a new backbone, another frame rate or other fusion weights never need a new camera program.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The manifest schema this crate writes and reads.
pub const SCHEMA: u32 = 1;

/// What a bundle says about itself. Serialized as JSON inside the signed payload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Manifest schema, [`SCHEMA`].
    pub schema: u32,
    /// Name of the model, `[a-z0-9-]{1,64}`.
    pub name: String,
    /// Semantic version of the model.
    pub version: String,
    /// Raised only when older bundles must no longer be installed.
    pub security_epoch: u32,
    /// Devices the bundle is for; `any` stands for every device.
    pub device_classes: Vec<String>,
    /// The detectors and how their scores become one.
    pub detectors: Detectors,
    /// The graphs carried, one for each backend and graph name.
    pub graphs: Vec<GraphEntry>,
    /// Inputs and expected outputs with which a device proves that it computes what the host did.
    pub golden: Vec<GoldenEntry>,
    /// Where the model comes from: data hashes, seeds, tool version. Informative.
    pub provenance: BTreeMap<String, String>,
}

/// The detectors of a model and the fusion of their scores.
///
/// At each frame every detector gives a raw value, which is z-scored on normal footage and
/// smoothed over time; the fused value is the weighted sum of the z-scores, or of what they exceed
/// the usual by where a detector says so. The published score is
/// `1 / (1 + exp(-(fused - threshold) / scale))`, so that 0.5 is the alarm threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detectors {
    /// The picture and rate every detector works at.
    pub input: InputSpec,
    /// The per-pixel detector, if the model has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalSpec>,
    /// The frame-difference prior, if the model has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub motion: Option<MotionSpec>,
    /// The snippet-feature detector (UR-DMU), if the model has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semantic: Option<SemanticSpec>,
    /// Temporal smoothing, and with it the latency of a score.
    pub smoothing: SmoothingSpec,
    /// From the fused value to the published score.
    pub calibration: Calibration,
    /// When a score becomes an event.
    pub events: EventSpec,
}

/// The picture and rate that the detectors work at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// Width in pixels to which each frame is resized.
    pub width: u32,
    /// Height in pixels to which each frame is resized.
    pub height: u32,
    /// Frames per second the model was trained at. A source of rate r is thinned to every
    /// `max(1, round(r / frame_rate))`-th frame.
    pub frame_rate: f64,
}

/// Mean and standard deviation of a detector's raw value on normal footage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZScore {
    /// Mean of the raw value.
    pub mean: f64,
    /// Standard deviation of the raw value, greater than zero.
    pub std: f64,
}

/// A graph that streams: one call a frame, with states that go out of one call and into the next.
///
/// Its first input is `frame`, the newest frame; then come the states, in this order. Its outputs are
/// the one that it would have without states, then the new states, in the same order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamSpec {
    /// The states; none if a call needs nothing of the one before.
    pub states: Vec<StateSpec>,
}

/// What a streaming graph keeps from one call to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateSpec {
    /// Name of the graph's input that takes it.
    pub input: String,
    /// Name of the graph's output that gives it for the next call.
    pub output: String,
    /// Its shape.
    pub shape: Vec<u32>,
    /// What it is at a stream's first frame.
    #[serde(default, skip_serializing_if = "InitialState::is_zero")]
    pub initial: InitialState,
}

/// What a state is at a stream's first frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitialState {
    /// All values 0.
    #[default]
    Zero,
    /// The first `frame`, as often as it goes into the state's channels (its second axis).
    FirstFrame,
}

impl InitialState {
    fn is_zero(&self) -> bool {
        *self == Self::Zero
    }
}

/// The local detector: a fully convolutional network on a stack of luma frames.
///
/// Input channel 0 is `(f_t - mean) / std`; channel i is `(f_{t+offsets[i-1]} - f_t) / diff_scale`.
/// Output: one logit map per kind at `1 / map_stride` of the input resolution. The raw value is the
/// maximum over kinds and cells of the `pool` × `pool` mean of the logits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalSpec {
    /// Name of the graph; input `stack` `[1, 1 + offsets, height, width]`, output `maps`
    /// `[1, kinds, height / map_stride, width / map_stride]`. One that streams takes `frame`
    /// `[1, 1, height, width]`, the luma levels 0 to 255 of the newest frame, instead; its maps are
    /// those of the frame as far back as the largest positive offset.
    pub graph: String,
    /// Offsets in model frames of the difference channels; negative is the past.
    pub offsets: Vec<i32>,
    /// Luma value subtracted from the centre frame.
    pub mean: f32,
    /// Divisor of the centre frame.
    pub std: f32,
    /// Divisor of the differences.
    pub diff_scale: f32,
    /// If given, the graph streams and makes the stack itself, from frames that it keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamSpec>,
    /// Input pixels for each map cell, along each axis.
    pub map_stride: u32,
    /// Edge of the box over which logits are averaged, in cells, odd.
    pub pool: u32,
    /// Name of the kind of each map.
    pub kinds: Vec<String>,
    /// Normalisation of the raw value.
    pub z: ZScore,
    /// Weight of the z-score in the fused value.
    pub weight: f64,
}

impl LocalSpec {
    /// Frames back and ahead that the network looks at.
    #[must_use]
    pub fn reach(&self) -> (usize, usize) {
        let past = self.offsets.iter().copied().min().unwrap_or(0).min(0);
        let future = self.offsets.iter().copied().max().unwrap_or(0).max(0);
        (past.unsigned_abs() as usize, future.unsigned_abs() as usize)
    }
}

/// The motion prior: `ln(epsilon + largest box mean of |f_t - f_{t-1}|)` on luma.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MotionSpec {
    /// Edge of the box, in pixels of the model's input.
    pub box_size: u32,
    /// Added before the logarithm, in luma levels.
    pub epsilon: f64,
    /// Normalisation of the raw value.
    pub z: ZScore,
    /// Weight of the z-score in the fused value.
    pub weight: f64,
    /// If given, only what the z-score exceeds this by is fused: `weight · max(0, z − excess_over)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excess_over: Option<f64>,
}

/// The semantic detector: snippet features from a backbone, scored by the UR-DMU head over a
/// sliding window of snippets.
///
/// Without a `grid` a snippet has one feature vector, and the raw value of a frame is the head's score
/// of its snippet, in 0 to 1. With one it has a vector for each cell of the picture, every cell is a
/// time series of its own, and the raw value is the highest cell's score as log-odds,
/// `ln(s / (1 - s))` held within ±16, because a maximum over hundreds of cells crowds near 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SemanticSpec {
    /// Name of the backbone graph; input `snippet` `[1, 3, frames, height, width]`, output
    /// `features` `[1, feature_size]`, with a grid `[1, cells, feature_size]`, row by row. One that
    /// streams takes `frame` `[1, 3, height, width]` instead, and a snippet's features are the mean of
    /// those of its frames.
    pub backbone: String,
    /// Name of the head graph; input `features` `[1, window, feature_size]`, output `scores`
    /// `[1, window]`; with a grid there are `cells` instead of the 1.
    pub head: String,
    /// How snippets are cut and normalised.
    pub snippet: SnippetSpec,
    /// Length of a feature vector.
    pub feature_size: u32,
    /// Snippets the head sees at once: the newest one is scored, the window is filled with copies
    /// of the oldest snippet at the start of a stream.
    pub window: u32,
    /// Cells into which the picture is cut, if its places are kept apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<GridSpec>,
    /// Normalisation of the raw value.
    pub z: ZScore,
    /// Weight of the z-score in the fused value.
    pub weight: f64,
    /// If given, only what the z-score exceeds this by is fused: `weight · max(0, z − excess_over)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excess_over: Option<f64>,
}

impl SemanticSpec {
    /// Cells whose features are kept apart; 1 without a grid.
    pub fn cells(&self) -> u32 {
        self.grid.as_ref().map_or(1, |grid| grid.columns.saturating_mul(grid.rows))
    }
}

/// Equal cells of the whole picture, counted row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GridSpec {
    /// Cells in a row.
    pub columns: u32,
    /// Rows.
    pub rows: u32,
}

/// How snippets are cut from the stream and normalised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnippetSpec {
    /// Frames in a snippet.
    pub frames: u32,
    /// Model frames from one snippet's start to the next one's, at most `frames`.
    pub stride: u32,
    /// Width to which the whole frame is resized (the aspect ratio is not kept).
    pub width: u32,
    /// Height to which the whole frame is resized.
    pub height: u32,
    /// Subtracted from each RGB channel (levels 0 to 255).
    pub mean: [f32; 3],
    /// Divisor of each RGB channel.
    pub std: [f32; 3],
    /// If given, the backbone streams: it takes every model frame once, alone, whatever the snippets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamSpec>,
}

/// Temporal smoothing of each detector's z-score: a Gaussian over `radius` frames before and after,
/// truncated at the ends of the stream and renormalised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmoothingSpec {
    /// Standard deviation in model frames; 0 turns smoothing off.
    pub sigma: f64,
    /// Frames to each side.
    pub radius: u32,
    /// Model frames from a frame's arrival to its score: at least `radius` plus the largest
    /// positive local offset. With a semantic detector a score also waits for its snippet, so it
    /// may take `radius` plus the snippet's length.
    pub lag: u32,
}

/// From the fused value to the published score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Fused value whose published score is 0.5.
    pub threshold: f64,
    /// Fused distance that moves the logit of the score by one.
    pub scale: f64,
    /// False alarms an hour that are expected at the threshold: as many as held-out normal footage
    /// supports, not a count. `provenance` has the interval. (Of models before 0.2 the rate that was
    /// asked for, an extrapolation.)
    pub false_alarms_per_hour: f64,
    /// The fused value of normal footage. `None` in models before it was stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normal: Option<NormalLevel>,
}

/// The smoothed, fused value of held-out normal footage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NormalLevel {
    /// What all but a hundredth of its frames stay below. Below the threshold.
    pub level: f64,
    /// Its standard deviation, above 0.
    pub spread: f64,
}

/// When a score becomes an event. Times in seconds of stream time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventSpec {
    /// An event may start at or above this score.
    pub enter: f64,
    /// An event ends below this score; less than `enter` (hysteresis).
    pub exit: f64,
    /// The score must stay at or above `exit` this long after reaching `enter` to be announced.
    pub min_duration: f64,
    /// The score must stay below `exit` this long before the event ends.
    pub end_after: f64,
    /// No new event starts this long after one has ended.
    pub cool_down: f64,
}

/// A graph carried by the bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphEntry {
    /// Name by which the detectors refer to it: `local`, `backbone`, `head`.
    pub name: String,
    /// The backend it is for: `ort` or `tract`.
    pub backend: String,
    /// `int8` or `fp32`.
    pub precision: String,
    /// Blob that holds the ONNX model.
    pub blob: BlobRef,
}

/// A run of bytes after the manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobRef {
    /// Offset from the first byte after the manifest.
    pub offset: u64,
    /// Length in bytes.
    pub size: u64,
    /// SHA-256 of the bytes, in lower-case hexadecimal.
    pub sha256: String,
}

/// One input of a graph, with its states if it streams, and the outputs that the host computed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenEntry {
    /// Name of the graph.
    pub graph: String,
    /// Backend whose graph computed the outputs.
    pub backend: String,
    /// Input tensor.
    pub input: GoldenTensor,
    /// Input tensors of the states, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<GoldenTensor>,
    /// Expected output tensor.
    pub output: GoldenTensor,
    /// Expected output tensors of the states, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<GoldenTensor>,
    /// Largest accepted mean absolute difference of an output, divided by the mean absolute
    /// expected output.
    pub tolerance: f64,
}

/// A tensor in a bundle: little-endian `f32`, row-major.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenTensor {
    /// Name of the graph's input or output.
    pub name: String,
    /// Shape.
    pub shape: Vec<u64>,
    /// Blob that holds the values.
    pub blob: BlobRef,
}
