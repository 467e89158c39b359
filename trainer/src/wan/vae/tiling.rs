//! Encoding and decoding in overlapping tiles, for pictures that do not fit the device's memory.
//!
//! Tiles are cut, blended and cropped as diffusers does with `enable_tiling`, quirks included: tiles of
//! the encoder are measured in stacked pixels, so that with a patch size of two they show twice as much.
//! A tile does not see its surroundings, so the result differs from that of the whole, mostly near seams.

use candle_core::{Device, Tensor};

use super::{CHUNK, Chunks, Vae};
use crate::wan::error::Result;

/// Sizes of tiles in pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiling {
    /// Side of a tile.
    pub size: usize,
    /// Distance of a tile to the next; the rest is overlap, over which they are blended.
    pub stride: usize,
}

impl Default for Tiling {
    /// diffusers' sizes.
    fn default() -> Self {
        Self { size: 256, stride: 192 }
    }
}

impl Tiling {
    /// Whether a picture is larger than a tile.
    pub(super) fn needed(&self, height: usize, width: usize) -> bool {
        height > self.size || width > self.size
    }
}

/// Sizes of the tiles that go in and of those that come out, in their own units.
struct Tiles {
    size: usize,
    stride: usize,
    out_size: usize,
    out_stride: usize,
    /// Size of the result.
    out: (usize, usize),
}

impl Tiles {
    /// Runs `f` on each tile of `x` `[f, c, h, w]` and puts the results together.
    fn each(&self, x: &Tensor, mut f: impl FnMut(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let (_, _, height, width) = x.dims4()?;
        let overlap = self.out_size.saturating_sub(self.out_stride);
        let mut above: Vec<Tensor> = Vec::new();
        let mut strips = Vec::new();
        for top in (0..height).step_by(self.stride) {
            let rows = x.narrow(2, top, self.size.min(height - top))?;
            let mut row: Vec<Tensor> = Vec::new();
            for left in (0..width).step_by(self.stride) {
                let tile = rows.narrow(3, left, self.size.min(width - left))?.contiguous()?;
                let mut tile = f(&tile)?;
                if let Some(above) = above.get(row.len()) {
                    tile = blend(above, &tile, 2, overlap)?;
                }
                if let Some(before) = row.last() {
                    tile = blend(before, &tile, 3, overlap)?;
                }
                row.push(tile);
            }
            let crop = |tile: &Tensor| {
                let (_, _, h, w) = tile.dims4()?;
                let tile = tile.narrow(2, 0, h.min(self.out_stride))?;
                tile.narrow(3, 0, w.min(self.out_stride))
            };
            let cropped: Vec<Tensor> = row.iter().map(crop).collect::<candle_core::Result<_>>()?;
            strips.push(Tensor::cat(&cropped, 3)?);
            above = row;
        }
        let whole = Tensor::cat(&strips, 2)?;
        let (_, _, h, w) = whole.dims4()?;
        let whole = whole.narrow(2, 0, h.min(self.out.0))?.narrow(3, 0, w.min(self.out.1))?;
        Ok(whole.contiguous()?)
    }

    /// How many tiles there are.
    fn count(&self, height: usize, width: usize) -> usize {
        height.div_ceil(self.stride) * width.div_ceil(self.stride)
    }
}

/// Fades the first `extent` rows or columns of `b` in over the last ones of `a`.
fn blend(a: &Tensor, b: &Tensor, axis: usize, extent: usize) -> Result<Tensor> {
    let (long_a, long_b) = (a.dim(axis)?, b.dim(axis)?);
    let extent = extent.min(long_a).min(long_b);
    if extent == 0 {
        return Ok(b.clone());
    }
    let ramp: Vec<f32> = (0..extent).map(|i| i as f32 / extent as f32).collect();
    let shape = if axis == 2 { (1, 1, extent, 1) } else { (1, 1, 1, extent) };
    let ramp = Tensor::from_vec(ramp, shape, b.device())?;
    let old = a.narrow(axis, long_a - extent, extent)?.broadcast_mul(&(1.0 - &ramp)?)?;
    let new = b.narrow(axis, 0, extent)?.broadcast_mul(&ramp)?;
    let rest = b.narrow(axis, extent, long_b - extent)?;
    Ok(Tensor::cat(&[(old + new)?, rest], axis)?)
}

impl Vae {
    /// `[f, in_channels, h, w]` → mean of the latents.
    pub(super) fn encode_tiles(
        &self,
        x: &Tensor,
        tiling: &Tiling,
        chunks: Chunks<'_>,
    ) -> Result<Tensor> {
        let (frames, _, height, width) = x.dims4()?;
        let factor = self.config.spatial_factor / self.config.patch;
        let tiles = Tiles {
            size: tiling.size,
            stride: tiling.stride,
            out_size: tiling.size / factor,
            out_stride: tiling.stride / factor,
            out: (height / factor, width / factor),
        };
        let each = 1 + (frames - 1) / CHUNK;
        let total = each * tiles.count(height, width);
        let mut tile = 0;
        tiles.each(x, |x| {
            let latents = self.encode_whole(x, &mut |done| chunks(tile * each + done, total))?;
            tile += 1;
            Ok(latents.to_device(&Device::Cpu)?)
        })
    }

    /// `[latent frames, z_dim, h, w]` → the video, its pixels still stacked.
    pub(super) fn decode_tiles(
        &self,
        latents: &Tensor,
        tiling: &Tiling,
        chunks: Chunks<'_>,
    ) -> Result<Tensor> {
        let (frames, _, height, width) = latents.dims4()?;
        let (factor, patch) = (self.config.spatial_factor, self.config.patch);
        let tiles = Tiles {
            size: tiling.size / factor,
            stride: (tiling.stride / factor).max(1),
            out_size: tiling.size / patch,
            out_stride: tiling.stride / patch,
            out: (height * factor / patch, width * factor / patch),
        };
        let total = frames * tiles.count(height, width);
        let mut tile = 0;
        tiles.each(latents, |z| {
            let video = self.decode_whole(z, &mut |done| chunks(tile * frames + done, total))?;
            tile += 1;
            Ok(video)
        })
    }
}
