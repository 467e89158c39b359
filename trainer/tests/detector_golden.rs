//! The detector against an independent PyTorch implementation (`tests/reference/urdmu.py`): every
//! output, every loss term, and the gradient of the total loss for every parameter.

#![allow(clippy::unwrap_used)] // a test may stop at what it does not expect

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Tensor};
use trainer::detector::model::UrDmu;
use trainer::detector::noise::Noise;
use trainer::detector::parameters::Parameters;
use trainer::detector::train::total_loss;
use trainer::detector::{DetectorConfig, ModelSize};

/// The noise of the golden file; no dropout.
struct Given(Tensor);

impl Noise for Given {
    fn normal(&mut self, _: (usize, usize, usize), like: &Tensor) -> candle_core::Result<Tensor> {
        self.0.to_dtype(like.dtype())
    }
    fn mask(&mut self, _: usize, _: f64) -> Option<Vec<f32>> {
        None
    }
}

struct Golden {
    tensors: HashMap<String, Tensor>,
    config: DetectorConfig,
}

impl Golden {
    fn load(name: &str) -> Self {
        let path = format!("{}/tests/golden/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(path).unwrap();
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = header.metadata().clone().unwrap();
        let int = |key: &str| metadata[key].parse::<usize>().unwrap();
        let float = |key: &str| metadata[key].parse::<f64>().unwrap();
        let model = ModelSize {
            feature_size: int("feature_size"),
            embedding: int("embedding"),
            layers: int("layers"),
            heads: int("heads"),
            head_size: int("head_size"),
            feed_forward: int("feed_forward"),
            abnormal_slots: int("abnormal_slots"),
            normal_slots: int("normal_slots"),
            classifier_hidden: int("classifier_hidden"),
        };
        let config = DetectorConfig {
            segments: int("segments"),
            batch: int("batch"),
            discriminator_hidden: int("domain_hidden"),
            grl_strength: float("grl"),
            lambda1: float("lambda1"),
            lambda2: float("lambda2"),
            beta: float("beta"),
            model,
            ..DetectorConfig::default()
        };
        Self { tensors, config }
    }

    fn weights(&self) -> BTreeMap<String, Tensor> {
        let weight =
            |(k, v): (&String, &Tensor)| Some((k.strip_prefix("w.")?.to_owned(), v.clone()));
        self.tensors.iter().filter_map(weight).collect()
    }

    /// Largest difference, relative to the largest expected value.
    fn difference(&self, name: &str, got: &Tensor) -> f64 {
        let expected = &self.tensors[name];
        assert_eq!(expected.elem_count(), got.elem_count(), "{name}");
        let flat = |t: &Tensor| {
            t.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap()
        };
        let (expected, got) = (flat(expected), flat(got));
        let scale = expected.iter().fold(1e-12f64, |m, v| m.max(v.abs()));
        expected.iter().zip(&got).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / scale
    }
}

fn compare(name: &str, dtype: DType, tolerance: f64) {
    let golden = Golden::load(name);
    let config = &golden.config;
    let hidden = Some(config.discriminator_hidden);
    let parameters =
        Parameters::from_tensors(&golden.weights(), &config.model, hidden, dtype, &Device::Cpu)
            .unwrap();
    let model = UrDmu { size: config.model.clone(), parameters };
    let features = golden.tensors["in.features"].to_dtype(dtype).unwrap();
    let mut noise = Given(golden.tensors["in.eps"].clone());
    let out = model.train_forward(&features, config.dropout, &mut noise).unwrap();
    let (total, losses) = total_loss(&model.parameters, &out, config).unwrap();
    let grads = total.backward().unwrap();

    let mut worst = (0.0, String::new());
    let mut check = |key: String, got: &Tensor| {
        let difference = golden.difference(&key, got);
        assert!(difference < tolerance, "{name} {key}: {difference:e}");
        if difference > worst.0 {
            worst = (difference, key);
        }
    };
    for (key, got) in [
        ("encoded", &out.encoded),
        ("scores", &out.scores),
        ("abnormal_by_a", &out.abnormal_by_a),
        ("abnormal_by_n", &out.abnormal_by_n),
        ("normal_by_a", &out.normal_by_a),
        ("normal_by_n", &out.normal_by_n),
        ("mean", &out.mean),
        ("log_var", &out.log_var),
        ("anchor", &out.anchor),
        ("positive", &out.positive),
        ("negative", &out.negative),
        ("anchor_augmented", &out.anchor_augmented),
        ("negative_augmented", &out.negative_augmented),
        ("evaluation_scores", &model.eval_forward(&features).unwrap()),
    ] {
        check(format!("out.{key}"), got);
    }
    let serde_json::Value::Object(losses) = serde_json::to_value(losses).unwrap() else {
        unreachable!("losses are a map");
    };
    assert_eq!(losses.len(), 13);
    for (key, value) in losses {
        check(format!("loss.{key}"), &Tensor::new(value.as_f64().unwrap(), &Device::Cpu).unwrap());
    }
    let mut count = 0;
    for (key, var) in model.parameters.iter() {
        let grad = grads.get(var).unwrap_or_else(|| panic!("{key} has no gradient"));
        check(format!("grad.{key}"), grad);
        count += 1;
    }
    assert_eq!(count, golden.weights().len());
    println!("{name} {dtype:?}: worst relative difference {:e} at {}", worst.0, worst.1);
}

#[test]
fn double_precision_agrees_with_pytorch() {
    // What is left comes from candle's gradient of GELU, whose constant has six digits.
    compare("urdmu_a", DType::F64, 2e-6);
    compare("urdmu_b", DType::F64, 2e-6);
}

#[test]
fn single_precision_agrees_with_pytorch() {
    compare("urdmu_a", DType::F32, 1e-4);
    compare("urdmu_b", DType::F32, 1e-4);
}

#[test]
fn sizes_follow_from_a_checkpoint() {
    let golden = Golden::load("urdmu_a");
    let mut weights = golden.weights();
    let heads = golden.config.model.heads;
    let load = |weights: &BTreeMap<String, Tensor>| {
        UrDmu::from_tensors(weights, heads, DType::F64, &Device::Cpu)
    };
    assert_eq!(load(&weights).unwrap().size, golden.config.model);
    let cut = weights["encoder_mu.0.bias"].narrow(0, 0, 3).unwrap();
    weights.insert("encoder_mu.0.bias".into(), cut);
    let error = load(&weights).unwrap_err().to_string();
    assert!(error.contains("`encoder_mu.0.bias`: has shape [3], expected [16]"), "{error}");
    weights.remove("Nmemory.memory_block");
    let error = load(&weights).unwrap_err().to_string();
    assert!(error.contains("`Nmemory.memory_block`: is missing"), "{error}");
}
