//! Cutting a recording in two, in time.

use std::path::Path;

use anyhow::{Context, Result};
use video::{Frame, Reader, Writer};

/// The frames of a video, counted.
pub fn frames(path: &Path) -> Result<u64> {
    let mut reader = Reader::open(path)?;
    let mut frame = Frame::default();
    let mut count = 0;
    while reader.read(&mut frame)? {
        count += 1;
    }
    Ok(count)
}

/// Writes the first `at` frames into one folder and the rest into another.
pub fn in_two(path: &Path, at: u64, folders: [&Path; 2]) -> Result<()> {
    let mut reader = Reader::open(path)?;
    let rate = reader.info().frame_rate;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut frame = Frame::default();
    let (mut number, mut writer): (u64, Option<Writer>) = (0, None);
    while reader.read(&mut frame)? {
        // H.264 needs even sides; an odd one loses its last row or column.
        let frame = even(&frame);
        if number == 0 || number == at {
            if let Some(writer) = writer.take() {
                writer.finish()?;
            }
            let folder = folders[usize::from(number > 0)];
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            let file = folder.join(format!("{stem}.mp4"));
            writer = Some(Writer::create(&file, frame.width(), frame.height(), rate)?);
        }
        if let Some(writer) = &mut writer {
            writer.write(&frame)?;
        }
        number += 1;
    }
    if let Some(writer) = writer {
        writer.finish()?;
    }
    Ok(())
}

fn even(frame: &Frame) -> Frame {
    let (width, height) = (frame.width() & !1, frame.height() & !1);
    let rows = frame.rgb().chunks_exact(3 * frame.width()).take(height);
    let rgb: Vec<u8> = rows.flat_map(|row| &row[..3 * width]).copied().collect();
    Frame::from_rgb(width, height, rgb).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_parts_together_have_every_frame_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("whole.mp4");
        let mut writer = Writer::create(&path, 64, 48, 10.0).unwrap();
        for i in 0..20_u8 {
            writer.write(&Frame::from_rgb(64, 48, vec![12 * i; 64 * 48 * 3]).unwrap()).unwrap();
        }
        writer.finish().unwrap();
        let parts = [folder.path().join("a"), folder.path().join("b")];
        in_two(&path, 12, [&parts[0], &parts[1]]).unwrap();
        let [first, second] = parts.map(|part| part.join("whole.mp4"));
        assert_eq!((frames(&first).unwrap(), frames(&second).unwrap()), (12, 8));
        let mut frame = Frame::default();
        Reader::open(&second).unwrap().read(&mut frame).unwrap();
        assert!(frame.rgb()[0].abs_diff(12 * 12) < 6, "{}", frame.rgb()[0]);
    }

    #[test]
    fn odd_pictures_lose_a_row_and_a_column() {
        let frame = Frame::from_rgb(3, 3, (0..27).collect()).unwrap();
        assert_eq!(even(&frame).rgb(), [0, 1, 2, 3, 4, 5, 9, 10, 11, 12, 13, 14]);
    }
}
