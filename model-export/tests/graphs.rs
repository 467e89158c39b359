//! The graphs against PyTorch: outputs that `tests/reference/*.py` computed from the same weights
//! and the same input, on every backend that this machine has.

mod support;

use std::collections::BTreeMap;

use model_bundle::manifest::{LocalSpec, ZScore};
use model_export::{
    graphs::{self, Cells, head, i3d, local, mobilenetv2, tsm_mobilenetv2},
    onnx,
    weights::{self, Weights},
};
use support::{assert_close, backends, fetched, golden, pattern, run, stream};

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

/// The graph that keeps its frames itself gives the maps of the stacks that the camera would fill, one
/// call a frame, also before and after the clip.
#[test]
fn streaming_local_maps_are_those_of_stacks() {
    let golden = golden("local.safetensors");
    let config = local::Config { width: 44, height: 36 };
    let pixels = 44 * 36;
    let levels: Vec<u8> = pattern(pixels * 9).iter().map(|v| (v * 127.0 + 128.0) as u8).collect();
    let frames: Vec<&[u8]> = levels.chunks_exact(pixels).collect();
    for offsets in [vec![-4, -2, 1, 3], vec![-3, -2, -1, -5], vec![1, 2, 3, 6]] {
        let mut spec = local_spec(offsets);
        spec.stream = Some(local::states(&config, &spec));
        let stack = local::build(&golden, &config).unwrap();
        let streaming = local::build_streaming(&golden, &config, &spec).unwrap();
        let (back, ahead) = spec.reach();
        for backend in backends() {
            let mut stack = backend.load("local", &onnx::to_bytes(&stack)).unwrap();
            let mut streaming = backend.load("local", &onnx::to_bytes(&streaming)).unwrap();
            assert_eq!(streaming.inputs()[1].shape, [1, back + ahead, 36, 44]);
            let mut states = inference::States::new(spec.stream.as_ref().unwrap());
            let mut outputs = vec![Vec::new()];
            // After the clip's end its last frame is given again, until its maps have come.
            for call in 0..frames.len() + ahead {
                let newest: Vec<f32> =
                    frames[call.min(frames.len() - 1)].iter().map(|&v| v.into()).collect();
                let found = states.run(streaming.as_mut(), &newest).unwrap();
                let Some(centre) = call.checked_sub(ahead) else {
                    continue;
                };
                let around = std::iter::once(0).chain(spec.offsets.iter().copied()).map(|offset| {
                    let at = centre as i64 + i64::from(offset);
                    frames[at.clamp(0, frames.len() as i64 - 1) as usize]
                });
                let mut input = vec![0.0; inference::stack::len(&spec, 44, 36)];
                inference::stack::fill(&spec, &around.collect::<Vec<_>>(), &mut input);
                stack.run(&[&input], &mut outputs).unwrap();
                assert_close("maps", found, &outputs[0], TOLERANCE);
            }
        }
    }
    let few = local::build_streaming(&golden, &config, &local_spec(vec![-1])).unwrap_err();
    assert!(few.to_string().contains("1 offsets"), "{few}");
}

fn local_spec(offsets: Vec<i32>) -> LocalSpec {
    LocalSpec {
        graph: "local".into(),
        offsets,
        mean: 110.0,
        std: 50.0,
        diff_scale: 30.0,
        stream: None,
        map_stride: 4,
        pool: 1,
        kinds: vec!["a".into(), "b".into(), "c".into()],
        z: ZScore { mean: 0.0, std: 1.0 },
        weight: 1.0,
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

/// Frame by frame with its states, the graph gives what PyTorch gives for the whole clip at once.
#[test]
fn a_streaming_shift_is_the_shift_along_a_clip() {
    let Some(weights) = fetched(mobilenetv2::WEIGHTS_FILE) else {
        return;
    };
    let golden = golden("tsm_mobilenetv2.safetensors");
    let (frames, width, height) = (5, 160, 128);
    let expected = golden.tensor("features", &[frames, 1280]).unwrap();
    let early = golden.tensor("early_mean", &[frames, 32]).unwrap();
    let config = tsm_mobilenetv2::Config { width, height, cells: None };
    let pooled = tsm_mobilenetv2::build(&weights, &config).unwrap();
    let cells = Some(Cells { layer: "features.6".into(), pool: 32 });
    let config = tsm_mobilenetv2::Config { cells, ..config };
    let early_graph = tsm_mobilenetv2::build(&weights, &config).unwrap();
    let clip = pattern(frames * 3 * height * width);
    for backend in backends() {
        let found = stream(&pooled, &*backend, &clip);
        assert_close("features", &found.concat(), expected, TOLERANCE);
        // Each frame by its own scale too, so that a small one is not hidden by a large one.
        for (frame, expected) in found.iter().zip(expected.chunks(1280)) {
            assert_close("a frame's features", frame, expected, TOLERANCE);
        }
        let found = stream(&early_graph, &*backend, &clip).concat();
        assert_close("features.6", &found, early, TOLERANCE);
    }
    // The shift is there: without the frame before, the second frame gives something else.
    let backend = backends().pop().expect("tract is always there");
    let alone = stream(&pooled, &*backend, &clip[3 * height * width..][..3 * height * width]);
    let difference = alone[0].iter().zip(&expected[1280..]).map(|(a, b)| (a - b).abs());
    assert!(difference.fold(0.0, f32::max) > 0.1);
}

/// Names and shapes of what the shifted blocks keep.
#[test]
fn the_shifted_blocks_have_states() {
    let Some(weights) = fetched(mobilenetv2::WEIGHTS_FILE) else {
        return;
    };
    let config = tsm_mobilenetv2::Config::default();
    let model = tsm_mobilenetv2::build(&weights, &config).unwrap();
    let backend = backends().pop().expect("tract is always there");
    let graph = backend.load("tsm", &onnx::to_bytes(&model)).unwrap();
    let states = |infos: &[inference::TensorInfo]| -> Vec<(String, Vec<usize>)> {
        let states = infos[1..].iter();
        states.map(|i| (i.name.rsplit('.').next().unwrap().to_owned(), i.shape.clone())).collect()
    };
    let found = states(graph.inputs());
    assert_eq!(found, states(graph.outputs()));
    assert!(graph.inputs()[1].name == "state.3" && graph.outputs()[1].name == "next.3");
    let shapes: Vec<_> = found.iter().map(|(name, s)| (name.as_str(), s[3], s[2])).collect();
    let expected = [
        ("3", 3, 40),
        ("5", 4, 20),
        ("6", 4, 20),
        ("8", 8, 10),
        ("9", 8, 10),
        ("10", 8, 10),
        ("12", 12, 10),
        ("13", 12, 10),
        ("15", 20, 5),
        ("16", 20, 5),
    ];
    assert_eq!(shapes, expected);
}

/// The manifest's description of the states is the graph's, for odd sizes and early layers too.
#[test]
fn the_states_are_described_as_they_are() {
    let Some(weights) = fetched(mobilenetv2::WEIGHTS_FILE) else {
        return;
    };
    let backend = backends().pop().expect("tract is always there");
    for (width, height, layer) in [(160, 160, None), (90, 61, None), (72, 49, Some("features.8"))] {
        let cells = layer.map(|layer| Cells { layer: layer.into(), pool: 1 });
        let config = tsm_mobilenetv2::Config { width, height, cells };
        let model = tsm_mobilenetv2::build(&weights, &config).unwrap();
        let graph = backend.load("tsm", &onnx::to_bytes(&model)).unwrap();
        let spec = tsm_mobilenetv2::states(&config);
        assert_eq!(spec.states.len(), if layer.is_some() { 4 } else { 10 });
        // Names, shapes and order are checked when the graph is first called.
        let frame = vec![0.5; graph.inputs()[0].len()];
        let mut graph = graph;
        inference::States::new(&spec).run(graph.as_mut(), &frame).unwrap();
    }
}

/// A student's last layer is `W f + b` of the features without it.
#[test]
fn a_student_ends_with_its_projection() {
    let Some(weights) = fetched(mobilenetv2::WEIGHTS_FILE) else {
        return;
    };
    let (outputs, inputs) = (7, 1280);
    let config = tsm_mobilenetv2::Config { width: 64, height: 64, cells: None };
    let mut tensors: BTreeMap<_, _> =
        weights.iter().map(|(name, array)| (name.to_owned(), array.clone())).collect();
    let (weight, bias) = (pattern(outputs * inputs), pattern(outputs));
    let array = |shape: &[usize], data: &[f32]| weights::Array {
        shape: shape.to_vec(),
        data: data.to_vec(),
    };
    tensors.insert("projection.weight".into(), array(&[outputs, inputs], &weight));
    tensors.insert("projection.bias".into(), array(&[outputs], &bias));
    let student = Weights::new("student.safetensors", tensors.clone());
    assert_eq!(tsm_mobilenetv2::feature_size(&student), outputs);
    assert_eq!(tsm_mobilenetv2::feature_size(&weights), inputs);
    let model = tsm_mobilenetv2::build(&student, &config).unwrap();
    let plain = tsm_mobilenetv2::build(&weights, &config).unwrap();
    let frame = pattern(3 * 64 * 64);
    for backend in backends() {
        let features = &stream(&plain, &*backend, &frame)[0];
        let row = |o: usize| weight[o * inputs..][..inputs].iter().zip(features);
        let expected: Vec<f32> =
            (0..outputs).map(|o| row(o).map(|(w, f)| w * f).sum::<f32>() + bias[o]).collect();
        let found = &stream(&model, &*backend, &frame)[0];
        assert_close("features", found, &expected, TOLERANCE);
    }
    tensors.remove("projection.bias");
    let broken = tsm_mobilenetv2::build(&Weights::new("student.safetensors", tensors), &config);
    let text = broken.unwrap_err().to_string();
    assert!(text.contains("projection.bias") && text.contains("student.safetensors"), "{text}");
}

/// A second of video at 25 frames a second costs the light backbone at most an eighth of I3D.
#[test]
fn the_light_backbone_costs_an_eighth_of_i3d() {
    let (Some(light), Some(heavy)) =
        (fetched(mobilenetv2::WEIGHTS_FILE), fetched(i3d::WEIGHTS_FILE))
    else {
        return;
    };
    let light = tsm_mobilenetv2::build(&light, &tsm_mobilenetv2::Config::default()).unwrap();
    let config = i3d::Config::default();
    let heavy = i3d::build(&heavy, &config).unwrap();
    let light = onnx::multiply_adds(&light).unwrap() as f64 * 25.0;
    let heavy = onnx::multiply_adds(&heavy).unwrap() as f64 * 25.0 / config.frames as f64;
    eprintln!("multiply-adds a second: {light:.3e} of {heavy:.3e}, 1/{:.1}", heavy / light);
    assert!(light * 8.0 <= heavy);
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
