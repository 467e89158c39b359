//! The same pixels on every processor.
//!
//! Libraries choose faster code by what the processor has; each of these tests gives a name to what
//! was computed and compares a digest of it with the one written here. `cargo xtask processors` runs
//! this program as if on other processors.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use video::{Frame, Resizer, encode_jpeg, read_image};

/// FNV-1a, 64 bits.
fn digest(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Fails with all that differs, as lines that can be pasted.
fn check(found: &[(String, u64)], expected: &[(&str, u64)]) {
    let line = |(name, hash): &(String, u64)| format!("(\"{name}\", {hash:#018x}),");
    let differs = |pair: &&(String, u64)| !expected.contains(&(pair.0.as_str(), pair.1));
    let wrong: Vec<String> = found.iter().filter(differs).map(line).collect();
    assert!(wrong.is_empty(), "other pixels than on other processors:\n{}", wrong.join("\n"));
    assert_eq!(found.len(), expected.len());
}

/// Slopes, edges and noise, from integers alone.
fn picture(width: usize, height: usize, t: usize) -> Frame {
    let mut frame = Frame::new(width, height);
    for (i, pixel) in frame.rgb_mut().chunks_exact_mut(3).enumerate() {
        let (x, y) = (i % width, i / width);
        let seed = (x * 31 + y * 57 + t * 13) as u32;
        let noise = (seed.wrapping_mul(2_654_435_761) >> 24) as usize % 48;
        pixel[0] = (x * 2 + noise) as u8;
        pixel[1] = (y * 3 + t * 9 + noise / 2) as u8;
        pixel[2] = if (x / 7 + y / 5) % 2 == 1 { 230 - noise } else { 20 + noise } as u8;
    }
    frame
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

#[test]
fn resize() {
    let mut found = Vec::new();
    for (from, to) in [
        ((320, 240), (112, 112)),
        ((321, 243), (160, 120)),
        ((97, 65), (224, 224)),
        ((1280, 719), (227, 161)),
        ((33, 17), (1, 1)),
    ] {
        let mut out = Frame::new(to.0, to.1);
        Resizer::new().resize(&picture(from.0, from.1, 0), &mut out).unwrap();
        found.push((format!("{}x{} to {}x{}", from.0, from.1, to.0, to.1), digest(out.rgb())));
    }
    check(&found, &[]);
}

#[test]
fn luma() {
    let mut found = Vec::new();
    for (width, height) in [(320, 240), (97, 65), (7, 5)] {
        found.push((format!("{width}x{height}"), digest(&picture(width, height, 1).luma())));
    }
    check(&found, &[]);
}

#[test]
fn jpeg_encoding() {
    let mut found = Vec::new();
    for (width, height, quality) in [(320, 240, 85), (97, 65, 50), (97, 65, 100), (7, 5, 90)] {
        let jpeg = encode_jpeg(&picture(width, height, 2), quality).unwrap();
        found.push((format!("{width}x{height} quality {quality}"), digest(&jpeg)));
    }
    check(&found, &[]);
}

/// Baseline with every subsampling, progressive, grey, coarsely quantized, smaller than a block.
#[test]
fn jpeg_decoding() {
    let mut found = Vec::new();
    for name in ["444", "422", "420", "progressive", "coarse", "grey", "small"] {
        let frame = read_image(&golden(&format!("{name}.jpg"))).unwrap();
        found.push((name.into(), digest(frame.rgb())));
    }
    check(&found, &[]);
}

/// 16-bit levels are reduced to 8.
#[test]
fn deep_png() {
    let levels: Vec<u16> = (0..97 * 65 * 3).map(|i: u32| (i * 40_503) as u16).collect();
    let picture: image::ImageBuffer<image::Rgb<u16>, _> =
        image::ImageBuffer::from_raw(97, 65, levels).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep.png");
    picture.save(&path).unwrap();
    check(&[("deep".into(), digest(read_image(&path).unwrap().rgb()))], &[]);
}

#[cfg(feature = "ffmpeg")]
mod clips {
    use video::{Reader, Writer};

    use super::*;

    fn decoded(path: &Path) -> Vec<u8> {
        let mut reader = Reader::open(path).unwrap();
        let (mut frame, mut pixels) = (Frame::default(), Vec::new());
        while reader.read(&mut frame).unwrap() {
            pixels.extend_from_slice(frame.rgb());
        }
        assert_eq!(pixels.len(), 6 * frame.rgb().len(), "{}", path.display());
        pixels
    }

    fn decode(names: &[&str], expected: &[(&str, u64)]) {
        let digest = |name: &&str| ((*name).to_owned(), digest(&decoded(&golden(name))));
        check(&names.iter().map(digest).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn h264() {
        let names = ["h264.mp4", "h264-709.mp4", "h264-full.mkv", "h264-ten.mp4", "h264-444.mp4"];
        decode(&names, &[]);
    }

    #[test]
    fn hevc() {
        decode(&["hevc.mp4", "hevc-ten.mkv"], &[]);
    }

    /// The second with the user data by which Xvid's streams are known: they have a transform of
    /// their own.
    #[test]
    fn mpeg4() {
        decode(&["mpeg4.avi", "xvid.avi"], &[]);
    }

    #[test]
    fn mjpeg() {
        decode(&["mjpeg.avi"], &[]);
    }

    #[test]
    fn vp9() {
        decode(&["vp9.webm"], &[]);
    }

    /// What the encoder writes depends on its version, so it is printed; `cargo xtask processors`
    /// compares what each processor prints.
    #[test]
    fn written_video() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clip.mp4");
        let mut writer = Writer::create(&path, 320, 240, 10.0).unwrap();
        for t in 0..12 {
            writer.write(&picture(320, 240, t)).unwrap();
        }
        writer.finish().unwrap();
        println!("digest written-video {:#018x}", digest(&std::fs::read(&path).unwrap()));
    }
}
