//! Opening files by their names as they are: bytes, which need be no text.

use std::ffi::CString;
use std::path::Path;
use std::ptr;

use ffmpeg_next as ffmpeg;

use ffmpeg::Error;
use ffmpeg::ffi::{
    AVFormatContext, AVIO_FLAG_WRITE, avformat_alloc_output_context2, avformat_close_input,
    avformat_find_stream_info, avformat_free_context, avformat_open_input, avio_open,
};
use ffmpeg::format::context::{Input, Output};

/// The address of a file. Without a scheme FFmpeg takes what is before a colon for one.
fn address(path: &Path) -> Result<CString, Error> {
    #[cfg(unix)]
    let name = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str());
    #[cfg(not(unix))]
    let name = path.to_str().ok_or(Error::InvalidData)?.as_bytes();
    CString::new([b"file:", name].concat()).map_err(|_| Error::InvalidData)
}

/// Opens a file for reading and looks for its streams.
pub(super) fn input(path: &Path) -> Result<Input, Error> {
    let address = address(path)?;
    let mut context: *mut AVFormatContext = ptr::null_mut();
    // SAFETY: the address ends with a zero and lives until the call returns; no format and no options
    // are given. On failure the library frees what it made.
    let opened = unsafe {
        avformat_open_input(&mut context, address.as_ptr(), ptr::null_mut(), ptr::null_mut())
    };
    if opened < 0 {
        return Err(Error::from(opened));
    }
    give_side_data(context);
    // SAFETY: the context was opened just now and is nobody else's.
    let found = unsafe { avformat_find_stream_info(context, ptr::null_mut()) };
    if found < 0 {
        // SAFETY: as above; it is not used afterwards.
        unsafe { avformat_close_input(&mut context) };
        return Err(Error::from(found));
    }
    // SAFETY: the context is open and from here on the wrapper's, which closes it.
    Ok(unsafe { Input::wrap(context) })
}

/// Has what a container says of all its pictures, how they are turned, given to the decoder. Newer
/// versions of FFmpeg do so by themselves and no longer have the function, so it is looked for.
fn give_side_data(context: *mut AVFormatContext) {
    type Inject = unsafe extern "C" fn(*mut AVFormatContext);
    // SAFETY: the name ends with a zero.
    let found =
        unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"av_format_inject_global_side_data".as_ptr()) };
    if !found.is_null() {
        // SAFETY: a function of that name is FFmpeg's, which takes an open context and returns
        // nothing.
        unsafe { std::mem::transmute::<*mut libc::c_void, Inject>(found)(context) };
    }
}

/// Creates a file for writing; its name's extension chooses the container.
pub(crate) fn output(path: &Path) -> Result<Output, Error> {
    let address = address(path)?;
    let mut context: *mut AVFormatContext = ptr::null_mut();
    // SAFETY: the address ends with a zero; format and its name are left to the library.
    let made = unsafe {
        avformat_alloc_output_context2(&mut context, ptr::null_mut(), ptr::null(), address.as_ptr())
    };
    if made < 0 {
        return Err(Error::from(made));
    }
    // SAFETY: the context was made just now and is nobody else's; the address is as above.
    let opened = unsafe { avio_open(&mut (*context).pb, address.as_ptr(), AVIO_FLAG_WRITE) };
    if opened < 0 {
        // SAFETY: it holds no open file and is not used afterwards.
        unsafe { avformat_free_context(context) };
        return Err(Error::from(opened));
    }
    // SAFETY: the context is open for writing and from here on the wrapper's, which closes it.
    Ok(unsafe { Output::wrap(context) })
}
