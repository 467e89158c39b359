//! Training of the detector: it learns, repeats, goes on after an interruption, and refuses what it
//! cannot use.

#![allow(clippy::unwrap_used)] // a test may stop at what it does not expect

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use rand::Rng;
use sha2::{Digest, Sha256};
use trainer::detector::noise::{Purpose, open_unit, stream};
use trainer::detector::{
    Bag, DetectorConfig, Error, ModelSize, Progress, Spans, TermWeights, TrainedDetector,
    ValidationConfig, checkpoint, scores, train,
};

const D: usize = 12;

fn config(steps: usize) -> DetectorConfig {
    DetectorConfig {
        segments: 16,
        batch: 4,
        steps,
        lr: 3e-3,
        checkpoint_every: 4,
        discriminator_hidden: 8,
        model: ModelSize {
            feature_size: D,
            embedding: 16,
            layers: 1,
            heads: 4,
            head_size: 4,
            feed_forward: 16,
            abnormal_slots: 6,
            normal_slots: 6,
            classifier_hidden: 8,
        },
        ..DetectorConfig::default()
    }
}

/// Noise, and in pseudo-abnormal bags an event in the middle third that shifts two channels.
fn bag(name: String, pseudo: bool, rng: &mut impl Rng) -> Bag {
    let snippets = 12 + (open_unit(rng) * 20.0) as usize;
    let features = (0..snippets * D)
        .map(|n| {
            let (at, channel) = (n / D, n % D);
            let event = pseudo && at >= snippets / 3 && at < 2 * snippets / 3 && channel < 2;
            (open_unit(rng) + if event { 3.0 } else { 0.0 }) as f32
        })
        .collect();
    Bag::pooled(name, features, snippets, D)
}

fn bags(count: usize, pseudo: bool, seed: u64) -> Vec<Bag> {
    let mut rng = stream(seed, Purpose::Init, pseudo as u64);
    (0..count).map(|i| bag(format!("clip{i}"), pseudo, &mut rng)).collect()
}

fn run(
    steps: usize,
    seed: u64,
    dir: Option<&Path>,
    stop_at: usize,
) -> Result<TrainedDetector, Error> {
    let mut figures = Vec::new();
    recorded(&config(steps), seed, dir, stop_at, &mut figures)
}

/// Trains and adds the figures of every step.
fn recorded(
    config: &DetectorConfig,
    seed: u64,
    dir: Option<&Path>,
    stop_at: usize,
    figures: &mut Vec<Progress>,
) -> Result<TrainedDetector, Error> {
    let stop = AtomicBool::new(false);
    let mut progress = |p: &Progress| {
        figures.push(*p);
        if p.step == stop_at {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let (normal, pseudo) = (bags(10, false, 1), bags(7, true, 1));
    train(&normal, &pseudo, config, seed, &Device::Cpu, dir, &mut progress, &stop)
}

/// SHA-256 of the checkpoint's file.
fn hash(detector: &TrainedDetector) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    checkpoint::write(&path, &detector.tensors, HashMap::new()).unwrap();
    let digest = Sha256::digest(std::fs::read(path).unwrap());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bits(detector: &TrainedDetector) -> Vec<(String, Vec<u32>)> {
    let bits = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect();
    detector.values().unwrap().into_iter().map(|(n, (_, v))| (n, bits(v))).collect()
}

#[test]
fn it_learns_where_the_event_is() {
    let detector = run(150, 5, None, 0).unwrap();
    assert!(detector.tensors.keys().all(|name| !name.starts_with("domain.")));
    let mut inside = Vec::new();
    let mut outside = Vec::new();
    for bag in bags(6, true, 99) {
        let got = scores(&detector.tensors, &bag.features).unwrap();
        assert_eq!(got.len(), bag.snippets);
        for (at, score) in got.into_iter().enumerate() {
            let event = at >= bag.snippets / 3 && at < 2 * bag.snippets / 3;
            if event { &mut inside } else { &mut outside }.push(score);
        }
    }
    let wins: usize = inside.iter().map(|a| outside.iter().filter(|b| a > b).count()).sum();
    let auc = wins as f64 / (inside.len() * outside.len()) as f64;
    assert!(auc > 0.9, "AUC on unseen bags is {auc}");
    let last = detector.last;
    assert_eq!((last.step, last.steps), (150, 150));
    assert!(last.losses.domain > 0.0 && last.losses.update > 0.0 && last.abnormal_norm > 0.0);
}

#[test]
fn one_seed_gives_one_result() {
    let (a, b, c) =
        (run(3, 1, None, 0).unwrap(), run(3, 1, None, 0).unwrap(), run(3, 2, None, 0).unwrap());
    assert_eq!(bits(&a), bits(&b));
    assert_ne!(bits(&a), bits(&c));
    assert_eq!(a.data.len(), 64);
}

#[test]
fn an_interrupted_run_goes_on_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let whole = run(11, 3, None, 0).unwrap();
    // Between two regular saves, and again right after one.
    for at in [6, 8] {
        match run(11, 3, Some(dir.path()), at) {
            Err(Error::Interrupted { step, saved }) => {
                assert_eq!(step, at);
                assert!(saved.unwrap().is_file());
            }
            other => panic!("expected an interruption, got {other:?}"),
        }
    }
    let resumed = run(11, 3, Some(dir.path()), 0).unwrap();
    assert_eq!(bits(&whole), bits(&resumed));
    assert_eq!(whole.last, resumed.last);
    // A finished run is not trained again.
    assert_eq!(bits(&whole), bits(&run(11, 3, Some(dir.path()), 0).unwrap()));
    // A longer run goes on from there.
    assert_eq!(
        bits(&run(13, 3, Some(dir.path()), 0).unwrap()),
        bits(&run(13, 3, None, 0).unwrap())
    );
}

#[test]
fn two_runs_and_an_interrupted_one_have_the_same_losses_and_the_same_file() {
    // With validation on: the best weights survive the interruption, too.
    let validation = ValidationConfig { every: 3, share: 0.3, patience: 0 };
    for config in [config(14), DetectorConfig { validation, ..config(14) }] {
        let (mut one, mut two, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        let first = recorded(&config, 9, None, 0, &mut one).unwrap();
        let second = recorded(&config, 9, None, 0, &mut two).unwrap();
        assert_eq!(one.len(), 14);
        assert_eq!(one, two);
        assert_eq!(hash(&first), hash(&second));

        let dir = tempfile::tempdir().unwrap();
        for at in [1, 7, 10] {
            let stopped = recorded(&config, 9, Some(dir.path()), at, &mut parts);
            assert!(matches!(stopped, Err(Error::Interrupted { step, .. }) if step == at));
        }
        let resumed = recorded(&config, 9, Some(dir.path()), 0, &mut parts).unwrap();
        // Progress compares every loss as the number it is: not one bit may differ.
        assert_eq!(parts, one);
        assert_eq!(hash(&resumed), hash(&first));
        assert_eq!(resumed.selected, first.selected);
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    // Large enough for every operation to be cut into several blocks.
    let model = ModelSize { feature_size: D, embedding: 64, ..config(1).model };
    let config = DetectorConfig { segments: 80, batch: 8, model, ..config(3) };
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut figures = Vec::new();
        let detector = pool.install(|| recorded(&config, 2, None, 0, &mut figures)).unwrap();
        (hash(&detector), figures)
    };
    let one = with(1);
    assert_eq!(one, with(2));
    assert_eq!(one, with(5));
}

#[test]
fn validation_keeps_the_best_weights_and_ends_when_patience_does() {
    let validation = ValidationConfig { every: 2, share: 0.3, patience: 3 };
    let config = DetectorConfig { validation, ..config(400) };
    let mut figures = Vec::new();
    let dir = tempfile::tempdir().unwrap();
    let detector = recorded(&config, 4, Some(dir.path()), 0, &mut figures).unwrap();
    let best = detector.selected.unwrap();
    let looks: Vec<_> = figures.iter().filter_map(|p| p.validation).collect();
    assert!(looks.iter().all(|look| !look.better_than(&best)));
    assert!(figures.iter().all(|p| p.validation.is_some() == (p.step % 2 == 0)));
    // The events are easy to find, so the AUC is 1 soon, and the loss stops falling some time.
    assert_eq!(best.auc, 1.0);
    assert!(best.step + 6 == detector.last.step || detector.last.step == 400);
    // The weights are those of the best step: an unbroken run to there, without patience, has them.
    let validation = ValidationConfig { every: 2, share: 0.3, patience: 0 };
    let until = DetectorConfig { validation, steps: best.step, ..config.clone() };
    let there = recorded(&until, 4, None, 0, &mut Vec::new()).unwrap();
    assert_eq!(hash(&there), hash(&detector));
    // A run that has ended is not gone on with.
    let mut again = Vec::new();
    let same = recorded(&config, 4, Some(dir.path()), 0, &mut again).unwrap();
    assert!(again.is_empty());
    assert_eq!(hash(&same), hash(&detector));
}

#[test]
fn validation_needs_a_bag_to_keep_out() {
    let validation = ValidationConfig { every: 2, ..ValidationConfig::default() };
    let config = DetectorConfig { validation, ..config(4) };
    let (normal, pseudo) = (bags(3, false, 1), bags(1, true, 1));
    let stop = AtomicBool::new(false);
    let error = train(&normal, &pseudo, &config, 1, &Device::Cpu, None, &mut |_| (), &stop);
    assert!(error.unwrap_err().to_string().contains("1 pseudo-abnormal bags"));
}

#[test]
fn a_state_of_another_run_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    run(2, 3, Some(dir.path()), 0).unwrap();
    let error = run(4, 4, Some(dir.path()), 0).unwrap_err();
    assert!(matches!(error, Error::StateMismatch { what: "seed", .. }), "{error}");
    let changed = DetectorConfig { lr: 1e-5, ..config(4) };
    let (normal, pseudo) = (bags(10, false, 1), bags(7, true, 1));
    let go = |normal: &[Bag], config: &DetectorConfig| {
        let (stop, dir) = (AtomicBool::new(false), Some(dir.path()));
        train(normal, &pseudo, config, 3, &Device::Cpu, dir, &mut |_| (), &stop).unwrap_err()
    };
    assert!(matches!(go(&normal, &changed), Error::StateMismatch { what: "configuration", .. }));
    assert!(matches!(go(&normal[1..], &config(4)), Error::StateMismatch { what: "data", .. }));
    let path = dir.path().join("training-state.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = go(&normal, &config(4));
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}

#[test]
fn unusable_bags_are_refused_before_training() {
    let refuse = |normal: &[Bag], pseudo: &[Bag]| {
        let stop = AtomicBool::new(false);
        let mut progress = |_: &Progress| panic!("training must not start");
        train(normal, pseudo, &config(2), 1, &Device::Cpu, None, &mut progress, &stop)
            .unwrap_err()
            .to_string()
    };
    let good = bags(3, false, 1);
    assert!(refuse(&good, &[]).contains("no pseudo-abnormal bags"));
    let mut bad = good.clone();
    bad[2].features[D + 5] = f32::INFINITY;
    let message = refuse(&good, &bad);
    assert!(message.contains("pseudo-abnormal bag `clip2`"), "{message}");
    assert!(message.contains("snippet 1, cell 0, channel 5"), "{message}");
    bad[2].d = 5;
    assert!(refuse(&bad, &good).contains("the detector takes features of length 12"));
}

#[test]
fn parts_can_be_switched_off() {
    let (normal, pseudo) = (bags(4, false, 1), bags(4, true, 1));
    let with = |use_da, use_upd| {
        let config = DetectorConfig { use_da, use_upd, ..config(2) };
        let stop = AtomicBool::new(false);
        train(&normal, &pseudo, &config, 1, &Device::Cpu, None, &mut |_| (), &stop)
            .unwrap()
            .last
            .losses
    };
    let plain = with(false, false);
    assert_eq!((plain.domain, plain.mean_distance, plain.update), (0.0, 0.0, 0.0));
    assert_eq!(plain.total, plain.urdmu);
    let both = with(true, true);
    let expected = both.urdmu + both.domain + both.mean_distance + 0.1 * both.update;
    assert!((both.total - expected).abs() < 1e-5 * expected);
}

/// Bags of twelve cells; in pseudo-abnormal ones an event in the middle third of one cell, and labels
/// of it.
fn cell_bags(count: usize, pseudo: bool, seed: u64) -> Vec<Bag> {
    const CELLS: usize = 12;
    let mut rng = stream(seed, Purpose::Init, 2 + u64::from(pseudo));
    let mut one = |number: usize| {
        let snippets = 6 + (open_unit(&mut rng) * 6.0) as usize;
        let place = (open_unit(&mut rng) * CELLS as f64) as usize;
        let event = |instance: usize| {
            let (at, cell) = (instance / CELLS, instance % CELLS);
            pseudo && cell == place && at >= snippets / 3 && at < 2 * snippets / 3
        };
        let features = (0..snippets * CELLS * D)
            .map(|n| {
                let shift = if event(n / D) && n % D < 2 { 3.0 } else { 0.0 };
                (open_unit(&mut rng) + shift) as f32
            })
            .collect();
        let changed = pseudo.then(|| (0..snippets * CELLS).map(event).collect());
        Bag { cells: CELLS, changed, ..Bag::pooled(format!("clip{number}"), features, snippets, D) }
    };
    (0..count).map(&mut one).collect()
}

/// Runs of four snippets of eight of the twelve cells, a thirtieth of whose instances count.
fn cell_config(steps: usize, instances: f64) -> DetectorConfig {
    let plain = config(steps);
    DetectorConfig {
        segments: 4,
        spans: Spans::Run,
        cells: 8,
        top_share: 30,
        weights: TermWeights { instances, ..plain.weights.clone() },
        ..plain
    }
}

fn train_cells(
    config: &DetectorConfig,
    dir: Option<&Path>,
    stop_at: usize,
) -> Result<TrainedDetector, Error> {
    let stop = AtomicBool::new(false);
    let mut progress = |p: &Progress| stop.store(p.step == stop_at, Ordering::Relaxed);
    let (normal, pseudo) = (cell_bags(8, false, 1), cell_bags(8, true, 1));
    train(&normal, &pseudo, config, 4, &Device::Cpu, dir, &mut progress, &stop)
}

#[test]
fn it_learns_which_cell_with_labels_and_without() {
    for (instances, least) in [(0.0, 0.9), (1.0, 0.97)] {
        let detector = train_cells(&cell_config(200, instances), None, 0).unwrap();
        assert_eq!(detector.last.losses.instances > 0.0, instances > 0.0);
        let model = detector.model(&Device::Cpu).unwrap();
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        for bag in cell_bags(6, true, 99) {
            let got = model.bag_scores(&bag, 4).unwrap();
            for (score, event) in got.into_iter().zip(bag.changed.unwrap()) {
                if event { &mut inside } else { &mut outside }.push(score);
            }
        }
        let wins: usize = inside.iter().map(|a| outside.iter().filter(|b| a > b).count()).sum();
        let auc = wins as f64 / (inside.len() * outside.len()) as f64;
        println!("weight {instances}: AUC of unseen cells {auc:.4}");
        assert!(auc > least, "weight {instances}: AUC of unseen cells is {auc}");
    }
}

#[test]
fn drawn_cells_and_runs_survive_an_interruption() {
    let validation = ValidationConfig { every: 4, share: 0.3, patience: 0 };
    let config = DetectorConfig { validation, ..cell_config(9, 1.0) };
    let whole = train_cells(&config, None, 0).unwrap();
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(train_cells(&config, Some(dir.path()), 5), Err(Error::Interrupted { .. })));
    let resumed = train_cells(&config, Some(dir.path()), 0).unwrap();
    assert_eq!(bits(&whole), bits(&resumed));
    assert_eq!(whole.last, resumed.last);
    let selected = whole.selected.unwrap();
    assert!((0.0..=1.0).contains(&selected.auc) && selected.loss > 0.0);
    // Other cells are another training.
    let other = DetectorConfig { cells: 7, ..config };
    assert_ne!(bits(&whole), bits(&train_cells(&other, None, 0).unwrap()));
}

#[test]
fn bags_of_one_training_have_the_same_cells() {
    let mut pseudo = cell_bags(3, true, 1);
    pseudo[1] = Bag { cells: 6, changed: None, ..pseudo[1].clone() };
    pseudo[1].snippets *= 2;
    let stop = AtomicBool::new(false);
    let (normal, config) = (cell_bags(3, false, 1), cell_config(1, 1.0));
    let error = train(&normal, &pseudo, &config, 1, &Device::Cpu, None, &mut |_| (), &stop);
    let message = error.unwrap_err().to_string();
    assert!(message.contains("`clip1`") && message.contains("`clip0` has 12 cells"), "{message}");
}
