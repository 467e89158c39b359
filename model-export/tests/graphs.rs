//! The graphs against PyTorch: outputs that `tests/reference/*.py` computed from the same weights
//! and the same input, on every backend that this machine has.

mod support;

use std::collections::BTreeMap;

use model_export::{
    graphs::{self, head, i3d, local, mobilenetv2},
    weights::{self, Weights},
};
use support::{assert_close, backends, fetched, golden, run};

/// Largest accepted difference of `f32` networks that add in another order, relative to the largest
/// value.
const TOLERANCE: f32 = 1e-4;

#[test]
fn local_maps_are_pytorchs() {
    let golden = golden("local.safetensors");
    let model = local::build(&golden, &local::Config { width: 44, height: 36 }).unwrap();
    let expected = golden.tensor("maps", &[1, 3, 9, 11]).unwrap();
    for backend in backends() {
        let outputs = run(&model, &*backend);
        assert_eq!(outputs[0].0, "maps");
        assert_close("maps", &outputs[0].1, expected, TOLERANCE);
    }
}

#[test]
fn head_scores_are_pytorchs() {
    let golden = golden("head.safetensors");
    let model = head::build(&golden, &head::Config::new(11)).unwrap();
    let expected = golden.tensor("scores", &[1, 11]).unwrap();
    for backend in backends() {
        let outputs = run(&model, &*backend);
        assert_eq!(outputs[0].0, "scores");
        assert_close("scores", &outputs[0].1, expected, TOLERANCE);
    }
}

#[test]
fn i3d_features_and_logits_are_pytorchs() {
    let Some(weights) = fetched(i3d::WEIGHTS_FILE) else {
        return;
    };
    let golden = golden("i3d.safetensors");
    let grid = Some("Mixed_5c".to_owned());
    let config = i3d::Config { logits: true, grid, ..i3d::Config::default() };
    let model = i3d::build(&weights, &config).unwrap();
    for backend in backends() {
        let outputs: BTreeMap<_, _> = run(&model, &*backend).into_iter().collect();
        for (name, shape) in [("features", [1, 1024]), ("logits", [1, 400])] {
            let expected = golden.tensor(name, &shape).unwrap();
            assert_close(name, &outputs[name], expected, TOLERANCE);
        }
        let means = means(&outputs["grid"], 2 * 7 * 7);
        let expected = golden.tensor("grid_mean", &[1, 1024]).unwrap();
        assert_close("grid", &means, expected, TOLERANCE);
    }
}

/// 23 frames of 250×230 make the padding of every layer another one than 16 frames of 224×224.
#[test]
fn i3d_pads_odd_sizes_as_tensorflow_does() {
    let Some(weights) = fetched(i3d::WEIGHTS_FILE) else {
        return;
    };
    let golden = golden("i3d.safetensors");
    let grid = Some("Mixed_3c".to_owned());
    let config =
        i3d::Config { frames: 23, width: 250, height: 230, grid, ..i3d::Config::default() };
    let model = i3d::build(&weights, &config).unwrap();
    // The other backends run the same graph; one is enough for its padding.
    let backend = backends().pop().expect("tract is always there");
    let outputs: BTreeMap<_, _> = run(&model, &*backend).into_iter().collect();
    let expected = golden.tensor("odd_features", &[1, 1024]).unwrap();
    assert_close("features", &outputs["features"], expected, TOLERANCE);
    let means = means(&outputs["grid"], 12 * 29 * 32);
    let expected = golden.tensor("odd_early_mean", &[1, 480]).unwrap();
    assert_close("grid", &means, expected, TOLERANCE);
}

#[test]
fn mobilenetv2_features_are_torchvisions() {
    let Some(weights) = fetched(mobilenetv2::WEIGHTS_FILE) else {
        return;
    };
    let golden = golden("mobilenetv2.safetensors");
    let config = mobilenetv2::Config { frames: 3, ..mobilenetv2::Config::default() };
    let model = mobilenetv2::build(&weights, &config).unwrap();
    let expected = golden.tensor("features", &[1, 1280]).unwrap();
    for backend in backends() {
        let outputs = run(&model, &*backend);
        assert_eq!(outputs[0].0, "features");
        assert_close("features", &outputs[0].1, expected, TOLERANCE);
    }
}

#[test]
fn a_tensor_that_is_missing_misshapen_or_broken_is_named() {
    let good = golden("local.safetensors");
    let config = local::Config { width: 44, height: 36 };
    let changed = |name: &str, change: &dyn Fn(&mut weights::Array)| {
        let mut tensors: BTreeMap<_, _> =
            good.iter().map(|(name, array)| (name.to_owned(), array.clone())).collect();
        change(tensors.get_mut(name).unwrap());
        local::build(&Weights::new("made.safetensors", tensors), &config).unwrap_err().to_string()
    };
    let name = "local.blocks.2.bn.running_var";
    for text in [
        changed(name, &|array| array.shape = vec![2, 3]),
        changed(name, &|array| array.data[1] = f32::INFINITY),
        changed("local.blocks.2.weight", &|array| array.shape.truncate(3)),
    ] {
        assert!(text.contains("local.blocks.2.") && text.contains("made.safetensors"), "{text}");
    }
    let text = head::build(&good, &head::Config::new(8)).unwrap_err().to_string();
    assert!(text.contains("embedding.conv_1.0.weight"), "{text}");
    let odd = local::build(&good, &local::Config { width: 43, height: 36 });
    assert!(matches!(odd, Err(graphs::Error::Config { .. })));
}

/// Mean of each run of `size` values.
fn means(grid: &[f32], size: usize) -> Vec<f32> {
    let mean =
        |cell: &[f32]| (cell.iter().map(|&v| f64::from(v)).sum::<f64>() / size as f64) as f32;
    grid.chunks(size).map(mean).collect()
}
