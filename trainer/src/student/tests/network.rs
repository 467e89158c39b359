//! The network against PyTorch, and the flow of its gradients.

use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};

use super::super::{Architecture, Group, Network};
use super::{assert_close, random};
use crate::local::Tensors;

const FRAMES: usize = 32;
const SIZE: usize = 33;

/// The network of `tests/reference/tsm_student.py`.
pub(super) fn architecture() -> Architecture {
    let group =
        |(expansion, channels, blocks, stride)| Group { expansion, channels, blocks, stride };
    let groups = [(1, 16, 1, 1), (6, 24, 3, 2), (6, 32, 2, 2)].map(group).to_vec();
    Architecture { groups, features: 24, ..Architecture::default() }
}

/// Element i of the formula in `tests/reference/pattern.py`.
fn pattern(start: usize, count: usize) -> Vec<f32> {
    let value = |i: u32| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0;
    (start as u32..(start + count) as u32).map(value).collect()
}

/// The weights of `tests/reference/tsm_student.py`.
pub(super) fn tensors(network: &Network) -> Tensors {
    let parameters = network.parameters().into_iter().map(|p| (p.name, p.shape));
    let statistics = network.statistics().map(|(name, length)| (name, vec![length]));
    let mut all: Vec<(String, Vec<usize>)> = parameters.chain(statistics).collect();
    all.sort();
    let mut start = 0;
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let count: usize = shape.iter().product();
        let mut values = pattern(start, count);
        start += count;
        let (factor, offset) = if name.ends_with("running_var") {
            (0.5, 1.0)
        } else if shape.len() > 1 {
            ((3.0 / (count / shape[0]) as f32).sqrt(), 0.0)
        } else if !name.ends_with("weight") {
            (0.3, 0.0)
        } else {
            (0.5, 1.0)
        };
        values.iter_mut().for_each(|v| *v = *v * factor + offset);
        (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    };
    all.into_iter().map(tensor).collect()
}

fn frames() -> Tensor {
    let mut values = pattern(0, FRAMES * 3 * SIZE * SIZE);
    for (t, frame) in values.chunks_exact_mut(3 * SIZE * SIZE).enumerate() {
        frame.iter_mut().for_each(|v| *v *= (t * 7 % 5) as f32 - 2.0);
    }
    Tensor::from_vec(values, (FRAMES, 3, SIZE, SIZE), &Device::Cpu).unwrap()
}

#[test]
fn features_equal_those_of_pytorch_frame_by_frame() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tsm_student.safetensors");
    let golden = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let network = Network::new(&architecture());
    assert_eq!(network.shifted_blocks(), 3);
    let tensors = tensors(&network);
    let pooled = network.pooled(&tensors, &frames(), &[FRAMES]).unwrap();
    let every = network.project(&tensors, &pooled).unwrap();
    assert_close(&every, &golden["frames"], 1e-4, "frames");
    let snippets = network.features(&tensors, &frames(), &[FRAMES]).unwrap();
    assert_close(&snippets, &golden["snippets"], 1e-4, "snippets");
    // Without the shift it is another network: what is compared above depends on the past.
    let alone = network.pooled(&tensors, &frames(), &[1; FRAMES]).unwrap();
    let alone = network.project(&tensors, &alone).unwrap();
    let difference = (&alone - &every).unwrap().abs().unwrap().narrow(0, 1, FRAMES - 1).unwrap();
    let difference = difference.mean_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(difference > 5e-3, "{difference}");
    assert_close(&alone.narrow(0, 0, 1).unwrap(), &every.narrow(0, 0, 1).unwrap(), 1e-5, "first");
}

#[test]
fn streams_in_one_batch_do_not_see_each_other() {
    let network = Network::new(&architecture());
    let tensors = tensors(&network);
    let both = network.pooled(&tensors, &frames(), &[12, 20]).unwrap();
    let part = |first, count| frames().narrow(0, first, count).unwrap();
    let first = network.pooled(&tensors, &part(0, 12), &[12]).unwrap();
    let second = network.pooled(&tensors, &part(12, 20), &[20]).unwrap();
    assert_close(&both, &Tensor::cat(&[first, second], 0).unwrap(), 1e-6, "streams");
    assert!(network.pooled(&tensors, &frames(), &[12, 12]).is_err());
    assert!(network.features(&tensors, &frames(), &[12, 20]).is_err());
}

#[test]
fn every_learned_tensor_gets_a_gradient_on_both_ways() {
    let network = Network::new(&architecture());
    let mut of_types = Vec::new();
    for dtype in [DType::F32, DType::F64] {
        let mut tensors = tensors(&network);
        for tensor in tensors.values_mut() {
            *tensor = tensor.to_dtype(dtype).unwrap();
        }
        let mut vars = Vec::new();
        for parameter in network.parameters() {
            assert_eq!(tensors[&parameter.name].dims(), parameter.shape, "{}", parameter.name);
            let var = Var::from_tensor(&tensors[&parameter.name]).unwrap();
            tensors.insert(parameter.name.clone(), var.as_tensor().clone());
            vars.push((parameter.name, var));
        }
        let frames = frames().narrow(0, 0, 16).unwrap().to_dtype(dtype).unwrap();
        let features = network.features(&tensors, &frames, &[16]).unwrap();
        let weights = random(features.dims(), 7).to_dtype(dtype).unwrap();
        let grads = (features * weights).unwrap().sum_all().unwrap().backward().unwrap();
        let of_type: Vec<Tensor> = vars
            .iter()
            .map(|(name, var)| {
                let grad = grads.get(var).unwrap_or_else(|| panic!("{name} got no gradient"));
                let grad = grad.to_dtype(DType::F32).unwrap();
                let largest = grad.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
                assert!(largest > 0.0 && largest.is_finite(), "{name}: {largest}");
                (grad / f64::from(largest)).unwrap()
            })
            .collect();
        of_types.push(of_type);
    }
    for ((parameter, a), b) in network.parameters().iter().zip(&of_types[0]).zip(&of_types[1]) {
        assert_close(a, b, 1e-3, &parameter.name);
    }
}

#[test]
fn the_whole_network_has_the_published_names_and_sizes() {
    let network = Network::new(&Architecture::default());
    // torchvision's mobilenet_v2 has 2 223 872 weights before its classifier.
    let count = |features: bool| -> usize {
        let own = |name: &str| name.starts_with("features.") == features;
        let parameters = network.parameters().into_iter();
        parameters.filter(|p| own(&p.name)).map(|p| p.shape.iter().product::<usize>()).sum()
    };
    assert_eq!((count(true), count(false)), (2_223_872, 1280 * 1024 + 1024));
    assert_eq!(network.shifted_blocks(), 10);
    let shape =
        |name: &str| network.parameters().into_iter().find(|p| p.name == name).map(|p| p.shape);
    assert_eq!(shape("features.1.conv.0.0.weight"), Some(vec![32, 1, 3, 3]));
    assert_eq!(shape("features.2.conv.2.weight"), Some(vec![24, 96, 1, 1]));
    assert_eq!(shape("features.18.1.bias"), Some(vec![1280]));
    assert!(
        network
            .statistics()
            .any(|(name, n)| (name.as_str(), n) == ("features.17.conv.3.running_var", 320))
    );
}
