//! What a report is made of, as JSON.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::evaluation::{Evaluation, NormHistogram, NormSet};

/// Everything that a report shows. Parts that are left out of the JSON are left out of the report.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportData {
    /// Headline.
    pub title: String,
    /// The data set or site.
    #[serde(default)]
    pub subtitle: String,
    /// Detection measured against the truth.
    pub evaluation: Evaluation,
    /// Figures to compare with.
    #[serde(default)]
    pub targets: Targets,
    /// How the figures came about.
    pub facts: Facts,
    /// Scores over time, one timeline a clip.
    #[serde(default)]
    pub clips: Vec<ClipTrack>,
    /// ROC curves.
    #[serde(default)]
    pub roc: Vec<RocCurve>,
    /// Precision–recall curves.
    #[serde(default)]
    pub precision_recall: Vec<PrCurve>,
    /// Norms of features by set.
    #[serde(default)]
    pub norms: Option<NormHistogram>,
    /// Alerts, in the order in which they are to be shown.
    #[serde(default)]
    pub alerts: Vec<Alert>,
    /// Picture of pseudo-abnormal clips, relative to the JSON file.
    #[serde(default)]
    pub contact_sheet: Option<PathBuf>,
    /// What quantization changed.
    #[serde(default)]
    pub int8_difference: Option<Int8Difference>,
}

/// Targets beside the headline figures; each may be missing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Targets {
    /// At least this micro frame AUC.
    pub auc_micro: Option<f64>,
    /// At least this mean of the clips' AUC.
    pub auc_macro: Option<f64>,
    /// At least this average precision.
    pub average_precision: Option<f64>,
    /// At least this share of the true events, 0 to 1.
    pub events_detected: Option<f64>,
    /// At most so many false alarms for each hour of normal footage.
    pub false_alarms_per_hour: Option<f64>,
    /// At least so many frames a second.
    pub frames_per_second: Option<f64>,
    /// At most this difference of the micro frame AUC between INT8 and FP32.
    pub int8_difference: Option<f64>,
}

/// How the figures came about; what is not known is not shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Facts {
    /// Frames a second through the camera's whole path.
    pub frames_per_second: Option<f64>,
    /// Name of the inference backend; empty if not known.
    pub backend: String,
    /// Whether the model is quantized to INT8.
    pub int8: bool,
    /// Seed of everything random.
    pub seed: Option<u64>,
    /// Seconds of each stage, in order: `[["synthesis", 12.5], ...]`.
    pub seconds: Vec<(String, f64)>,
    /// Score at which events are announced, 0 to 1.
    pub threshold: f64,
    /// Names and hashes of what took part: `[["bundle", "ab12..."], ...]`.
    pub hashes: Vec<(String, String)>,
    /// The configuration, as text.
    pub configuration: Option<String>,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            frames_per_second: None,
            backend: String::new(),
            int8: false,
            seed: None,
            seconds: Vec::new(),
            // That of the published score.
            threshold: 0.5,
            hashes: Vec::new(),
            configuration: None,
        }
    }
}

/// A clip over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipTrack {
    /// Name, as in [`Evaluation::clips`].
    pub name: String,
    /// Frames per second.
    pub frame_rate: f64,
    /// The published score of each frame, 0 to 1.
    pub scores: Vec<f64>,
    /// Abnormal frames: 1-based ranges, both ends included.
    #[serde(default)]
    pub truth: Vec<(u64, u64)>,
    /// Announced events.
    #[serde(default)]
    pub announced: Vec<AnnouncedEvent>,
    /// The video, a file or a folder of pictures, relative to the JSON file: shown as a filmstrip.
    #[serde(default)]
    pub video: Option<PathBuf>,
}

/// An announced event; frames count from 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnnouncedEvent {
    /// First frame.
    pub first: u64,
    /// Last frame, included.
    pub last: u64,
    /// Kind, if known.
    #[serde(default)]
    pub kind: Option<String>,
    /// Highest score.
    pub peak_score: f64,
    /// Frame of the highest score.
    pub peak_frame: u64,
}

/// A named ROC curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RocCurve {
    /// Name in the legend: `fused`, `local`, `motion`, `semantic`, `frame difference`. A name with
    /// one of these words in it gets that detector's colour and dashes.
    pub name: String,
    /// Area under it.
    #[serde(default)]
    pub auc: Option<f64>,
    /// (false positive rate, true positive rate), rising.
    pub points: Vec<(f64, f64)>,
}

/// A named precision–recall curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrCurve {
    /// Name in the legend, as of [`RocCurve::name`].
    pub name: String,
    /// Average precision.
    #[serde(default)]
    pub average_precision: Option<f64>,
    /// (recall, precision), in order of recall.
    pub points: Vec<(f64, f64)>,
}

/// An alert with its picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// Name of the clip.
    pub clip: String,
    /// Seconds from the clip's start.
    pub seconds: f64,
    /// Kind, if known.
    #[serde(default)]
    pub kind: Option<String>,
    /// Highest score.
    pub peak_score: f64,
    /// Whether it overlaps a true event; missing without a truth.
    #[serde(default)]
    pub matched: Option<bool>,
    /// Snapshot, JPEG or PNG, relative to the JSON file.
    #[serde(default)]
    pub picture: Option<PathBuf>,
    /// Drawn over the picture; leave it out if the picture already shows it.
    #[serde(default)]
    pub region: Option<Area>,
}

/// A rectangle of a picture; all values from 0 to 1, relative to the picture's size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Area {
    /// Left edge.
    pub x: f64,
    /// Top edge.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

/// INT8 against FP32 on the same clips.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Int8Difference {
    /// Micro frame AUC of the FP32 model.
    pub auc_fp32: Option<f64>,
    /// Micro frame AUC of the INT8 model.
    pub auc_int8: Option<f64>,
    /// Mean absolute difference of the score.
    pub score_mean: Option<f64>,
    /// Greatest absolute difference of the score.
    pub score_max: Option<f64>,
    /// Size of the FP32 model in bytes.
    pub bytes_fp32: Option<u64>,
    /// Size of the INT8 model in bytes.
    pub bytes_int8: Option<u64>,
}

/// Why no report can be made of a file.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It cannot be read.
    #[error("{}: {source}; check the path", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// It is not JSON of a [`ReportData`].
    #[error("{}: {source}; correct the field there", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// A value that cannot be.
    #[error("{}: {field}: {reason}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The field, such as `clips[0].truth[1]`.
        field: String,
        /// What it must be.
        reason: &'static str,
    },
}

impl ReportData {
    /// Reads the data of a report.
    ///
    /// # Errors
    /// [`ReportError`], which names the line or the field.
    pub fn read(path: &Path) -> Result<Self, ReportError> {
        let file = || path.to_path_buf();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ReportError::Io { path: file(), source })?;
        let data: Self = serde_json::from_str(&text)
            .map_err(|source| ReportError::Format { path: file(), source })?;
        data.check().map_err(|(field, reason)| ReportError::Value {
            path: file(),
            field,
            reason,
        })?;
        Ok(data)
    }

    /// The first value that cannot be drawn: its field, and what it must be.
    fn check(&self) -> Result<(), (String, &'static str)> {
        const RATE: &str = "must lie in 0 to 1";
        if !(0.0..=1.0).contains(&self.facts.threshold) {
            return Err(("facts.threshold".into(), RATE));
        }
        if let Some(i) = self.facts.seconds.iter().position(|(_, s)| *s < 0.0) {
            return Err((format!("facts.seconds[{i}]"), "a time is not negative"));
        }
        for (c, clip) in self.clips.iter().enumerate() {
            let frames = clip.scores.len() as u64;
            if clip.frame_rate <= 0.0 {
                return Err((format!("clips[{c}].frame_rate"), "must be above 0"));
            }
            if let Some(i) = clip.scores.iter().position(|s| !(0.0..=1.0).contains(s)) {
                return Err((format!("clips[{c}].scores[{i}]"), RATE));
            }
            let bad = |&(first, last): &(u64, u64)| first == 0 || last < first || last > frames;
            if let Some(i) = clip.truth.iter().position(bad) {
                let reason = "frames count from 1, the last is not before the first, and has a \
                              score";
                return Err((format!("clips[{c}].truth[{i}]"), reason));
            }
            let bad =
                |e: &AnnouncedEvent| e.last < e.first || e.last >= frames || e.peak_frame >= frames;
            if let Some(i) = clip.announced.iter().position(bad) {
                let reason = "frames count from 0, the last is not before the first, and each has \
                              a score";
                return Err((format!("clips[{c}].announced[{i}]"), reason));
            }
        }
        let outside = |points: &[(f64, f64)]| {
            let inside = |v: &f64| (0.0..=1.0).contains(v);
            points.iter().position(|(x, y)| !inside(x) || !inside(y))
        };
        for (c, curve) in self.roc.iter().enumerate() {
            if let Some(i) = outside(&curve.points) {
                return Err((format!("roc[{c}].points[{i}]"), RATE));
            }
        }
        for (c, curve) in self.precision_recall.iter().enumerate() {
            if let Some(i) = outside(&curve.points) {
                return Err((format!("precision_recall[{c}].points[{i}]"), RATE));
            }
        }
        if let Some(norms) = &self.norms {
            let rising = norms.edges.windows(2).all(|w| 0.0 < w[0] && w[0] < w[1]);
            if !rising || norms.edges.len() < 2 {
                return Err(("norms.edges".into(), "must rise from above 0, two at least"));
            }
            let bad = |set: &NormSet| {
                set.shares.len() + 1 != norms.edges.len()
                    || set.shares.iter().any(|share| !(0.0..=1.0).contains(share))
            };
            if let Some(i) = norms.sets.iter().position(bad) {
                let reason = "a share in 0 to 1 for each bin between the edges";
                return Err((format!("norms.sets[{i}].shares"), reason));
            }
        }
        Ok(())
    }
}
