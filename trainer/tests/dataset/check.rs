//! `trainer dataset check` and `labels` on tiny copies: exit codes, and what they say.

use trainer::dataset::check::{Options, check};
use trainer::dataset::report::{Outcome, Report, Verdict};
use trainer::dataset::{Error, Name, official};
use trainer::evaluation::Labels;

use crate::layouts;
use crate::site::{Site, command, run};

fn report(name: Name, site: &Site) -> Result<Report, Error> {
    check(name, site.dir(), Options::default(), &|_| {})
}

fn found(report: &Report, what: &str) -> Option<u64> {
    report.counts.iter().find(|count| count.what == what).unwrap().found
}

#[test]
fn a_whole_copy_agrees_and_each_loss_is_a_difference() {
    // A whole Ped2, each clip with as many frames as the official one.
    let site = Site::new();
    for (clip, frames) in (1..=16).zip(
        [120, 150, 150, 180, 180, 150, 150, 120, 180, 180]
            .into_iter()
            .chain([180, 180, 150, 150, 150, 180]),
    ) {
        site.pictures(&format!("Train/Train{clip:03}"), "tif", frames);
    }
    let ranges = ["61:180", "95:180", "1:146", "31:180", "1:129", "1:159", "46:180", "1:180"];
    let ranges = ranges.into_iter().chain(["1:120", "1:150", "1:180", "88:180"]);
    let mut script = String::from("TestVideoFile = {};\n");
    for ((clip, frames, _), range) in official::clips(Name::Ped2).iter().zip(ranges) {
        site.pictures(&format!("Test/{clip}"), "tif", *frames as usize);
        script += &format!("TestVideoFile{{end+1}}.gt_frame = [{range}];\n");
    }
    site.text("Test/UCSDped2.m", &script);
    let whole = report(Name::Ped2, &site).unwrap();
    assert_eq!((whole.outcome, whole.points()), (Outcome::Agrees, 0), "{whole}");
    assert_eq!(found(&whole, "train normal frames"), Some(2550));
    assert_eq!(found(&whole, "test frames"), Some(2010));
    assert_eq!(found(&whole, "test abnormal frames"), Some(1648));

    site.text("Test/UCSDped2.m", &script.replace("1:159", "1:162"));
    let other = report(Name::Ped2, &site).unwrap();
    assert_eq!(other.differences, ["Test006: 162 abnormal frames, officially 159"]);
    site.text("Test/UCSDped2.m", &script);
    site.masks("Test/Test009_gt", "bmp", &[&[false][..], &[true; 119]].concat());
    let other = report(Name::Ped2, &site).unwrap();
    assert_eq!(other.differences, ["Test009: masks and labels differ in 1 of 120 frames"]);
    site.remove("Test/Test009_gt");
    site.remove("Test/Test012/180.tif");
    let other = report(Name::Ped2, &site).unwrap();
    let expected = [
        "Test012: labels end at frame 180, the video at 179",
        "Test012: 179 frames, officially 180",
    ];
    assert_eq!(
        (other.outcome, &other.differences[..]),
        (Outcome::Differs, &expected.map(String::from)[..])
    );
    site.remove("Test/Test012");
    site.remove("Train/Train016");
    let (code, out, err) = run("ped2", site.dir(), &[]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("test videos named and not there: Test012"), "{out}");
    assert!(out.contains("train normal videos             15        16  DIFFERS"), "{out}");
    // Beside a word on the labels' file, which is no video.
    let said: Vec<&str> = err.lines().filter(|l| !l.contains("passed over")).collect();
    let said: Vec<&str> = said.into_iter().filter(|l| !l.is_empty()).collect();
    assert!(said.len() == 1 && said[0].starts_with("trainer: "), "{err}");
}

#[test]
fn a_copy_that_says_it_is_a_part_is_held_against_that_part() {
    let site = Site::new();
    site.video("train/Train001.mp4", 3);
    site.video("test/Test009.mp4", 120);
    site.text("labels.json", r#"{"Test009": [[1, 120]]}"#);
    let part = report(Name::Ped2, &site).unwrap();
    let verdict = |what: &str| {
        part.counts
            .iter()
            .find(|count| count.what == what)
            .map(|c| (c.found, c.expected, c.verdict))
    };
    assert_eq!(verdict("test videos"), Some((Some(1), Some(1), Verdict::Partial)));
    assert_eq!(verdict("test frames"), Some((Some(120), Some(120), Verdict::Partial)));
    assert_eq!(verdict("test abnormal frames"), Some((Some(120), Some(120), Verdict::Partial)));
    // Fifteen training clips are missing, and no list says that they should be.
    assert_eq!(verdict("train normal videos"), Some((Some(1), Some(16), Verdict::Differs)));
    assert_eq!(part.outcome, Outcome::Differs);
    site.text("labels.json", r#"{"Test009": [[1, 120]], "Test010": [[1, 150]]}"#);
    let part = report(Name::Ped2, &site).unwrap();
    assert!(part.differences.contains(&"test videos named and not there: Test010".to_string()));
}

#[test]
fn counts_of_the_other_layouts() {
    let site = Site::new();
    layouts::shanghaitech(&site);
    let weak = report(Name::ShanghaiTechWeak, &site).unwrap();
    assert_eq!(found(&weak, "train normal videos"), Some(1));
    assert_eq!(found(&weak, "train abnormal videos"), Some(1));
    assert_eq!(found(&weak, "test frames"), Some(5));
    assert_eq!(found(&weak, "test abnormal frames"), Some(1));
    assert_eq!(weak.differences, [""; 0]);
    site.npy("testing/test_frame_mask/01_0015.npy", &[1, 0]);
    let weak = report(Name::ShanghaiTechWeak, &site).unwrap();
    assert_eq!(weak.differences, ["01_0015: 2 labels for 3 frames"]);

    let site = Site::new();
    layouts::ucf_crime(&site);
    let ucf = report(Name::UcfCrime, &site).unwrap();
    assert_eq!(found(&ucf, "test abnormal frames"), Some(2 + 896));
    assert_eq!(ucf.differences, [""; 0]);
    assert_eq!(ucf.notes, ["annotated beyond the video's end, cut there: Abuse028_x264"]);
    site.text("Temporal_Anomaly_Annotation.txt", "Abuse028_x264.mp4 Arson 2 3 -1 -1\n");
    let ucf = report(Name::UcfCrime, &site).unwrap();
    let text = "Abuse028_x264 is listed as Abuse, annotated as Arson";
    assert!(ucf.differences.contains(&text.to_string()), "{ucf}");
    assert!(ucf.differences.contains(&"N2 is listed and not annotated".to_string()), "{ucf}");

    let site = Site::new();
    layouts::xd_violence(&site);
    let xd = report(Name::XdViolence, &site).unwrap();
    assert_eq!(found(&xd, "test videos"), Some(2));
    assert_eq!(found(&xd, "test abnormal frames"), Some(3));
    assert_eq!((found(&xd, "test frames"), xd.differences.len()), (Some(8), 0));
}

#[test]
fn own_videos_have_nothing_official() {
    let site = Site::new();
    site.video("normal/a.mp4", 2);
    site.video("test/b.mp4", 3);
    site.text("labels.json", r#"{"b": [[2, 3]]}"#);
    let (code, out, _) = run("folder", site.dir(), &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["outcome"]), (0, &"agrees".into()));
    assert_eq!(json["counts"][6]["found"], 2);
    assert_eq!(json["counts"][6]["verdict"], "no-official");
    site.text("labels.json", r#"{"b": [[2, 4]]}"#);
    let (code, out, _) = run("folder", site.dir(), &[]);
    assert_eq!(code, 1);
    assert!(out.contains("b: labels end at frame 4, the video at 3"), "{out}");
}

#[test]
fn exit_codes() {
    let site = Site::new();
    let (code, _, err) = run("ped3", site.dir(), &[]);
    assert_eq!(code, 2);
    assert!(err.contains("shanghaitech-weak"), "{err}");
    let (code, _, err) = run("ped2", site.dir(), &[]);
    assert_eq!(code, 2);
    assert!(err.contains("the layout is: Train/TrainNNN/*.tif"), "{err}");
    assert_eq!(run("ped2", &site.dir().join("absent"), &[]).0, 2);

    site.text("Temporal_Anomaly_Annotation.txt", "Abuse028_x264.mp4 Abuse 9 3 -1 -1\n");
    let (code, _, err) = run("ucf-crime", site.dir(), &[]);
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("Temporal_Anomaly_Annotation.txt: line 1: '9 3'"), "{err}");

    // A video that is cut off is found by decoding, not by what it declares.
    let site = Site::new();
    site.video("normal/a.mkv", 60);
    let path = site.path("normal/a.mkv");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let (code, out, err) = run("folder", site.dir(), &[]);
    assert_eq!(code, 3, "{out}{err}");
    assert!(err.contains("a.mkv"), "{err}");
}

#[test]
fn a_picture_that_is_damaged_as_published_is_counted() {
    let site = Site::new();
    for clip in 1..=17 {
        site.pictures(&format!("Test/Test{clip:03}"), "tif", 200);
    }
    std::fs::write(site.path("Test/Test017/142.tif"), b"II*").unwrap();
    let ped1 = report(Name::Ped1, &site).unwrap();
    assert_eq!(found(&ped1, "test frames"), Some(17 * 200));
    assert_eq!(ped1.notes, ["Test017 has a picture that cannot be read, as published"]);
    std::fs::write(site.path("Test/Test016/142.tif"), b"II*").unwrap();
    let error = report(Name::Ped1, &site).unwrap_err().to_string();
    assert!(error.contains("Test016/142.tif"), "{error}");
}

#[test]
fn labels_of_any_form_become_a_labels_file() {
    let site = Site::new();
    layouts::xd_violence(&site);
    let (code, out, _) = command("labels", "xd-violence", site.dir(), &[]);
    assert_eq!((code, out.as_str()), (0, "{\"d.e__#1_label_B2-G-0\":[[1,2],[5,5]]}\n"));
    // Beyond the end of the video, where there is one.
    let site = Site::new();
    layouts::ucf_crime(&site);
    let (_, out, _) = command("labels", "ucf-crime", site.dir(), &[]);
    assert_eq!(out, "{\"Abuse028_x264\":[[2,3],[5,6]]}\n");
    site.remove("Anomaly-Videos-Part-1/Abuse/Abuse028_x264.mp4");
    let (_, out, _) = command("labels", "ucf-crime", site.dir(), &[]);
    assert_eq!(out, "{\"Abuse028_x264\":[[2,3],[5,900]]}\n");
    let site = Site::new();
    layouts::shanghaitech(&site);
    let path = site.path("labels.json");
    let options = ["--out", path.to_str().unwrap()];
    assert_eq!(command("labels", "shanghaitech", site.dir(), &options).0, 0);
    let labels = Labels::read(&path).unwrap();
    assert_eq!(labels.frames("01_0014", 4).unwrap(), [false, true, true, false]);
    assert_eq!(labels.ranges("01_0015"), [(1, 1)]);
    site.remove("testing/test_frame_mask");
    let (code, _, err) = command("labels", "shanghaitech", site.dir(), &options);
    assert_eq!(code, 2, "{err}");
}
