//! A frame: interleaved 8-bit RGB, the one pixel format past capture.

/// A picture of interleaved 8-bit RGB, row-major, without padding.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frame {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Frame {
    /// A black frame of `width` × `height` pixels.
    pub fn new(width: usize, height: usize) -> Self {
        Self { width, height, rgb: vec![0; width * height * 3] }
    }

    /// A frame from `width * height * 3` bytes of interleaved RGB; `None` if the length differs.
    pub fn from_rgb(width: usize, height: usize, rgb: Vec<u8>) -> Option<Self> {
        (rgb.len() == width * height * 3).then_some(Self { width, height, rgb })
    }

    /// A grey frame from `width * height` luma levels; `None` if the length differs.
    pub fn from_luma(width: usize, height: usize, luma: &[u8]) -> Option<Self> {
        (luma.len() == width * height).then(|| Self {
            width,
            height,
            rgb: luma.iter().flat_map(|&y| [y, y, y]).collect(),
        })
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The pixels, `height * width * 3` bytes.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// The pixels, to be changed in place.
    pub fn rgb_mut(&mut self) -> &mut [u8] {
        &mut self.rgb
    }

    /// Gives the frame another size; the content is unspecified until written. Allocates only when
    /// the frame grows beyond any size it had before.
    pub fn reshape(&mut self, width: usize, height: usize) {
        self.width = width;
        self.height = height;
        self.rgb.resize(width * height * 3, 0);
    }

    /// Writes the luma of each pixel to `out`, which has `width * height` bytes.
    ///
    /// `(77 R + 150 G + 29 B + 128) / 256`, the integer form of ITU-R BT.601; a grey pixel keeps its
    /// level exactly. Host and camera use this one conversion, so both see the same numbers.
    pub fn luma_into(&self, out: &mut [u8]) {
        debug_assert_eq!(out.len(), self.width * self.height);
        for (y, p) in out.iter_mut().zip(self.rgb.chunks_exact(3)) {
            *y = ((77 * p[0] as u32 + 150 * p[1] as u32 + 29 * p[2] as u32 + 128) >> 8) as u8;
        }
    }

    /// The luma of each pixel.
    pub fn luma(&self) -> Vec<u8> {
        let mut out = vec![0; self.width * self.height];
        self.luma_into(&mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luma_of_primaries_and_greys() {
        let frame = Frame::from_rgb(3, 1, vec![255, 0, 0, 0, 255, 0, 0, 0, 255]).unwrap();
        assert_eq!(frame.luma(), [77, 149, 29]);
        let levels: Vec<u8> = (0..=255).collect();
        assert_eq!(Frame::from_luma(256, 1, &levels).unwrap().luma(), levels);
    }

    #[test]
    fn wrong_length_is_refused() {
        assert!(Frame::from_rgb(2, 2, vec![0; 11]).is_none());
        assert!(Frame::from_luma(2, 2, &[0; 5]).is_none());
    }
}
