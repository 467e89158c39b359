//! The network's names, gradients and two modes.

use candle_core::{Device, Tensor, Var};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::super::{LossWeights, Network, NetworkConfig, attach, forward_eval};
use super::{assert_close, random, tiny_config, values};

#[test]
fn every_weight_gets_a_gradient_that_is_not_zero() {
    let config = tiny_config();
    let network = Network::new(&config.network, config.inputs(), config.kinds.len());
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let initial = network.initial(&mut rng, &Device::Cpu).unwrap();
    let vars: Vec<(String, Var)> =
        initial.into_iter().map(|(name, t)| (name, Var::from_tensor(&t).unwrap())).collect();
    let tensors = vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
    let stack = random(&[2, 3, 24, 32], 7);
    let (maps, stats) = network.forward_train(&tensors, &stack, None).unwrap();
    assert_eq!(maps.dims(), [2, 2, 6, 8]);
    assert_eq!(stats.len(), 4);
    let mut labels = vec![0u8; 2 * 48];
    (labels[5], labels[60]) = (1, 2);
    let weights = LossWeights { hard_weight: 0.3, hard_share: 0.01 };
    let grads = attach(&maps, &labels, weights).unwrap().1.backward().unwrap();
    assert_eq!(vars.len(), 4 * 3 + 2);
    for (name, var) in &vars {
        let gradient = grads.get(var).unwrap_or_else(|| panic!("{name} has no gradient"));
        assert!(values(gradient).iter().any(|g| *g != 0.0), "{name} has a zero gradient");
    }
}

#[test]
fn the_network_has_the_names_of_the_checkpoint() {
    let network = Network::new(&NetworkConfig::default(), 5, 9);
    let parameters = network.parameters();
    let count: usize = parameters.iter().map(|p| p.shape.iter().product::<usize>()).sum();
    assert_eq!(count, 24 * 125 + 48 * 216 + 4 * 48 * 432 + 9 * 49 + 2 * (24 + 5 * 48));
    let shape =
        |name: &str| parameters.iter().find(|p| p.name == name).map(|p| p.shape.clone()).unwrap();
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
    let mut tensors = network.initial(&mut ChaCha8Rng::seed_from_u64(1), &Device::Cpu).unwrap();
    // An odd size: 13 × 19 halves to 7 × 10 and to 4 × 5.
    let stack = random(&[3, 3, 13, 19], 7);
    let (expected, stats) = network.forward_train(&tensors, &stack, None).unwrap();
    assert_eq!(expected.dims(), [3, 2, 4, 5]);
    for (((mean, variance), stats), pixels) in
        network.statistics_names().zip(stats).zip([70, 20, 20, 20])
    {
        let channels = stats.mean.len();
        tensors.insert(mean, Tensor::from_vec(stats.mean, channels, &Device::Cpu).unwrap());
        let count = 3.0 * pixels as f32;
        let biased: Vec<f32> = stats.variance.iter().map(|v| v * (count - 1.0) / count).collect();
        tensors.insert(variance, Tensor::from_vec(biased, channels, &Device::Cpu).unwrap());
    }
    let got = forward_eval(&tensors, &config, &stack).unwrap();
    assert_close(&got, &expected, 1e-4, "maps");
}
