//! The blobs of a verified bundle, in memory or left in the file.

use std::borrow::Cow;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::manifest::BlobRef;
use crate::{Bundle, Error, Manifest, floats, text};

/// A verified bundle's manifest and blobs.
pub trait Contents {
    /// The manifest.
    fn manifest(&self) -> &Manifest;

    /// The bytes of a blob.
    ///
    /// # Errors
    /// If it has to be read and cannot be, or is not what was verified.
    fn blob(&self, blob: &BlobRef) -> Result<Cow<'_, [u8]>, Error>;

    /// The values of a blob that holds a tensor (little-endian `f32`).
    ///
    /// # Errors
    /// As [`Contents::blob`].
    fn tensor(&self, blob: &BlobRef) -> Result<Vec<f32>, Error> {
        Ok(floats(&self.blob(blob)?).collect())
    }
}

impl Contents for Bundle {
    fn manifest(&self) -> &Manifest {
        Bundle::manifest(self)
    }

    fn blob(&self, blob: &BlobRef) -> Result<Cow<'_, [u8]>, Error> {
        Ok(Bundle::blob(self, blob).into())
    }
}

/// A verified bundle whose blobs are in its file and are read when they are asked for. A bundle has the
/// graphs of every backend and may be a hundred megabytes, of which a camera needs a part, and one graph
/// after the other.
///
/// Each blob is held against its checksum in the manifest, which was verified, when it is read: a file that
/// changes after its verification gives an error and nothing else.
#[derive(Debug)]
pub struct OnDisk {
    file: File,
    path: PathBuf,
    blobs_start: u64,
    manifest: Manifest,
}

impl OnDisk {
    /// Of a bundle that was read from this file.
    ///
    /// # Errors
    /// If the file cannot be opened, or cannot be that of the bundle.
    pub fn new(bundle: &Bundle, path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io { path: path.into(), source };
        let file = File::open(path).map_err(io)?;
        let found = file.metadata().map_err(io)?;
        if !found.is_file() || found.len() != bundle.bytes.len() as u64 {
            return Err(Error::Changed { path: path.into() });
        }
        Ok(Self {
            file,
            path: path.into(),
            blobs_start: bundle.blobs_start as u64,
            manifest: bundle.manifest.clone(),
        })
    }
}

impl Contents for OnDisk {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn blob(&self, blob: &BlobRef) -> Result<Cow<'_, [u8]>, Error> {
        let io = |source| Error::Io { path: self.path.clone(), source };
        let changed = || Error::Changed { path: self.path.clone() };
        // Both were held against the size of the file when the bundle was verified.
        let size = usize::try_from(blob.size).map_err(|_| changed())?;
        let at = self.blobs_start.checked_add(blob.offset).ok_or_else(changed)?;
        let mut bytes = vec![0; size];
        match self.file.read_exact_at(&mut bytes, at) {
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Err(changed()),
            read => read.map_err(io)?,
        }
        if text::hex(&Sha256::digest(&bytes)) != blob.sha256 {
            return Err(changed());
        }
        Ok(bytes.into())
    }
}
