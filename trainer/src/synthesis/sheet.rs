//! Contact sheets: a look at pseudo clips on one picture.

use video::Frame;

use super::{LabelMap, PseudoClip, glyphs};

/// Rows of a strip above each picture that hold the kind's name.
const CAPTION: usize = 9;

/// One colour for each kind, repeated from the start when there are more kinds.
const COLOURS: [[u8; 3]; 8] = [
    [255, 64, 64],
    [64, 220, 64],
    [80, 140, 255],
    [255, 200, 0],
    [255, 0, 255],
    [0, 230, 230],
    [255, 128, 0],
    [180, 120, 255],
];

/// A grid of frames, one row for each event of `clips`: `columns` frames evenly spread over the
/// event, all labelled regions outlined in their kind's colour, the name of the row's kind (from
/// `kinds`, as of [`Synthesizer::kinds`](super::Synthesizer::kinds)) above the first.
///
/// Returns an empty frame if no clip has an event.
pub fn contact_sheet(clips: &[PseudoClip], kinds: &[String], columns: usize) -> Frame {
    let columns = columns.max(1);
    let rows: Vec<_> = clips.iter().flat_map(|c| c.events.iter().map(move |e| (c, e))).collect();
    let Some((first, _)) = rows.first() else {
        return Frame::default();
    };
    let (w, h) = (first.frames[0].width(), first.frames[0].height());
    let (cell_w, cell_h) = (w + 2, h + CAPTION);
    let mut sheet = Frame::new(cell_w * columns, cell_h * rows.len());
    let stride = sheet.width();
    for (row, (clip, event)) in rows.iter().enumerate() {
        let top = row * cell_h;
        let name = kinds.get(event.kind).map_or("", String::as_str);
        let colour = colour(event.kind);
        glyphs::draw(name, |x, y| {
            let at = ((top + 2 + y) * stride + 2 + x) * 3;
            if let Some(p) = sheet.rgb_mut().get_mut(at..at + 3) {
                p.copy_from_slice(&colour);
            }
        });
        for column in 0..columns {
            let t = event.first + (event.last - event.first) * (2 * column + 1) / (2 * columns);
            let outlined = outline(&clip.frames[t], &clip.labels[t]);
            for y in 0..h {
                let at = ((top + CAPTION + y) * stride + column * cell_w) * 3;
                let src = &outlined.rgb()[y * w * 3..(y + 1) * w * 3];
                sheet.rgb_mut()[at..at + w * 3].copy_from_slice(src);
            }
        }
    }
    sheet
}

fn colour(kind: usize) -> [u8; 3] {
    COLOURS[kind % COLOURS.len()]
}

/// The frame with a line around every labelled region, drawn on the pixels just outside it.
fn outline(frame: &Frame, labels: &LabelMap) -> Frame {
    let mut out = frame.clone();
    let (w, h) = (labels.width, labels.height);
    let kind =
        |label: u8| (label != LabelMap::NORMAL && label != LabelMap::IGNORE).then_some(label);
    for y in 0..h {
        for x in 0..w {
            if kind(labels.data[y * w + x]).is_some() {
                continue;
            }
            let neighbours = [
                (x > 0).then(|| labels.data[y * w + x - 1]),
                (x + 1 < w).then(|| labels.data[y * w + x + 1]),
                (y > 0).then(|| labels.data[(y - 1) * w + x]),
                (y + 1 < h).then(|| labels.data[(y + 1) * w + x]),
            ];
            if let Some(label) = neighbours.into_iter().flatten().find_map(kind) {
                let at = (y * w + x) * 3;
                out.rgb_mut()[at..at + 3].copy_from_slice(&colour(label as usize - 1));
            }
        }
    }
    out
}
