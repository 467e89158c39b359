//! The given picture as the model sees it: Pillow's Lanczos resize, then -1 to 1.
//!
//! The reference resizes with Pillow, whose arithmetic on 8-bit pictures is fixed point in two passes
//! with 8 bits between them; this is the same, bit for bit. (`video::Resizer` is the camera's, with a
//! triangle filter.)

use candle_core::{Device, Tensor};
use video::Frame;

use super::error::Result;

/// Lobes of the Lanczos filter.
const LOBES: f64 = 3.0;
/// Bits of a weight's fraction in Pillow: 32 less 8 of the pixel and 2 of overflow.
const WEIGHT_BITS: u32 = 22;

/// `[3, height, width]` from -1 to 1, the picture stretched to this size.
///
/// # Errors
/// What the tensor library said.
pub fn preprocess(picture: &Frame, width: usize, height: usize) -> Result<Tensor> {
    let resized = resize(picture, width, height);
    let pixels = resized.rgb();
    let mut values = Vec::with_capacity(pixels.len());
    for channel in 0..3 {
        let channel = pixels.iter().skip(channel).step_by(3);
        values.extend(channel.map(|&p| 2.0 * (f32::from(p) / 255.0) - 1.0));
    }
    Ok(Tensor::from_vec(values, (3, height, width), &Device::Cpu)?)
}

/// Pillow's `resize` with `LANCZOS`, of release 13.
///
/// Between the passes there are 8 bits, so their order shows in single levels. Release 13 begins with the
/// rows if that takes away more than twice as many as columns go (found by trying sizes: 380 of 380
/// agree); releases before it always begin with the columns.
fn resize(picture: &Frame, width: usize, height: usize) -> Frame {
    let less = |from: usize, to: usize| from as i64 - to as i64;
    let rows = less(picture.height(), height);
    if rows > 0 && rows > 2 * less(picture.width(), width) {
        resize_columns(&resize_rows(picture, height), width)
    } else {
        resize_rows(&resize_columns(picture, width), height)
    }
}

/// Another width.
fn resize_columns(picture: &Frame, width: usize) -> Frame {
    if width == picture.width() {
        return picture.clone();
    }
    let taps = Taps::new(picture.width(), width);
    let mut out = Frame::new(width, picture.height());
    let rows = out.rgb_mut().chunks_exact_mut(width * 3);
    for (to, from) in rows.zip(picture.rgb().chunks_exact(picture.width() * 3)) {
        for (pixel, (first, weights)) in to.chunks_exact_mut(3).zip(&taps.0) {
            for (c, value) in pixel.iter_mut().enumerate() {
                *value = weigh(weights, |i| from[(first + i) * 3 + c]);
            }
        }
    }
    out
}

/// Another height.
fn resize_rows(picture: &Frame, height: usize) -> Frame {
    if height == picture.height() {
        return picture.clone();
    }
    let taps = Taps::new(picture.height(), height);
    let stride = picture.width() * 3;
    let mut out = Frame::new(picture.width(), height);
    for (to, (first, weights)) in out.rgb_mut().chunks_exact_mut(stride).zip(&taps.0) {
        for (x, value) in to.iter_mut().enumerate() {
            *value = weigh(weights, |i| picture.rgb()[(first + i) * stride + x]);
        }
    }
    out
}

fn weigh(weights: &[i32], pixel: impl Fn(usize) -> u8) -> u8 {
    let sum: i32 = weights.iter().enumerate().map(|(i, w)| w * i32::from(pixel(i))).sum();
    ((sum + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS).clamp(0, 255) as u8
}

/// First source pixel and weights of each destination pixel.
struct Taps(Vec<(usize, Vec<i32>)>);

impl Taps {
    fn new(from: usize, to: usize) -> Self {
        let scale = from as f64 / to as f64;
        // Shrinking widens the filter to the area of a destination pixel.
        let stretch = scale.max(1.0);
        let support = LOBES * stretch;
        let taps = |i: usize| {
            let centre = (i as f64 + 0.5) * scale;
            let first = ((centre - support + 0.5).max(0.0)) as usize;
            let last = ((centre + support + 0.5) as usize).min(from);
            let weight = |x: usize| lanczos((x as f64 - centre + 0.5) / stretch);
            let weights: Vec<f64> = (first..last).map(weight).collect();
            let total: f64 = weights.iter().sum();
            let fixed = |w: &f64| {
                let w = if total == 0.0 { *w } else { w / total } * f64::from(1 << WEIGHT_BITS);
                (w + 0.5f64.copysign(w)) as i32
            };
            (first, weights.iter().map(fixed).collect())
        };
        Self((0..to).map(taps).collect())
    }
}

fn lanczos(x: f64) -> f64 {
    if (-LOBES..LOBES).contains(&x) { sinc(x) * sinc(x / LOBES) } else { 0.0 }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * std::f64::consts::PI;
    x.sin() / x
}
