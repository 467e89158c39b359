//! From the YUV formats of cameras to RGB, with the same result on every processor.
//!
//! In fixed point with 13-bit fractions, rounded to nearest; two pixels share their chroma. Own code rather than a crate: the
//! crates at hand round otherwise in AVX2, in NEON and in plain code, even within one row.

use crate::Frame;

/// Bits of a coefficient's fraction.
const BITS: u32 = 13;
const HALF: i32 = 1 << (BITS - 1);

/// What a camera's luma and chroma mean. The default is the kernel's for cameras: BT.601, limited range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct YuvColour {
    /// Levels from 0 to 255 instead of luma from 16 to 235 and chroma from 16 to 240.
    pub full_range: bool,
    /// The primaries of BT.709 instead of BT.601's.
    pub bt709: bool,
}

/// The factors of a conversion, in fixed point.
#[derive(Debug, Clone, Copy)]
struct Factors {
    /// Luma of black.
    black: i32,
    luma: i32,
    red_v: i32,
    blue_u: i32,
    green_u: i32,
    green_v: i32,
}

impl YuvColour {
    /// Share of red and of blue in luma.
    fn shares(self) -> (f64, f64) {
        if self.bt709 { (0.2126, 0.0722) } else { (0.299, 0.114) }
    }

    /// Luma of black, and by how much luma and chroma are stretched.
    fn range(self) -> (i32, f64, f64) {
        if self.full_range { (0, 1.0, 1.0) } else { (16, 255.0 / 219.0, 255.0 / 224.0) }
    }

    fn factors(self) -> Factors {
        let ((kr, kb), (black, luma, chroma)) = (self.shares(), self.range());
        let kg = 1.0 - kr - kb;
        let fixed = |real: f64| (real * f64::from(1 << BITS)).round() as i32;
        let (red, blue) = (2.0 * (1.0 - kr) * chroma, 2.0 * (1.0 - kb) * chroma);
        Factors {
            black,
            luma: fixed(luma),
            red_v: fixed(red),
            blue_u: fixed(blue),
            green_u: fixed(blue * kb / kg),
            green_v: fixed(red * kr / kg),
        }
    }
}

/// Pairs of pixels that are converted at a time.
const PAIRS: usize = 8;

/// Converts packed 4:2:2 (`Y U Y V`) into `frame`, which takes the size. A row has `stride` bytes, of
/// which `2 * width` count, rounded up to whole pairs of pixels.
///
/// # Panics
/// If a row is longer than `stride`, or the rows longer than `bytes`.
pub fn yuyv_to_rgb(
    bytes: &[u8],
    stride: usize,
    (width, height): (usize, usize),
    colour: YuvColour,
    frame: &mut Frame,
) {
    frame.reshape(width, height);
    let factors = &colour.factors();
    if width == 0 {
        return;
    }
    let row = width.next_multiple_of(2) * 2;
    let out = frame.rgb_mut().chunks_exact_mut(width * 3);
    for (y, out) in out.enumerate() {
        packed_row(factors, &bytes[y * stride..][..row], out);
    }
}

/// Converts a luma plane followed by a plane of interleaved chroma (`U V`) for each 2 × 2 pixels into
/// `frame`, which takes the size. A row of either has `stride` bytes, of which `width` count, rounded
/// up to whole pairs in the second.
///
/// # Panics
/// If a row is longer than `stride`, or the rows longer than `bytes`.
pub fn nv12_to_rgb(
    bytes: &[u8],
    stride: usize,
    (width, height): (usize, usize),
    colour: YuvColour,
    frame: &mut Frame,
) {
    frame.reshape(width, height);
    let factors = &colour.factors();
    if width == 0 {
        return;
    }
    let (luma, chroma) = bytes.split_at(stride * height);
    let out = frame.rgb_mut().chunks_exact_mut(width * 3);
    for (y, out) in out.enumerate() {
        let chroma = &chroma[y / 2 * stride..][..width.next_multiple_of(2)];
        planar_row(factors, &luma[y * stride..][..width], chroma, out);
    }
}

fn packed_row(factors: &Factors, row: &[u8], out: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function is compiled for.
        unsafe { packed_row_avx2(factors, row, out) };
        return;
    }
    packed_row_portable(factors, row, out);
}

/// [`packed_row_portable`] compiled for AVX2: the same integers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn packed_row_avx2(factors: &Factors, row: &[u8], out: &mut [u8]) {
    packed_row_portable(factors, row, out);
}

#[inline(always)]
fn packed_row_portable(factors: &Factors, row: &[u8], out: &mut [u8]) {
    let (blocks, _) = row.as_chunks::<{ 4 * PAIRS }>();
    let (out_blocks, out_rest) = out.as_chunks_mut::<{ 6 * PAIRS }>();
    // Before an odd end the last block of `row` may be full and that of `out` not.
    let rest = &row[4 * PAIRS * out_blocks.len()..];
    for (block, out) in blocks.iter().zip(out_blocks) {
        packed(factors, block, out);
    }
    if !out_rest.is_empty() {
        let (mut block, mut pixels) = ([0; 4 * PAIRS], [0; 6 * PAIRS]);
        block[..rest.len()].copy_from_slice(rest);
        packed(factors, &block, &mut pixels);
        out_rest.copy_from_slice(&pixels[..out_rest.len()]);
    }
}

fn planar_row(factors: &Factors, luma: &[u8], chroma: &[u8], out: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function is compiled for.
        unsafe { planar_row_avx2(factors, luma, chroma, out) };
        return;
    }
    planar_row_portable(factors, luma, chroma, out);
}

/// [`planar_row_portable`] compiled for AVX2: the same integers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn planar_row_avx2(factors: &Factors, luma: &[u8], chroma: &[u8], out: &mut [u8]) {
    planar_row_portable(factors, luma, chroma, out);
}

#[inline(always)]
fn planar_row_portable(factors: &Factors, luma: &[u8], chroma: &[u8], out: &mut [u8]) {
    let (lumas, luma_rest) = luma.as_chunks::<{ 2 * PAIRS }>();
    let (chromas, _) = chroma.as_chunks::<{ 2 * PAIRS }>();
    let (out_blocks, out_rest) = out.as_chunks_mut::<{ 6 * PAIRS }>();
    let chroma_rest = &chroma[2 * PAIRS * out_blocks.len()..];
    for ((luma, chroma), out) in lumas.iter().zip(chromas).zip(out_blocks) {
        planar(factors, luma, chroma, out);
    }
    if !out_rest.is_empty() {
        let (mut luma, mut chroma, mut pixels) = ([0; 2 * PAIRS], [0; 2 * PAIRS], [0; 6 * PAIRS]);
        luma[..luma_rest.len()].copy_from_slice(luma_rest);
        chroma[..chroma_rest.len()].copy_from_slice(chroma_rest);
        planar(factors, &luma, &chroma, &mut pixels);
        out_rest.copy_from_slice(&pixels[..out_rest.len()]);
    }
}

#[inline(always)]
fn packed(factors: &Factors, block: &[u8; 4 * PAIRS], out: &mut [u8; 6 * PAIRS]) {
    let mut parts = [[0; PAIRS]; 4];
    for (i, pair) in block.as_chunks().0.iter().enumerate() {
        let pair = u32::from_le_bytes(*pair);
        parts[0][i] = (pair & 255) as i32;
        parts[1][i] = (pair >> 16 & 255) as i32;
        parts[2][i] = (pair >> 8 & 255) as i32;
        parts[3][i] = (pair >> 24) as i32;
    }
    convert(factors, &parts, out);
}

#[inline(always)]
fn planar(
    factors: &Factors,
    luma: &[u8; 2 * PAIRS],
    chroma: &[u8; 2 * PAIRS],
    out: &mut [u8; 6 * PAIRS],
) {
    let mut parts = [[0; PAIRS]; 4];
    for i in 0..PAIRS {
        let y = u16::from_le_bytes([luma[2 * i], luma[2 * i + 1]]);
        let uv = u16::from_le_bytes([chroma[2 * i], chroma[2 * i + 1]]);
        parts[0][i] = i32::from(y & 255);
        parts[1][i] = i32::from(y >> 8);
        parts[2][i] = i32::from(uv & 255);
        parts[3][i] = i32::from(uv >> 8);
    }
    convert(factors, &parts, out);
}

#[inline(always)]
fn pixel(factors: &Factors, y: i32, red: i32, green: i32, blue: i32) -> u32 {
    let luma = (y - factors.black) * factors.luma + HALF;
    let red = ((luma + red) >> BITS).clamp(0, 255);
    let green = ((luma + green) >> BITS).clamp(0, 255);
    let blue = ((luma + blue) >> BITS).clamp(0, 255);
    (red | green << 8 | blue << 16) as u32
}

/// Converts pairs of pixels: first and second luma, and the chroma that both share.
#[inline(always)]
fn convert(
    factors: &Factors,
    [first, second, us, vs]: &[[i32; PAIRS]; 4],
    out: &mut [u8; 6 * PAIRS],
) {
    let (mut even, mut odd) = ([0u32; PAIRS], [0u32; PAIRS]);
    for i in 0..PAIRS {
        let (u, v) = (us[i] - 128, vs[i] - 128);
        let (red, blue) = (v * factors.red_v, u * factors.blue_u);
        let green = -u * factors.green_u - v * factors.green_v;
        even[i] = pixel(factors, first[i], red, green, blue);
        odd[i] = pixel(factors, second[i], red, green, blue);
    }
    // Four bytes at once, of which the last is overwritten by the next pixel.
    for i in 0..PAIRS - 1 {
        out[6 * i..6 * i + 4].copy_from_slice(&even[i].to_le_bytes());
        out[6 * i + 3..6 * i + 7].copy_from_slice(&odd[i].to_le_bytes());
    }
    let i = PAIRS - 1;
    out[6 * i..6 * i + 4].copy_from_slice(&even[i].to_le_bytes());
    out[6 * i + 3..].copy_from_slice(&odd[i].to_le_bytes()[..3]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, in floating point.
    fn exact(colour: YuvColour, y: u8, u: u8, v: u8) -> [f64; 3] {
        let ((kr, kb), (black, stretch, chroma)) = (colour.shares(), colour.range());
        let (luma, kg) = ((f64::from(y) - f64::from(black)) * stretch, 1.0 - kr - kb);
        let (u, v) = ((f64::from(u) - 128.0) * chroma, (f64::from(v) - 128.0) * chroma);
        let blue = 2.0 * (1.0 - kb) * u;
        let red = 2.0 * (1.0 - kr) * v;
        [luma + red, luma - (kb * blue + kr * red) / kg, luma + blue]
    }

    #[test]
    fn every_colour_is_the_definition_rounded() {
        let mut frame = Frame::default();
        let colours = [(false, false), (false, true), (true, false), (true, true)];
        let colours = colours.map(|(full_range, bt709)| YuvColour { full_range, bt709 });
        let levels: Vec<(i32, i32)> =
            (0..=255).step_by(5).flat_map(|u| (0..=255).step_by(3).map(move |v| (u, v))).collect();
        for (colour, (u, v)) in colours.iter().flat_map(|c| levels.iter().map(move |l| (*c, *l))) {
            let row: Vec<u8> =
                (0..128).flat_map(|i| [2 * i, u as u8, 2 * i + 1, v as u8]).collect();
            yuyv_to_rgb(&row, row.len(), (256, 1), colour, &mut frame);
            for (y, pixel) in frame.rgb().chunks_exact(3).enumerate() {
                let expected = exact(colour, y as u8, u as u8, v as u8);
                for (found, expected) in pixel.iter().zip(expected) {
                    let off = (f64::from(*found) - expected.clamp(0.0, 255.0)).abs();
                    assert!(off < 0.53, "{colour:?} {y} {u} {v}: {pixel:?} for {expected}");
                }
            }
        }
    }

    #[test]
    fn every_processor_converts_the_same_and_both_formats_agree() {
        let level = |i: usize| (i * 89 % 256) as u8;
        let factors = &YuvColour::default().factors();
        for width in [1usize, 2, 31, 32, 33, 64, 95, 641] {
            let pairs = width.div_ceil(2);
            let luma: Vec<u8> = (0..2 * pairs).map(level).collect();
            let chroma: Vec<u8> = (0..2 * pairs).map(|i| level(i * 7 + 3)).collect();
            let packed: Vec<u8> = luma
                .chunks_exact(2)
                .zip(chroma.chunks_exact(2))
                .flat_map(|(y, c)| [y[0], c[0], y[1], c[1]])
                .collect();
            let mut rows = [(); 4].map(|()| vec![0; 3 * width]);
            packed_row(factors, &packed, &mut rows[0]);
            packed_row_portable(factors, &packed, &mut rows[1]);
            planar_row(factors, &luma[..width], &chroma, &mut rows[2]);
            planar_row_portable(factors, &luma[..width], &chroma, &mut rows[3]);
            assert!(rows.iter().all(|row| *row == rows[0]), "{width}");
        }
    }
}
