//! Tiny copies in each layout: what a data set consists of, and what a missing piece is called.

use std::path::Path;

use trainer::dataset::{Dataset, Error, Masks, Name, Truth, read};

use crate::site::{Site, golden};

fn names(dataset: &Dataset) -> (Vec<&str>, Vec<&str>, Vec<&str>) {
    (
        dataset.train_normal.iter().map(|clip| clip.name.as_str()).collect(),
        dataset.train_abnormal.iter().map(|clip| clip.name.as_str()).collect(),
        dataset.test.iter().map(|test| test.clip.name.as_str()).collect(),
    )
}

fn truths(dataset: &Dataset) -> Vec<Vec<(u64, u64)>> {
    dataset.test.iter().map(|test| test.truth.ranges()).collect()
}

/// The message of a data set that cannot be read: one line with the layout.
fn missing(name: Name, dir: &Path) -> String {
    let error = read(name, dir).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.contains(name.layout()) && !message.contains('\n'), "{message}");
    message
}

pub fn ped2(site: &Site) {
    site.pictures("Train/Train001", "tif", 3);
    site.pictures("Train/Train002", "tif", 2);
    site.pictures("Test/Test001", "tif", 5);
    site.pictures("Test/Test002", "tif", 4);
    site.masks("Test/Test001_gt", "bmp", &[false, true, true, false, false]);
    site.text(
        "Test/UCSDped2.m",
        "TestVideoFile = {};\nTestVideoFile{end+1}.gt_frame = [2:3];\n\
         TestVideoFile{end+1}.gt_frame = [1:1, 3:4];\n",
    );
}

#[test]
fn ucsd_as_published() {
    let site = Site::new();
    ped2(&site);
    let dataset = read(Name::Ped2, site.dir()).unwrap();
    assert_eq!(dataset.title, "UCSD Ped2");
    let expected = (vec!["Train001", "Train002"], vec![], vec!["Test001", "Test002"]);
    assert_eq!(names(&dataset), expected);
    assert_eq!(truths(&dataset), [vec![(2, 3)], vec![(1, 1), (3, 4)]]);
    let masks = dataset.test[0].masks.as_ref().unwrap();
    assert_eq!(masks.frames().unwrap(), [false, true, true, false, false]);
    assert_eq!(dataset.test[1].masks, None);

    site.remove("Test/Test002");
    assert!(missing(Name::Ped2, site.dir()).starts_with("Test002: test video of ped2"));
    site.remove("Test/UCSDped2.m");
    assert!(missing(Name::Ped2, site.dir()).contains("UCSDped2.m: ground truth"));
    site.remove("Train");
    assert!(missing(Name::Ped2, site.dir()).contains("Train: training clips"));
    assert!(matches!(read(Name::Ped2, &site.dir().join("x")), Err(Error::NoFolder { .. })));
}

#[test]
fn ucsd_reencoded() {
    let site = Site::new();
    site.video("train/Train001.mp4", 3);
    site.video("test/Test004.mp4", 4);
    site.masks("masks/Test004", "png", &[true, false, false, true]);
    site.text("labels.json", r#"{"Test004": [[1, 1], [4, 4]]}"#);
    let dataset = read(Name::Ped1, site.dir()).unwrap();
    assert_eq!(names(&dataset), (vec!["Train001"], vec![], vec!["Test004"]));
    assert_eq!(truths(&dataset), [vec![(1, 1), (4, 4)]]);
    let masks = dataset.test[0].masks.as_ref().unwrap();
    assert_eq!(masks.frames().unwrap(), [true, false, false, true]);

    site.text("labels.json", r#"{"Test004": [[4, 1]]}"#);
    let error = read(Name::Ped1, site.dir()).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }) && error.to_string().contains("'Test004'"));
    site.remove("labels.json");
    assert!(missing(Name::Ped1, site.dir()).contains("labels.json: ground truth"));
}

#[test]
fn avenue() {
    let site = Site::new();
    site.video("training_videos/01.mp4", 2);
    site.video("testing_videos/01.mp4", 6);
    std::fs::copy(
        golden("compressed.mat"),
        site.path("ground_truth_demo/testing_label_mask/1_label.mat"),
    )
    .unwrap();
    let dataset = read(Name::Avenue, site.dir()).unwrap();
    assert_eq!(names(&dataset), (vec!["01"], vec![], vec!["01"]));
    assert_eq!(truths(&dataset), [vec![(2, 5)]]);
    assert!(matches!(dataset.test[0].masks, Some(Masks::Mat(_))));

    site.video("testing_videos/02.mp4", 2);
    assert!(missing(Name::Avenue, site.dir()).starts_with("02: ground truth"));
    site.remove("ground_truth_demo");
    assert!(missing(Name::Avenue, site.dir()).contains("testing_label_mask: ground truth"));
    site.remove("testing_videos");
    assert!(missing(Name::Avenue, site.dir()).contains("testing_videos: test videos"));
}

pub fn shanghaitech(site: &Site) {
    site.video("training/videos/01_001.mp4", 2);
    site.video("training/videos/01_015.mp4", 2);
    site.pictures("testing/frames/01_0014", "jpg", 4);
    site.pictures("testing/frames/01_0015", "jpg", 3);
    site.npy("testing/test_frame_mask/01_0014.npy", &[0, 1, 1, 0]);
    site.npy("testing/test_frame_mask/01_0015.npy", &[1, 0, 0]);
    site.text("SH_Train.txt", "01_001\n01_0014\n");
    site.text("SH_Test.txt", "01_015\n01_0015");
}

#[test]
fn the_splits_of_shanghaitech_are_two_data_sets() {
    let site = Site::new();
    shanghaitech(&site);
    let original = read(Name::ShanghaiTech, site.dir()).unwrap();
    assert_eq!(names(&original), (vec!["01_001", "01_015"], vec![], vec!["01_0014", "01_0015"]));
    assert_eq!(truths(&original), [vec![(2, 3)], vec![(1, 1)]]);

    let weak = read(Name::ShanghaiTechWeak, site.dir()).unwrap();
    assert_eq!(names(&weak), (vec!["01_001"], vec!["01_0014"], vec!["01_015", "01_0015"]));
    assert_eq!(weak.test[0].truth, Truth::normal());
    assert_eq!(truths(&weak), [vec![], vec![(1, 1)]]);
    assert!(original.title.contains("one-class") && weak.title.contains("weakly"));

    site.remove("SH_Test.txt");
    assert!(missing(Name::ShanghaiTechWeak, site.dir()).contains("SH_Test.txt: list"));
    assert!(read(Name::ShanghaiTech, site.dir()).is_ok());
    site.text("SH_Test.txt", "01_015\n\n01_15\n");
    let error = read(Name::ShanghaiTechWeak, site.dir()).unwrap_err().to_string();
    assert!(error.contains("SH_Test.txt: line 3: '01_15'"), "{error}");
    site.npy("testing/test_frame_mask/01_0015.npy", &[1, 0, 2]);
    let error = read(Name::ShanghaiTech, site.dir()).unwrap_err().to_string();
    assert!(error.contains("01_0015.npy: value 2 at 2 is neither 0 nor 1"), "{error}");
}

pub fn ucf_crime(site: &Site) {
    let normal = ("Training_Normal_Videos_Anomaly", "Testing_Normal_Videos_Anomaly");
    site.text("Anomaly_Train.txt", &format!("Abuse/Abuse001_x264.mp4\n{}/N1.mp4\n", normal.0));
    site.text("Anomaly_Test.txt", &format!("Abuse/Abuse028_x264.mp4\n{}/N2.mp4\n", normal.1));
    site.text(
        "Temporal_Anomaly_Annotation.txt",
        "Abuse028_x264.mp4  Abuse  2  3  5  900  \nN2.mp4  Normal  -1  -1  -1  -1  \n",
    );
    site.video("Anomaly-Videos-Part-1/Abuse/Abuse001_x264.mp4", 2);
    site.video("Anomaly-Videos-Part-1/Abuse/Abuse028_x264.mp4", 6);
    site.video(&format!("{}/N1.mp4", normal.0), 2);
    site.video("Normal_Videos_event/N1.mp4", 2);
    site.video(&format!("{}/N2.mp4", normal.1), 2);
}

#[test]
fn ucf_crime_in_its_archives() {
    let site = Site::new();
    ucf_crime(&site);
    let dataset = read(Name::UcfCrime, site.dir()).unwrap();
    let expected = (vec!["N1"], vec!["Abuse001_x264"], vec!["Abuse028_x264", "N2"]);
    assert_eq!(names(&dataset), expected);
    // Of two files of one name, the one in the folder of its class.
    assert!(dataset.train_normal[0].path.ends_with("Training_Normal_Videos_Anomaly/N1.mp4"));
    assert_eq!(dataset.test[0].class.as_deref(), Some("Abuse"));
    // The second range goes beyond the six frames, and is cut.
    let frames = dataset.test[0].truth.frames("Abuse028_x264", 6).unwrap();
    assert_eq!(frames, [false, true, true, false, true, true]);

    site.remove("Anomaly-Videos-Part-1/Abuse/Abuse028_x264.mp4");
    assert!(missing(Name::UcfCrime, site.dir()).starts_with("Abuse028_x264: test video"));
    site.remove("Temporal_Anomaly_Annotation.txt");
    assert!(missing(Name::UcfCrime, site.dir()).contains("Annotation.txt: ground truth"));
}

pub fn xd_violence(site: &Site) {
    site.video("1-1004/a__#1_label_A.mp4", 2);
    site.video("3320-3954/b__#1_label_B1-0-0.mp4", 2);
    site.video("videos/c__#1_label_A.mp4", 3);
    site.video("videos/d.e__#1_label_B2-G-0.mp4", 5);
    site.text("annotations.txt", "d.e__#1_label_B2-G-0.mp4 0 2 4 5\n");
}

#[test]
fn xd_violence_in_its_folders() {
    let site = Site::new();
    xd_violence(&site);
    let dataset = read(Name::XdViolence, site.dir()).unwrap();
    let expected = (
        vec!["a__#1_label_A"],
        vec!["b__#1_label_B1-0-0"],
        vec!["c__#1_label_A", "d.e__#1_label_B2-G-0"],
    );
    assert_eq!(names(&dataset), expected);
    assert_eq!(dataset.test[1].class.as_deref(), Some("B2-G-0"));
    assert_eq!(truths(&dataset), [vec![], vec![(1, 2), (5, 5)]]);

    site.text("test.list", "c__#1_label_A\nd.e__#1_label_B2-G-0\nf__#1_label_A\n");
    assert!(missing(Name::XdViolence, site.dir()).starts_with("f__#1_label_A: test video"));
    site.remove("annotations.txt");
    assert!(missing(Name::XdViolence, site.dir()).contains("annotations.txt: ground truth"));
}

#[test]
fn own_videos() {
    let site = Site::new();
    site.video("normal/monday.mp4", 2);
    site.pictures("normal/tuesday", "png", 2);
    let dataset = read(Name::Folder, site.dir()).unwrap();
    assert_eq!(names(&dataset), (vec!["monday", "tuesday"], vec![], vec![]));
    site.video("test/a.mp4", 3);
    site.video("test/b.mp4", 3);
    site.text("labels.json", r#"{"b": [[2, 3]]}"#);
    let dataset = read(Name::Folder, site.dir()).unwrap();
    assert_eq!(truths(&dataset), [vec![], vec![(2, 3)]]);
    site.text("labels.json", r#"{"c": [[2, 3]]}"#);
    assert!(missing(Name::Folder, site.dir()).starts_with("c: test video"));
    site.remove("normal");
    assert!(missing(Name::Folder, site.dir()).contains("normal: normal videos"));
}
