//! Tests of the local detector: its operations, its network, whole small training runs.

mod batch;
mod network;
mod operations;
mod runs;

use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{CropSize, LocalConfig, NetworkConfig};

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
        assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{what} at {at}: {a} {b}");
    }
}

fn tiny_config() -> LocalConfig {
    LocalConfig {
        kinds: vec!["box".into(), "flash".into()],
        offsets: vec![-2, 2],
        network: NetworkConfig { stem: [8, 12], dilations: vec![1, 2], dropout: 0.1 },
        steps: 6,
        batch: 4,
        crop: CropSize { width: 48, height: 32 },
        warm_up: 2,
        statistics_batches: 3,
        save_every: 2,
        ..LocalConfig::default()
    }
}
