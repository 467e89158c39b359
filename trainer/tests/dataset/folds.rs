//! `trainer dataset folds`: sources stay whole, labels are of whole videos.

use std::process::{Command, Output};

use trainer::evaluation::Labels;
use video::{Frame, Writer, list_clips};

use crate::site::Site;

/// A video of a given size: clips of one size are of one source.
fn video(site: &Site, name: &str, width: usize, frames: usize) {
    let mut writer = Writer::create(&site.path(name), width, 32, 10.0).unwrap();
    for _ in 0..frames {
        writer.write(&Frame::from_luma(width, 32, &vec![90; width * 32]).unwrap()).unwrap();
    }
    writer.finish().unwrap();
}

fn folds(site: &Site, options: &[&str]) -> Output {
    let path = |name: &str| site.dir().join(name);
    Command::new(env!("CARGO_BIN_EXE_trainer"))
        .args(["dataset", "folds", "--normal"])
        .arg(path("normal"))
        .arg("--abnormal")
        .arg(path("fight"))
        .arg("--out")
        .arg(path("folds"))
        .args(options)
        .output()
        .unwrap()
}

fn names(site: &Site, folder: &str) -> Vec<String> {
    list_clips(&site.dir().join(folder)).unwrap().into_iter().map(|clip| clip.name).collect()
}

#[test]
fn no_source_is_in_two_folds() {
    let site = Site::new();
    for (name, width, frames) in [
        ("normal/n1.mp4", 32, 3),
        ("normal/n2.mp4", 32, 4),
        ("normal/n3.mp4", 48, 5),
        ("fight/f1.mp4", 32, 6),
        ("fight/f2.mp4", 48, 7),
        ("fight/f3.mp4", 64, 8),
    ] {
        video(&site, name, width, frames);
    }
    let output = folds(&site, &[]);
    let (out, err) = (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned());
    assert_eq!(output.status.code(), Some(0), "{err}");
    // 32 pixels wide: three clips, the largest source; 48 and 64 fill the other fold.
    let expected = "fold 1: 1 sources, 2 normal and 1 abnormal videos to test\n\
                    fold 2: 2 sources, 1 normal and 2 abnormal videos to test\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    assert_eq!(names(&site, "folds/fold-1/train"), ["n3"]);
    assert_eq!(names(&site, "folds/fold-1/abnormal"), ["f2", "f3"]);
    assert_eq!(names(&site, "folds/fold-1/test"), ["f1", "n1", "n2"]);
    assert_eq!(names(&site, "folds/fold-2/train"), ["n1", "n2"]);
    assert_eq!(names(&site, "folds/fold-2/test"), ["f2", "f3", "n3"]);
    assert_eq!(names(&site, "folds/test").len(), 6);
    let labels = Labels::read(&site.dir().join("folds/fold-2/labels.json")).unwrap();
    assert_eq!(labels.clips().collect::<Vec<_>>(), ["f2", "f3"]);
    assert_eq!(labels.ranges("f3"), [(1, 8)]);
    let table = std::fs::read_to_string(site.dir().join("folds/sources.csv")).unwrap();
    assert!(table.contains("\nf1,true,32x32@10.00,1,6\n"), "{table}");

    // What is there is not touched.
    let again = folds(&site, &[]);
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&again.stderr).contains("is there already"));
}

#[test]
fn too_few_sources_and_equal_names_are_refused() {
    let site = Site::new();
    video(&site, "normal/n1.mp4", 32, 3);
    video(&site, "fight/f1.mp4", 48, 3);
    let output = folds(&site, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("too few sources"));
    assert!(!site.dir().join("folds").exists());

    video(&site, "normal/f1.mp4", 48, 3);
    let output = folds(&site, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("two videos are called f1"));
}
