//! Official totals, to hold a copy against: those that a source or a count confirms, and no others.
//!
//! "Counted" means counted in the published annotation files themselves. Where papers give another
//! figure, `known` says so. A total that could not be confirmed is `None` and is not compared.

use super::Name;

/// Totals of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Official {
    /// Normal training videos.
    pub train_normal_videos: Option<u64>,
    /// Their frames.
    pub train_normal_frames: Option<u64>,
    /// Abnormal training videos.
    pub train_abnormal_videos: Option<u64>,
    /// Test videos.
    pub test_videos: Option<u64>,
    /// Test videos with an abnormal frame.
    pub test_abnormal_videos: Option<u64>,
    /// Test frames.
    pub test_frames: Option<u64>,
    /// Abnormal test frames, as annotated: frames beyond a video's end count.
    pub test_abnormal_frames: Option<u64>,
}

/// A test clip: name, frames, abnormal frames where that is known.
pub type Clip = (&'static str, u64, Option<u64>);

/// UCSD Ped1. Clips: the data set's `README.txt` (34 training clips, 36 test clips, each with abnormal
/// frames). All clips have 200 frames (table 1 of doi:10.1155/2020/6625695). Abnormal frames: counted
/// in `UCSDped1.m`.
const PED1: Official = Official {
    train_normal_videos: Some(34),
    train_normal_frames: Some(6800),
    train_abnormal_videos: None,
    test_videos: Some(36),
    test_abnormal_videos: Some(36),
    test_frames: Some(7200),
    test_abnormal_frames: Some(4045),
};

/// UCSD Ped2. Clips: the data set's `README.txt` (16 and 12). Training frames: counted. Test frames:
/// [`PED2_CLIPS`].
const PED2: Official = Official {
    train_normal_videos: Some(16),
    train_normal_frames: Some(2550),
    train_abnormal_videos: None,
    test_videos: Some(12),
    test_abnormal_videos: Some(12),
    test_frames: Some(2010),
    test_abnormal_frames: Some(1648),
};

/// CUHK Avenue. 16 and 21 videos (Lu et al., ICCV 2013); 15 328 and 15 324 frames as counted by
/// everyone who extracts them, for example `docs/dataset.md` of `JinhaSong/AbnormalBehaviorDetection`.
/// Abnormal frames: there are two annotations, and no count of the authors' own could be confirmed.
const AVENUE: Official = Official {
    train_normal_videos: Some(16),
    train_normal_frames: Some(15_328),
    train_abnormal_videos: None,
    test_videos: Some(21),
    test_abnormal_videos: None,
    test_frames: Some(15_324),
    test_abnormal_frames: None,
};

/// ShanghaiTech, original split. 330 and 107 videos, 274 515 training frames (Luo et al., ICCV 2017,
/// and issue 12 of `cvlab-yonsei/MNAD`, where somebody extracts them). Test frames and abnormal ones:
/// counted in `test_frame_mask/*.npy`.
const SHANGHAITECH: Official = Official {
    train_normal_videos: Some(330),
    train_normal_frames: Some(274_515),
    train_abnormal_videos: None,
    test_videos: Some(107),
    test_abnormal_videos: Some(107),
    test_frames: Some(40_791),
    test_abnormal_frames: Some(17_326),
};

/// ShanghaiTech, split for weak supervision. Counted in `SH_Train.txt`, `SH_Test.txt` and the masks
/// of the test videos named there. (Zhong et al., CVPR 2019: 238 training videos, 63 of them abnormal,
/// and 199 test videos, 44 of them abnormal.)
const SHANGHAITECH_WEAK: Official = Official {
    train_normal_videos: Some(175),
    train_normal_frames: None,
    train_abnormal_videos: Some(63),
    test_videos: Some(199),
    test_abnormal_videos: Some(44),
    test_frames: None,
    test_abnormal_frames: Some(7962),
};

/// UCF-Crime. 800 + 810 training and 150 + 140 test videos (Sultani et al., CVPR 2018, and
/// counted in the lists); abnormal frames counted in `Temporal_Anomaly_Annotation.txt`, both ends
/// included. Numbers of frames differ between decoders by one a video, so there is no total.
const UCF_CRIME: Official = Official {
    train_normal_videos: Some(800),
    train_normal_frames: None,
    train_abnormal_videos: Some(810),
    test_videos: Some(290),
    test_abnormal_videos: Some(140),
    test_frames: None,
    test_abnormal_frames: Some(84_345),
};

/// XD-Violence. 4754 videos, 2405 of them violent and 2349 not; 3954 train, and of the 800 test videos
/// 500 are violent and 300 are not (Wu et al., ECCV 2020), which leaves 2049 and 1905 for training.
/// Abnormal frames: counted in `annotations.txt`, the last frame of each pair left out.
const XD_VIOLENCE: Official = Official {
    train_normal_videos: Some(2049),
    train_normal_frames: None,
    train_abnormal_videos: Some(1905),
    test_videos: Some(800),
    test_abnormal_videos: Some(500),
    test_frames: None,
    test_abnormal_frames: Some(538_324),
};

/// The test clips of Ped1: 200 frames each, abnormal ones counted in `UCSDped1.m`.
const PED1_CLIPS: [Clip; 36] = [
    ("Test001", 200, Some(93)),
    ("Test002", 200, Some(126)),
    ("Test003", 200, Some(110)),
    ("Test004", 200, Some(138)),
    ("Test005", 200, Some(147)),
    ("Test006", 200, Some(191)),
    ("Test007", 200, Some(175)),
    ("Test008", 200, Some(94)),
    ("Test009", 200, Some(48)),
    ("Test010", 200, Some(140)),
    ("Test011", 200, Some(96)),
    ("Test012", 200, Some(71)),
    ("Test013", 200, Some(156)),
    ("Test014", 200, Some(200)),
    ("Test015", 200, Some(63)),
    ("Test016", 200, Some(78)),
    ("Test017", 200, Some(47)),
    ("Test018", 200, Some(67)),
    ("Test019", 200, Some(75)),
    ("Test020", 200, Some(131)),
    ("Test021", 200, Some(170)),
    ("Test022", 200, Some(92)),
    ("Test023", 200, Some(158)),
    ("Test024", 200, Some(122)),
    ("Test025", 200, Some(96)),
    ("Test026", 200, Some(68)),
    ("Test027", 200, Some(113)),
    ("Test028", 200, Some(96)),
    ("Test029", 200, Some(84)),
    ("Test030", 200, Some(26)),
    ("Test031", 200, Some(180)),
    ("Test032", 200, Some(103)),
    ("Test033", 200, Some(161)),
    ("Test034", 200, Some(121)),
    ("Test035", 200, Some(115)),
    ("Test036", 200, Some(94)),
];

/// The test clips of Ped2: frames as published evaluation programs list them, abnormal ones counted
/// in `UCSDped2.m`.
const PED2_CLIPS: [Clip; 12] = [
    ("Test001", 180, Some(120)),
    ("Test002", 180, Some(86)),
    ("Test003", 150, Some(146)),
    ("Test004", 180, Some(150)),
    ("Test005", 150, Some(129)),
    ("Test006", 180, Some(159)),
    ("Test007", 180, Some(135)),
    ("Test008", 180, Some(180)),
    ("Test009", 120, Some(120)),
    ("Test010", 150, Some(150)),
    ("Test011", 180, Some(180)),
    ("Test012", 180, Some(93)),
];

/// The test videos of Avenue: frames as published evaluation programs list them.
const AVENUE_CLIPS: [Clip; 21] = [
    ("01", 1439, None),
    ("02", 1211, None),
    ("03", 923, None),
    ("04", 947, None),
    ("05", 1007, None),
    ("06", 1283, None),
    ("07", 605, None),
    ("08", 36, None),
    ("09", 1175, None),
    ("10", 841, None),
    ("11", 472, None),
    ("12", 1271, None),
    ("13", 549, None),
    ("14", 507, None),
    ("15", 1001, None),
    ("16", 740, None),
    ("17", 426, None),
    ("18", 294, None),
    ("19", 248, None),
    ("20", 273, None),
    ("21", 76, None),
];

/// The totals of a data set; nothing for a user's own.
pub fn totals(name: Name) -> Official {
    match name {
        Name::Ped1 => PED1,
        Name::Ped2 => PED2,
        Name::Avenue => AVENUE,
        Name::ShanghaiTech => SHANGHAITECH,
        Name::ShanghaiTechWeak => SHANGHAITECH_WEAK,
        Name::UcfCrime => UCF_CRIME,
        Name::XdViolence => XD_VIOLENCE,
        Name::Folder => Official::default(),
    }
}

/// The test clips of a data set one by one, where they are known; empty otherwise.
pub fn clips(name: Name) -> &'static [Clip] {
    match name {
        Name::Ped1 => &PED1_CLIPS,
        Name::Ped2 => &PED2_CLIPS,
        Name::Avenue => &AVENUE_CLIPS,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_add_up_to_the_totals() {
        for name in [Name::Ped1, Name::Ped2, Name::Avenue] {
            let (totals, clips) = (totals(name), clips(name));
            assert_eq!(totals.test_videos, Some(clips.len() as u64), "{name}");
            assert_eq!(totals.test_frames, Some(clips.iter().map(|c| c.1).sum()), "{name}");
            let abnormal: Option<u64> = clips.iter().map(|c| c.2).sum();
            assert_eq!(totals.test_abnormal_frames, abnormal, "{name}");
        }
    }
}
