//! Pictures inside the page.

use std::path::{Path, PathBuf};

use base64::Engine as _;

/// A larger file is encoded anew, so that a report stays small enough to be mailed.
const MAX_BYTES: usize = 400_000;

/// Embeds pictures, and remembers those it could not.
#[derive(Debug)]
pub struct Pictures<'a> {
    /// What relative paths are relative to.
    folder: &'a Path,
    /// Pictures that could not be embedded, and why.
    pub missing: Vec<(PathBuf, String)>,
}

impl<'a> Pictures<'a> {
    /// Pictures of a folder.
    pub fn new(folder: &'a Path) -> Self {
        Self { folder, missing: Vec::new() }
    }

    /// The picture as a data URI, its longer side at most `side` pixels if its file is large; `None`
    /// if it cannot be embedded.
    pub fn embed(&mut self, path: &Path, side: u32) -> Option<String> {
        match load(&self.folder.join(path), side) {
            Ok((kind, bytes)) => {
                let text = base64::engine::general_purpose::STANDARD.encode(bytes);
                Some(format!("data:image/{kind};base64,{text}"))
            }
            Err(reason) => {
                self.missing.push((path.to_path_buf(), reason));
                None
            }
        }
    }
}

fn load(path: &Path, side: u32) -> Result<(&'static str, Vec<u8>), String> {
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    let kind = match bytes.as_slice() {
        [0xff, 0xd8, 0xff, ..] => "jpeg",
        [0x89, b'P', b'N', b'G', ..] => "png",
        _ => return Err("neither JPEG nor PNG".to_string()),
    };
    if bytes.len() <= MAX_BYTES {
        return Ok((kind, bytes));
    }
    let mut picture = image::load_from_memory(&bytes).map_err(|e| e.to_string())?;
    if picture.width().max(picture.height()) > side {
        picture = picture.resize(side, side, image::imageops::FilterType::Triangle);
    }
    let mut small = Vec::new();
    let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut small, 82);
    encoder.encode_image(&picture.to_rgb8()).map_err(|e| e.to_string())?;
    Ok(("jpeg", small))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pictures_shrink_and_missing_ones_are_named() {
        let folder = tempfile::tempdir().unwrap();
        // Noise, which no codec makes small.
        let mut state = 1u32;
        let noise = image::RgbImage::from_fn(800, 400, |_, _| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            image::Rgb([(state >> 24) as u8, (state >> 16) as u8, (state >> 8) as u8])
        });
        noise.save(folder.path().join("noise.png")).unwrap();
        std::fs::write(folder.path().join("text.jpg"), "not a picture").unwrap();
        assert!(folder.path().join("noise.png").metadata().unwrap().len() > MAX_BYTES as u64);
        let mut pictures = Pictures::new(folder.path());
        let uri = pictures.embed(Path::new("noise.png"), 200).unwrap();
        assert!(uri.starts_with("data:image/jpeg;base64,") && uri.len() < 60_000);
        assert_eq!(pictures.embed(Path::new("text.jpg"), 200), None);
        assert_eq!(pictures.embed(Path::new("absent.png"), 200), None);
        let named: Vec<&Path> = pictures.missing.iter().map(|(path, _)| path.as_path()).collect();
        assert_eq!(named, [Path::new("text.jpg"), Path::new("absent.png")]);
    }
}
