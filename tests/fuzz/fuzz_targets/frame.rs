//! Any buffer as a frame of a camera in each of its pixel formats, of any size, fields and colours that a
//! driver may say: a picture, or one line that says what is wrong with it. MJPEG says its size itself.
#![no_main]

use std::cell::RefCell;

use edge_runtime::capture::{Layout, Lines, PixelFormat, to_rgb};
use libfuzzer_sys::fuzz_target;
use video::Frame;

thread_local! {
    /// Kept from one input to the next, as a camera does.
    static FRAME: RefCell<Frame> = RefCell::new(Frame::default());
}

fuzz_target!(|input: (u8, u16, u16, u16, u8, &[u8])| {
    let (format, width, height, stride, flags, bytes) = input;
    let format = PixelFormat::ALL[usize::from(format) % PixelFormat::ALL.len()];
    // What the configuration lets a camera be.
    let side = |side: u16| usize::from(side).clamp(16, 8192);
    let (width, height) = (side(width), side(height));
    let lines = [Lines::All, Lines::Half, Lines::Parts(false), Lines::Parts(true)];
    let layout = Layout {
        lines: lines[usize::from(flags & 3)],
        full_range: flags & 4 != 0,
        bt709: flags & 8 != 0,
        ..Layout::plain(format, width, height, stride.into())
    };
    // Of one field the lines are half of the picture's.
    let height = if layout.lines == Lines::Half { 2 * height } else { height };
    FRAME.with_borrow_mut(|frame| {
        match to_rgb(&layout, bytes, frame) {
            Ok(()) => {
                assert_eq!(frame.rgb().len(), frame.width() * frame.height() * 3);
                assert!(format == PixelFormat::Mjpeg || (frame.width(), frame.height()) == (width, height));
            }
            Err(reason) => assert!(!reason.is_empty() && !reason.contains('\n'), "{reason:?}"),
        }
    });
});
