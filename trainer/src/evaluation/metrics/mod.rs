//! Figures of merit, each a function of scores and labels.
//!
//! `docs/reference/evaluation.md` defines them all in one place. Where scikit-learn has the figure
//! the tests hold ours against it.

mod calibration;
mod correlation;
mod delay;
mod operating;
mod pixels;
mod ranking;
mod video;

pub use calibration::{ReliabilityBin, brier_score, expected_calibration_error, reliability};
pub use correlation::{kendall, spearman};
pub use delay::detection_delay;
pub use operating::{false_alarm_rate, threshold_at};
pub use pixels::{LOCALISED_SHARE, PixelRanking, localisation_score};
pub use ranking::{average_precision, precision_recall_curve, roc_auc, roc_curve};
pub use video::video_score;
