//! Where plans, footage and clips are: a local folder, or a bucket of an S3-compatible store.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};
use tokio::runtime::{Builder, Runtime};

use crate::files;

/// Something could not be read, written or listed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A local file or folder.
    #[error("{}: {source}", path.display())]
    Local {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// An object of a remote store, or the store itself.
    #[error("{name}: {problem}")]
    Remote {
        /// The object's address.
        name: String,
        /// What the store said.
        problem: String,
    },
    /// An address that is none.
    #[error("{address}: {problem}")]
    Address {
        /// The address.
        address: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// A folder of files, local or remote. Names are relative, with `/` between their parts.
///
/// Every write is whole or not at all: what another process, or the next run, finds under a name is
/// complete.
#[derive(Debug, Clone)]
pub enum Store {
    /// A folder of this machine.
    Local(PathBuf),
    /// A prefix in a bucket.
    Remote(Remote),
}

/// A prefix in a bucket.
#[derive(Debug, Clone)]
pub struct Remote {
    store: Arc<dyn ObjectStore>,
    runtime: Arc<Runtime>,
    address: String,
    prefix: Key,
}

impl Store {
    /// A local folder, or `s3://bucket/prefix`. Access to S3 is configured by the usual environment
    /// variables (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`,
    /// `AWS_ALLOW_HTTP`, or a role of the machine).
    ///
    /// # Errors
    /// [`StoreError::Address`] if it is no address, or access is not configured.
    pub fn open(address: &str) -> Result<Self, StoreError> {
        let Some(rest) = address.strip_prefix("s3://") else {
            if let Some((scheme, _)) = address.split_once("://") {
                let problem =
                    format!("{scheme} is not supported; give a folder or s3://bucket/prefix");
                return Err(StoreError::Address { address: address.into(), problem });
            }
            return Ok(Self::Local(address.into()));
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let fail = |problem: String| StoreError::Address { address: address.into(), problem };
        if bucket.is_empty() {
            return Err(fail("no bucket; give s3://bucket/prefix".into()));
        }
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .build()
            .map_err(|e| fail(e.to_string()))?;
        Self::remote(Arc::new(store), address, prefix)
    }

    /// The objects of any store under a prefix; `address` is how messages call it.
    ///
    /// # Errors
    /// [`StoreError::Address`] if the prefix is none.
    pub fn remote(
        store: Arc<dyn ObjectStore>,
        address: &str,
        prefix: &str,
    ) -> Result<Self, StoreError> {
        let fail = |problem: String| StoreError::Address { address: address.into(), problem };
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| fail(format!("no network runtime: {e}")))?;
        Ok(Self::Remote(Remote {
            store,
            runtime: Arc::new(runtime),
            address: address.trim_end_matches('/').to_owned(),
            prefix: Key::parse(prefix.trim_matches('/')).map_err(|e| fail(e.to_string()))?,
        }))
    }

    /// How messages call a file.
    pub fn address(&self, name: &str) -> String {
        match self {
            Self::Local(folder) => folder.join(name).display().to_string(),
            Self::Remote(remote) => format!("{}/{name}", remote.address),
        }
    }

    /// The content of a file; none if there is no such file.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::Local(folder) => {
                let path = folder.join(name);
                match fs::read(&path) {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(source) => Err(StoreError::Local { path, source }),
                }
            }
            Self::Remote(remote) => {
                let key = remote.key(name);
                let read = async { remote.store.get(&key).await?.bytes().await };
                match remote.runtime.block_on(read) {
                    Ok(bytes) => Ok(Some(bytes.to_vec())),
                    Err(object_store::Error::NotFound { .. }) => Ok(None),
                    Err(error) => Err(remote.error(name, &error)),
                }
            }
        }
    }

    /// Writes a file, whole or not at all.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn write(&self, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        match self {
            Self::Local(folder) => {
                let path = folder.join(name);
                make_parent(&path)?;
                files::replace(&path, &bytes).map_err(|source| StoreError::Local { path, source })
            }
            Self::Remote(remote) => {
                let (key, payload) = (remote.key(name), PutPayload::from(bytes));
                let written = remote.runtime.block_on(remote.store.put(&key, payload));
                written.map(drop).map_err(|e| remote.error(name, &e))
            }
        }
    }

    /// Takes over a finished local file, which is gone afterwards. To a local folder it must be on the
    /// same file system.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn take(&self, name: &str, file: &Path) -> Result<(), StoreError> {
        let local = |source| StoreError::Local { path: file.into(), source };
        match self {
            Self::Local(folder) => {
                let path = folder.join(name);
                make_parent(&path)?;
                let onto_disk = fs::File::open(file).and_then(|f| f.sync_all());
                onto_disk.and_then(|()| fs::rename(file, &path)).map_err(local)
            }
            Self::Remote(_) => {
                self.write(name, fs::read(file).map_err(local)?)?;
                fs::remove_file(file).map_err(local)
            }
        }
    }

    /// Names, without the folder's, and sizes of the files directly in a folder; nothing if there is no
    /// such folder. Hidden files are left out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn list(&self, folder: &str) -> Result<BTreeMap<String, u64>, StoreError> {
        let mut found = BTreeMap::new();
        match self {
            Self::Local(root) => {
                let path = root.join(folder);
                let error = |source| StoreError::Local { path: path.clone(), source };
                let entries = match fs::read_dir(&path) {
                    Ok(entries) => entries,
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(found),
                    Err(source) => return Err(error(source)),
                };
                for entry in entries {
                    let entry = entry.map_err(error)?;
                    // A file that another process has just renamed is one that is not there.
                    let Ok(metadata) = entry.metadata() else { continue };
                    let name = entry.file_name().to_string_lossy().into_owned();
                    if metadata.is_file() && !name.starts_with('.') {
                        found.insert(name, metadata.len());
                    }
                }
            }
            Self::Remote(remote) => {
                let key = remote.key(folder);
                let listed = remote.store.list_with_delimiter(Some(&key));
                let listed =
                    remote.runtime.block_on(listed).map_err(|e| remote.error(folder, &e))?;
                for object in listed.objects {
                    if let Some(name) = object.location.filename().filter(|n| !n.starts_with('.')) {
                        found.insert(name.to_owned(), object.size);
                    }
                }
            }
        }
        Ok(found)
    }

    /// A local folder with the files `names`: the folder itself, or copies below `cache`, which are
    /// fetched once.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn local(&self, names: &[String], cache: &Path) -> Result<PathBuf, StoreError> {
        let Self::Remote(remote) = self else {
            let Self::Local(folder) = self else { unreachable!("a store is local or remote") };
            return Ok(folder.clone());
        };
        for name in names {
            let path = cache.join(name);
            if path.exists() {
                continue;
            }
            let bytes = self.read(name)?.ok_or_else(|| StoreError::Remote {
                name: self.address(name),
                problem: "is not there".into(),
            })?;
            log::info!("fetched {}/{name}", remote.address);
            make_parent(&path)?;
            files::replace(&path, &bytes).map_err(|source| StoreError::Local { path, source })?;
        }
        Ok(cache.to_path_buf())
    }
}

impl Remote {
    fn key(&self, name: &str) -> Key {
        name.split('/')
            .filter(|part| !part.is_empty())
            .fold(self.prefix.clone(), |key, part| key.join(part))
    }

    fn error(&self, name: &str, error: &object_store::Error) -> StoreError {
        // The store's own text repeats the request; its causes say what happened.
        let mut problem = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            let text = error.to_string();
            if !problem.contains(&text) {
                problem += &format!(": {text}");
            }
            cause = error.source();
        }
        StoreError::Remote { name: format!("{}/{name}", self.address), problem }
    }
}

fn make_parent(path: &Path) -> Result<(), StoreError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|source| StoreError::Local { path: parent.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::local::LocalFileSystem;
    use object_store::memory::InMemory;

    #[test]
    fn local_and_remote_stores_do_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let files = LocalFileSystem::new_with_prefix(elsewhere.path()).unwrap();
        let stores = [
            Store::open(folder.path().to_str().unwrap()).unwrap(),
            Store::remote(Arc::new(InMemory::new()), "s3://b/run", "run").unwrap(),
            Store::remote(Arc::new(files), "s3://c/deep/run", "deep/run/").unwrap(),
        ];
        for store in stores {
            assert_eq!(store.read("a/b.txt").unwrap(), None);
            assert!(store.list("a").unwrap().is_empty());
            store.write("a/b.txt", b"first".to_vec()).unwrap();
            store.write("a/b.txt", b"other".to_vec()).unwrap();
            store.write("a/deeper/c.txt", b"3".to_vec()).unwrap();
            assert_eq!(store.read("a/b.txt").unwrap().unwrap(), b"other");
            assert_eq!(store.list("a").unwrap(), BTreeMap::from([("b.txt".to_owned(), 5)]));
            let made = folder.path().join(".made");
            fs::write(&made, b"clip").unwrap();
            store.take("a/made.mp4", &made).unwrap();
            assert!(!made.exists());
            let names = ["a/b.txt".to_owned(), "a/made.mp4".to_owned()];
            let cache = tempfile::tempdir().unwrap();
            let local = store.local(&names, cache.path()).unwrap();
            assert_eq!(fs::read(local.join("a/made.mp4")).unwrap(), b"clip");
            assert!(store.address("x").ends_with("/x"));
        }
    }

    #[test]
    fn addresses_are_checked() {
        for (address, expected) in [("s3:///x", "no bucket"), ("gs://b/x", "gs is not supported")] {
            let error = Store::open(address).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
