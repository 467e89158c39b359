//! Pixel format conversion through FFmpeg's swscale. The one module of this crate with `unsafe`:
//! the safe wrapper neither moves between threads nor sets the colour matrix.

use ffmpeg_next::ffi;
use ffmpeg_next::format::Pixel;
use ffmpeg_next::software::scaling::{Context, Flags};
use ffmpeg_next::util::frame::Video;
use ffmpeg_next::{Error, color};

/// Converts pictures of one format and size into another; made anew when the source changes.
pub(crate) struct Scaler {
    context: Option<(Key, Context)>,
}

/// What a context is made for.
#[derive(Clone, Copy, PartialEq)]
struct Key {
    format: Pixel,
    width: u32,
    height: u32,
    matrix: i32,
    full_range: bool,
}

// SAFETY: a SwsContext holds its own tables and buffers and no thread-local state; it may be used
// from any thread as long as it is one at a time, which `&mut self` on every use ensures.
unsafe impl Send for Scaler {}

impl Scaler {
    pub(crate) fn new() -> Self {
        Self { context: None }
    }

    /// Converts `source` into `target`, whose format and size decide. YUV is taken as its frame is
    /// tagged; untagged video is BT.601 limited range, swscale's own default.
    pub(crate) fn convert(&mut self, source: &Video, target: &mut Video) -> Result<(), Error> {
        let key = Key {
            format: source.format(),
            width: source.width(),
            height: source.height(),
            matrix: matrix(source.color_space()),
            full_range: is_full_range(source),
        };
        let context = match self.context.take() {
            Some((old, context)) if old == key => context,
            _ => make(&key, target)?,
        };
        let (_, context) = self.context.insert((key, context));
        context.run(source, target)
    }
}

/// swscale's number of a colour matrix.
fn matrix(space: color::Space) -> i32 {
    match space {
        color::Space::BT709 => ffi::SWS_CS_ITU709,
        color::Space::FCC => ffi::SWS_CS_FCC,
        color::Space::SMPTE240M => ffi::SWS_CS_SMPTE240M,
        color::Space::BT2020NCL | color::Space::BT2020CL => ffi::SWS_CS_BT2020,
        _ => ffi::SWS_CS_ITU601,
    }
}

/// Whether a picture's luma goes from 0 to 255 instead of 16 to 235.
fn is_full_range(picture: &Video) -> bool {
    let by_format = matches!(
        picture.format(),
        Pixel::YUVJ420P | Pixel::YUVJ422P | Pixel::YUVJ444P | Pixel::YUVJ440P | Pixel::YUVJ411P
    );
    by_format || picture.color_range() == color::Range::JPEG
}

fn make(key: &Key, target: &Video) -> Result<Context, Error> {
    // Accurate rounding and full chroma keep greys grey; bit-exact keeps every processor the same.
    let flags = Flags::BILINEAR
        | Flags::ACCURATE_RND
        | Flags::FULL_CHR_H_INT
        | Flags::FULL_CHR_H_INP
        | Flags::BITEXACT;
    let mut context = Context::get(
        key.format,
        key.width,
        key.height,
        target.format(),
        target.width(),
        target.height(),
        flags,
    )?;
    // SAFETY: the context is valid and exclusively ours; the coefficient tables are static arrays
    // inside swscale, which copies what it needs. RGB on either side ignores its own table. A
    // refusal (formats without a matrix, such as grey) leaves the defaults, which are right there.
    unsafe {
        let table = ffi::sws_getCoefficients(key.matrix);
        let own = ffi::sws_getCoefficients(ffi::SWS_CS_ITU601);
        let (full, one) = (key.full_range as i32, 1 << 16);
        let target_full = i32::from(target.format() == Pixel::RGB24);
        ffi::sws_setColorspaceDetails(
            context.as_mut_ptr(),
            table,
            full,
            own,
            target_full,
            0,
            one,
            one,
        );
    }
    Ok(context)
}
