//! The published data sets: what their videos are called, and what others reached on them.

use clap::ValueEnum;
use trainer::dataset::official::{Official, totals};
use trainer::dataset::{Name, shanghaitech, ucf_crime, xd_violence};

/// A published data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Set {
    /// ShanghaiTech, the re-organised split for weak supervision.
    Shanghaitech,
    /// UCF-Crime.
    UcfCrime,
    /// XD-Violence.
    XdViolence,
}

/// A figure from the literature.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Published {
    /// Whose.
    pub method: &'static str,
    /// Frame AUC in percent.
    pub auc: f64,
}

/// What is known of a set.
pub struct Facts {
    /// Crops of its published I3D features.
    pub crops: usize,
    /// Names that lists of the training videos have.
    pub train_lists: &'static [&'static str],
    /// Names that lists of the test videos have.
    pub test_lists: &'static [&'static str],
    /// Names that the ground truth has; what goes by the videos' names first, for it cannot be out of
    /// step with the list.
    pub truths: &'static [&'static str],
    /// Table 1 of PA-VAD (arXiv 2512.06845).
    pub published: &'static [Published],
}

const SHANGHAITECH: Facts = Facts {
    crops: 10,
    train_lists: &["shanghai-i3d-train-10crop.list", "SH_Train.txt"],
    test_lists: &["shanghai-i3d-test-10crop.list", "SH_Test.txt"],
    truths: &["test_frame_mask", "gt-sh.npy"],
    published: &[
        Published { method: "PA-VAD, real normal + pseudo-abnormal", auc: 98.2 },
        Published { method: "best with real anomalies, in the paper", auc: 97.6 },
        Published { method: "best without any anomaly before", auc: 87.5 },
    ],
};

const UCF_CRIME: Facts = Facts {
    crops: 10,
    train_lists: &["UCF_Train.list", "ucf-i3d.list", "Anomaly_Train.txt"],
    test_lists: &["UCF_Test.list", "ucf-i3d-test.list", "Anomaly_Test.txt"],
    truths: &["Temporal_Anomaly_Annotation.txt", "gt-ucf.npy"],
    published: &[
        Published { method: "PA-VAD, real normal + pseudo-abnormal", auc: 82.5 },
        Published { method: "UR-DMU, with real anomalies", auc: 87.0 },
        Published { method: "best without any anomaly before", auc: 80.6 },
    ],
};

const XD_VIOLENCE: Facts = Facts {
    crops: 5,
    train_lists: &["XD_Train.list"],
    test_lists: &["XD_Test.list"],
    truths: &["annotations.txt", "XD_Annotation.txt", "xd_gt.npy"],
    published: &[
        Published { method: "PA-VAD, real normal + pseudo-abnormal", auc: 95.1 },
        Published { method: "UR-DMU, with real anomalies", auc: 94.2 },
    ],
};

impl Set {
    /// What is known of it.
    pub fn facts(self) -> &'static Facts {
        match self {
            Self::Shanghaitech => &SHANGHAITECH,
            Self::UcfCrime => &UCF_CRIME,
            Self::XdViolence => &XD_VIOLENCE,
        }
    }

    /// The data set and split.
    pub fn name(self) -> Name {
        match self {
            Self::Shanghaitech => Name::ShanghaiTechWeak,
            Self::UcfCrime => Name::UcfCrime,
            Self::XdViolence => Name::XdViolence,
        }
    }

    /// Officially normal and abnormal videos for training, and videos for testing.
    pub fn videos(self) -> [usize; 3] {
        let Official { train_normal_videos, train_abnormal_videos, test_videos, .. } =
            totals(self.name());
        // All three are known of these sets.
        [train_normal_videos, train_abnormal_videos, test_videos]
            .map(|count| count.unwrap_or_default() as usize)
    }

    /// Whether a video is abnormal, by its name.
    pub fn abnormal(self, name: &str) -> bool {
        match self {
            Self::Shanghaitech => shanghaitech::originally_tested(name),
            Self::UcfCrime => !ucf_crime::is_normal(name),
            Self::XdViolence => !xd_violence::is_normal(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_normal_from_abnormal() {
        for (set, normal, abnormal) in [
            (Set::Shanghaitech, "01_002", "01_0014"),
            (Set::UcfCrime, "Normal_Videos_003", "Abuse028"),
            (Set::XdViolence, "v=x__#00-22-25_00-22-45_label_A", "v=x__#1_label_B4-0-0"),
        ] {
            assert!(!set.abnormal(normal) && set.abnormal(abnormal), "{set:?}");
        }
    }

    #[test]
    fn official_counts_are_all_known() {
        for set in Set::value_variants() {
            assert!(set.videos().iter().all(|count| *count > 0), "{set:?}");
        }
    }
}
