//! Whole small training runs: learning, resuming, repeating.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::*;
use super::{tiny_config, values};

/// A noisy still scene; in pseudo clips a textured box slides through it (kind 0).
fn toy_clip(seed: u64, pseudo: bool) -> LumaClip {
    let (width, height, frames) = (64, 40, 16);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (left, top) = (rng.random_range(4..20usize), rng.random_range(4..24usize));
    let (mut all, mut labels) = (Vec::new(), Vec::new());
    for t in 0..frames {
        let mut frame: Vec<u8> = (0..width * height)
            .map(|i| 90 + ((i % width) / 2) as u8 + rng.random_range(0..6u8))
            .collect();
        let mut label = vec![0u8; width * height];
        if pseudo {
            for y in top..top + 9 {
                for x in left + 2 * t..left + 2 * t + 7 {
                    frame[y * width + x] = if (x + y) % 3 == 0 { 60 } else { 200 };
                    label[y * width + x] = 1;
                }
            }
        }
        all.push(frame);
        labels.push(label);
    }
    LumaClip { width, height, frames: all, labels: pseudo.then_some(labels) }
}

fn toy_clips() -> (Vec<LumaClip>, Vec<LumaClip>) {
    ((0..3).map(|i| toy_clip(i, false)).collect(), (10..15).map(|i| toy_clip(i, true)).collect())
}

fn run(config: &LocalConfig, state: Option<&Path>) -> Result<TrainedLocal, Error> {
    let (normals, pseudo) = toy_clips();
    let stop = AtomicBool::new(false);
    train(&normals, &pseudo, config, 5, &Device::Cpu, state, &mut |_| {}, &stop)
}

fn assert_same(a: &TrainedLocal, b: &TrainedLocal) {
    assert_eq!(a.losses, b.losses);
    assert_eq!(a.tensors.len(), b.tensors.len());
    for (name, tensor) in &a.tensors {
        assert_eq!(values(tensor), values(&b.tensors[name]), "{name}");
    }
}

#[test]
fn it_learns_to_find_a_moving_box() {
    let config = LocalConfig { steps: 250, average_decay: 0.9, ..tiny_config() };
    let trained = run(&config, None).unwrap();
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    let (first, last) = (mean(&trained.losses[..5]), mean(&trained.losses[245..]));
    assert!(last < 0.15 * first, "{first} {last}");
    // A clip it has never seen, through the evaluation path.
    let clip = toy_clip(99, true);
    let size = clip.width * clip.height;
    let mut stack = Vec::new();
    stack.extend(clip.frames[8].iter().map(|p| (f32::from(*p) - 110.0) / 50.0));
    for other in [6, 10] {
        let pairs = clip.frames[other].iter().zip(&clip.frames[8]);
        stack.extend(pairs.map(|(a, b)| (f32::from(*a) - f32::from(*b)) / 30.0));
    }
    assert_eq!(stack.len(), 3 * size);
    let stack = Tensor::from_vec(stack, (1, 3, clip.height, clip.width), &Device::Cpu).unwrap();
    let maps = values(&forward_eval(&trained.tensors, &config, &stack).unwrap());
    let labels = clip.labels.as_ref().unwrap();
    let cells = to_cells(&labels[8], clip.width, clip.height);
    let of = |wanted: u8| {
        let chosen: Vec<f32> =
            (0..cells.len()).filter(|i| cells[*i] == wanted).map(|i| maps[i]).collect();
        mean(&chosen)
    };
    assert!(of(1) > 1.0 && of(0) < -1.0, "box {} rest {}", of(1), of(0));
}

#[test]
fn training_with_the_operations_of_a_gpu_gives_what_the_fused_ones_give() {
    let config = tiny_config();
    let fused = run(&config, None).unwrap();
    let (normals, pseudo) = toy_clips();
    let stop = AtomicBool::new(false);
    let composed = train::train_as(
        DType::F64,
        &normals,
        &pseudo,
        &config,
        5,
        &Device::Cpu,
        None,
        &mut |_| {},
        &stop,
    )
    .unwrap();
    assert_eq!(fused.losses.len(), composed.losses.len());
    for (a, b) in fused.losses.iter().zip(&composed.losses) {
        assert!((a - b).abs() < 1e-3 * b, "{a} {b}");
    }
    assert_eq!(fused.tensors.len(), composed.tensors.len());
    for (name, tensor) in &fused.tensors {
        for (a, b) in values(tensor).iter().zip(values(&composed.tensors[name])) {
            // Adam makes a step of full length of the smallest gradient, so a weight may be off by a
            // part of the six steps; most are far closer.
            assert!((a - b).abs() < 1e-2 * (1.0 + b.abs()), "{name}: {a} {b}");
        }
    }
}

#[test]
fn a_resumed_run_gives_the_same_bits() {
    let config = tiny_config();
    let whole = run(&config, None).unwrap();
    assert_eq!(whole.losses.len(), 6);
    let directory = tempfile::tempdir().unwrap();
    let (normals, pseudo) = toy_clips();
    for stop_at in [1, 4] {
        let stop = AtomicBool::new(false);
        let mut watch = |progress: &Progress| {
            if progress.step == stop_at {
                stop.store(true, Ordering::Relaxed);
            }
        };
        let state = Some(directory.path());
        let error = train(&normals, &pseudo, &config, 5, &Device::Cpu, state, &mut watch, &stop);
        assert!(matches!(error, Err(Error::Interrupted { step, steps: 6 }) if step == stop_at));
    }
    assert_same(&run(&config, Some(directory.path())).unwrap(), &whole);
    // Once more: nothing is left to do, and the result is the same.
    assert_same(&run(&config, Some(directory.path())).unwrap(), &whole);
}

#[test]
fn the_state_of_another_run_or_a_damaged_one_is_refused() {
    let config = tiny_config();
    let directory = tempfile::tempdir().unwrap();
    run(&config, Some(directory.path())).unwrap();
    let other = LocalConfig { learning_rate: 1e-3, ..config.clone() };
    assert!(matches!(run(&other, Some(directory.path())), Err(Error::OtherRun { .. })));
    let path = directory.path().join("state.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(run(&config, Some(directory.path())), Err(Error::Damaged { .. })));
}

#[test]
fn the_number_of_threads_changes_no_bit_and_the_seed_does() {
    let config = tiny_config();
    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run(&config, None).unwrap())
    };
    let one = with_threads(1);
    assert_same(&one, &with_threads(2));
    assert_same(&one, &with_threads(5));
    let (normals, pseudo) = toy_clips();
    let stop = AtomicBool::new(false);
    let other =
        train(&normals, &pseudo, &config, 6, &Device::Cpu, None, &mut |_| {}, &stop).unwrap();
    assert_ne!(one.losses, other.losses);
}

#[test]
fn a_saved_network_loads_again_and_a_wrong_one_does_not() {
    let config = LocalConfig { steps: 1, statistics_batches: 1, ..tiny_config() };
    let trained = run(&config, None).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    save(&trained.tensors, &path).unwrap();
    let loaded = load(&path, &config, &Device::Cpu).unwrap();
    assert_same(&TrainedLocal { tensors: loaded, losses: trained.losses.clone() }, &trained);
    let other = LocalConfig { kinds: vec!["box".into()], ..config.clone() };
    let error = load(&path, &other, &Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("local.head.weight has shape [2, 12, 1, 1]"), "{error}");
    let mut partial = trained.tensors;
    partial.remove("local.stem.0.bn.running_var");
    save(&partial, &path).unwrap();
    let error = load(&path, &config, &Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("local.stem.0.bn.running_var is missing"), "{error}");
}

#[test]
fn clips_and_configurations_that_cannot_be_used_are_named() {
    let (normals, pseudo) = toy_clips();
    let stop = AtomicBool::new(false);
    let run = |normals: &[LumaClip], pseudo: &[LumaClip], config: &LocalConfig| {
        train(normals, pseudo, config, 1, &Device::Cpu, None, &mut |_| {}, &stop)
            .unwrap_err()
            .to_string()
    };
    let config = tiny_config();
    assert!(run(&normals, &[], &config).contains("no pseudo-abnormal clips"));
    let mut short = pseudo.clone();
    short[1].labels.as_mut().unwrap().pop();
    assert!(run(&normals, &short, &config).contains("pseudo-abnormal clip 1: 15 label maps"));
    let mut strange = pseudo.clone();
    for clip in &mut strange {
        clip.labels.as_mut().unwrap().iter_mut().for_each(|map| map.fill(3));
    }
    assert!(run(&normals, &strange, &config).contains("label 3 of 2 kinds"));
    let no_kinds = LocalConfig { kinds: vec![], ..config };
    assert!(run(&normals, &pseudo, &no_kinds).contains("local.kinds must be"));
}
