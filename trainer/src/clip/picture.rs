//! Reading a picture for CLIP: what is transparent becomes white, as in transformers.

use std::path::Path;

use video::Frame;

/// Reads a PNG, JPEG, BMP, TIFF or PNM file as RGB; transparency is laid over white, with Pillow's
/// rounding (`alpha_composite`).
///
/// # Errors
/// [`video::Error`] naming the file.
pub fn read_picture(path: &Path) -> Result<Frame, video::Error> {
    let mut frame = video::read_image(path)?;
    let unreadable = |reason: String| video::Error::Unreadable { path: path.into(), reason };
    let bytes =
        std::fs::read(path).map_err(|source| video::Error::Io { path: path.into(), source })?;
    let picture = image::load_from_memory(&bytes).map_err(|e| unreadable(e.to_string()))?;
    if !picture.color().has_alpha() {
        return Ok(frame);
    }
    for (rgb, pixel) in frame.rgb_mut().chunks_exact_mut(3).zip(picture.into_rgba8().pixels()) {
        let [red, green, blue, alpha] = pixel.0;
        for (out, level) in rgb.iter_mut().zip([red, green, blue]) {
            *out = over_white(level, alpha);
        }
    }
    Ok(frame)
}

/// A level over white, in steps of 1/128 with a rounded division by 255.
fn over_white(level: u8, alpha: u8) -> u8 {
    let (level, alpha) = (u32::from(level), u32::from(alpha));
    let sum = (level * alpha + 255 * (255 - alpha)) * 128 + (0x80 << 7);
    ((((sum >> 8) + sum) >> 8) >> 7).min(255) as u8
}

#[cfg(test)]
mod tests {
    use super::over_white;

    #[test]
    fn transparency_shows_white() {
        assert_eq!([over_white(7, 255), over_white(7, 0)], [7, 255]);
        assert_eq!(over_white(0, 128), 127);
    }
}
