//! The detector against an independent PyTorch implementation (`tests/reference/urdmu.py`): every
//! output, every loss term, the gradient of the total loss and that of every single term for every
//! parameter.

#![allow(clippy::unwrap_used)] // a test may stop at what it does not expect

use std::collections::{BTreeMap, HashMap};

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};
use trainer::detector::model::{TrainOutput, UrDmu};
use trainer::detector::noise::{Noise, StepNoise};
use trainer::detector::parameters::Parameters;
use trainer::detector::train::total_loss;
use trainer::detector::{Bag, DetectorConfig, Error, ModelSize, TermWeights, darm, losses};

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
            top_share: int("top_share"),
            batch: int("batch"),
            discriminator_hidden: int("domain_hidden"),
            grl_strength: float("grl"),
            lambda1: float("lambda1"),
            lambda2: float("lambda2"),
            beta: float("beta"),
            weights: TermWeights {
                abnormal_in_a: float("weight_abnormal_in_a"),
                abnormal_not_in_n: float("weight_abnormal_not_in_n"),
                normal_in_n: float("weight_normal_in_n"),
                normal_not_in_a: float("weight_normal_not_in_a"),
                triplet: float("weight_triplet"),
                kl: float("weight_kl"),
                distance: float("weight_distance"),
                instances: float("weight_instances"),
            },
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

    /// The network in a type.
    fn model(&self, dtype: DType) -> UrDmu {
        let (size, hidden) = (&self.config.model, Some(self.config.discriminator_hidden));
        let parameters =
            Parameters::from_tensors(&self.weights(), size, hidden, dtype, &Device::Cpu).unwrap();
        UrDmu { size: size.clone(), parameters }
    }

    /// A training pass with the file's inputs and noise: over snippets, or over cells.
    fn pass(&self, model: &UrDmu, dtype: DType) -> TrainOutput {
        let features = self.tensors["in.features"].to_dtype(dtype).unwrap();
        let mut noise = Given(self.tensors["in.eps"].clone());
        let (share, dropout) = (self.config.top_share, self.config.dropout);
        let Some(changed) = self.tensors.get("in.changed") else {
            return model.train_forward(&features, dropout, &mut noise).unwrap();
        };
        let changed = changed.to_dtype(dtype).unwrap();
        model.train_cells(&features, Some(&changed), share, dropout, &mut noise).unwrap()
    }

    /// Evaluation of every time series on its own.
    fn evaluation(&self, model: &UrDmu, dtype: DType) -> Tensor {
        let features = self.tensors["in.features"].to_dtype(dtype).unwrap();
        let series =
            if features.dims().len() == 4 { features.flatten(0, 1).unwrap() } else { features };
        model.eval_forward(&series).unwrap()
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

/// Every term by its name, each a function of a training pass.
fn terms(model: &UrDmu, out: &TrainOutput, config: &DetectorConfig) -> Vec<(&'static str, Tensor)> {
    let urdmu = losses::urdmu(out, &config.weights).unwrap();
    let darm = darm::losses(&model.parameters, out, config).unwrap();
    let instances = urdmu.instances.map(|term| ("instances", term));
    let terms = vec![
        ("classification", urdmu.classification),
        ("abnormal_in_a", urdmu.abnormal_in_a),
        ("abnormal_not_in_n", urdmu.abnormal_not_in_n),
        ("normal_in_n", urdmu.normal_in_n),
        ("normal_not_in_a", urdmu.normal_not_in_a),
        ("triplet", urdmu.triplet),
        ("kl", urdmu.kl),
        ("distance", urdmu.distance),
        ("domain", darm.domain.unwrap()),
        ("mean_distance", darm.mean_distance.unwrap()),
        ("update", darm.update.unwrap()),
    ];
    terms.into_iter().chain(instances).collect()
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m, v| m.max(v.abs()))
}

fn compare(name: &str, dtype: DType, tolerance: f64) {
    let golden = Golden::load(name);
    let config = &golden.config;
    let model = golden.model(dtype);
    let out = golden.pass(&model, dtype);
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
        ("evaluation_scores", &golden.evaluation(&model, dtype)),
    ] {
        check(format!("out.{key}"), got);
    }
    let serde_json::Value::Object(losses) = serde_json::to_value(losses).unwrap() else {
        unreachable!("losses are a map");
    };
    assert_eq!(losses.len(), 14);
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
    compare("urdmu_cells", DType::F64, 2e-6);
}

#[test]
fn single_precision_agrees_with_pytorch() {
    compare("urdmu_a", DType::F32, 1e-4);
    compare("urdmu_b", DType::F32, 1e-4);
    compare("urdmu_cells", DType::F32, 1e-4);
}

/// The gradient of each term on its own: PyTorch's where the term depends on the parameter, none or
/// zero elsewhere. Differences are relative to the parameter's largest entry, or to `floor` times the
/// term's largest if that is more: a shift that cancels out has gradients that are all rounding.
fn compare_terms(name: &str, dtype: DType, tolerance: f64, floor: f64) {
    let golden = Golden::load(name);
    let model = golden.model(dtype);
    let out = golden.pass(&model, dtype);
    let (mut compared, mut worst) = (0, 0.0f64);
    for (term, loss) in terms(&model, &out, &golden.config) {
        let grads: GradStore = loss.backward().unwrap();
        let expected = |key: &str| golden.tensors.get(&format!("{term}.grad.{key}")).map(values);
        let keys: Vec<&str> = model.parameters.iter().map(|(key, _)| key).collect();
        let scale =
            keys.iter().filter_map(|k| expected(k)).map(|v| largest(&v)).fold(0.0, f64::max);
        assert!(scale > 0.0, "{term} depends on nothing");
        for (key, var) in model.parameters.iter() {
            let got = grads.get(var).map(values);
            match (expected(key), got) {
                (Some(expected), Some(got)) => {
                    let differences = expected.iter().zip(&got).map(|(a, b)| a - b);
                    let difference = largest(&differences.collect::<Vec<_>>())
                        / largest(&expected).max(floor * scale);
                    assert!(difference < tolerance, "{name} {term} {key}: {difference:e}");
                    worst = worst.max(difference);
                    compared += 1;
                }
                (Some(expected), None) => {
                    assert_eq!(largest(&expected), 0.0, "{name} {term}: no gradient of {key}");
                }
                (None, got) => {
                    let got = got.map_or(0.0, |got| largest(&got));
                    assert_eq!(got, 0.0, "{name} {term}: {key} is none of its business");
                }
            }
        }
    }
    assert!(compared > 100, "{compared} gradients");
    println!("{name} {dtype:?}: {compared} gradients of single terms, worst {worst:e}");
}

#[test]
fn the_gradient_of_every_term_agrees_with_pytorch() {
    for name in ["urdmu_a", "urdmu_b", "urdmu_cells"] {
        compare_terms(name, DType::F64, 1e-5, 1e-6);
        compare_terms(name, DType::F32, 1e-3, 1e-2);
    }
}

#[test]
fn every_parameter_gets_a_gradient_and_every_term_counts() {
    let golden = Golden::load("urdmu_b");
    let model = golden.model(DType::F32);
    let out = golden.pass(&model, DType::F32);
    let all = |config: &DetectorConfig| {
        let (total, losses) = total_loss(&model.parameters, &out, config).unwrap();
        (total.backward().unwrap(), losses)
    };
    let (grads, whole) = all(&golden.config);
    for (key, var) in model.parameters.iter() {
        let grad = grads.get(var).unwrap_or_else(|| panic!("{key} has no gradient"));
        assert!(largest(&values(grad)) > 0.0, "{key} has a gradient of zero");
    }

    let config = &golden.config;
    let weights = &config.weights;
    let without = |change: fn(&mut DetectorConfig)| {
        let mut config = config.clone();
        change(&mut config);
        all(&config).1.total
    };
    for (term, less, rest) in [
        (
            "abnormal_in_a",
            weights.abnormal_in_a * whole.abnormal_in_a,
            without(|c| c.weights.abnormal_in_a = 0.0),
        ),
        (
            "abnormal_not_in_n",
            weights.abnormal_not_in_n * whole.abnormal_not_in_n,
            without(|c| c.weights.abnormal_not_in_n = 0.0),
        ),
        (
            "normal_in_n",
            weights.normal_in_n * whole.normal_in_n,
            without(|c| c.weights.normal_in_n = 0.0),
        ),
        (
            "normal_not_in_a",
            weights.normal_not_in_a * whole.normal_not_in_a,
            without(|c| c.weights.normal_not_in_a = 0.0),
        ),
        ("triplet", weights.triplet * whole.triplet, without(|c| c.weights.triplet = 0.0)),
        ("kl", weights.kl * whole.kl, without(|c| c.weights.kl = 0.0)),
        ("distance", weights.distance * whole.distance, without(|c| c.weights.distance = 0.0)),
        (
            "domain alignment",
            config.lambda1 * (whole.domain + whole.mean_distance),
            without(|c| c.use_da = false),
        ),
        ("λ1", config.lambda1 * (whole.domain + whole.mean_distance), without(|c| c.lambda1 = 0.0)),
        ("memory update", config.lambda2 * whole.update, without(|c| c.use_upd = false)),
        ("λ2", config.lambda2 * whole.update, without(|c| c.lambda2 = 0.0)),
    ] {
        assert!(less > 1e-3, "{term} is {less}");
        assert!(
            (whole.total - less - rest).abs() < 1e-4,
            "{term}: {} - {less} is not {rest}",
            whole.total
        );
    }
    // β and the strength of the reversal act where they should.
    assert_ne!(without(|c| c.beta = 0.0), whole.total);
    let mut stronger = config.clone();
    stronger.grl_strength *= 2.0;
    let (reversed, losses) = all(&stronger);
    assert_eq!(losses, whole, "the reversal changes no value");
    let of = |grads: &GradStore, name: &str| {
        values(grads.get(model.parameters.get(name).unwrap()).unwrap())
    };
    assert_eq!(of(&reversed, "domain.0.weight"), of(&grads, "domain.0.weight"));
    assert_ne!(of(&reversed, "encoder_mu.0.weight"), of(&grads, "encoder_mu.0.weight"));
}

#[test]
fn knowing_the_changed_instances_counts_by_its_weight() {
    let golden = Golden::load("urdmu_cells");
    let model = golden.model(DType::F64);
    let out = golden.pass(&model, DType::F64);
    let total = |weight: f64| {
        let mut config = golden.config.clone();
        config.weights.instances = weight;
        total_loss(&model.parameters, &out, &config).unwrap().1
    };
    let (without, with) = (total(0.0), total(0.6));
    assert!(with.instances > 1.0);
    assert!((with.total - without.total - 0.6 * with.instances).abs() < 1e-9);
}

/// A bag's scores are those of its cells one by one, in runs, the last of which is whole.
#[test]
fn a_bag_is_scored_cell_by_cell_in_runs() {
    let golden = Golden::load("urdmu_cells");
    let model = golden.model(DType::F32);
    let (cells, d, snippets, run) = (3, 6, 7, 5);
    let value = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 25.0;
    let features: Vec<f32> = (0..snippets * cells * d).map(value).collect();
    let bag = Bag { cells, ..Bag::pooled("a".into(), features.clone(), snippets, d) };
    let scores = model.bag_scores(&bag, run).unwrap();
    for cell in 0..cells {
        let series: Vec<f32> =
            (0..snippets).flat_map(|s| features[(s * cells + cell) * d..][..d].to_vec()).collect();
        let first = model.scores(&series[..run * d]).unwrap();
        let last = model.scores(&series[(snippets - run) * d..]).unwrap();
        let expected = first.iter().chain(&last[2 * run - snippets..]);
        for (snippet, expected) in expected.enumerate() {
            let got = scores[snippet * cells + cell];
            assert!((got - expected).abs() < 1e-6, "{snippet} {cell}: {got} {expected}");
        }
    }
    let wrong = Bag { cells: 2, ..bag };
    assert!(model.bag_scores(&wrong, run).unwrap_err().to_string().contains("126 values"));
}

/// On the CPU in `f32` whole parts of the network are single operations, in `f64` they are composed
/// of primitives: both take the same step, dropout and noise included.
#[test]
fn fused_operations_agree_with_composed_ones_under_dropout() -> Result<(), Error> {
    let golden = Golden::load("urdmu_a");
    let step = |dtype: DType| -> Result<BTreeMap<String, Vec<f64>>, Error> {
        let model = golden.model(dtype);
        let features = golden.tensors["in.features"].to_dtype(dtype)?;
        let out = model.train_forward(&features, 0.5, &mut StepNoise::new(3, 1))?;
        let (total, _) = total_loss(&model.parameters, &out, &golden.config)?;
        let grads = total.backward()?;
        let grad = |(key, var): (&str, &candle_core::Var)| {
            (key.to_owned(), values(grads.get(var).unwrap_or_else(|| panic!("{key}"))))
        };
        let mut all: BTreeMap<_, _> = model.parameters.iter().map(grad).collect();
        all.insert("encoded".into(), values(&out.encoded));
        all.insert("total".into(), values(&total));
        Ok(all)
    };
    let (fused, composed) = (step(DType::F32)?, step(DType::F64)?);
    for (key, composed) in &composed {
        let differences = composed.iter().zip(&fused[key]).map(|(a, b)| a - b);
        let difference = largest(&differences.collect::<Vec<_>>()) / largest(composed);
        assert!(difference < 1e-4, "{key}: {difference:e}");
    }
    Ok(())
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
