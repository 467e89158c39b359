//! Figures of merit, each a function of scores and labels.
//!
//! `docs/reference/evaluation.md` defines them all in one place. Where scikit-learn has the figure
//! the tests hold ours against it.

mod calibration;
mod correlation;
mod delay;
mod excursions;
mod operating;
mod overlap;
mod pixels;
mod poisson;
mod ranking;
mod tracks;
mod video;

pub use calibration::{ReliabilityBin, brier_score, expected_calibration_error, reliability};
pub use correlation::{kendall, spearman};
pub use delay::detection_delay;
pub use excursions::threshold_for_alarms;
pub use operating::{false_alarm_rate, threshold_at};
pub use overlap::{EventScore, Range, pairs, temporal_iou};
pub use pixels::{LOCALISED_SHARE, PixelRanking, localisation_score};
pub use poisson::{HourlyRate, poisson_interval};
pub use ranking::{average_precision, precision_recall_curve, roc_auc, roc_curve};
pub use tracks::{Detection, PixelBox, Place, TrackedRegion, box_iou, rbdc_tbdc};
pub use video::video_score;
