//! Snippet features, computed by the very graph that the camera runs and kept on disk.
//!
//! A file is found by the hash of everything it depends on: the backbone's bytes, how snippets are
//! cut, and the frames. Nothing is computed twice, and nothing stale is ever used.

use std::path::{Path, PathBuf};

use inference::{Graph, SnippetFeatures};
use model_bundle::manifest::{InputSpec, SnippetSpec};
use sha2::{Digest, Sha256};
use video::{Clip, Frame};

use super::Error;
use crate::detector::Bag;
use crate::hash::hex;
use crate::{files, footage};

/// Computes features with one backbone, keeping them in a folder.
pub struct Extractor {
    graph: Box<dyn Graph>,
    spec: SnippetSpec,
    identity: [u8; 32],
    cache: PathBuf,
}

impl Extractor {
    /// `onnx` are the bytes that `graph` was loaded from.
    pub fn new(graph: Box<dyn Graph>, onnx: &[u8], spec: SnippetSpec, cache: &Path) -> Self {
        let identity = Sha256::new()
            .chain_update(Sha256::digest(onnx))
            .chain_update(format!("{spec:?}"))
            .finalize()
            .into();
        Self { graph, spec, identity, cache: cache.to_path_buf() }
    }

    /// Features of a clip's model frames: a vector for each snippet, or for each cell of each snippet
    /// where the backbone keeps them apart.
    ///
    /// # Errors
    /// [`Error`], which names the clip.
    pub fn extract(&mut self, name: &str, frames: &[Frame]) -> Result<Bag, Error> {
        let mut hash = Sha256::new().chain_update(self.identity);
        for frame in frames {
            hash.update((frame.width() as u64).to_le_bytes());
            hash.update((frame.height() as u64).to_le_bytes());
            hash.update(frame.rgb());
        }
        let key = hex(&hash.finalize());
        let path = self.cache.join(format!("{key}.f32"));
        // [1, d] or [1, cells, d]
        let shape = self.graph.outputs().first().map_or(&[][..], |output| output.shape.as_slice());
        let d = shape.last().copied().unwrap_or(0);
        let row = shape.iter().product::<usize>();
        let features = match read(&path, row) {
            Some(features) => features,
            None => {
                let features = self
                    .compute(frames)
                    .map_err(|source| Error::Inference { clip: name.to_string(), source })?;
                write(&self.cache, &path, &features)?;
                features
            }
        };
        if features.is_empty() || row == 0 {
            return Err(Error::Empty { clip: name.to_string() });
        }
        let (snippets, cells) = (features.len() / row, row / d);
        Ok(Bag { cells, ..Bag::pooled(name.to_string(), features, snippets, d) })
    }

    fn compute(&mut self, frames: &[Frame]) -> Result<Vec<f32>, inference::Error> {
        let mut snippets = SnippetFeatures::new(&self.spec);
        let mut features = Vec::new();
        for frame in frames {
            if let Some(row) = snippets.push(self.graph.as_mut(), frame)? {
                features.extend_from_slice(row);
            }
        }
        while let Some(row) = snippets.finish(self.graph.as_mut())? {
            features.extend_from_slice(row);
        }
        Ok(features)
    }
}

/// Features of a video as the camera would compute them, row after row as the graph gives them; one
/// frame is in memory at a time, and nothing is kept on disk.
///
/// # Errors
/// [`video::Error`] for the video, [`Error`] for the features.
pub fn of_video(
    graph: &mut dyn Graph,
    spec: &SnippetSpec,
    clip: &Clip,
    input: &InputSpec,
) -> Result<Result<Vec<f32>, Error>, video::Error> {
    let mut snippets = SnippetFeatures::new(spec);
    let mut features = Vec::new();
    let mut failed = None;
    footage::each(&clip.path, input, |frame| {
        match snippets.push(graph, frame) {
            Ok(Some(row)) => features.extend_from_slice(row),
            Ok(None) => {}
            Err(error) => failed = Some(error),
        }
        failed.is_none()
    })?;
    while failed.is_none() {
        match snippets.finish(graph) {
            Ok(Some(row)) => features.extend_from_slice(row),
            Ok(None) => break,
            Err(error) => failed = Some(error),
        }
    }
    let clip = clip.name.clone();
    Ok(match failed {
        Some(source) => Err(Error::Inference { clip, source }),
        None if features.is_empty() => Err(Error::Empty { clip }),
        None => Ok(features),
    })
}

/// What the cache holds, if it is whole: rows of `row` values behind their own hash.
fn read(path: &Path, row: usize) -> Option<Vec<f32>> {
    let bytes = std::fs::read(path).ok()?;
    let (digest, values) = bytes.split_at_checked(32)?;
    let whole = row > 0 && values.len() % (4 * row) == 0 && Sha256::digest(values)[..] == *digest;
    whole.then(|| {
        values.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    })
}

/// Writes through a temporary name, so that a cut leaves no half file.
fn write(folder: &Path, path: &Path, features: &[f32]) -> Result<(), Error> {
    let failed = |source| Error::Io { path: path.to_path_buf(), source };
    let values: Vec<u8> = features.iter().flat_map(|v| v.to_le_bytes()).collect();
    let mut bytes = Sha256::digest(&values).to_vec();
    bytes.extend(values);
    std::fs::create_dir_all(folder).map_err(failed)?;
    files::replace(path, &bytes).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use inference::TensorInfo;

    /// Gives the mean of the snippet and counts its runs.
    struct Mean {
        inputs: Vec<TensorInfo>,
        outputs: Vec<TensorInfo>,
        runs: std::sync::Arc<std::sync::atomic::AtomicUsize>,
    }

    impl Graph for Mean {
        fn inputs(&self) -> &[TensorInfo] {
            &self.inputs
        }
        fn outputs(&self) -> &[TensorInfo] {
            &self.outputs
        }
        fn run(
            &mut self,
            inputs: &[&[f32]],
            outputs: &mut [Vec<f32>],
        ) -> Result<(), inference::Error> {
            self.runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let mean = inputs[0].iter().sum::<f32>() / inputs[0].len() as f32;
            outputs[0].clear();
            outputs[0].extend([mean, -mean]);
            Ok(())
        }
    }

    fn extractor(
        cache: &Path,
        onnx: &[u8],
    ) -> (Extractor, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
        let spec = SnippetSpec {
            frames: 2,
            stride: 2,
            width: 4,
            height: 4,
            mean: [0.0; 3],
            std: [1.0; 3],
            stream: None,
        };
        let runs = std::sync::Arc::default();
        let graph = Mean {
            inputs: vec![TensorInfo { name: "snippet".into(), shape: vec![1, 3, 2, 4, 4] }],
            outputs: vec![TensorInfo { name: "features".into(), shape: vec![1, 2] }],
            runs: std::sync::Arc::clone(&runs),
        };
        (Extractor::new(Box::new(graph), onnx, spec, cache), runs)
    }

    fn clip(levels: &[u8]) -> Vec<Frame> {
        levels.iter().filter_map(|&level| Frame::from_luma(4, 4, &[level; 16])).collect()
    }

    #[test]
    fn snippets_are_averaged_and_the_tail_repeats_its_last_frame() {
        let folder = tempfile::tempdir().unwrap();
        let (mut extractor, _) = extractor(folder.path(), b"graph");
        let bag = extractor.extract("a", &clip(&[10, 20, 30])).unwrap();
        assert_eq!((bag.snippets, bag.d), (2, 2));
        assert_eq!(bag.features, [15.0, -15.0, 30.0, -30.0]);
    }

    #[test]
    fn the_cache_answers_for_the_same_content_only() {
        use std::sync::atomic::Ordering::Relaxed;
        let folder = tempfile::tempdir().unwrap();
        let (mut first, runs) = extractor(folder.path(), b"graph");
        let features = first.extract("a", &clip(&[10, 20])).unwrap().features;
        assert_eq!(first.extract("b", &clip(&[10, 20])).unwrap().features, features);
        assert_eq!(runs.load(Relaxed), 1);
        first.extract("c", &clip(&[10, 21])).unwrap();
        assert_eq!(runs.load(Relaxed), 2);
        let (mut other, runs) = extractor(folder.path(), b"another graph");
        other.extract("a", &clip(&[10, 20])).unwrap();
        assert_eq!(runs.load(Relaxed), 1);
    }

    #[test]
    fn a_damaged_cache_file_is_computed_again() {
        use std::sync::atomic::Ordering::Relaxed;
        let folder = tempfile::tempdir().unwrap();
        let (mut extractor, runs) = extractor(folder.path(), b"graph");
        let features = extractor.extract("a", &clip(&[10, 20])).unwrap().features;
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
        assert_eq!(extractor.extract("a", &clip(&[10, 20])).unwrap().features, features);
        assert_eq!(runs.load(Relaxed), 2);
    }

    #[test]
    fn no_frames_no_features() {
        let folder = tempfile::tempdir().unwrap();
        let (mut extractor, _) = extractor(folder.path(), b"graph");
        let error = extractor.extract("empty", &[]).unwrap_err();
        assert!(error.to_string().contains("empty"), "{error}");
    }
}
