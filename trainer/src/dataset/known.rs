//! Known discrepancies of the public files: named by a check, never a reason to fail one.

use std::path::Path;

use super::Name;

/// What is known of a data set.
pub(super) fn discrepancies(name: Name) -> &'static [&'static str] {
    match name {
        Name::Ped1 => &[
            "the published archive (v1p2) has a damaged picture, Test/Test017/142.tif; programs that \
             read it repeat the picture before it",
            "pixel masks exist for ten of the 36 test clips only; full masks were published by others",
        ],
        Name::Ped2 => &[
            "a public copy of UCSDped2.m ends the event of Test006 at frame 162 instead of 159 (1651 \
             abnormal frames instead of 1648); its own pixel masks end at 159",
        ],
        Name::Avenue => &[
            "there are two annotations: the pixel masks read here, by which every frame of video 18 is \
             abnormal, and frame labels distributed with later papers, by which not (issue 49 of \
             StevenLiuWen/ano_pred_cvpr2018); figures on one are not figures on the other",
        ],
        Name::ShanghaiTech => &[
            "the paper counts 42883 test frames, the published test set and its masks have 40791 \
             (issue 12 of cvlab-yonsei/MNAD)",
            "training videos are files at 24 or 25 frames a second, test videos are folders of pictures \
             without a rate",
        ],
        Name::ShanghaiTechWeak => &[
            "the names 01_015 and 01_0015 are two videos: three digits are of the original training set, \
             four of the original test set; programs that pad names mix them up",
            "normal test videos have no masks; they are normal because they are of the original training \
             set",
        ],
        Name::UcfCrime => &[
            "the archives have 1950 files for 1900 videos: 50 normal ones are there twice",
            "decoders differ by a frame in the length of a video (issue 3 of \
             wjtan99/BERT_Anomaly_Video_Classification)",
            "the labels that go with published features have 1109680 frames: each video is cut to whole \
             snippets of 16, and where it has whole snippets only the last one is missing (issue 13 of \
             henrryzh1/UR-DMU)",
            "the authors' program includes the last frame of a range, later programs leave it out (84189 \
             abnormal frames instead of 84345)",
        ],
        Name::XdViolence => &[
            "annotations.txt has the 500 abnormal test videos only; the 300 normal ones have no line",
            "14 of the names in annotations.txt end in .mp4, the others do not",
            "numbers of test frames differ between programs, which cut videos to whole snippets: 2331296 \
             and 2329952 (issue 12 of nwpu-zxr/VadCLIP)",
        ],
        Name::Folder => &[],
    }
}

/// Whether a file is damaged in the published data set itself.
pub(super) fn damaged(name: Name, path: &Path) -> bool {
    name == Name::Ped1 && path.ends_with("Test/Test017/142.tif")
}
