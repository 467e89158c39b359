//! A distilled student at a site: footage without labels → student → checkpoint → bundle → camera.

use model_bundle::{Bundle, PublicKey, Trust};

use crate::common::{command, outcome, weights};
use crate::site::{FRAMES, read_scores, site};

/// The smallest distillation that takes every step of a real one.
const DISTILL: &str = r#"
max_normal_frames = 100
pseudo_clips = 1
pseudo_validation_clips = 0
windows = 1

[composite]
frames = 16

[student]
width = 64
height = 48
mirror = false
steps = 2
batch = 1
fit_snippets = 8
"#;

#[test]
fn a_distilled_student_is_the_cameras_backbone() {
    let Some(site) = site() else { return };
    let teacher = weights().join("i3d-rgb-kinetics400.ckpt");
    if !teacher.exists() {
        println!("skipped: {} is missing; run 'cargo xtask weights'", teacher.display());
        return;
    }
    let folder = site.folder.join("student");
    let path = |name: &str| folder.join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(path("distill.toml"), DISTILL).unwrap();
    let normal = site.folder.join("normal");

    let mut distill = command("trainer");
    distill.args(["distill", "--input"]).arg(&normal).arg("--config").arg(path("distill.toml"));
    let said = outcome(distill.arg("--out").arg(path("out"))).succeeded().stderr;
    assert!(said.contains("on clips kept out cosine"), "{said}");

    // The site's own training, on the student's features in floating point.
    let mut train = site.train(&path("checkpoint"));
    train.args(["--backbone", "tsm-mobilenetv2", "--features", "fp32", "--local-steps", "8"]);
    train.arg("--weights").arg(path("out/student.safetensors"));
    outcome(train.arg("--abnormal").arg(site.folder.join("test"))).succeeded();

    let mut pack = command("model-export");
    pack.arg("pack").arg(path("checkpoint")).arg("--key").arg(site.folder.join("site.key"));
    pack.args(["--name", "student", "--out"]).arg(path("model.pavad"));
    outcome(&mut pack).succeeded();
    let key = PublicKey::read(&site.public_key()).unwrap();
    let bundle = Bundle::open(&path("model.pavad"), &Trust::Keys(vec![key])).unwrap();
    let manifest = bundle.manifest();
    // The camera's backbone has the precision that the head was trained with.
    for graph in [("backbone", "ort", "fp32"), ("local", "ort", "int8")] {
        let found = manifest.graphs.iter();
        let found = found.map(|g| (g.name.as_str(), g.backend.as_str(), g.precision.as_str()));
        let found: Vec<_> =
            found.filter(|found| (found.0, found.1) == (graph.0, graph.1)).collect();
        assert_eq!(found, [graph]);
    }
    assert_eq!(manifest.provenance["abnormal_footage_sha256"].len(), 64);

    let replay = |backend: &str| {
        let scores = path(&format!("{backend}.csv"));
        let mut replay = site.replay(&path("model.pavad"), &site.clip("run"));
        replay.args(["--backend", backend, "--scores"]).arg(&scores);
        outcome(&mut replay).succeeded();
        read_scores(&scores)
    };
    let (ort, tract) = (replay("ort"), replay("tract"));
    assert_eq!((ort.len(), tract.len()), (FRAMES, FRAMES));
    assert!(ort.iter().any(|score| (score - ort[0]).abs() > 1e-4), "all scores are the same");
    let mean = ort.iter().zip(&tract).map(|(a, b)| (a - b).abs()).sum::<f64>() / FRAMES as f64;
    assert!(mean < 0.1, "mean absolute difference {mean}");
}
