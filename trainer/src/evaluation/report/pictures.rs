//! Pictures inside the page.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use video::{Frame, Reader, Resizer, encode_jpeg};

/// A larger file is encoded anew, so that a report stays small enough to be mailed.
const MAX_BYTES: usize = 400_000;

/// JPEG quality of a filmstrip's pictures: enough to see what is going on.
const STRIP_QUALITY: u8 = 60;

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
            Ok((kind, bytes)) => Some(data_uri(kind, &bytes)),
            Err(reason) => {
                self.missing.push((path.to_path_buf(), reason));
                None
            }
        }
    }

    /// `count` frames of a video of `frames` frames, as (frame from 0, data URI of `width` pixels):
    /// the middle ones of equal parts; fewer if it has fewer. `None` if it cannot be read so far.
    pub fn strip(
        &mut self,
        path: &Path,
        frames: usize,
        count: usize,
        width: usize,
    ) -> Option<Vec<(usize, String)>> {
        let count = count.min(frames);
        let wanted: Vec<usize> = (0..count).map(|i| (2 * i + 1) * frames / (2 * count)).collect();
        match strip(&self.folder.join(path), &wanted, width) {
            Ok(strip) => Some(strip),
            Err(reason) => {
                self.missing.push((path.to_path_buf(), reason));
                None
            }
        }
    }
}

/// A picture of this kind (`jpeg`, `png`) as an address that holds it.
pub fn data_uri(kind: &str, bytes: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    format!("data:image/{kind};base64,{text}")
}

/// The wanted frames, in rising order, small.
fn strip(path: &Path, wanted: &[usize], width: usize) -> Result<Vec<(usize, String)>, String> {
    let mut reader = Reader::open(path).map_err(|e| e.to_string())?;
    let info = *reader.info();
    let width = width.min(info.width).max(1);
    let height = (info.height * width / info.width.max(1)).max(1);
    let (mut frame, mut small) = (Frame::default(), Frame::new(width, height));
    let mut resizer = Resizer::new();
    let mut pictures = Vec::with_capacity(wanted.len());
    let mut wanted = wanted.iter().copied().peekable();
    for number in 0.. {
        let Some(next) = wanted.peek() else { break };
        if !reader.read(&mut frame).map_err(|e| e.to_string())? {
            return Err(format!("ends before frame {}", next + 1));
        }
        if number == *next {
            resizer.resize(&frame, &mut small).map_err(|e| e.to_string())?;
            let bytes = encode_jpeg(&small, STRIP_QUALITY).map_err(|e| e.to_string())?;
            pictures.push((number, data_uri("jpeg", &bytes)));
            wanted.next();
        }
    }
    Ok(pictures)
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

    #[test]
    fn a_strip_has_the_middle_frames_of_equal_parts() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("clip")).unwrap();
        for t in 0..10u8 {
            let picture = image::GrayImage::from_pixel(40, 20, image::Luma([t * 20]));
            picture.save(folder.path().join(format!("clip/{t}.png"))).unwrap();
        }
        let mut pictures = Pictures::new(folder.path());
        let strip = pictures.strip(Path::new("clip"), 10, 4, 16).unwrap();
        let frames: Vec<usize> = strip.iter().map(|(frame, _)| *frame).collect();
        assert_eq!(frames, [1, 3, 6, 8]);
        for (frame, uri) in &strip {
            let base64 = uri.strip_prefix("data:image/jpeg;base64,").unwrap();
            let bytes = base64::engine::general_purpose::STANDARD.decode(base64).unwrap();
            let picture = image::load_from_memory(&bytes).unwrap().to_luma8();
            assert_eq!(picture.dimensions(), (16, 8));
            assert!(picture.get_pixel(8, 4).0[0].abs_diff(*frame as u8 * 20) < 4);
        }
        assert_eq!(pictures.strip(Path::new("clip"), 2, 4, 16).unwrap().len(), 2);
        assert!(pictures.strip(Path::new("clip"), 0, 4, 16).unwrap().is_empty());
        // More scores than frames, and no video at all.
        assert_eq!(pictures.strip(Path::new("clip"), 20, 4, 16), None);
        assert_eq!(pictures.strip(Path::new("none.mp4"), 10, 4, 16), None);
        assert!(pictures.missing[0].1.contains("ends before frame 13"), "{:?}", pictures.missing);
        assert_eq!(pictures.missing[1].0, Path::new("none.mp4"));
    }
}
