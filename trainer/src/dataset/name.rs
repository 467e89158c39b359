//! The data sets by name.

use std::fmt;
use std::str::FromStr;

/// A data set, split included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Name {
    /// UCSD Ped1.
    Ped1,
    /// UCSD Ped2.
    Ped2,
    /// CUHK Avenue.
    Avenue,
    /// ShanghaiTech Campus, original one-class split.
    ShanghaiTech,
    /// ShanghaiTech Campus, re-organised for weak supervision.
    ShanghaiTechWeak,
    /// UCF-Crime.
    UcfCrime,
    /// XD-Violence.
    XdViolence,
    /// A user's own videos.
    Folder,
}

impl Name {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Ped1,
        Self::Ped2,
        Self::Avenue,
        Self::ShanghaiTech,
        Self::ShanghaiTechWeak,
        Self::UcfCrime,
        Self::XdViolence,
        Self::Folder,
    ];

    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ped1 => "ped1",
            Self::Ped2 => "ped2",
            Self::Avenue => "avenue",
            Self::ShanghaiTech => "shanghaitech",
            Self::ShanghaiTechWeak => "shanghaitech-weak",
            Self::UcfCrime => "ucf-crime",
            Self::XdViolence => "xd-violence",
            Self::Folder => "folder",
        }
    }

    /// Whether annotations go beyond the end of videos and are cut there, as the authors' evaluation
    /// programs do; elsewhere that is a contradiction.
    pub fn cuts_annotations(self) -> bool {
        matches!(self, Self::UcfCrime | Self::XdViolence)
    }

    /// What results on it are titled. The two splits of ShanghaiTech share their videos but not
    /// which of them train, so a figure without the split says nothing.
    pub fn title(self) -> &'static str {
        match self {
            Self::Ped1 => "UCSD Ped1",
            Self::Ped2 => "UCSD Ped2",
            Self::Avenue => "CUHK Avenue",
            Self::ShanghaiTech => "ShanghaiTech Campus (original one-class split)",
            Self::ShanghaiTechWeak => "ShanghaiTech Campus (weakly supervised split)",
            Self::UcfCrime => "UCF-Crime",
            Self::XdViolence => "XD-Violence",
            Self::Folder => "own videos",
        }
    }

    /// The documented layout on one line, for errors; `docs/reference/datasets.md` has it in full.
    pub fn layout(self) -> &'static str {
        match self {
            Self::Ped1 => {
                "Train/TrainNNN/*.tif, Test/TestNNN/*.tif, Test/UCSDped1.m, Test/TestNNN_gt/*.bmp \
                 (masks, optional); or train/*.mp4, test/*.mp4, labels.json, masks/TestNNN/NNN.png"
            }
            Self::Ped2 => {
                "Train/TrainNNN/*.tif, Test/TestNNN/*.tif, Test/UCSDped2.m, Test/TestNNN_gt/*.bmp \
                 (masks, optional); or train/*.mp4, test/*.mp4, labels.json, masks/TestNNN/NNN.png"
            }
            Self::Avenue => {
                "training_videos/NN.avi, testing_videos/NN.avi, testing_label_mask/N_label.mat (or \
                 ground_truth_demo/testing_label_mask/N_label.mat)"
            }
            Self::ShanghaiTech => {
                "training/videos/*.avi, testing/frames/NN_NNNN/*.jpg, testing/test_frame_mask/*.npy, \
                 testing/test_pixel_mask/*.npy (optional)"
            }
            Self::ShanghaiTechWeak => {
                "SH_Train.txt, SH_Test.txt, training/videos/*.avi, testing/frames/NN_NNNN/*.jpg, \
                 testing/test_frame_mask/*.npy, testing/test_pixel_mask/*.npy (optional)"
            }
            Self::UcfCrime => {
                "Anomaly_Train.txt, Anomaly_Test.txt, Temporal_Anomaly_Annotation.txt, and the \
                 videos in folders named by class, at most four levels deep"
            }
            Self::XdViolence => {
                "annotations.txt, test videos in videos/, test_videos/ or test/, training videos in \
                 train/ or the published folders 1-1004/ to 3320-3954/; train.list and test.list \
                 are optional"
            }
            Self::Folder => {
                "normal/ with videos or folders of images, test/ likewise (optional), labels.json \
                 (optional)"
            }
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|name| name.as_str() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            format!("no data set {text:?}; one of {names}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_titles_differ() {
        for name in Name::ALL {
            assert_eq!(name.as_str().parse(), Ok(name));
            assert!(!name.layout().contains('\n'));
        }
        let mut titles = Name::ALL.map(Name::title).to_vec();
        titles.dedup();
        assert_eq!(titles.len(), Name::ALL.len());
        assert!("shanghai".parse::<Name>().unwrap_err().contains("shanghaitech-weak"));
    }
}
