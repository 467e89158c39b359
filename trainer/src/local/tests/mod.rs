//! Tests of the local detector: its operations, its network, whole small training runs.

mod batch;
mod network;
mod operations;
mod runs;

use super::{CropSize, LocalConfig, NetworkConfig};
use crate::testing::{assert_close, random, values};

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
