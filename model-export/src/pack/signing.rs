//! Minisign secret keys, and signatures that come out the same every time.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use blake2::{Blake2b512, Digest};
use model_bundle::signature::SignatureText;
use model_bundle::{Manifest, Payload, PublicKey};

use super::Error;

/// Where the Ed25519 secret key lies in minisign's unencrypted secret key: after three algorithm
/// names (2 each), salt (32), two limits (8 each) and key id (8).
const SECRET: std::ops::Range<usize> = 62..126;

/// A minisign key pair that signs bundles.
pub struct SigningKey {
    minisign: minisign::SecretKey,
    secret: ed25519_compact::SecretKey,
    public: PublicKey,
}

impl SigningKey {
    /// A new key pair from the system's random numbers.
    pub fn generate() -> Result<Self, Error> {
        let pair = minisign::KeyPair::generate_unencrypted_keypair()
            .map_err(|error| Error::KeyGeneration(error.to_string()))?;
        Self::from_minisign(pair.sk).map_err(Error::KeyGeneration)
    }

    /// Reads an unencrypted minisign secret key file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(io("read", path))?;
        let key = |problem| Error::Key { path: path.to_path_buf(), problem };
        let read = minisign::SecretKeyBox::from_string(&text)
            .and_then(minisign::SecretKeyBox::into_unencrypted_secret_key)
            .map_err(|_| {
                key("is not an unencrypted minisign secret key (`model-export keygen` makes one)"
                    .to_owned())
            })?;
        Self::from_minisign(read).map_err(key)
    }

    fn from_minisign(minisign: minisign::SecretKey) -> Result<Self, String> {
        let public = minisign::PublicKey::from_secret_key(&minisign)
            .map_err(|error| error.to_string())?
            .to_base64()
            .parse()
            .map_err(|error: model_bundle::Error| error.to_string())?;
        let bytes = minisign.to_bytes();
        let secret = bytes
            .get(SECRET)
            .and_then(|secret| ed25519_compact::SecretKey::from_slice(secret).ok())
            .ok_or("does not hold an Ed25519 key")?;
        Ok(Self { minisign, secret, public })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Writes `PREFIX.key` (mode 0600, not encrypted) and `PREFIX.pub`, and returns both paths.
    /// Existing files are an error unless `force` replaces them.
    pub fn write(&self, prefix: &Path, force: bool) -> Result<(PathBuf, PathBuf), Error> {
        let with = |extension: &str| {
            let mut name = prefix.as_os_str().to_owned();
            name.push(extension);
            PathBuf::from(name)
        };
        let (key, public) = (with(".key"), with(".pub"));
        let text = self
            .minisign
            .to_box(Some("pavad secret key, not encrypted"))
            .map_err(|error| Error::KeyGeneration(error.to_string()))?
            .to_string();
        for path in [&key, &public] {
            if force {
                // Replaced rather than rewritten: the old file's mode may be wider.
                match std::fs::remove_file(path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(io("write", path)(error));
                    }
                    _ => {}
                }
            } else if path.exists() {
                let problem = "exists already; --force replaces it".to_owned();
                return Err(Error::Key { path: path.clone(), problem });
            }
        }
        create(&key, 0o600, &text)?;
        create(&public, 0o644, &self.public.to_file_text())?;
        Ok((key, public))
    }

    /// A detached minisign signature of `data`, in minisign's text form.
    ///
    /// Deterministic, as RFC 8032 and minisign itself are.
    pub fn sign(&self, data: &[u8], trusted_comment: &str) -> String {
        let signature = *self.secret.sign(Blake2b512::digest(data), None);
        let mut first = [0; 74];
        first[..2].copy_from_slice(b"ED");
        first[2..10].copy_from_slice(&self.public.as_bytes()[2..10]);
        first[10..].copy_from_slice(&signature);
        let commented = [&signature[..], trusted_comment.as_bytes()].concat();
        let global_signature = *self.secret.sign(commented, None);
        SignatureText { signature: first, trusted_comment, global_signature }.to_canonical()
    }

    /// The bundle file of a payload, signed by this key.
    pub fn finish(&self, payload: &Payload, trusted_comment: &str) -> Result<Vec<u8>, Error> {
        Ok(payload.finish(&self.sign(payload.as_bytes(), trusted_comment), &self.public)?)
    }
}

/// The trusted comment of a bundle's signature: what was signed, and no time.
pub fn comment(manifest: &Manifest) -> String {
    format!("{} {} epoch {}", manifest.name, manifest.version, manifest.security_epoch)
}

fn create(path: &Path, mode: u32, text: &str) -> Result<(), Error> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(io("write", path))
}

/// Gives an I/O error its file and what was tried.
pub(crate) fn io(action: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::Io { action, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minisign_accepts_the_signature() {
        let key = SigningKey::generate().unwrap();
        let text = key.sign(b"payload", "a comment");
        assert_eq!(text, key.sign(b"payload", "a comment"));
        let public = minisign::PublicKey::from_base64(&key.public().to_string()).unwrap();
        let signature = minisign::SignatureBox::from_string(&text).unwrap();
        let verify = |data: &'static [u8]| {
            minisign::verify(&public, &signature, std::io::Cursor::new(data), true, false, false)
        };
        verify(b"payload").unwrap();
        verify(b"Payload").unwrap_err();
        assert_eq!(signature.trusted_comment().unwrap(), "a comment");
    }

    #[test]
    fn keys_come_back_from_their_files() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let key = SigningKey::generate().unwrap();
        let prefix = dir.path().join("site.v1");
        let (secret, public) = key.write(&prefix, false).unwrap();
        assert_eq!(secret, dir.path().join("site.v1.key"));
        assert_eq!(std::fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(PublicKey::read(&public).unwrap(), *key.public());
        let again = SigningKey::read(&secret).unwrap();
        assert_eq!(again.sign(b"x", "y"), key.sign(b"x", "y"));

        assert!(matches!(key.write(&prefix, false), Err(Error::Key { .. })));
        SigningKey::generate().unwrap().write(&prefix, true).unwrap();
        assert_ne!(PublicKey::read(&public).unwrap(), *key.public());
        assert!(matches!(SigningKey::read(&public), Err(Error::Key { .. })));
    }

    #[test]
    fn encrypted_keys_are_refused_with_a_hint() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("encrypted.key");
        // Scrypt as named by the algorithm field, with any key material.
        let mut bytes = vec![0; 158];
        bytes[..6].copy_from_slice(b"EdScB2");
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(bytes);
        std::fs::write(&path, format!("untrusted comment: minisign encrypted\n{text}\n")).unwrap();
        let Err(error) = SigningKey::read(&path) else { panic!("accepted") };
        assert!(error.to_string().contains("not an unencrypted minisign secret key"), "{error}");
    }
}
