//! A filmed site and the model trained on it, made once for all tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::common::{command, onnx_runtime, outcome, weights};

/// The smallest training that takes every step of a real one. Its graphs stream: what they keep from
/// frame to frame goes through features, calibration, quantization, bundle and camera program.
const TRAIN: &str = r#"
local_streams = true
held_out = 0.3
pseudo_clips = 4
pseudo_validation_clips = 2

[local]
steps = 60
batch = 4
warm_up = 4
statistics_batches = 4
save_every = 5
crop = { width = 96, height = 64 }

[semantic]
backbone = "tsm-mobilenetv2"
window = 4

[semantic.detector]
segments = 8
batch = 2
steps = 3

[semantic.detector.model]
embedding = 64
heads = 2
head_size = 32
feed_forward = 64
abnormal_slots = 8
normal_slots = 8
classifier_hidden = 16
"#;

/// Frames of each test clip.
pub const FRAMES: usize = 120;

/// The site's files.
pub struct Site {
    pub folder: PathBuf,
    /// What `pack` said of the first bundle.
    pub packed: String,
    thresholds: OnceLock<BTreeMap<String, f64>>,
}

/// The site, or `None`, said on the way, where something it needs is not installed.
pub fn site() -> Option<&'static Site> {
    static SITE: OnceLock<Option<Site>> = OnceLock::new();
    SITE.get_or_init(|| {
        let needed = [onnx_runtime(), weights().join("mobilenetv2-imagenet.pth")];
        if let Some(missing) = needed.iter().find(|path| !path.exists()) {
            println!("skipped: {} is missing; run 'cargo xtask weights'", missing.display());
            return None;
        }
        Some(Site::make(Path::new(env!("CARGO_TARGET_TMPDIR")).join("end-to-end")))
    })
    .as_ref()
}

impl Site {
    fn make(folder: PathBuf) -> Self {
        if folder.exists() {
            std::fs::remove_dir_all(&folder).unwrap();
        }
        std::fs::create_dir_all(&folder).unwrap();
        let size = ["--width", "160", "--height", "120", "--seed", "3"];
        let clips = ["--normal-clips", "2", "--event-seconds", "12", "--normal-minutes", "0"];
        let mut scene = command("trainer");
        scene.arg("scene").args(size).args(clips).arg("--out").arg(&folder);
        outcome(&mut scene).succeeded();
        std::fs::write(folder.join("train.toml"), TRAIN).unwrap();

        let mut site = Self { folder, packed: String::new(), thresholds: OnceLock::new() };
        outcome(&mut site.train(&site.checkpoint())).succeeded();
        let mut keygen = command("model-export");
        outcome(keygen.args(["keygen", "--out"]).arg(site.folder.join("site"))).succeeded();
        site.packed = outcome(&mut site.pack(&site.bundle())).succeeded().stdout;
        site
    }

    /// `trainer train` to the checkpoint `out`.
    pub fn train(&self, out: &Path) -> Command {
        let mut train = command("trainer");
        train.args(["train", "--seed", "5", "--config"]).arg(self.folder.join("train.toml"));
        train.arg("--normal").arg(self.folder.join("normal")).arg("--out").arg(out);
        train
    }

    /// `model-export pack` of the checkpoint to `out`.
    pub fn pack(&self, out: &Path) -> Command {
        let mut pack = command("model-export");
        pack.arg("pack").arg(self.checkpoint()).arg("--key").arg(self.folder.join("site.key"));
        pack.args(["--name", "tiny", "--out"]).arg(out);
        pack
    }

    /// `edge-runtime replay` of a bundle that must be signed with the site's key.
    pub fn replay(&self, bundle: &Path, input: &Path) -> Command {
        let mut replay = command("edge-runtime");
        replay.args(["replay", "--bundle"]).arg(bundle).arg("--input").arg(input);
        replay.arg("--public-key").arg(self.public_key());
        replay
    }

    pub fn checkpoint(&self) -> PathBuf {
        self.folder.join("checkpoint")
    }

    pub fn bundle(&self) -> PathBuf {
        self.folder.join("model.pavad")
    }

    pub fn public_key(&self) -> PathBuf {
        self.folder.join("site.pub")
    }

    /// A test clip.
    pub fn clip(&self, name: &str) -> PathBuf {
        self.folder.join("test").join(format!("{name}.mp4"))
    }

    /// A threshold for each test clip that its scores surely cross, halfway between the lowest and
    /// the highest: what the small model scores is not known, that it varies is.
    pub fn thresholds(&self) -> &BTreeMap<String, f64> {
        self.thresholds.get_or_init(|| {
            let scores = self.folder.join("scores");
            std::fs::create_dir_all(&scores).unwrap();
            let mut replay = self.replay(&self.bundle(), &self.folder.join("test"));
            outcome(replay.args(["--backend", "ort", "--scores"]).arg(&scores)).succeeded();
            let halfway = |name: &str| {
                let scores = read_scores(&scores.join(format!("{name}.csv")));
                let highest = scores.iter().copied().fold(f64::MIN, f64::max);
                let lowest = scores.iter().copied().fold(f64::MAX, f64::min);
                assert!(highest - lowest > 0.001, "{name}: the scores do not vary");
                f64::midpoint(highest, lowest)
            };
            ["fall", "run", "throw", "vehicle"].map(|name| (name.into(), halfway(name))).into()
        })
    }
}

/// The scores of a `frame,score` file, which must have one row a frame from 0 and scores in 0 to 1.
pub fn read_scores(path: &Path) -> Vec<f64> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("frame,score"), "{}", path.display());
    lines
        .enumerate()
        .map(|(number, line)| {
            let (frame, score) = line.split_once(',').unwrap();
            assert_eq!(frame, number.to_string(), "{}", path.display());
            let score: f64 = score.parse().unwrap();
            assert!((0.0..=1.0).contains(&score), "{}: {line}", path.display());
            score
        })
        .collect()
}
