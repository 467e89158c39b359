//! `trainer reproduce` on small synthetic features in the layouts in which the real ones are shared:
//! their anomalies can be told apart, so the figure must be near 100 %; with labels turned round it
//! must be near 0 %.

#![allow(clippy::unwrap_used)] // a test may stop at what it does not expect

mod common;

use std::path::Path;
use std::process::Output;

use common::{failed, names, succeeded, trainer, write};
use trainer::npy;

/// Length of a feature vector.
const D: usize = 12;

/// A network and a training that take seconds.
const CONFIG: &str = "\
segments = 16
batch = 4
steps = 60
lr = 2e-3
dropout = 0.1
discriminator_hidden = 8
[model]
embedding = 16
layers = 1
heads = 2
head_size = 8
feed_forward = 16
abnormal_slots = 8
normal_slots = 8
classifier_hidden = 8
";

/// Uniform numbers in 0 to 1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1 << 24) as f32
    }
}

/// Features `[n, crops, D]`: rectified noise, and in the event's snippets more of the first three.
fn features(seed: u64, n: usize, crops: usize, event: Option<(usize, usize)>) -> Vec<f32> {
    let mut random = Random(seed);
    let mut values = Vec::new();
    for snippet in 0..n {
        let abnormal = event.is_some_and(|(first, end)| (first..end).contains(&snippet));
        for _ in 0..crops {
            values.extend((0..D).map(|channel| {
                let shift = if abnormal && channel < 3 { 1.0 } else { 0.0 };
                0.5 * random.next() + shift
            }));
        }
    }
    values
}

/// The event of a video of `n` snippets.
fn event(n: usize) -> (usize, usize) {
    (n / 3, n / 3 + 4)
}

fn run(name: &str, folder: &Path, more: &[&str]) -> Output {
    let config = folder.join("small.toml");
    std::fs::write(&config, CONFIG).unwrap();
    let features = folder.join("features").display().to_string();
    let config = config.display().to_string();
    let mut arguments = vec!["reproduce", name, "--features", &features, "--config", &config];
    arguments.extend(more);
    trainer(arguments)
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_str(&succeeded(output)).unwrap()
}

/// ShanghaiTech as RTFM has it: `[n, 10, d]`, lists with paths of another machine, masks by video.
fn shanghaitech(folder: &Path) {
    let features_folder = folder.join("features");
    let mut lists = [String::new(), String::new()];
    let mut row = Vec::new();
    for i in 0..24u64 {
        let test = i >= 14;
        let abnormal = i % 2 == 0;
        // One test video has as many snippets as crops: the others tell the order.
        let n = if i == 15 { 10 } else { 14 + i as usize };
        let name = if abnormal { format!("01_{i:04}") } else { format!("01_{i:03}") };
        let event = abnormal.then(|| event(n));
        let part = if test { "SH_Test_ten_crop" } else { "SH_Train_ten_crop" };
        let path = features_folder.join(part).join(format!("{name}_i3d.npy"));
        write(&path, &[n, 10, D], &features(i, n, 10, event));
        lists[test as usize] += &format!("/home/someone/{part}/{name}_i3d.npy\n");
        if test {
            let labels: Vec<f32> = (0..16 * n)
                .map(|f| event.is_some_and(|(a, b)| (16 * a..16 * b).contains(&f)) as u8 as f32)
                .collect();
            if abnormal {
                // The video goes on for a few frames after its last snippet.
                let longer = [labels.clone(), vec![0.0; 7]].concat();
                let path = folder.join(format!("masks/{name}.npy"));
                write(&path, &[longer.len()], &longer);
            }
            row.extend(labels);
        }
    }
    std::fs::write(features_folder.join("shanghai-i3d-train-10crop.list"), &lists[0]).unwrap();
    std::fs::write(folder.join("test.list"), &lists[1]).unwrap();
    write(&features_folder.join("gt-sh.npy"), &[row.len()], &row);
}

#[test]
fn shanghaitech_features_of_ten_crops() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    shanghaitech(folder);
    // The usual name is looked for, another one can be given.
    failed(
        &run("shanghaitech", folder, &["--supervised"]),
        2,
        &["shanghai-i3d-test-10crop.list", "SH_Test.txt", "--test-list"],
    );
    let list = folder.join("test.list").display().to_string();
    let out = folder.join("out").display().to_string();
    let masks = folder.join("masks").display().to_string();
    let arguments = ["--supervised", "--test-list", &list, "--json"];
    let by_row = json(&run(
        "shanghaitech",
        folder,
        &[&arguments[..], &["--out", &out, "--seeds", "2"]].concat(),
    ));
    assert_eq!(by_row["name"], "shanghaitech");
    assert!(by_row["title"].as_str().unwrap().contains("weakly supervised split"));
    assert_eq!((&by_row["crops"], &by_row["test"]), (&10.into(), &10.into()));
    assert_eq!(by_row["train_normal"], 7);
    assert_eq!(by_row["train_abnormal"], 7);
    let auc = |report: &serde_json::Value| report["auc"]["mean"].as_f64().unwrap();
    assert!(auc(&by_row) > 97.0, "{by_row}");
    assert!(by_row["ap"]["mean"].as_f64().unwrap() > 90.0, "{by_row}");
    assert_eq!(by_row["seeds"].as_array().unwrap().len(), 2);
    assert_eq!(by_row["published_auc"][0]["auc"], 98.2);

    // What is left: both seeds' weights, one file of scores a video, the report.
    let out = Path::new(&out);
    assert_eq!(names(out), ["results.json", "seed-1", "seed-2"]);
    assert_eq!(names(&out.join("seed-1")), ["config.toml", "model.safetensors", "scores", "state"]);
    assert_eq!(names(&out.join("seed-2/scores")).len(), 10);
    // `trainer score` gives the very scores from the weights.
    let weights = out.join("seed-2/model.safetensors").display().to_string();
    let video = folder.join("features/SH_Test_ten_crop/01_0014_i3d.npy").display().to_string();
    let again = folder.join("again.npy").display().to_string();
    succeeded(&trainer([
        "score",
        "--heads",
        "2",
        "--weights",
        &weights,
        "--features",
        &video,
        "--out",
        &again,
    ]));
    let first = npy::read(&out.join("seed-2/scores/01_0014.npy")).unwrap();
    assert_eq!(npy::read(Path::new(&again)).unwrap(), first);

    // The masks by name say the same as the labels in a row, and the same seed does the same.
    let seed = |report: &serde_json::Value| report["seeds"][0]["auc"].as_f64().unwrap();
    let by_name =
        json(&run("shanghaitech", folder, &[&arguments[..], &["--test-labels", &masks]].concat()));
    assert_eq!(seed(&by_name), seed(&by_row));
    // Truth turned round turns the figure round.
    let row = npy::read(&folder.join("features/gt-sh.npy")).unwrap();
    let turned: Vec<f32> = row.values.iter().map(|v| 1.0 - v).collect();
    let labels = folder.join("turned.npy");
    write(&labels, &row.shape, &turned);
    let labels = labels.display().to_string();
    let opposite =
        json(&run("shanghaitech", folder, &[&arguments[..], &["--test-labels", &labels]].concat()));
    assert!((seed(&opposite) + seed(&by_row) - 100.0).abs() < 1e-9, "{opposite}");
}

/// UCF-Crime as UR-DMU has it: a file for each crop, the official annotations.
fn ucf_crime(folder: &Path, crops: usize) {
    let mut lists = [String::new(), String::new()];
    let mut annotations = String::new();
    for i in 0..20u64 {
        let (test, abnormal) = (i >= 12, i % 2 == 0);
        let n = 12 + i as usize;
        let class = if abnormal { "Abuse" } else { "Normal_Videos_" };
        let name = format!("{class}{i:03}_x264");
        let range = abnormal.then(|| event(n));
        for crop in 0..crops {
            let path = folder.join(format!("features/{class}/{name}__{crop}.npy"));
            write(&path, &[n, D], &features(100 * i + crop as u64, n, 1, range));
            lists[test as usize] += &format!("dataset/{class}/{name}__{crop}.npy\n");
        }
        if test {
            let (first, last) = range.map_or((-1, -1), |(a, b)| (16 * a as i64 + 1, 16 * b as i64));
            let class = if abnormal { class } else { "Normal" };
            annotations += &format!("{name}.mp4  {class}  {first}  {last}  -1  -1  \n");
        }
    }
    std::fs::write(folder.join("features/UCF_Train.list"), &lists[0]).unwrap();
    std::fs::write(folder.join("features/UCF_Test.list"), &lists[1]).unwrap();
    std::fs::write(folder.join("features/Temporal_Anomaly_Annotation.txt"), annotations).unwrap();
}

#[test]
fn ucf_crime_features_by_crop_with_pseudo_abnormal_ones() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    ucf_crime(folder, 3);
    let pseudo = folder.join("pseudo");
    for i in 0..6u64 {
        let path = pseudo.join(format!("pseudo-{i}.npy"));
        write(&path, &[14, D], &features(900 + i, 14, 1, Some(event(14))));
    }
    let pseudo = pseudo.display().to_string();
    let arguments = ["--pseudo", &pseudo, "--pseudo-crops", "1"];
    let report = json(&run("ucf-crime", folder, &[&arguments[..], &["--json"]].concat()));
    // The number of crops is that of the lists.
    assert_eq!((&report["crops"], &report["train_abnormal"]), (&3.into(), &6.into()));
    assert!(report["auc"]["mean"].as_f64().unwrap() > 95.0, "{report}");
    let table = succeeded(&run("ucf-crime", folder, &arguments));
    for part in ["UCF-Crime", "frame AUC", "this run: PA-VAD", "82.5", "87.0", "80.6"] {
        assert!(table.contains(part), "{part}: {table}");
    }
}

#[test]
fn xd_violence_lists_and_annotations() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut lists = [String::new(), String::new()];
    let mut annotations = String::new();
    for i in 0..16u64 {
        let (test, abnormal) = (i >= 10, i % 2 == 0);
        let n = 12 + i as usize;
        let part = if test { "RGBTest" } else { "RGB" };
        let name = format!("v=x{i}__#1_label_{}", if abnormal { "B4-0-0" } else { "A" });
        let range = abnormal.then(|| event(n));
        for crop in 0..5 {
            let path = folder.join(format!("features/{part}/{name}__{crop}.npy"));
            write(&path, &[n, D], &features(100 * i + crop, n, 1, range));
            lists[test as usize] += &format!("E:\\i3d-features\\{part}\\{name}__{crop}.npy\r\n");
        }
        if let (true, Some((a, b))) = (test, range) {
            annotations += &format!("{name} {} {}\n", 16 * a, 16 * b);
        }
    }
    std::fs::write(folder.join("features/XD_Train.list"), &lists[0]).unwrap();
    std::fs::write(folder.join("features/XD_Test.list"), &lists[1]).unwrap();
    std::fs::write(folder.join("features/annotations.txt"), annotations).unwrap();
    let report =
        json(&run("xd-violence", folder, &["--supervised", "--train-crops", "1", "--json"]));
    assert_eq!(report["crops"], 5);
    assert!(report["ap"]["mean"].as_f64().unwrap() > 90.0, "{report}");
}

#[test]
fn wrong_input_is_named_before_any_training() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    ucf_crime(folder, 2);
    let run = |more: &[&str]| run("ucf-crime", folder, &[more, &["--out", "/nowhere"]].concat());
    let at = |name: &str| folder.join("features").join(name);
    failed(&run(&[]), 2, &["--pseudo", "--supervised"]);
    failed(&run(&["--supervised", "--crops", "3"]), 2, &["no crop 2 of 3", "Abuse"]);
    failed(&run(&["--supervised", "--crops", "1"]), 2, &["--crops"]);
    let none = folder.join("none").display().to_string();
    failed(&run(&["--pseudo", &none]), 2, &["none"]);
    failed(&run(&["--supervised", "--train-list", &none]), 2, &["none"]);

    // Each file is spoilt in its turn, and put back.
    let video = at("Abuse/Abuse000_x264__1.npy");
    let whole = std::fs::read(&video).unwrap();
    let spoilt = |shape: &[usize], value: f32, parts: &[&str]| {
        write(&video, shape, &vec![value; shape.iter().product()]);
        let shape = format!("{shape:?}");
        let parts = [parts, &["Abuse000_x264__1.npy", &shape]].concat();
        failed(&run(&["--supervised"]), 3, &parts);
    };
    spoilt(&[12, D + 1], 0.0, &["length 13", "has 12"]);
    spoilt(&[11, D], 0.0, &["11 snippets", "Abuse000_x264__0.npy has 12"]);
    spoilt(&[0, D], 0.0, &["no snippets"]);
    spoilt(&[12, 2, D], 0.0, &["1 crops"]);
    spoilt(&[12, D], f32::NAN, &["NaN at [0, 0]"]);
    std::fs::write(&video, &whole[..whole.len() - 4]).unwrap();
    failed(&run(&["--supervised"]), 3, &["Abuse000_x264__1.npy", "[12, 12]", "572 bytes"]);
    std::fs::remove_file(&video).unwrap();
    failed(&run(&["--supervised"]), 2, &["UCF_Train.list", "line 1", "no crop 1 of 2 of Abuse000"]);
    std::fs::write(&video, &whole).unwrap();

    let list = at("UCF_Test.list");
    let text = std::fs::read_to_string(&list).unwrap();
    std::fs::write(&list, format!("{text}x/Arson001_x264__0.npy\nx/Arson001_x264__1.npy\n"))
        .unwrap();
    failed(&run(&["--supervised"]), 2, &["UCF_Test.list", "line 17", "Arson001"]);
    std::fs::write(&list, [0xff, 0xfe]).unwrap();
    failed(&run(&["--supervised"]), 3, &["UCF_Test.list", "UTF-8"]);
    std::fs::write(&list, text).unwrap();

    let truth = at("Temporal_Anomaly_Annotation.txt");
    let text = std::fs::read_to_string(&truth).unwrap();
    std::fs::write(&truth, text.replace("129", "x")).unwrap();
    failed(&run(&["--supervised"]), 3, &["Temporal_Anomaly_Annotation.txt", "line ", "'x "]);
    std::fs::write(&truth, text).unwrap();
    let row = folder.join("gt.npy");
    write(&row, &[7], &[0.0; 7]);
    let row = row.display().to_string();
    failed(&run(&["--supervised", "--test-labels", &row]), 3, &["gt.npy", "7 labels", "frames"]);
    let config = folder.join("bad.toml");
    std::fs::write(&config, "steps = 3\nstepz = 4\n").unwrap();
    let features = folder.join("features").display().to_string();
    let output = trainer([
        "reproduce",
        "ucf-crime",
        "--supervised",
        "--features",
        &features,
        "--config",
        &config.display().to_string(),
    ]);
    failed(&output, 2, &["bad.toml", "line 2", "stepz"]);
    // Features of another length for the pseudo-abnormal videos.
    let pseudo = folder.join("pseudo");
    write(&pseudo.join("a.npy"), &[4, 5], &[0.0; 20]);
    let pseudo = pseudo.display().to_string();
    failed(&run(&["--pseudo", &pseudo, "--pseudo-crops", "1"]), 3, &["length 5", "of 12"]);
}
