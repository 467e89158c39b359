//! Why a bundle was refused.

use std::path::PathBuf;

/// Why a bundle could not be read or was refused. Each message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file does not start with the bundle's magic bytes.
    #[error("not a model bundle: the file does not start with the bundle signature")]
    NotABundle,
    /// The file's format version is one that this program does not know.
    #[error("bundle format {version} is not supported (this program reads format {supported})", supported = crate::container::FORMAT)]
    UnsupportedFormat {
        /// The version in the file.
        version: u32,
    },
    /// The file ends before it should.
    #[error("bundle is truncated: {what} needs {needed} bytes, {available} are there")]
    Truncated {
        /// The part that is cut.
        what: &'static str,
        /// Bytes that the part needs.
        needed: u64,
        /// Bytes that are there.
        available: u64,
    },
    /// The file goes on after its end.
    #[error("bundle has {extra} bytes after its end")]
    TrailingBytes {
        /// Bytes too many.
        extra: u64,
    },
    /// A length or a count is over its limit.
    #[error("bundle is too large: {what} of {size} is over the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size, in bytes or entries.
        size: u64,
        /// The largest accepted size.
        limit: u64,
    },
    /// The signature is malformed or does not fit the payload and the key.
    #[error("signature does not verify: the bundle is damaged or was changed after signing")]
    BadSignature,
    /// The bundle is signed by a key that is not trusted here.
    #[error("bundle is signed by key {key}, which is not trusted here")]
    UntrustedKey {
        /// The signing key's id, as minisign prints it.
        key: String,
    },
    /// The file of a verified bundle is not what it was.
    #[error(
        "{path}: the file was changed after it was verified; leave it alone while it is loaded"
    )]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The text is not a minisign public key.
    #[error("not a minisign public key: expected a .pub file's text or its base64 line")]
    BadPublicKey,
    /// The manifest's schema is one that this program does not know.
    #[error("manifest schema {schema} is not supported (this program reads schema {supported})", supported = crate::manifest::SCHEMA)]
    UnknownSchema {
        /// The schema in the manifest.
        schema: u32,
    },
    /// The manifest is not valid.
    #[error("manifest field `{field}` {problem}")]
    BadManifest {
        /// Path of the field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A blob's bytes do not have the checksum that the manifest gives.
    #[error("blob of {name} does not have its SHA-256")]
    BlobMismatch {
        /// The manifest entry that the blob belongs to.
        name: String,
    },
    /// The bundle is for other devices.
    #[error("bundle is for devices of class {bundle}, this one is {device}")]
    WrongDeviceClass {
        /// The bundle's classes.
        bundle: String,
        /// This device's class.
        device: String,
    },
    /// The bundle's security epoch is below the one the device demands.
    #[error("bundle has security epoch {epoch}, this device accepts {min} and above")]
    EpochTooOld {
        /// The bundle's epoch.
        epoch: u32,
        /// The smallest accepted epoch.
        min: u32,
    },
    /// The file could not be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl Error {
    /// A manifest error at `field`.
    pub(crate) fn bad(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::BadManifest { field: field.into(), problem: problem.into() }
    }
}
