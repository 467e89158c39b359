//! Reading, verifying and writing model bundles (`*.pavad`).
//!
//! A bundle is the only thing that passes from the host to the camera. This crate knows the file
//! and its signature and nothing of neural networks: a bundle is verified here, whole, before an
//! inference engine sees a byte of it.
//!
//! The layout of the file is documented in `docs/reference/bundle-format.md`; [`container`] reads
//! it, [`builder`] writes it, [`validate`] and [`layout`] check what the manifest says.

pub mod builder;
pub mod container;
pub mod detectors;
mod error;
pub mod key;
pub mod layout;
pub mod manifest;
mod on_disk;
pub mod signature;
pub mod states;
mod text;
pub mod validate;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

pub use builder::{BundleBuilder, Payload};
pub use error::Error;
pub use key::PublicKey;
pub use manifest::{BlobRef, GraphEntry, Manifest};
pub use on_disk::{Contents, OnDisk};
pub use text::hex;

use container::{Container, MAX_FILE_SIZE};

/// Whose bundles are accepted.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Bundles signed by one of these keys: what a camera uses. No key, no bundle.
    Keys(Vec<PublicKey>),
    /// Bundles signed by the key they carry themselves: proves that the file is undamaged and says
    /// nothing of where it comes from. For inspection and for replaying on a host.
    Embedded,
}

/// A verified bundle: signature, manifest and every blob have been checked.
#[derive(Debug, Clone)]
pub struct Bundle {
    bytes: Vec<u8>,
    /// Where the payload (manifest length, manifest, blobs) starts in `bytes`.
    payload_start: usize,
    /// Where the blobs start in `bytes`.
    blobs_start: usize,
    manifest: Manifest,
    signer: PublicKey,
    digest: [u8; 32],
}

impl Bundle {
    /// Reads and verifies the bundle in a file. At most [`MAX_FILE_SIZE`] bytes are read.
    pub fn open(path: &Path, trust: &Trust) -> Result<Self, Error> {
        let io = |source| Error::Io { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        check_limit("file", size, MAX_FILE_SIZE)?;
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        // The file may grow while it is read; one byte more than allowed shows it.
        file.take(MAX_FILE_SIZE + 1).read_to_end(&mut bytes).map_err(io)?;
        Self::from_bytes(bytes, trust)
    }

    /// Verifies a bundle in memory.
    ///
    /// In this order: limits on every length, the signature by a trusted key over the whole
    /// payload, and only then the manifest's schema, its meaning, and the checksum of each blob.
    pub fn from_bytes(bytes: Vec<u8>, trust: &Trust) -> Result<Self, Error> {
        let container = Container::split(&bytes)?;
        let signer = PublicKey::from_bytes(container.key).ok_or(Error::BadSignature)?;
        if let Trust::Keys(keys) = trust
            && !keys.contains(&signer)
        {
            return Err(Error::UntrustedKey { key: signer.id() });
        }
        signature::verify(container.payload, container.signature, &signer)?;

        let (manifest_json, blobs) = container.split_payload()?;
        let manifest = validate::parse(manifest_json)?;
        validate::validate(&manifest)?;
        let tensors = layout::blob_layout(&manifest, blobs.len() as u64)?;
        for blob in tensors {
            let data = slice(blobs, blob.reference);
            if hex(&Sha256::digest(data)) != blob.reference.sha256 {
                return Err(Error::BlobMismatch { name: blob.name });
            }
            if blob.is_tensor && !all_finite(data) {
                return Err(Error::bad(blob.name, "holds a value that is not a finite number"));
            }
        }
        let digest = Sha256::digest(&bytes).into();
        let payload_start = bytes.len() - container.payload.len();
        let blobs_start = bytes.len() - blobs.len();
        Ok(Self { payload_start, blobs_start, manifest, signer, digest, bytes })
    }

    /// What the bundle says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The key that signed the bundle.
    pub fn signer(&self) -> &PublicKey {
        &self.signer
    }

    /// SHA-256 of the whole file, what `sha256sum` prints for it.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// [`Self::digest`] in lower-case hexadecimal.
    pub fn digest_hex(&self) -> String {
        hex(&self.digest)
    }

    /// The file's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The signed part of the file, as [`Payload`] to be signed again with another key.
    pub fn payload(&self) -> Payload {
        Payload::from_verified(self.bytes[self.payload_start..].to_vec())
    }

    /// The entry of a graph (`local`, `backbone`, `head`) for a backend (`ort`, `tract`).
    pub fn graph_entry(&self, name: &str, backend: &str) -> Option<&GraphEntry> {
        self.manifest.graphs.iter().find(|g| g.name == name && g.backend == backend)
    }

    /// The ONNX model of a graph (`local`, `backbone`, `head`) for a backend (`ort`, `tract`).
    pub fn graph(&self, name: &str, backend: &str) -> Option<&[u8]> {
        self.graph_entry(name, backend).map(|entry| self.blob(&entry.blob))
    }

    /// The bytes of a blob of this bundle's manifest; empty for a reference made up elsewhere that
    /// lies outside the file.
    pub fn blob(&self, blob: &BlobRef) -> &[u8] {
        slice(&self.bytes[self.blobs_start..], blob)
    }

    /// The values of a blob that holds a tensor (little-endian `f32`).
    pub fn tensor(&self, blob: &BlobRef) -> Vec<f32> {
        floats(self.blob(blob)).collect()
    }

    /// Refuses a bundle that is not for devices of this class.
    pub fn check_device(&self, class: &str) -> Result<(), Error> {
        let classes = &self.manifest.device_classes;
        if classes.iter().any(|c| c == class || c == "any") {
            return Ok(());
        }
        Err(Error::WrongDeviceClass { bundle: classes.join(", "), device: class.to_owned() })
    }

    /// Refuses a bundle whose security epoch is below the device's.
    pub fn check_epoch(&self, min: u32) -> Result<(), Error> {
        let epoch = self.manifest.security_epoch;
        if epoch < min {
            return Err(Error::EpochTooOld { epoch, min });
        }
        Ok(())
    }
}

/// The bytes of a blob; empty if the reference does not lie inside `blobs`.
fn slice<'a>(blobs: &'a [u8], blob: &BlobRef) -> &'a [u8] {
    let range = || {
        let start = usize::try_from(blob.offset).ok()?;
        let end = start.checked_add(usize::try_from(blob.size).ok()?)?;
        blobs.get(start..end)
    };
    range().unwrap_or_default()
}

fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    bytes.as_chunks::<4>().0.iter().map(|c| f32::from_le_bytes(*c))
}

fn all_finite(bytes: &[u8]) -> bool {
    floats(bytes).all(f32::is_finite)
}

fn check_limit(what: &'static str, size: u64, limit: u64) -> Result<(), Error> {
    if size > limit {
        return Err(Error::TooLarge { what, size, limit });
    }
    Ok(())
}
