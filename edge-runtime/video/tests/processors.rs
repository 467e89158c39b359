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
    check(
        &found,
        &[
            ("320x240 to 112x112", 0x162c_0b24_796c_ce0b),
            ("321x243 to 160x120", 0xd5e3_bc4a_ba8b_2a1d),
            ("97x65 to 224x224", 0x7317_dc6b_a40c_b907),
            ("1280x719 to 227x161", 0x31fc_6416_6863_2d8f),
            ("33x17 to 1x1", 0x3dd2_d718_141f_0539),
        ],
    );
}

#[test]
fn luma() {
    let mut found = Vec::new();
    for (width, height) in [(320, 240), (97, 65), (7, 5)] {
        found.push((format!("{width}x{height}"), digest(&picture(width, height, 1).luma())));
    }
    check(
        &found,
        &[
            ("320x240", 0x3e38_1976_426c_28aa),
            ("97x65", 0x9bd2_274c_fe12_5099),
            ("7x5", 0x7fbe_6a6f_94cc_6c3e),
        ],
    );
}

#[test]
fn jpeg_encoding() {
    let mut found = Vec::new();
    for (width, height, quality) in [(320, 240, 85), (97, 65, 50), (97, 65, 100), (7, 5, 90)] {
        let jpeg = encode_jpeg(&picture(width, height, 2), quality).unwrap();
        found.push((format!("{width}x{height} quality {quality}"), digest(&jpeg)));
    }
    check(
        &found,
        &[
            ("320x240 quality 85", 0x8a54_1cc5_e10a_a278),
            ("97x65 quality 50", 0x27ba_03e7_2d53_3fa3),
            ("97x65 quality 100", 0xb409_a23c_9270_1f34),
            ("7x5 quality 90", 0x4577_b8e4_4f9b_d878),
        ],
    );
}

/// Baseline with every subsampling, progressive, grey, coarsely quantized, smaller than a block.
#[test]
fn jpeg_decoding() {
    let mut found = Vec::new();
    for name in ["444", "422", "420", "progressive", "coarse", "grey", "small"] {
        let frame = read_image(&golden(&format!("{name}.jpg"))).unwrap();
        found.push((name.into(), digest(frame.rgb())));
    }
    check(
        &found,
        &[
            ("444", 0xa984_ac49_2622_4311),
            ("422", 0xd14e_5fab_a4f2_e40a),
            ("420", 0x76d0_96b1_d903_fb8c),
            ("progressive", 0x68e0_65f0_33eb_d4b9),
            ("coarse", 0xf50f_88fc_feba_e30d),
            ("grey", 0xf4b2_82fb_b020_deae),
            ("small", 0x74a8_6021_3985_983e),
        ],
    );
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
    check(
        &[("deep".into(), digest(read_image(&path).unwrap().rgb()))],
        &[("deep", 0x9916_1b93_c263_33c1)],
    );
}

/// From packed and from planar YUV, with rows longer than the picture.
#[test]
fn camera_formats() {
    let mut found = Vec::new();
    let mut frame = Frame::default();
    for (width, height) in [(320, 240), (97, 65), (31, 3), (1, 1)] {
        let stride = 2 * width + 6;
        let byte = |i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8;
        let bytes: Vec<u8> = (0..(stride * height * 2) as u32).map(byte).collect();
        let colour = video::YuvColour::default();
        video::yuyv_to_rgb(&bytes, stride, (width, height), colour, &mut frame);
        found.push((format!("yuyv {width}x{height}"), digest(frame.rgb())));
        video::nv12_to_rgb(&bytes, stride, (width, height), colour, &mut frame);
        found.push((format!("nv12 {width}x{height}"), digest(frame.rgb())));
    }
    check(
        &found,
        &[
            ("yuyv 320x240", 0xbf7e_1b3e_2a64_e133),
            ("nv12 320x240", 0xcb08_d1e6_0f27_b5bb),
            ("yuyv 97x65", 0x1fc3_1a61_05ba_8043),
            ("nv12 97x65", 0x801a_e3a9_083b_ce57),
            ("yuyv 31x3", 0xd4d5_1ddb_7871_2e94),
            ("nv12 31x3", 0x3640_6a7e_1a85_3519),
            ("yuyv 1x1", 0x9310_ad19_6647_17f6),
            ("nv12 1x1", 0xadfe_7c18_5388_9983),
        ],
    );
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
        decode(
            &names,
            &[
                ("h264.mp4", 0x944d_4ed9_e66f_2fc3),
                ("h264-709.mp4", 0x926e_d1d5_a366_c8d9),
                ("h264-full.mkv", 0xeaea_ff74_aec3_80e8),
                ("h264-ten.mp4", 0x8517_a94e_82f9_ef07),
                ("h264-444.mp4", 0x6716_a7eb_9c63_d7b1),
            ],
        );
    }

    #[test]
    fn hevc() {
        decode(
            &["hevc.mp4", "hevc-ten.mkv"],
            &[("hevc.mp4", 0x6f08_f065_4654_227c), ("hevc-ten.mkv", 0x9c7b_7385_d64a_3629)],
        );
    }

    /// The second with the user data by which Xvid's streams are known: they have a transform of
    /// their own.
    #[test]
    fn mpeg4() {
        decode(
            &["mpeg4.avi", "xvid.avi"],
            &[("mpeg4.avi", 0x59e9_0cd6_fae3_dba4), ("xvid.avi", 0x96de_9a84_5b80_07f4)],
        );
    }

    #[test]
    fn mjpeg() {
        decode(&["mjpeg.avi"], &[("mjpeg.avi", 0xf66d_6c64_458d_c0fb)]);
    }

    #[test]
    fn vp9() {
        decode(&["vp9.webm"], &[("vp9.webm", 0xf94b_eda3_8770_ec83)]);
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
