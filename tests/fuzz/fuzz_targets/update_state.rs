//! Any bytes as the state file of updates and as a bundle in each slot: the factory's bundle, which is whole,
//! can always be run, and what runs is never a bundle that was not verified.
#![no_main]

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};

use edge_runtime::files::Files;
use edge_runtime::update::Store;
use libfuzzer_sys::fuzz_target;
use model_bundle::{BundleBuilder, Manifest, Trust};

/// The smallest model there is, the motion prior alone.
const MANIFEST: &str = r#"{
    "schema": 1, "name": "motion", "version": "1.0.0", "security_epoch": 1, "device_classes": ["any"],
    "detectors": {
        "input": {"width": 32, "height": 32, "frame_rate": 10.0},
        "motion": {"box_size": 8, "epsilon": 1.0, "z": {"mean": 0.0, "std": 1.0}, "weight": 1.0},
        "smoothing": {"sigma": 0.0, "radius": 0, "lag": 0},
        "calibration": {"threshold": 2.0, "scale": 0.5, "false_alarms_per_hour": 1.0},
        "events": {"enter": 0.5, "exit": 0.4, "min_duration": 0.25, "end_after": 0.45, "cool_down": 0.0}
    },
    "graphs": [], "golden": [], "provenance": {}
}"#;

/// A bundle of it, signed by a key that nobody else has.
static FACTORY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let pair = minisign::KeyPair::generate_unencrypted_keypair().expect("a key");
    let manifest: Manifest = serde_json::from_str(MANIFEST).expect("a manifest");
    let payload = BundleBuilder::new().payload(&manifest).expect("a payload");
    let signature = minisign::sign(None, &pair.sk, payload.as_bytes(), Some("fuzz"), None);
    let key = pair.pk.to_base64().parse().expect("a public key");
    let text = signature.expect("a signature").into_string();
    payload.finish(&text, &key).expect("a bundle")
});

#[derive(Default)]
struct Memory(Mutex<HashMap<PathBuf, Vec<u8>>>);

impl Memory {
    fn put(&self, path: &Path, bytes: &[u8]) {
        self.0.lock().expect("one thread").insert(path.into(), bytes.into());
    }
}

impl Files for Memory {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        match self.0.lock().expect("one thread").get(path) {
            Some(bytes) if bytes.len() as u64 <= limit => Ok(bytes.clone()),
            Some(_) => Err(io::ErrorKind::InvalidData.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.put(path, bytes);
        Ok(())
    }

    fn sync(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.0.lock().expect("one thread");
        let bytes = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.into(), bytes);
        Ok(())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.0.lock().expect("one thread").remove(path);
        removed.map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        let files = self.0.lock().expect("one thread");
        let inside = files.iter().filter(|(path, _)| path.parent() == Some(folder));
        Ok(inside.map(|(path, bytes)| (path.clone(), bytes.len() as u64)).collect())
    }
}

fuzz_target!(|input: (&[u8], bool, &[u8])| {
    let (state, whole, other) = input;
    let files = Memory::default();
    files.put(Path::new("/factory.pavad"), &FACTORY);
    files.put(Path::new("/slots/state.json"), state);
    // A slot with a whole bundle leads further into what the state says of it.
    files.put(Path::new("/slots/a.pavad"), if whole { FACTORY.as_slice() } else { other });
    files.put(Path::new("/slots/b.pavad"), other);
    let (slots, factory) = (Path::new("/slots"), Path::new("/factory.pavad"));
    let store = Store::new(Arc::new(files), slots, Trust::Embedded, "any", factory);
    // As the program starts, a few times: a trial has its starts counted.
    for _ in 0..4 {
        let epoch = store.state().map_or(0, |state| state.epoch);
        let selected = store.select(|bundle, _| Ok(bundle.manifest().security_epoch));
        match selected {
            Ok(selected) => assert!(selected.value >= epoch, "an older epoch runs"),
            // The state may ask for an epoch that no bundle has.
            Err(_) => assert!(epoch > 1),
        }
    }
});
