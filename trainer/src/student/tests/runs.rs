//! Whole small distillations: their batches, resuming, repeating, and the file that comes of one.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use model_export::weights::Weights;
use video::Frame;

use super::super::*;
use super::network::{architecture, tensors};
use super::values;
use crate::local::Tensors;

fn config() -> StudentConfig {
    StudentConfig {
        width: 32,
        height: 40,
        run: 2,
        batch: 2,
        steps: 6,
        learning_rate: 1e-3,
        warm_up: 1,
        average_decay: 0.5,
        fit_snippets: 8,
        validate_every: 2,
        save_every: 2,
        ..StudentConfig::default()
    }
}

/// A clip whose left and right half change their grey with each snippet. The teacher's features say how
/// bright the picture is and how far its halves are apart; of the mirrored clip they are larger by 1, so
/// that it shows which were taken.
fn clip(store: &Store, seed: usize, snippets: usize, features: usize) -> Clip {
    let (width, height) = (64, 48);
    let (mut frames, mut teacher) = (Vec::new(), Vec::new());
    for snippet in 0..snippets {
        let level = |side: usize| 20 + (snippet * 53 + seed * 31 + side * (67 + 40 * seed)) % 190;
        for t in 0..network::SNIPPET {
            let mut frame = Frame::new(width, height);
            for (i, pixel) in frame.rgb_mut().chunks_exact_mut(3).enumerate() {
                let side = usize::from(i % width >= width / 2);
                let noise = (i * 7919 + t * 104_729 + seed * 13) % 23;
                pixel.fill((level(side) + noise) as u8);
            }
            frames.push(frame);
        }
        let (sum, apart) = (level(0) + level(1), level(0).abs_diff(level(1)));
        let row = |i: usize| (if i.is_multiple_of(2) { sum } else { 2 * apart }) as f32 / 100.0;
        teacher.extend((0..features).map(row));
    }
    let file = store.write(&frames).unwrap();
    let mirrored = Some(teacher.iter().map(|value| value + 1.0).collect());
    Clip { name: format!("clip {seed}"), frames: file, snippets, teacher, mirrored }
}

fn footage(folder: &Path, config: &StudentConfig) -> Footage {
    let store = Store::new(folder, config.width, config.height);
    let features = architecture().features;
    let samples = |seeds: std::ops::Range<usize>| {
        // One, two and three snippets: shorter than a run, a run, and one that overlaps.
        let clips = seeds.map(|seed| clip(&store, seed, 1 + seed % 3, features)).collect();
        Samples::new(&store, clips, config.run, features).unwrap()
    };
    Footage { training: samples(0..5), validation: samples(10..13) }
}

fn start(network: &Network) -> Tensors {
    let mut tensors = tensors(network);
    tensors.retain(|name, _| name.starts_with("features."));
    tensors
}

fn run(
    folder: &Path,
    config: &StudentConfig,
    state: Option<&Path>,
    stop_after: usize,
) -> (Result<Trained, Error>, Vec<f32>) {
    let network = Network::new(&architecture());
    let footage = footage(folder, config);
    let stop = AtomicBool::new(false);
    let mut losses = Vec::new();
    let trained = train(
        &network,
        &start(&network),
        "made up",
        &footage,
        config,
        7,
        &Device::Cpu,
        state,
        &mut |p| {
            losses.push(p.loss);
            stop.store(p.step == stop_after, Ordering::Relaxed);
        },
        &stop,
    );
    (trained, losses)
}

#[test]
fn the_loss_falls_on_what_it_learns_from_and_on_clips_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let config = StudentConfig {
        mirror: false,
        steps: 80,
        fit_snippets: 0,
        warm_up: 4,
        validate_every: 40,
        average_decay: 0.9,
        ..config()
    };
    let (trained, losses) = run(folder.path(), &config, None, 0);
    let trained = trained.unwrap();
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    let (first, last) = (mean(&losses[..5]), mean(&losses[75..]));
    assert!(last < 0.5 * first, "{first} {last}");
    assert!(trained.best.loss < 0.8 * trained.before.loss, "{trained:?}");
    assert!(trained.best.step > 0);
}

#[test]
fn a_mirrored_run_has_mirrored_frames_and_the_features_of_the_mirrored_clip() {
    let folder = tempfile::tempdir().unwrap();
    let config = StudentConfig { batch: 1, run: 1, ..config() };
    let store = Store::new(folder.path(), config.width, config.height);
    let samples = Samples::new(&store, vec![clip(&store, 1, 1, 24)], 1, 24).unwrap();
    let plain = samples.runs(&[0], &Device::Cpu).unwrap();
    let mut seen = [0, 0];
    for step in 0..20 {
        let batch = samples.batch(&config, 7, step, &Device::Cpu).unwrap();
        let mirrored = values(&batch.teacher)[0] > values(&plain.teacher)[0] + 0.5;
        seen[usize::from(mirrored)] += 1;
        let frames = if mirrored { batch.frames.flip(&[3]).unwrap() } else { batch.frames };
        assert_eq!(values(&frames), values(&plain.frames), "step {step}");
        let offset = if mirrored { 1.0 } else { 0.0 };
        let teacher = (plain.teacher.clone() + offset).unwrap();
        assert_eq!(values(&batch.teacher), values(&teacher));
    }
    assert!(seen[0] > 3 && seen[1] > 3, "{seen:?}");
}

#[test]
fn every_run_comes_once_in_a_pass_and_all_snippets_are_in_one() {
    let folder = tempfile::tempdir().unwrap();
    let config = StudentConfig { batch: 1, run: 2, mirror: false, ..config() };
    let store = Store::new(folder.path(), config.width, config.height);
    let clips = vec![clip(&store, 1, 1, 24), clip(&store, 2, 3, 24), clip(&store, 3, 4, 24)];
    let samples = Samples::new(&store, clips, 2, 24).unwrap();
    // One run of one snippet; two of which the last overlaps; two.
    assert_eq!((samples.len(), samples.snippets()), (5, 8));
    let pass = |first: usize| {
        let mut firsts: Vec<u32> = (first..first + 5)
            .map(|step| {
                let batch = samples.batch(&config, 7, step, &Device::Cpu).unwrap();
                assert_eq!(batch.runs.iter().sum::<usize>(), batch.frames.dim(0).unwrap());
                values(&batch.teacher).iter().take(2).sum::<f32>().to_bits()
            })
            .collect();
        let order = firsts.clone();
        firsts.sort_unstable();
        (firsts, order)
    };
    let (first, second) = (pass(0), pass(5));
    assert_eq!(first.0, second.0);
    assert_ne!(first.1, second.1);
}

#[test]
fn a_fitted_projection_is_better_than_a_drawn_one() {
    let folder = tempfile::tempdir().unwrap();
    let before = |fit_snippets| {
        let config = StudentConfig { steps: 1, fit_snippets, ..config() };
        run(folder.path(), &config, None, 0).0.unwrap().before
    };
    let (drawn, fitted) = (before(0), before(64));
    assert!(fitted.cosine_normalised > drawn.cosine_normalised + 0.3, "{drawn:?} {fitted:?}");
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, all) = run(folder.path(), &config(), None, 0);
    let whole = whole.unwrap();
    let state = folder.path().join("state");
    let (stopped, first) = run(folder.path(), &config(), Some(&state), 3);
    assert!(matches!(stopped, Err(Error::Interrupted { step: 3, steps: 6 })), "{stopped:?}");
    let (resumed, second) = run(folder.path(), &config(), Some(&state), 0);
    let resumed = resumed.unwrap();
    assert_eq!([first, second].concat(), all);
    assert_eq!((resumed.before, resumed.best), (whole.before, whole.best));
    assert_eq!(resumed.tensors.len(), whole.tensors.len());
    for (name, tensor) in &whole.tensors {
        assert_eq!(values(tensor), values(&resumed.tensors[name]), "{name}");
    }
    // A finished run gives the same again without a step.
    let (again, none) = run(folder.path(), &config(), Some(&state), 0);
    assert!(none.is_empty());
    assert_eq!(again.unwrap().best, whole.best);
    let other = StudentConfig { learning_rate: 2e-3, ..config() };
    let (other, _) = run(folder.path(), &other, Some(&state), 0);
    assert!(other.unwrap_err().to_string().contains("another configuration"));
}

#[test]
fn the_file_has_all_tensors_and_says_for_which_picture() {
    let folder = tempfile::tempdir().unwrap();
    let network = Network::new(&architecture());
    let (trained, _) = run(folder.path(), &StudentConfig { steps: 1, ..config() }, None, 0);
    let tensors = trained.unwrap().tensors;
    // The running statistics are those that training started from.
    for (name, _) in network.statistics() {
        assert_eq!(values(&tensors[&name]), values(&start(&network)[&name]), "{name}");
    }
    let path = folder.path().join("student.safetensors");
    initial::save(&path, &tensors, (32, 40), "i3d/fp32").unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = metadata.metadata().clone().unwrap();
    assert_eq!((metadata["width"].as_str(), metadata["height"].as_str()), ("32", "40"));
    assert_eq!(metadata["teacher"], "i3d/fp32");
    let weights = Weights::read(&path).unwrap();
    assert_eq!(weights.iter().count(), tensors.len());
    let read = initial::backbone(&network, &weights).unwrap();
    assert_eq!(values(&read["features.0.0.weight"]), values(&tensors["features.0.0.weight"]));
    assert!(weights.tensor("projection.weight", &[24, 1280]).is_ok());
}

#[test]
fn what_cannot_be_learned_from_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = config();
    let store = Store::new(folder.path(), 32, 40);
    let mut short = clip(&store, 1, 2, 24);
    short.teacher.pop();
    let error = Samples::new(&store, vec![short], 2, 24).err().unwrap().to_string();
    assert!(error.contains("clip 1") && error.contains("47 values"), "{error}");
    let empty = || Samples::new(&store, Vec::new(), 2, 24).unwrap();
    let network = Network::new(&architecture());
    let nothing = Footage { training: empty(), validation: empty() };
    let train = |tensors: &Tensors, footage: &Footage| {
        let stop = AtomicBool::new(false);
        let device = Device::Cpu;
        let result =
            train(&network, tensors, "", footage, &config, 1, &device, None, &mut |_| {}, &stop);
        result.unwrap_err().to_string()
    };
    assert!(train(&start(&network), &nothing).contains("0 snippets for training"));
    let mut lacking = start(&network);
    lacking.remove("features.3.conv.1.1.running_var");
    let error = train(&lacking, &footage(folder.path(), &config));
    assert!(error.contains("features.3.conv.1.1.running_var"), "{error}");
    // A file that was cut is an error, not a batch of zeros.
    let footage = footage(folder.path(), &config);
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        std::fs::write(entry.unwrap().path(), b"cut").unwrap();
    }
    assert!(train(&start(&network), &footage).contains(".rgb"));
}
