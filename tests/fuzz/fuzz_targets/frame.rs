//! Any buffer as a frame of a camera in each of its pixel formats, of any size that a driver may say: a
//! picture, or one line that says what is wrong with it. MJPEG says its size itself.
#![no_main]

use std::cell::RefCell;

use edge_runtime::capture::{PixelFormat, to_rgb};
use libfuzzer_sys::fuzz_target;
use video::Frame;

thread_local! {
    /// Kept from one input to the next, as a camera does.
    static FRAME: RefCell<Frame> = RefCell::new(Frame::default());
}

fuzz_target!(|input: (u8, u16, u16, u16, &[u8])| {
    let (format, width, height, stride, bytes) = input;
    let format = PixelFormat::ALL[usize::from(format) % PixelFormat::ALL.len()];
    // What the configuration lets a camera be.
    let side = |side: u16| usize::from(side).clamp(16, 8192);
    let (width, height) = (side(width), side(height));
    FRAME.with_borrow_mut(|frame| {
        match to_rgb(format, bytes, width, height, stride.into(), frame) {
            Ok(()) => {
                assert_eq!(frame.rgb().len(), frame.width() * frame.height() * 3);
                assert!(format == PixelFormat::Mjpeg || (frame.width(), frame.height()) == (width, height));
            }
            Err(reason) => assert!(!reason.is_empty() && !reason.contains('\n'), "{reason:?}"),
        }
    });
});
