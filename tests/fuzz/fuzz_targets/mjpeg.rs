//! Any bytes as the JPEG of one frame of an MJPEG camera, cut or not: a picture of the size that it says, or
//! one line that says what is wrong with it; and the next frame is read as if nothing had happened.
#![no_main]

use edge_runtime::capture::{Layout, PixelFormat, to_rgb};
use libfuzzer_sys::fuzz_target;
use video::Frame;

/// A whole picture, 16×16 and grey.
const WHOLE: &[u8] = include_bytes!("../seeds/grey.jpg");

fuzz_target!(|bytes: &[u8]| {
    let mut frame = Frame::default();
    let layout = Layout::plain(PixelFormat::Mjpeg, 640, 480, 0);
    match to_rgb(&layout, bytes, &mut frame) {
        Ok(()) => assert_eq!(frame.rgb().len(), frame.width() * frame.height() * 3),
        Err(reason) => assert!(!reason.is_empty() && !reason.contains('\n'), "{reason:?}"),
    }
    to_rgb(&layout, WHOLE, &mut frame).expect("the picture is whole");
    assert_eq!((frame.width(), frame.height()), (16, 16));
});
