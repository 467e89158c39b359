//! The graphs against PyTorch: outputs that `tests/reference/*.py` computed from the same weights
//! and the same input, on every backend that this machine has.

mod support;

use std::collections::BTreeMap;

use model_export::{
    graphs::{self, Cells, head, i3d, local, mobilenetv2},
    onnx,
    weights::{self, Weights},
};
use support::{assert_close, backends, fetched, golden, pattern, run};

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

/// The cells of an endpoint are its map, which PyTorch agrees with, averaged.
#[test]
fn cells_of_i3d_are_means_of_its_grid() {
    let Some(weights) = fetched(i3d::WEIGHTS_FILE) else {
        return;
    };
    let cells = Some(Cells { layer: "Mixed_3c".into(), pool: 2 });
    let grid = Some("Mixed_3c".to_owned());
    let (frames, width, height) = (6, 56, 40);
    let config = i3d::Config { frames, width, height, features: false, cells, grid, logits: false };
    let model = i3d::build(&weights, &config).unwrap();
    let (channels, times, rows, columns) = (480, 3, 5, 7);
    for backend in backends() {
        let outputs: BTreeMap<_, _> = run(&model, &*backend).into_iter().collect();
        let grid = &outputs["grid"];
        assert_eq!(grid.len(), channels * times * rows * columns);
        let mut expected = Vec::new();
        for (row, column) in
            (0..rows).step_by(2).flat_map(|y| (0..columns).step_by(2).map(move |x| (y, x)))
        {
            // Cells at the right and at the bottom have fewer places.
            let places: Vec<usize> = (row..rows.min(row + 2))
                .flat_map(|y| (column..columns.min(column + 2)).map(move |x| y * columns + x))
                .collect();
            expected.extend(grid.chunks(times * rows * columns).map(|channel| {
                let at =
                    |place: &usize| channel.chunks(rows * columns).map(|t| t[*place]).sum::<f32>();
                places.iter().map(at).sum::<f32>() / (times * places.len()) as f32
            }));
        }
        assert_close("features", &outputs["features"], &expected, TOLERANCE);
    }
}

#[test]
fn cells_of_mobilenetv2_are_what_it_averages() {
    let Some(weights) = fetched(mobilenetv2::WEIGHTS_FILE) else {
        return;
    };
    let golden = golden("mobilenetv2.safetensors");
    let cells = |layer: &str, pool| Some(Cells { layer: layer.into(), pool });
    let config = |cells| mobilenetv2::Config { frames: 3, cells, ..Default::default() };
    let backend = backends().pop().expect("tract is always there");
    let last = mobilenetv2::build(&weights, &config(cells("features.18", 1))).unwrap();
    let outputs = run(&last, &*backend);
    assert_eq!(outputs[0].1.len(), 49 * 1280);
    let mean = |channel: usize| outputs[0].1.iter().skip(channel).step_by(1280).sum::<f32>() / 49.0;
    let means: Vec<f32> = (0..1280).map(mean).collect();
    assert_close("features", &means, golden.tensor("features", &[1, 1280]).unwrap(), TOLERANCE);
    // A layer in the middle: 28 x 28 places of 32 channels, four by four of them a cell.
    let early = mobilenetv2::build(&weights, &config(cells("features.6", 4))).unwrap();
    assert_eq!(run(&early, &*backend)[0].1.len(), 7 * 7 * 32);
    let wrong = mobilenetv2::build(&weights, &config(cells("Mixed_3c", 1))).unwrap_err();
    assert!(wrong.to_string().contains("no layer Mixed_3c"), "{wrong}");
}

/// Every cell is scored as if it were alone.
#[test]
fn a_head_of_cells_is_many_heads() {
    let golden = golden("head.safetensors");
    let one = head::build(&golden, &head::Config::new(5)).unwrap();
    let many = head::build(&golden, &head::Config { cells: 3, ..head::Config::new(5) }).unwrap();
    for backend in backends() {
        let mut one = backend.load("one", &onnx::to_bytes(&one)).unwrap();
        let mut many = backend.load("many", &onnx::to_bytes(&many)).unwrap();
        let size = one.inputs()[0].len();
        assert_eq!(many.outputs()[0].shape, [3, 5]);
        let input = pattern(3 * size);
        let mut outputs = [vec![Vec::new()], vec![Vec::new()]];
        many.run(&[&input], &mut outputs[0]).unwrap();
        for (cell, input) in input.chunks_exact(size).enumerate() {
            one.run(&[input], &mut outputs[1]).unwrap();
            assert_close("scores", &outputs[0][0][cell * 5..][..5], &outputs[1][0], TOLERANCE);
        }
    }
    let none = head::build(&golden, &head::Config { cells: 0, ..head::Config::new(5) });
    assert!(matches!(none, Err(graphs::Error::Config { .. })));
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
