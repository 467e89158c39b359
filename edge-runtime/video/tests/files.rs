//! Video files and folders of images, written and read back.
#![cfg(feature = "ffmpeg")]
// Helpers outside of `#[test]` functions are not covered by `allow-unwrap-in-tests`.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use video::{Error, Frame, Reader, Resizer, Writer, list_clips, read_image};

const WIDTH: usize = 96;
const HEIGHT: usize = 64;

/// A grey picture with a bright square that moves with `t`; detailed enough to take bytes.
fn picture(t: usize) -> Frame {
    let mut luma = vec![0; WIDTH * HEIGHT];
    for (i, level) in luma.iter_mut().enumerate() {
        let (x, y) = (i % WIDTH, i / WIDTH);
        let square = (t % 64..t % 64 + 16).contains(&x) && (20..36).contains(&y);
        *level = if square { 230 } else { (40 + (x * 7 + y * 13) % 60) as u8 };
    }
    Frame::from_luma(WIDTH, HEIGHT, &luma).unwrap()
}

fn write(path: &Path, frames: usize) {
    let mut writer = Writer::create(path, WIDTH, HEIGHT, 12.5).unwrap();
    for t in 0..frames {
        writer.write(&picture(t)).unwrap();
    }
    writer.finish().unwrap();
}

/// Reads to the end; the frames read and the error it ended with.
fn read_all(path: &Path) -> (Vec<Frame>, Option<Error>) {
    let mut frames = Vec::new();
    let mut reader = match Reader::open(path) {
        Ok(reader) => reader,
        Err(error) => return (frames, Some(error)),
    };
    let mut frame = Frame::default();
    loop {
        match reader.read(&mut frame) {
            Ok(true) => frames.push(frame.clone()),
            Ok(false) => return (frames, None),
            Err(error) => return (frames, Some(error)),
        }
    }
}

fn difference(a: &Frame, b: &Frame) -> f64 {
    let sum: u64 = a.rgb().iter().zip(b.rgb()).map(|(a, b)| a.abs_diff(*b) as u64).sum();
    sum as f64 / a.rgb().len() as f64
}

#[test]
fn what_is_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["clip.mp4", "clip.mkv", "clip.mov"] {
        let path = dir.path().join(name);
        write(&path, 40);
        let reader = Reader::open(&path).unwrap();
        let info = *reader.info();
        assert_eq!((info.width, info.height), (WIDTH, HEIGHT), "{name}");
        assert!((info.frame_rate - 12.5).abs() < 1e-3, "{name}: {}", info.frame_rate);
        if name != "clip.mkv" {
            assert_eq!(info.frames, Some(40), "{name}");
        }
        let (frames, error) = read_all(&path);
        assert!(error.is_none(), "{name}: {error:?}");
        assert_eq!(frames.len(), 40, "{name}");
        for (t, frame) in frames.iter().enumerate() {
            assert!(difference(frame, &picture(t)) < 3.0, "{name} frame {t}");
            assert!(
                frame.rgb().chunks_exact(3).all(|p| p[0] == p[1] && p[1] == p[2]),
                "{name} frame {t}: grey did not stay grey"
            );
        }
    }
}

#[test]
fn grey_levels_survive_the_conversion() {
    let dir = tempfile::tempdir().unwrap();
    for level in [16, 60, 128, 235, 255] {
        let path = dir.path().join(format!("{level}.mp4"));
        let flat = Frame::from_luma(WIDTH, HEIGHT, &[level; WIDTH * HEIGHT]).unwrap();
        let mut writer = Writer::create(&path, WIDTH, HEIGHT, 10.0).unwrap();
        writer.write(&flat).unwrap();
        writer.finish().unwrap();
        let (frames, error) = read_all(&path);
        assert!(error.is_none(), "{error:?}");
        assert_eq!(frames.len(), 1);
        // Limited range has 220 levels, so a level may move by one.
        assert!(difference(&frames[0], &flat) <= 1.01, "{level}: {:?}", &frames[0].rgb()[..3]);
    }
}

#[test]
fn colours_survive_the_conversion() {
    let dir = tempfile::tempdir().unwrap();
    for (i, rgb) in [[200, 40, 40], [40, 180, 60], [50, 60, 210]].into_iter().enumerate() {
        let path = dir.path().join(format!("{i}.mp4"));
        let flat = Frame::from_rgb(WIDTH, HEIGHT, rgb.repeat(WIDTH * HEIGHT)).unwrap();
        let mut writer = Writer::create(&path, WIDTH, HEIGHT, 10.0).unwrap();
        writer.write(&flat).unwrap();
        writer.finish().unwrap();
        let (frames, error) = read_all(&path);
        assert!(error.is_none(), "{error:?}");
        for (found, expected) in frames[0].rgb().chunks_exact(3).zip(flat.rgb().chunks_exact(3)) {
            let off = (0..3).map(|c| found[c].abs_diff(expected[c])).max();
            assert!(off <= Some(4), "{found:?} instead of {expected:?}");
        }
    }
}

#[test]
fn readers_and_writers_can_move_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Reader>();
    is_send::<Writer>();
}

#[test]
fn the_same_frames_give_the_same_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.mp4");
    write(&path, 10);
    let first = std::fs::read(&path).unwrap();
    // Often, and with the heap in different states: an encoder that depends on them differs only
    // now and then.
    for run in 0..20 {
        let holes: Vec<Vec<u8>> = (0..20).map(|i| vec![run; 40_000 + 100 * i]).collect();
        drop(std::hint::black_box(holes));
        write(&path, 10);
        assert!(std::fs::read(&path).unwrap() == first, "run {run} wrote another file");
    }
}

#[test]
fn sizes_that_cannot_be_written_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.mp4");
    for (w, h, rate) in [(95, 64, 10.0), (96, 63, 10.0), (0, 64, 10.0), (96, 64, f64::NAN)] {
        assert!(matches!(Writer::create(&path, w, h, rate), Err(Error::Size { .. })));
    }
    let mut writer = Writer::create(&path, WIDTH, HEIGHT, 10.0).unwrap();
    assert!(matches!(writer.write(&Frame::new(2, 2)), Err(Error::Size { .. })));
    let nowhere = dir.path().join("no/folder/a.mp4");
    assert!(matches!(Writer::create(&nowhere, 96, 64, 10.0), Err(Error::Write { .. })));
}

#[test]
fn a_missing_file_is_its_own_error() {
    let path = Path::new("/nowhere/clip.mp4");
    let error = Reader::open(path).err().unwrap();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    assert!(error.to_string().contains("/nowhere/clip.mp4"));
    assert!(matches!(list_clips(path), Err(Error::Missing { .. })));
    assert!(matches!(read_image(Path::new("/nowhere/1.png")), Err(Error::Missing { .. })));
}

/// The file cut to a part of its length.
fn cut(path: &Path, length: usize) -> PathBuf {
    let bytes = std::fs::read(path).unwrap();
    let name = format!("cut{length}.{}", path.extension().unwrap().to_string_lossy());
    let out = path.with_file_name(name);
    std::fs::write(&out, &bytes[..length]).unwrap();
    out
}

#[test]
fn a_file_without_its_index_is_unreadable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clip.mp4");
    write(&path, 40);
    let half = cut(&path, std::fs::metadata(&path).unwrap().len() as usize / 2);
    let error = Reader::open(&half).err().unwrap();
    assert!(matches!(error, Error::Unreadable { .. }), "{error}");
    assert!(error.to_string().contains(half.to_str().unwrap()), "{error}");
    let garbage = dir.path().join("garbage.mp4");
    std::fs::write(&garbage, vec![0x55; 5000]).unwrap();
    assert!(matches!(Reader::open(&garbage), Err(Error::Unreadable { .. })));
    std::fs::write(&garbage, []).unwrap();
    assert!(matches!(Reader::open(&garbage), Err(Error::Unreadable { .. })));
}

/// An MP4 whose index comes first, as files for streaming have it: `moov` moved before `mdat` and
/// its chunk offsets raised by its own length.
fn index_first(path: &Path) -> PathBuf {
    let bytes = std::fs::read(path).unwrap();
    let mut boxes = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let size = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        boxes.push((bytes[at + 4..at + 8].to_vec(), bytes[at..at + size].to_vec()));
        at += size;
    }
    let moov = boxes.iter().position(|(kind, _)| kind == b"moov").unwrap();
    let mut moov = boxes.remove(moov).1;
    let stco = moov.windows(4).position(|w| w == b"stco").unwrap();
    let count = u32::from_be_bytes(moov[stco + 8..stco + 12].try_into().unwrap()) as usize;
    let shift = moov.len() as u32;
    for i in 0..count {
        let at = stco + 12 + 4 * i;
        let offset = u32::from_be_bytes(moov[at..at + 4].try_into().unwrap());
        moov[at..at + 4].copy_from_slice(&(offset + shift).to_be_bytes());
    }
    let mut out = boxes.remove(0).1;
    out.extend(moov);
    out.extend(boxes.into_iter().flat_map(|(_, bytes)| bytes));
    let target = path.with_file_name("first.mp4");
    std::fs::write(&target, out).unwrap();
    target
}

#[test]
fn every_cut_of_a_streamable_file_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clip.mp4");
    write(&path, 40);
    let first = index_first(&path);
    let (frames, error) = read_all(&first);
    assert!(error.is_none() && frames.len() == 40, "{error:?}");
    let length = std::fs::metadata(&first).unwrap().len() as usize;
    for missing in [1, 2, 40, length / 4, length / 2] {
        let (frames, error) = read_all(&cut(&first, length - missing));
        let error = error.unwrap_or_else(|| panic!("{missing} bytes less went unnoticed"));
        assert!(frames.len() < 40, "{missing}");
        let frame = format!("frame {}", frames.len());
        assert!(error.to_string().contains(&frame), "{missing}: {error}");
        assert!(matches!(error, Error::Truncated { .. } | Error::Corrupt { .. }), "{error}");
    }
}

#[test]
fn a_cut_matroska_file_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clip.mkv");
    write(&path, 100);
    let length = std::fs::metadata(&path).unwrap().len() as usize;
    let (frames, error) = read_all(&cut(&path, length / 2));
    assert!(frames.len() < 100);
    assert!(matches!(error, Some(Error::Truncated { .. } | Error::Corrupt { .. })), "{error:?}");
}

#[test]
fn damaged_data_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clip.mp4");
    write(&path, 60);
    let mut bytes = std::fs::read(&path).unwrap();
    let mdat = bytes.windows(4).position(|w| w == b"mdat").unwrap();
    let middle = mdat + (bytes.len() - mdat) / 3;
    bytes[middle..middle + 200].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    let (frames, error) = read_all(&path);
    assert!(matches!(error, Some(Error::Corrupt { .. })), "{error:?}");
    assert!(frames.len() < 60);
}

#[test]
fn a_folder_of_images_is_a_clip_in_natural_order() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("Test001");
    std::fs::create_dir(&folder).unwrap();
    for i in [1, 2, 10] {
        let frame = Frame::from_luma(4, 2, &[i; 8]).unwrap();
        image::RgbImage::from_raw(4, 2, frame.rgb().to_vec())
            .unwrap()
            .save(folder.join(format!("{i}.png")))
            .unwrap();
    }
    std::fs::write(folder.join("notes.txt"), "not a picture").unwrap();
    let (frames, error) = read_all(&folder);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(frames.iter().map(|f| f.rgb()[0]).collect::<Vec<_>>(), [1, 2, 10]);
    let reader = Reader::open(&folder).unwrap();
    assert_eq!((reader.info().frames, reader.info().frame_rate), (Some(3), 10.0));

    write(&dir.path().join("a.mp4"), 2);
    let names = |path: &Path| -> Vec<String> {
        list_clips(path).unwrap().into_iter().map(|c| c.name).collect()
    };
    assert_eq!(names(dir.path()), ["Test001", "a"]);
    assert_eq!(names(&folder), ["Test001"]);
    assert_eq!(names(&dir.path().join("a.mp4")), ["a"]);
    write(&dir.path().join("a.mkv"), 2);
    assert_eq!(names(dir.path()), ["Test001", "a.mkv", "a.mp4"]);

    std::fs::write(folder.join("3.png"), b"damaged").unwrap();
    let (frames, error) = read_all(&folder);
    assert_eq!(frames.len(), 2);
    assert!(error.unwrap().to_string().contains("3.png"));
    let other = image::RgbImage::new(6, 2);
    other.save(folder.join("3.png")).unwrap();
    assert!(matches!(read_all(&folder).1, Some(Error::SizeChanged { frame: 2, .. })));
    std::fs::write(folder.join("3.webp"), b"RIFF").unwrap();
    std::fs::remove_file(folder.join("3.png")).unwrap();
    assert!(read_all(&folder).1.unwrap().to_string().contains("convert to PNG"));
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    assert!(matches!(list_clips(&empty), Err(Error::Empty { .. })));
}

#[test]
fn resizing_a_read_frame_keeps_the_square_in_place() {
    let mut small = Frame::new(WIDTH / 2, HEIGHT / 2);
    Resizer::new().resize(&picture(10), &mut small).unwrap();
    let at = |x: usize, y: usize| small.rgb()[(y * WIDTH / 2 + x) * 3];
    assert_eq!(at(9, 14), 230); // pixels 10..26 x 20..36 of the source
    assert!(at(15, 14) < 120 && at(2, 14) < 120);
}

/// A file of the field's, if the folder of such files is beside the repository.
fn field(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/field").join(name);
    if !path.exists() {
        println!("skipped: {name} is not here");
    }
    path.exists().then_some(path)
}

/// Times of all frames of a clip.
fn times(path: &Path) -> Vec<f64> {
    let (mut reader, mut frame, mut times) =
        (Reader::open(path).unwrap(), Frame::default(), vec![]);
    while reader.read(&mut frame).unwrap() {
        times.push(reader.time());
    }
    times
}

#[test]
fn times_are_those_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    // Containers with fine and with coarse time stamps, and none at all.
    for (name, off) in [("a.mp4", 1e-6), ("a.mkv", 6e-4), ("a.flv", 6e-4), ("a.ts", 1e-4)] {
        let path = dir.path().join(name);
        write(&path, 40);
        let times = times(&path);
        assert_eq!(times.len(), 40, "{name}");
        for (i, time) in times.iter().enumerate() {
            assert!((time - i as f64 / 12.5).abs() <= off, "{name} frame {i}: {time}");
        }
    }
    let path = dir.path().join("a.h264");
    write(&path, 40);
    let times = times(&path);
    assert_eq!(times.len(), 40);
    assert!(times.windows(2).all(|pair| pair[1] > pair[0]));
}

#[test]
fn what_recorders_write_is_read_and_found_in_folders_by_the_hour() {
    let dir = tempfile::tempdir().unwrap();
    let hours = dir.path().join("2026-11-28/13");
    std::fs::create_dir_all(&hours).unwrap();
    for name in ["a.ts", "b.MTS", "c.flv", "d.h264", "e.m2ts"] {
        write(&dir.path().join(name), 5);
    }
    write(&hours.join("00.mp4"), 5);
    write(&hours.join("01.mp4"), 5);
    std::fs::write(hours.join("00.jpg"), b"a preview").unwrap();
    std::fs::write(dir.path().join("notes.txt"), b"").unwrap();
    let clips = list_clips(dir.path()).unwrap();
    let names: Vec<&str> = clips.iter().map(|clip| clip.name.as_str()).collect();
    assert_eq!(names, ["2026-11-28-13-00", "2026-11-28-13-01", "a", "b", "c", "d", "e"]);
    for clip in &clips {
        let (frames, error) = read_all(&clip.path);
        assert!(error.is_none() && frames.len() == 5, "{}: {error:?}", clip.name);
    }
    if let Some(normal) = field("recorder-formats/normal") {
        let clips = list_clips(&normal).unwrap();
        let names: Vec<&str> = clips.iter().map(|clip| clip.name.as_str()).collect();
        assert_eq!(names, ["2026-11-28-00", "a", "b.MTS", "b.ts", "c"]);
        for clip in &clips {
            let (frames, error) = read_all(&clip.path);
            assert!(error.is_none() && !frames.is_empty(), "{}: {error:?}", clip.name);
        }
    }
}

/// The access units of a raw H.264 stream.
fn access_units(bytes: &[u8]) -> Vec<Vec<u8>> {
    let starts: Vec<usize> =
        (0..bytes.len() - 3).filter(|&i| bytes[i..i + 3] == [0, 0, 1]).map(|i| i + 3).collect();
    let ends = starts.iter().skip(1).map(|start| start - 3).chain([bytes.len()]);
    let (mut units, mut unit, mut has_picture) = (Vec::new(), Vec::new(), false);
    for (nal, kind) in starts.iter().zip(ends).map(|(&s, e)| (&bytes[s..e], bytes[s] & 31)) {
        let is_slice = matches!(kind, 1 | 5);
        if has_picture && (!is_slice || nal[1] & 0x80 != 0) {
            units.push(std::mem::take(&mut unit));
            has_picture = false;
        }
        unit.extend([&[0, 0, 0, 1], nal].concat());
        has_picture |= is_slice;
    }
    units.push(unit);
    units
}

/// A recording as Dahua's recorders keep it: each access unit with a head, a tail, and a date.
fn dav(units: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for (number, unit) in (0u32..).zip(units) {
        // Size in units of eight pixels; H.264 at ten frames a second.
        let more = [0x80, 0, (WIDTH / 8) as u8, (HEIGHT / 8) as u8, 0x81, 0, 2, 10];
        let length = (24 + more.len() + unit.len() + 8) as u32;
        let date = 26u32 << 26 | 11 << 22 | 28 << 17 | 13 << 12;
        file.extend(b"DHAV");
        file.extend([if number == 0 { 0xfd } else { 0xfc }, 0, 0, 0]);
        for value in [number, length, date] {
            file.extend(value.to_le_bytes());
        }
        file.extend((number as u16 * 100).to_le_bytes());
        file.extend([more.len() as u8, 0]);
        file.extend(more);
        file.extend(unit);
        file.extend(b"dhav");
        file.extend(length.to_le_bytes());
    }
    file
}

#[test]
fn a_dahua_recording_is_read_whatever_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("raw.h264");
    write(&raw, 20);
    let bytes = std::fs::read(&raw).unwrap();
    let units = access_units(&bytes);
    assert_eq!(units.len(), 20);
    // Its own container, or H.264 by that name.
    for (name, content) in [("a.dav", dav(&units)), ("b.dav", bytes)] {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        let (frames, error) = read_all(&path);
        assert!(error.is_none(), "{name}: {error:?}");
        assert_eq!(frames.len(), 20, "{name}");
        assert!(difference(&frames[19], &picture(19)) < 3.0, "{name}");
    }
    // What is neither is refused by name.
    let path = dir.path().join("c.dav");
    std::fs::write(&path, b"no recording at all").unwrap();
    assert!(read_all(&path).1.unwrap().to_string().contains("c.dav"));
    assert_eq!(list_clips(dir.path()).unwrap().len(), 4);
}

#[test]
fn files_of_one_stem_are_told_apart_by_their_extensions() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["b.MTS", "b.ts", "c.ts"] {
        write(&dir.path().join(name), 3);
    }
    let pictures = dir.path().join("c");
    std::fs::create_dir(&pictures).unwrap();
    std::fs::write(pictures.join("0.jpg"), video::encode_jpeg(&picture(0), 80).unwrap()).unwrap();
    let names = |dir| list_clips(dir).unwrap().into_iter().map(|clip| clip.name);
    assert!(names(dir.path()).eq(["b.MTS", "b.ts", "c", "c.ts"]));
    // What would still have one name is an error that names both.
    std::fs::create_dir(dir.path().join("d")).unwrap();
    write(&dir.path().join("d/e.ts"), 3);
    write(&dir.path().join("d-e.ts"), 3);
    let error = list_clips(dir.path()).unwrap_err().to_string();
    assert!(error.contains("d-e.ts") && error.contains("d/e.ts"), "{error}");
}

/// Writes a file with an encoder of FFmpeg's and its options; false if FFmpeg was built without it.
fn encode(path: &Path, frames: usize, encoder: &str, options: (&str, &str)) -> bool {
    use ffmpeg_next::{Dictionary, Packet, Rational, codec, encoder, format, util};
    ffmpeg_next::init().unwrap();
    let base = Rational::new(1, 10);
    let mut output = format::output(path).unwrap();
    let Some(found) = encoder::find_by_name(encoder) else {
        println!("skipped: FFmpeg has no {encoder}");
        return false;
    };
    let mut video = codec::Context::new_with_codec(found).encoder().video().unwrap();
    video.set_width(WIDTH as u32);
    video.set_height(HEIGHT as u32);
    video.set_format(util::format::Pixel::YUV420P);
    video.set_time_base(base);
    video.set_flags(codec::Flags::empty());
    let mut dictionary = Dictionary::new();
    dictionary.set(options.0, options.1);
    let mut video = video.open_as_with(found, dictionary).unwrap();
    let mut stream = output.add_stream(Some(found)).unwrap();
    stream.set_parameters(&video);
    output.write_header().unwrap();
    let mut drain = |video: &mut encoder::Video| {
        let mut packet = Packet::empty();
        while video.receive_packet(&mut packet).is_ok() {
            packet.set_stream(0);
            let to = output.stream(0).unwrap().time_base();
            packet.rescale_ts(base, to);
            packet.write_interleaved(&mut output).unwrap();
        }
    };
    for t in 0..frames {
        let mut yuv =
            util::frame::Video::new(util::format::Pixel::YUV420P, WIDTH as u32, HEIGHT as u32);
        let (luma, stride) = (picture(t).luma(), yuv.stride(0));
        for (row, source) in yuv.data_mut(0).chunks_mut(stride).zip(luma.chunks_exact(WIDTH)) {
            row[..WIDTH].copy_from_slice(source);
        }
        for plane in 1..3 {
            yuv.data_mut(plane).fill(128);
        }
        yuv.set_pts(Some(t as i64));
        video.send_frame(&yuv).unwrap();
        drain(&mut video);
    }
    video.send_eof().unwrap();
    drain(&mut video);
    output.write_trailer().unwrap();
    true
}

#[test]
fn raw_hevc_is_read() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.h265", "b.265", "c.hevc"] {
        let path = dir.path().join(name);
        // FFmpeg's own name for the form is `hevc`.
        let written = dir.path().join("raw.hevc");
        if !encode(&written, 20, "libx265", ("x265-params", "log-level=none:pools=none")) {
            return;
        }
        std::fs::rename(&written, &path).unwrap();
        let (frames, error) = read_all(&path);
        assert!(
            error.is_none() && frames.len() == 20,
            "{name}: {} frames, {error:?}",
            frames.len()
        );
    }
    assert_eq!(list_clips(dir.path()).unwrap().len(), 3);
}

/// A key frame every 20 at most, none of which resets anything but the first.
const OPEN_GROUPS: (&str, &str) = (
    "x264-params",
    "open-gop=1:keyint=20:min-keyint=10:bframes=5:b-pyramid=normal:ref=3:threads=1",
);

#[test]
fn a_recording_cut_within_open_groups_is_read_from_its_first_key_frame() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, path) = (dir.path().join("a.ts"), dir.path().join("b.ts"));
    assert!(encode(&whole, 100, "libx264", OPEN_GROUPS));
    let bytes = std::fs::read(&whole).unwrap();
    // Transport packets with which decoding can begin are marked in their adaptation field.
    let starts: Vec<usize> = (0..bytes.len() / 188)
        .map(|packet| packet * 188)
        .filter(|&at| bytes[at + 1] & 0x40 != 0 && bytes[at + 3] & 0x20 != 0)
        .filter(|&at| bytes[at + 4] > 0 && bytes[at + 5] & 0x40 != 0)
        .collect();
    assert!(starts.len() > 4, "{starts:?}");
    let (all, error) = read_all(&whole);
    assert!(error.is_none() && all.len() == 100, "{} frames: {error:?}", all.len());
    for start in &starts[1..] {
        std::fs::write(&path, [&bytes[..3 * 188], &bytes[*start..]].concat()).unwrap();
        let (frames, error) = read_all(&path);
        assert!(error.is_none(), "{error:?}");
        // What is shown is what the whole recording shows.
        assert!(!frames.is_empty() && frames.len() < all.len());
        for (cut, whole) in frames.iter().rev().zip(all.iter().rev()) {
            assert!(difference(cut, whole) == 0.0);
        }
    }
    if let Some(cut) = field("open-gop-cut/cut.mp4") {
        let (frames, error) = read_all(&cut);
        assert!(error.is_none() && frames.len() > 40, "{} frames: {error:?}", frames.len());
    }
}

#[cfg(unix)]
#[test]
fn names_that_are_no_text_are_read_and_stay_apart() {
    use std::os::unix::ffi::OsStrExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &[u8]| dir.path().join(std::ffi::OsStr::from_bytes(name));
    write(&path(b"T\xfcr.mp4"), 3);
    write(&path(b"T\xf6r.mp4"), 3);
    // FFmpeg takes what is before a colon for a protocol.
    write(&path(b"12:30.mp4"), 3);
    let clips = list_clips(dir.path()).unwrap();
    let names: Vec<&str> = clips.iter().map(|clip| clip.name.as_str()).collect();
    assert_eq!(names, ["12:30", "T%F6r", "T%FCr"]);
    for clip in &clips {
        assert_eq!(read_all(&clip.path).0.len(), 3, "{}", clip.name);
    }
}

#[test]
fn a_stream_that_is_joined_in_the_middle_begins_with_a_key_frame() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, path) = (dir.path().join("a.ts"), dir.path().join("b.ts"));
    // Long enough for a second key frame: x264 has one every 250 frames.
    write(&whole, 300);
    let bytes = std::fs::read(&whole).unwrap();
    let packets = bytes.len() / 188;
    std::fs::write(&path, &bytes[packets * 3 / 4 * 188..]).unwrap();
    let (frames, error) = read_all(&path);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(frames.len(), 50);
    // The end of the recording, whole: the last picture is the last one written.
    assert!(difference(&frames[frames.len() - 1], &picture(299)) < 3.0);
    // Two recordings one behind the other go on in time.
    let joined = dir.path().join("c.ts");
    std::fs::write(&joined, [&bytes[..], &bytes[..]].concat()).unwrap();
    let times = times(&joined);
    assert_eq!(times.len(), 600);
    assert!(times.windows(2).all(|pair| pair[1] > pair[0] && pair[1] - pair[0] < 1.5));
}

#[test]
fn a_video_that_is_to_be_shown_turned_is_read_so() {
    let Some(turned) = field("rotated-mp4/rot90.mp4") else { return };
    let reader = Reader::open(&turned).unwrap();
    assert_eq!((reader.info().width, reader.info().height), (120, 160));
    let (frames, error) = read_all(&turned);
    assert!(error.is_none() && !frames.is_empty(), "{error:?}");
    assert_eq!((frames[0].width(), frames[0].height()), (120, 160));
}

#[test]
fn a_picture_that_is_to_be_shown_turned_is_read_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.jpg");
    // Bright on the left; EXIF says that the left is the top.
    let luma: Vec<u8> = (0..64 * 32).map(|i| if i % 64 < 32 { 220 } else { 20 }).collect();
    let jpeg = video::encode_jpeg(&Frame::from_luma(64, 32, &luma).unwrap(), 95).unwrap();
    let mut exif =
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
    let length = (exif.len() as u16 + 2).to_be_bytes();
    let mut bytes = vec![0xff, 0xd8, 0xff, 0xe1, length[0], length[1]];
    bytes.append(&mut exif);
    bytes.extend_from_slice(&jpeg[2..]);
    std::fs::write(&path, &bytes).unwrap();
    let frame = read_image(&path).unwrap();
    assert_eq!((frame.width(), frame.height()), (32, 64));
    let level = |y: usize| frame.rgb()[y * 32 * 3];
    assert!(level(4) > 200 && level(60) < 40, "{} and {}", level(4), level(60));
    // A cut one is refused here as well.
    std::fs::write(&path, &bytes[..bytes.len() - 40]).unwrap();
    assert!(read_image(&path).unwrap_err().to_string().contains("a.jpg"));
}

#[test]
fn a_browsers_webm_has_the_rate_of_its_frames() {
    let Some(webm) = field("webm-1000fps/normal/rec.webm") else { return };
    let reader = Reader::open(&webm).unwrap();
    let rate = reader.info().frame_rate;
    assert!((20.0..40.0).contains(&rate), "{rate}");
    let times = times(&webm);
    let real = (times.len() - 1) as f64 / times[times.len() - 1];
    assert!((rate - real).abs() < 2.0, "{rate}, really {real}");
}
