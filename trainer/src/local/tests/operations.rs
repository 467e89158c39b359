//! The convolution and the layer against candle and against finite differences.

use candle_core::{Tensor, Var};

use super::super::{Steps, conv2d, layer};
use super::{assert_close, random, values};

/// Input, weight, stride, padding, dilation.
type Case = ([usize; 4], [usize; 4], usize, usize, usize);

/// Odd and even sizes, strides past the kernel, padding past the picture, single pixels, a picture
/// of several blocks of rows.
const CASES: [Case; 9] = [
    ([2, 5, 16, 24], [6, 5, 5, 5], 2, 2, 1),
    ([3, 4, 9, 7], [5, 4, 3, 3], 2, 1, 1),
    ([2, 3, 8, 11], [4, 3, 3, 3], 1, 4, 4),
    ([1, 3, 5, 6], [2, 3, 3, 3], 1, 2, 2),
    ([2, 2, 10, 13], [3, 2, 3, 2], 3, 1, 2),
    ([2, 4, 6, 5], [3, 4, 1, 1], 1, 0, 1),
    ([1, 2, 7, 7], [3, 2, 2, 2], 4, 0, 1),
    ([1, 1, 1, 1], [2, 1, 3, 3], 2, 1, 1),
    ([2, 48, 30, 48], [48, 48, 3, 3], 1, 1, 1),
];

#[test]
fn the_convolution_and_its_gradients_equal_those_of_candle() {
    let mut compared = 0;
    for case in CASES {
        let (x, w, stride, padding, dilation) = case;
        let x = Var::from_tensor(&random(&x, 1)).unwrap();
        let w = Var::from_tensor(&random(&w, 2)).unwrap();
        let got = conv2d(&x, &w, Steps { stride, padding, dilation }).unwrap();
        let expected = x.conv2d(&w, padding, stride, dilation, 1).unwrap();
        assert_close(&got, &expected, 1e-4, &format!("{case:?} forward"));
        // candle's backward pass fails where the stride leaves pixels of one axis unused; finite
        // differences cover those.
        let exact = |size: usize, k: usize| {
            (size + 2 * padding - dilation * (k - 1) - 1).is_multiple_of(stride)
        };
        let (dims, k) = (x.dims(), w.dims());
        if !(exact(dims[2], k[2]) && exact(dims[3], k[3])) {
            continue;
        }
        compared += 1;
        let weights = random(got.dims(), 3);
        let grads = |y: &Tensor| (y * &weights).unwrap().sum_all().unwrap().backward().unwrap();
        let (got, expected) = (grads(&got), grads(&expected));
        for (what, var) in [("x", &x), ("w", &w)] {
            let (got, expected) = (got.get(var).unwrap(), expected.get(var).unwrap());
            assert_close(got, expected, 1e-4, &format!("{case:?} gradient of {what}"));
        }
    }
    assert_eq!(compared, 6);
}

/// The directional derivative along a random direction, by central differences in `f64`.
fn assert_gradient(f: &dyn Fn(&Tensor) -> Tensor, at: &Tensor, step: f64, what: &str) {
    let var = Var::from_tensor(at).unwrap();
    let grads = f(&var).backward().unwrap();
    let gradient = grads.get(&var).unwrap();
    for seed in 10..13 {
        let direction = random(at.dims(), seed);
        let value = |by: f64| {
            let moved = (at + (&direction * by).unwrap()).unwrap();
            f64::from(f(&moved).to_scalar::<f32>().unwrap())
        };
        let numeric = (value(step) - value(-step)) / (2.0 * step);
        let product = (gradient * &direction).unwrap().sum_all().unwrap();
        let analytic = f64::from(product.to_scalar::<f32>().unwrap());
        let error = (numeric - analytic).abs();
        assert!(error <= 2e-2 * (1.0 + analytic.abs()), "{what}: {numeric} {analytic}");
    }
}

#[test]
fn the_convolution_gradients_equal_finite_differences() {
    for case in &CASES[..8] {
        let (x, w, stride, padding, dilation) = *case;
        let (x, w) = (random(&x, 1), random(&w, 2));
        let steps = Steps { stride, padding, dilation };
        let scalar = |y: Tensor| {
            let weights = random(y.dims(), 3);
            (y * weights).unwrap().sum_all().unwrap()
        };
        assert_gradient(
            &|x| scalar(conv2d(x, &w, steps).unwrap()),
            &x,
            0.05,
            &format!("{case:?} x"),
        );
        assert_gradient(
            &|w| scalar(conv2d(&x, w, steps).unwrap()),
            &w,
            0.05,
            &format!("{case:?} w"),
        );
    }
}

#[test]
fn a_convolution_that_does_not_fit_is_an_error() {
    let steps = Steps { stride: 1, padding: 0, dilation: 1 };
    let x = random(&[1, 2, 4, 4], 1);
    assert!(conv2d(&x, &random(&[1, 3, 3, 3], 2), steps).is_err());
    assert!(conv2d(&x, &random(&[1, 2, 5, 5], 2), steps).is_err());
    let no_stride = Steps { stride: 0, ..steps };
    assert!(conv2d(&x, &random(&[1, 2, 3, 3], 2), no_stride).is_err());
}

#[test]
fn a_layer_and_its_gradients_equal_those_of_single_operations() {
    // A residual layer of a picture of several blocks of rows, and a strided layer of odd sizes.
    let cases = [([2, 20, 30, 48], 20, 1, 2, 2, true), ([3, 4, 11, 9], 5, 2, 1, 1, false)];
    for (x, outputs, stride, padding, dilation, residual) in cases {
        let w = Var::from_tensor(&random(&[outputs, x[1], 3, 3], 2)).unwrap();
        let x = Var::from_tensor(&random(&x, 1)).unwrap();
        let gamma = Var::from_tensor(&random(&[outputs], 3)).unwrap();
        let beta = Var::from_tensor(&random(&[outputs], 4)).unwrap();
        let steps = Steps { stride, padding, dilation };
        let affine: (&Tensor, &Tensor) = (&gamma, &beta);
        let (got, stats) = layer(&x, &w, affine, steps, residual).unwrap();
        let (expected, expected_stats) = layer::composed(&x, &w, affine, steps, residual).unwrap();
        assert_close(&got, &expected, 1e-4, "forward");
        for (a, b) in stats.variance.iter().zip(&expected_stats.variance) {
            assert!((a - b).abs() < 1e-4 * b, "{a} {b}");
        }
        // Mean and unbiased variance of channel 1, straight from their definitions.
        let channel = values(&conv2d(&x, &w, steps).unwrap().narrow(1, 1, 1).unwrap());
        let count = channel.len() as f32;
        let mean = channel.iter().sum::<f32>() / count;
        let squares = channel.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>();
        assert!((stats.mean[1] - mean).abs() < 1e-4);
        assert!((stats.variance[1] - squares / (count - 1.0)).abs() < 1e-3 * stats.variance[1]);
        let weights = random(got.dims(), 5);
        let grads = |y: &Tensor| (y * &weights).unwrap().sum_all().unwrap().backward().unwrap();
        let (got, expected) = (grads(&got), grads(&expected));
        for (what, var) in [("x", &x), ("w", &w), ("gamma", &gamma), ("beta", &beta)] {
            assert_close(got.get(var).unwrap(), expected.get(var).unwrap(), 1e-3, what);
        }
    }
}

#[test]
fn a_residual_layer_that_changes_the_shape_is_an_error() {
    let (x, w, ones) = (random(&[1, 2, 6, 6], 1), random(&[3, 2, 3, 3], 2), random(&[3], 3));
    let steps = Steps { stride: 1, padding: 1, dilation: 1 };
    assert!(layer(&x, &w, (&ones, &ones), steps, false).is_ok());
    assert!(layer(&x, &w, (&ones, &ones), steps, true).is_err());
}
