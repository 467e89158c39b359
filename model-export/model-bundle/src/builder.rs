//! Writing a bundle.
//!
//! Blobs first, then the manifest that refers to them, then the signature over both:
//!
//! ```text
//! let mut builder = BundleBuilder::new();
//! let blob = builder.add(&onnx)?;             // for each graph and golden tensor
//! let payload = builder.payload(&manifest)?;  // checks the manifest
//! let file = payload.finish(&minisign(payload.as_bytes()), &public_key)?;
//! ```
//!
//! The same blobs and manifest give the same payload, byte for byte.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::container::{FORMAT, MAGIC, MAX_FILE_SIZE, MAX_MANIFEST_SIZE};
use crate::manifest::{BlobRef, Manifest};
use crate::signature::SignatureText;
use crate::{Bundle, Error, PublicKey, Trust, check_limit, layout, text, validate};

/// Gathers the blobs of a bundle.
#[derive(Debug, Default)]
pub struct BundleBuilder {
    blobs: Vec<u8>,
    known: HashMap<[u8; 32], BlobRef>,
}

impl BundleBuilder {
    /// A builder without blobs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a blob and returns the reference for the manifest. Equal bytes are stored once.
    pub fn add(&mut self, bytes: &[u8]) -> Result<BlobRef, Error> {
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        if let Some(known) = self.known.get(&digest) {
            return Ok(known.clone());
        }
        let offset = self.blobs.len() as u64;
        let size = bytes.len() as u64;
        check_limit("blobs", offset + size, MAX_FILE_SIZE)?;
        self.blobs.extend_from_slice(bytes);
        let blob = BlobRef { offset, size, sha256: text::hex(&digest) };
        self.known.insert(digest, blob.clone());
        Ok(blob)
    }

    /// Adds a tensor (row-major), stored as little-endian `f32`.
    pub fn add_tensor(&mut self, values: &[f32]) -> Result<BlobRef, Error> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.add(&bytes)
    }

    /// The bytes to be signed. Refuses a manifest that no reader would accept.
    pub fn payload(&self, manifest: &Manifest) -> Result<Payload, Error> {
        validate::validate(manifest)?;
        layout::blob_layout(manifest, self.blobs.len() as u64)?;
        let json = serde_json::to_vec(manifest)
            .map_err(|e| Error::bad("manifest", format!("cannot be written as JSON: {e}")))?;
        check_limit("manifest", json.len() as u64, MAX_MANIFEST_SIZE)?;
        let mut payload = Vec::with_capacity(4 + json.len() + self.blobs.len());
        payload.extend_from_slice(&(json.len() as u32).to_le_bytes());
        payload.extend_from_slice(&json);
        payload.extend_from_slice(&self.blobs);
        Ok(Payload(payload))
    }
}

/// The signed part of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload(Vec<u8>);

impl Payload {
    /// The payload of a bundle that has been verified.
    pub(crate) fn from_verified(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes to be signed by minisign (prehashed, its default).
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bundle file: this payload with its detached minisign signature, brought into canonical
    /// form (the trusted comment must be printable ASCII).
    ///
    /// The result has been read back and verified; a signature of other bytes or of another key is
    /// [`Error::BadSignature`].
    pub fn finish(&self, signature: &str, key: &PublicKey) -> Result<Vec<u8>, Error> {
        let signature = SignatureText::parse(signature).ok_or(Error::BadSignature)?.to_canonical();
        let bytes = [
            &MAGIC[..],
            &FORMAT.to_le_bytes(),
            &(signature.len() as u32).to_le_bytes(),
            &(self.0.len() as u64).to_le_bytes(),
            key.as_bytes(),
            signature.as_bytes(),
            &self.0,
        ]
        .concat();
        Ok(Bundle::from_bytes(bytes, &Trust::Embedded)?.bytes)
    }
}
