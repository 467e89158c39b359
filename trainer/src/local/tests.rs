//! Tests of the local detector's operations and of whole small training runs.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Device, Tensor, Var};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let count = shape.iter().product();
    let data: Vec<f32> = (0..count).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_vec(data, shape, &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_close(got: &Tensor, expected: &Tensor, tolerance: f32, what: &str) {
    assert_eq!(got.dims(), expected.dims(), "{what}");
    for (at, (a, b)) in values(got).iter().zip(values(expected)).enumerate() {
        assert!(
            (a - b).abs() <= tolerance * (1.0 + b.abs()),
            "{what} at {at}: {a} {b}"
        );
    }
}

/// Input, weight, stride, padding, dilation.
type Case = ([usize; 4], [usize; 4], usize, usize, usize);

/// Odd and even sizes, strides past the kernel, padding past the picture, single pixels, a picture
/// of several blocks of rows.
const CASES: [Case; 9] = [
    ([2, 5, 16, 24], [6, 5, 5, 5], 2, 2, 1),
    ([3, 4, 9, 7], [5, 4, 3, 3], 2, 1, 1),
    ([2, 3, 8, 11], [4, 3, 3, 3], 1, 4, 4),
    ([1, 3, 5, 6], [2, 3, 3, 3], 1, 2, 2),
    ([2, 2, 10, 13], [3, 2, 3, 2], 3, 1, 2),
    ([2, 4, 6, 5], [3, 4, 1, 1], 1, 0, 1),
    ([1, 2, 7, 7], [3, 2, 2, 2], 4, 0, 1),
    ([1, 1, 1, 1], [2, 1, 3, 3], 2, 1, 1),
    ([2, 48, 30, 48], [48, 48, 3, 3], 1, 1, 1),
];

#[test]
fn the_convolution_and_its_gradients_equal_those_of_candle() {
    let mut compared = 0;
    for case in CASES {
        let (x, w, stride, padding, dilation) = case;
        let x = Var::from_tensor(&random(&x, 1)).unwrap();
        let w = Var::from_tensor(&random(&w, 2)).unwrap();
        let got = conv2d(
            &x,
            &w,
            Steps {
                stride,
                padding,
                dilation,
            },
        )
        .unwrap();
        let expected = x.conv2d(&w, padding, stride, dilation, 1).unwrap();
        assert_close(&got, &expected, 1e-4, &format!("{case:?} forward"));
        // candle's backward pass fails where the stride leaves pixels of one axis unused; finite
        // differences cover those.
        let exact = |size: usize, k: usize| {
            (size + 2 * padding - dilation * (k - 1) - 1).is_multiple_of(stride)
        };
        let (dims, k) = (x.dims(), w.dims());
        if !(exact(dims[2], k[2]) && exact(dims[3], k[3])) {
            continue;
        }
        compared += 1;
        let weights = random(got.dims(), 3);
        let grads = |y: &Tensor| {
            (y * &weights)
                .unwrap()
                .sum_all()
                .unwrap()
                .backward()
                .unwrap()
        };
        let (got, expected) = (grads(&got), grads(&expected));
        for (what, var) in [("x", &x), ("w", &w)] {
            let (got, expected) = (got.get(var).unwrap(), expected.get(var).unwrap());
            assert_close(got, expected, 1e-4, &format!("{case:?} gradient of {what}"));
        }
    }
    assert_eq!(compared, 6);
}

/// The directional derivative along a random direction, by central differences in `f64`.
fn assert_gradient(f: &dyn Fn(&Tensor) -> Tensor, at: &Tensor, step: f64, what: &str) {
    let var = Var::from_tensor(at).unwrap();
    let grads = f(&var).backward().unwrap();
    let gradient = grads.get(&var).unwrap();
    for seed in 10..13 {
        let direction = random(at.dims(), seed);
        let value = |by: f64| {
            let moved = (at + (&direction * by).unwrap()).unwrap();
            f64::from(f(&moved).to_scalar::<f32>().unwrap())
        };
        let numeric = (value(step) - value(-step)) / (2.0 * step);
        let product = (gradient * &direction).unwrap().sum_all().unwrap();
        let analytic = f64::from(product.to_scalar::<f32>().unwrap());
        let error = (numeric - analytic).abs();
        assert!(
            error <= 2e-2 * (1.0 + analytic.abs()),
            "{what}: {numeric} {analytic}"
        );
    }
}

#[test]
fn the_convolution_gradients_equal_finite_differences() {
    for case in &CASES[..8] {
        let (x, w, stride, padding, dilation) = *case;
        let (x, w) = (random(&x, 1), random(&w, 2));
        let steps = Steps {
            stride,
            padding,
            dilation,
        };
        let scalar = |y: Tensor| {
            let weights = random(y.dims(), 3);
            (y * weights).unwrap().sum_all().unwrap()
        };
        assert_gradient(
            &|x| scalar(conv2d(x, &w, steps).unwrap()),
            &x,
            0.05,
            &format!("{case:?} x"),
        );
        assert_gradient(
            &|w| scalar(conv2d(&x, w, steps).unwrap()),
            &w,
            0.05,
            &format!("{case:?} w"),
        );
    }
}

#[test]
fn a_convolution_that_does_not_fit_is_an_error() {
    let steps = Steps {
        stride: 1,
        padding: 0,
        dilation: 1,
    };
    let x = random(&[1, 2, 4, 4], 1);
    assert!(conv2d(&x, &random(&[1, 3, 3, 3], 2), steps).is_err());
    assert!(conv2d(&x, &random(&[1, 2, 5, 5], 2), steps).is_err());
    let no_stride = Steps { stride: 0, ..steps };
    assert!(conv2d(&x, &random(&[1, 2, 3, 3], 2), no_stride).is_err());
}

#[test]
fn batch_norm_and_its_gradients_equal_those_of_single_operations() {
    let x = Var::from_tensor(&random(&[3, 4, 5, 7], 1)).unwrap();
    let gamma = Var::from_tensor(&random(&[4], 2)).unwrap();
    let beta = Var::from_tensor(&random(&[4], 3)).unwrap();
    let (got, stats) = batch_norm_relu(&x, &gamma, &beta).unwrap();
    let (expected, expected_stats) = norm::composed(&x, &gamma, &beta).unwrap();
    assert_close(&got, &expected, 1e-5, "forward");
    for (a, b) in stats.mean.iter().zip(&expected_stats.mean) {
        assert!((a - b).abs() < 1e-6);
    }
    // The unbiased variance of channel 1, straight from its definition.
    let channel = values(&x.narrow(1, 1, 1).unwrap());
    let mean = channel.iter().sum::<f32>() / 105.0;
    let variance = channel.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / 104.0;
    assert!((stats.variance[1] - variance).abs() < 1e-5);
    let weights = random(&[3, 4, 5, 7], 4);
    let grads = |y: &Tensor| {
        (y * &weights)
            .unwrap()
            .sum_all()
            .unwrap()
            .backward()
            .unwrap()
    };
    let (got, expected) = (grads(&got), grads(&expected));
    for (what, var) in [("x", &x), ("gamma", &gamma), ("beta", &beta)] {
        assert_close(
            got.get(var).unwrap(),
            expected.get(var).unwrap(),
            1e-4,
            what,
        );
    }
}

fn tiny_config() -> LocalConfig {
    LocalConfig {
        kinds: vec!["box".into(), "flash".into()],
        offsets: vec![-2, 2],
        network: NetworkConfig {
            stem: [8, 12],
            dilations: vec![1, 2],
            dropout: 0.1,
        },
        steps: 6,
        batch: 4,
        crop: CropSize {
            width: 48,
            height: 32,
        },
        warm_up: 2,
        statistics_batches: 3,
        save_every: 2,
        ..LocalConfig::default()
    }
}

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
    LumaClip {
        width,
        height,
        frames: all,
        labels: pseudo.then_some(labels),
    }
}

fn toy_clips() -> (Vec<LumaClip>, Vec<LumaClip>) {
    (
        (0..3).map(|i| toy_clip(i, false)).collect(),
        (10..15).map(|i| toy_clip(i, true)).collect(),
    )
}

fn run(config: &LocalConfig, state: Option<&Path>) -> Result<TrainedLocal, Error> {
    let (normals, pseudo) = toy_clips();
    let stop = AtomicBool::new(false);
    train(
        &normals,
        &pseudo,
        config,
        5,
        &Device::Cpu,
        state,
        &mut |_| {},
        &stop,
    )
}

fn assert_same(a: &TrainedLocal, b: &TrainedLocal) {
    assert_eq!(a.losses, b.losses);
    assert_eq!(a.tensors.len(), b.tensors.len());
    for (name, tensor) in &a.tensors {
        assert_eq!(values(tensor), values(&b.tensors[name]), "{name}");
    }
}

#[test]
fn every_weight_gets_a_gradient_that_is_not_zero() {
    let config = tiny_config();
    let network = Network::new(&config.network, config.inputs(), config.kinds.len());
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let initial = network.initial(&mut rng, &Device::Cpu).unwrap();
    let vars: Vec<(String, Var)> = initial
        .into_iter()
        .map(|(name, t)| (name, Var::from_tensor(&t).unwrap()))
        .collect();
    let tensors = vars
        .iter()
        .map(|(name, var)| (name.clone(), var.as_tensor().clone()))
        .collect();
    let stack = random(&[2, 3, 24, 32], 7);
    let (maps, stats) = network.forward_train(&tensors, &stack, None).unwrap();
    assert_eq!(maps.dims(), [2, 2, 6, 8]);
    assert_eq!(stats.len(), 4);
    let mut labels = vec![0u8; 2 * 48];
    (labels[5], labels[60]) = (1, 2);
    let weights = LossWeights {
        hard_weight: 0.3,
        hard_share: 0.01,
    };
    let grads = attach(&maps, &labels, weights)
        .unwrap()
        .1
        .backward()
        .unwrap();
    assert_eq!(vars.len(), 4 * 3 + 2);
    for (name, var) in &vars {
        let gradient = grads
            .get(var)
            .unwrap_or_else(|| panic!("{name} has no gradient"));
        assert!(
            values(gradient).iter().any(|g| *g != 0.0),
            "{name} has a zero gradient"
        );
    }
}

#[test]
fn the_network_has_the_names_of_the_checkpoint() {
    let network = Network::new(&NetworkConfig::default(), 5, 9);
    let parameters = network.parameters();
    let count: usize = parameters
        .iter()
        .map(|p| p.shape.iter().product::<usize>())
        .sum();
    assert_eq!(
        count,
        24 * 125 + 48 * 216 + 4 * 48 * 432 + 9 * 49 + 2 * (24 + 5 * 48)
    );
    let shape = |name: &str| {
        parameters
            .iter()
            .find(|p| p.name == name)
            .map(|p| p.shape.clone())
            .unwrap()
    };
    assert_eq!(shape("local.stem.0.weight"), [24, 5, 5, 5]);
    assert_eq!(shape("local.stem.1.bn.bias"), [48]);
    assert_eq!(shape("local.blocks.3.weight"), [48, 48, 3, 3]);
    assert_eq!(shape("local.head.weight"), [9, 48, 1, 1]);
    assert_eq!(shape("local.head.bias"), [9]);
}

#[test]
fn evaluation_with_the_batch_s_own_statistics_equals_training_mode() {
    let config = tiny_config();
    let network = Network::new(&config.network, config.inputs(), config.kinds.len());
    let mut tensors = network
        .initial(&mut ChaCha8Rng::seed_from_u64(1), &Device::Cpu)
        .unwrap();
    // An odd size: 13 × 19 halves to 7 × 10 and to 4 × 5.
    let stack = random(&[3, 3, 13, 19], 7);
    let (expected, stats) = network.forward_train(&tensors, &stack, None).unwrap();
    assert_eq!(expected.dims(), [3, 2, 4, 5]);
    for (((mean, variance), stats), pixels) in
        network.statistics_names().zip(stats).zip([70, 20, 20, 20])
    {
        let channels = stats.mean.len();
        tensors.insert(
            mean,
            Tensor::from_vec(stats.mean, channels, &Device::Cpu).unwrap(),
        );
        let count = 3.0 * pixels as f32;
        let biased: Vec<f32> = stats
            .variance
            .iter()
            .map(|v| v * (count - 1.0) / count)
            .collect();
        tensors.insert(
            variance,
            Tensor::from_vec(biased, channels, &Device::Cpu).unwrap(),
        );
    }
    let got = forward_eval(&tensors, &config, &stack).unwrap();
    assert_close(&got, &expected, 1e-4, "maps");
}

#[test]
fn it_learns_to_find_a_moving_box() {
    let config = LocalConfig {
        steps: 250,
        average_decay: 0.9,
        ..tiny_config()
    };
    let trained = run(&config, None).unwrap();
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    let (first, last) = (mean(&trained.losses[..5]), mean(&trained.losses[245..]));
    assert!(last < 0.15 * first, "{first} {last}");
    // A clip it has never seen, through the evaluation path.
    let clip = toy_clip(99, true);
    let size = clip.width * clip.height;
    let mut stack = Vec::new();
    stack.extend(
        clip.frames[8]
            .iter()
            .map(|p| (f32::from(*p) - 110.0) / 50.0),
    );
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
        let chosen: Vec<f32> = (0..cells.len())
            .filter(|i| cells[*i] == wanted)
            .map(|i| maps[i])
            .collect();
        mean(&chosen)
    };
    assert!(of(1) > 1.0 && of(0) < -1.0, "box {} rest {}", of(1), of(0));
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
        let error = train(
            &normals,
            &pseudo,
            &config,
            5,
            &Device::Cpu,
            state,
            &mut watch,
            &stop,
        );
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
    let other = LocalConfig {
        learning_rate: 1e-3,
        ..config.clone()
    };
    assert!(matches!(
        run(&other, Some(directory.path())),
        Err(Error::OtherRun { .. })
    ));
    let path = directory.path().join("state.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(
        run(&config, Some(directory.path())),
        Err(Error::Damaged { .. })
    ));
}

#[test]
fn the_number_of_threads_changes_no_bit_and_the_seed_does() {
    let config = tiny_config();
    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| run(&config, None).unwrap())
    };
    let one = with_threads(1);
    assert_same(&one, &with_threads(2));
    assert_same(&one, &with_threads(5));
    let (normals, pseudo) = toy_clips();
    let stop = AtomicBool::new(false);
    let other = train(
        &normals,
        &pseudo,
        &config,
        6,
        &Device::Cpu,
        None,
        &mut |_| {},
        &stop,
    )
    .unwrap();
    assert_ne!(one.losses, other.losses);
}

#[test]
fn a_saved_network_loads_again_and_a_wrong_one_does_not() {
    let config = LocalConfig {
        steps: 1,
        statistics_batches: 1,
        ..tiny_config()
    };
    let trained = run(&config, None).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    save(&trained.tensors, &path).unwrap();
    let loaded = load(&path, &config, &Device::Cpu).unwrap();
    assert_same(
        &TrainedLocal {
            tensors: loaded,
            losses: trained.losses.clone(),
        },
        &trained,
    );
    let other = LocalConfig {
        kinds: vec!["box".into()],
        ..config.clone()
    };
    let error = load(&path, &other, &Device::Cpu).unwrap_err().to_string();
    assert!(
        error.contains("local.head.weight has shape [2, 12, 1, 1]"),
        "{error}"
    );
    let mut partial = trained.tensors;
    partial.remove("local.stem.0.bn.running_var");
    save(&partial, &path).unwrap();
    let error = load(&path, &config, &Device::Cpu).unwrap_err().to_string();
    assert!(
        error.contains("local.stem.0.bn.running_var is missing"),
        "{error}"
    );
}

#[test]
fn clips_and_configurations_that_cannot_be_used_are_named() {
    let (normals, pseudo) = toy_clips();
    let stop = AtomicBool::new(false);
    let run = |normals: &[LumaClip], pseudo: &[LumaClip], config: &LocalConfig| {
        train(
            normals,
            pseudo,
            config,
            1,
            &Device::Cpu,
            None,
            &mut |_| {},
            &stop,
        )
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
        clip.labels
            .as_mut()
            .unwrap()
            .iter_mut()
            .for_each(|map| map.fill(3));
    }
    assert!(run(&normals, &strange, &config).contains("label 3 of 2 kinds"));
    let no_kinds = LocalConfig {
        kinds: vec![],
        ..config
    };
    assert!(run(&normals, &pseudo, &no_kinds).contains("local.kinds must be"));
}
