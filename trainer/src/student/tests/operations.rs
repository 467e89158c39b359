//! Layers against candle's grouped convolution, against separate operations, and against finite
//! differences.

use candle_core::{DType, Tensor, Var};

use super::super::layer::{Kind, Layer};
use super::{assert_close, random};

/// Layer, input shape, output channels: odd and even sizes, pictures smaller than the kernel, more
/// images than one group of partial sums.
fn cases() -> Vec<(Kind, [usize; 4], usize)> {
    let depthwise = |stride| Kind::Depthwise { stride };
    vec![
        (depthwise(1), [2, 3, 7, 10], 3),
        (depthwise(1), [1, 2, 1, 1], 2),
        (depthwise(1), [3, 4, 2, 5], 4),
        (depthwise(2), [2, 3, 8, 10], 3),
        (depthwise(2), [2, 2, 7, 9], 2),
        (depthwise(2), [1, 2, 1, 2], 2),
        (depthwise(2), [1, 2, 6, 5], 2),
        (Kind::Pointwise, [6, 5, 4, 3], 7),
        (Kind::Pointwise, [1, 3, 1, 1], 2),
        (Kind::Dense { stride: 2 }, [2, 3, 9, 7], 4),
        (Kind::Dense { stride: 1 }, [5, 2, 4, 5], 3),
    ]
}

fn weight(kind: Kind, inputs: usize, outputs: usize) -> Tensor {
    match kind {
        Kind::Dense { .. } => random(&[outputs, inputs, 3, 3], 2),
        Kind::Depthwise { .. } => random(&[outputs, 1, 3, 3], 2),
        Kind::Pointwise => random(&[outputs, inputs, 1, 1], 2),
    }
}

/// What the layer is by candle's grouped convolution.
fn by_candle(layer: Layer, x: &Tensor, w: &Tensor, b: &Tensor) -> Tensor {
    let y = match layer.kind {
        Kind::Dense { stride } => x.conv2d(w, 1, stride, 1, 1),
        Kind::Depthwise { stride } => x.conv2d(w, 1, stride, 1, x.dim(1).unwrap()),
        Kind::Pointwise => x.conv2d(w, 0, 1, 1, 1),
    };
    let y = y.unwrap().broadcast_add(&b.reshape((1, (), 1, 1)).unwrap()).unwrap();
    if layer.relu6 { y.clamp(0f32, 6f32).unwrap() } else { y }
}

#[test]
fn layers_equal_candles_convolution() {
    for (kind, shape, outputs) in cases() {
        for relu6 in [false, true] {
            let layer = Layer { kind, relu6 };
            // Ten times: ReLU6 cuts at both ends.
            let x = (random(&shape, 1) * 10.0).unwrap();
            let (w, b) = (weight(kind, shape[1], outputs), random(&[outputs], 3));
            let expected = by_candle(layer, &x, &w, &b);
            let what = format!("{layer:?} of {shape:?}");
            assert_close(&layer.apply(&x, &w, &b).unwrap(), &expected, 1e-5, &what);
            // The way of other devices, which `f64` takes on the CPU too.
            let f64s = [&x, &w, &b].map(|t| t.to_dtype(DType::F64).unwrap());
            let composed = layer.apply(&f64s[0], &f64s[1], &f64s[2]).unwrap();
            assert_close(&composed.to_dtype(DType::F32).unwrap(), &expected, 1e-5, &what);
        }
    }
}

#[test]
fn gradients_equal_those_of_separate_operations_and_finite_differences() {
    for (kind, shape, outputs) in cases() {
        for relu6 in [false, true] {
            let layer = Layer { kind, relu6 };
            let start = [
                (random(&shape, 1) * 4.0).unwrap(),
                weight(kind, shape[1], outputs),
                (random(&[outputs], 3) + 2.0).unwrap(),
            ];
            let vars: Vec<Var> = start.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
            let y = layer.apply(&vars[0], &vars[1], &vars[2]).unwrap();
            let weights = random(y.dims(), 4);
            let grads = (y * &weights).unwrap().sum_all().unwrap().backward().unwrap();
            // In `f64` by candle's own operations, whose forward pass is compared above.
            let doubles: Vec<Tensor> =
                start.iter().map(|t| t.to_dtype(DType::F64).unwrap()).collect();
            let double_vars: Vec<Var> =
                doubles.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
            let weights = weights.to_dtype(DType::F64).unwrap();
            let loss = |t: &[&Tensor]| {
                (layer.composed(t[0], t[1], t[2]).unwrap() * &weights).unwrap().sum_all().unwrap()
            };
            let by_candle = loss(&double_vars.iter().map(Var::as_tensor).collect::<Vec<_>>());
            let by_candle = by_candle.backward().unwrap();
            for (which, what) in ["x", "weight", "bias"].into_iter().enumerate() {
                let what = format!("{layer:?} of {shape:?}: {what}");
                let got = grads.get(&vars[which]).unwrap().to_dtype(DType::F64).unwrap();
                let expected = by_candle.get(&double_vars[which]).unwrap();
                let single = |t: &Tensor| t.to_dtype(DType::F32).unwrap();
                assert_close(&single(&got), &single(expected), 1e-4, &what);
                // Along a direction; the step is small enough to pass no corner of ReLU6.
                let direction = random(start[which].dims(), 5).to_dtype(DType::F64).unwrap();
                let at = |by: f64| {
                    let moved = (&doubles[which] + (&direction * by).unwrap()).unwrap();
                    let mut tensors: Vec<&Tensor> = doubles.iter().collect();
                    tensors[which] = &moved;
                    loss(&tensors).to_scalar::<f64>().unwrap()
                };
                let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
                let along = (got * direction).unwrap().sum_all().unwrap();
                let along = along.to_scalar::<f64>().unwrap();
                let error = (numeric - along).abs();
                assert!(error <= 1e-4 * (1.0 + numeric.abs()), "{what}: {along} {numeric}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let x = random(&[1, 4, 6, 6], 1);
    let layer = |kind| Layer { kind, relu6: true };
    let bias = random(&[4], 2);
    let refused = |kind, weight: &[usize], bias: &Tensor| {
        assert!(layer(kind).apply(&x, &random(weight, 3), bias).is_err(), "{kind:?} {weight:?}");
    };
    refused(Kind::Depthwise { stride: 1 }, &[3, 1, 3, 3], &bias);
    refused(Kind::Depthwise { stride: 3 }, &[4, 1, 3, 3], &bias);
    refused(Kind::Depthwise { stride: 1 }, &[4, 1, 5, 5], &bias);
    refused(Kind::Pointwise, &[4, 3, 1, 1], &bias);
    refused(Kind::Pointwise, &[4, 4, 3, 3], &bias);
    refused(Kind::Dense { stride: 0 }, &[4, 4, 3, 3], &bias);
    refused(Kind::Pointwise, &[5, 4, 1, 1], &bias);
}
