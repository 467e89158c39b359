//! Choosing a design without a single real anomaly.
//!
//! How well a detector tells held-out pseudo anomalies of kinds that it was trained on says little
//! about real ones: every design soon does that. Two questions come closer. Does it notice kinds of
//! which it has seen none ([`Family`]: a group of like kinds is left out of training, and the test is
//! on exactly those)? And does it still tell normal from abnormal on a camera that it has never
//! seen? Both need normal footage only. A [`Record`] keeps what the detectors said of a clip, so that
//! fusion weights can be compared afterwards without watching it again.

mod family;
mod figures;
mod record;

pub use family::Family;
pub use figures::{Figures, LeftOut, Measured, OtherCamera, measure};
pub use record::{Fusion, Record, Scale, Truth, auc, truth_of};
