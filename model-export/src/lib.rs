//! From weights to a signed INT8 bundle: ONNX graphs, quantization, packing.

pub mod calibration;
pub mod graphs;
pub mod onnx;
pub mod pack;
pub mod parity;
pub mod quantize;
pub mod weights;
