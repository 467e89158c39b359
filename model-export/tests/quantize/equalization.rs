//! Channels of activations brought to one range: nothing but the noise of rounding changes.

use super::*;

/// A model's constant as floats.
fn constant(model: &ModelProto, name: &str) -> Vec<f32> {
    let graph = model.graph.as_ref().unwrap();
    let tensor = graph.initializer.iter().find(|t| t.name == name).unwrap();
    tensor.raw_data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Makes some output channels of a convolution many times smaller and the next one's inputs larger, as
/// trained depthwise networks have them.
fn unbalance(model: &mut ModelProto, name: &str, factors: &[f32]) {
    for part in ["weight", "bias"] {
        let name = format!("{name}.{part}");
        let mut values = constant(model, &name);
        let run = values.len() / factors.len();
        values.iter_mut().enumerate().for_each(|(i, v)| *v *= factors[i / run]);
        let graph = model.graph.as_mut().unwrap();
        let tensor = graph.initializer.iter_mut().find(|t| t.name == name).unwrap();
        tensor.raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    }
}

fn unbalanced() -> ModelProto {
    let mut model = depthwise();
    let factors: Vec<f32> = (0..12).map(|c| [4.0, 0.5, 0.05][c % 3]).collect();
    unbalance(&mut model, "expand", &factors);
    model
}

#[test]
fn equalisation_changes_no_output() {
    let backend = tract();
    let model = unbalanced();
    let all = samples(6, 6 * 16 * 16);
    for which in [Equalize::Depthwise, Equalize::All] {
        let options = Options { equalize: which, ..Options::default() };
        let ranges =
            calibrate(&model, &mut all.iter().cloned(), &options, backend.as_ref()).unwrap();
        // What the depthwise convolution reads and what it writes; `lr` has another reader than a
        // convolution, `sum` two makers.
        let names: Vec<&str> = ranges.equalized.keys().map(String::as_str).collect();
        assert_eq!(names, ["dr", "er"], "{which:?}");
        let rewritten = equalized(&model, &ranges.equalized).unwrap();
        assert_ne!(constant(&model, "expand.weight"), constant(&rewritten, "expand.weight"));
        assert_ne!(constant(&model, "project.weight"), constant(&rewritten, "project.weight"));
        for sample in &all {
            let (before, after) =
                (run(&model, sample, backend.as_ref()), run(&rewritten, sample, backend.as_ref()));
            for (b, a) in before[0].iter().zip(&after[0]) {
                assert!((b - a).abs() < 1e-4, "{which:?}: {b} became {a}");
            }
        }
    }
}

#[test]
fn a_channel_at_the_bound_of_its_clip_is_left_alone() {
    let backend = tract();
    let mut model = depthwise();
    // Channel 0 reaches 6, channel 1 comes near to it, the others stay far below.
    let factors: Vec<f32> = (0..12).map(|c| if c == 0 { 100.0 } else { 0.1 }).collect();
    unbalance(&mut model, "expand", &factors);
    let options = Options { equalize: Equalize::Depthwise, ..Options::default() };
    let all = samples(4, 6 * 16 * 16);
    let ranges = calibrate(&model, &mut all.iter().cloned(), &options, backend.as_ref()).unwrap();
    let divisors = &ranges.equalized["er"];
    assert_eq!(divisors[0], 1.0);
    assert!(divisors[1..].iter().all(|s| *s < 0.9 && *s >= 1.0 / 8.0), "{divisors:?}");
    // The small channels now fill the tensor's range, so that all are told apart.
    let rewritten = equalized(&model, &ranges.equalized).unwrap();
    for sample in &all {
        let (b, a) =
            (run(&model, sample, backend.as_ref()), run(&rewritten, sample, backend.as_ref()));
        assert!(sqnr(&b[0], &a[0]) > 80.0);
    }
}

#[test]
fn equalisation_gains_where_channels_differ_and_can_be_emitted_from_saved_ranges() {
    let Some(backend) = ort() else { return };
    let model = unbalanced();
    let all = samples(9, 6 * 16 * 16);
    let error = |equalize| {
        let options = Options { equalize, ..Options::default() };
        let q = quantize(&model, &mut all[..8].iter().cloned(), &options, backend).unwrap();
        let ranges = calibrate(&model, &mut all[..8].iter().cloned(), &options, backend).unwrap();
        let again = emit(&model, &ranges, Flavour::U8S8, &options).unwrap();
        assert_eq!(again.encode_to_vec(), q.model.encode_to_vec());
        sqnr(&run(&model, &all[8], backend)[0], &run(&q.model, &all[8], backend)[0])
    };
    let (plain, balanced) = (error(Equalize::Off), error(Equalize::Depthwise));
    assert!(balanced > plain, "{plain:.1} dB became {balanced:.1} dB");
}

#[test]
fn divisors_of_another_model_are_refused() {
    let backend = tract();
    let options = Options { equalize: Equalize::All, ..Options::default() };
    let mut all = samples(2, 6 * 16 * 16).into_iter();
    let ranges = calibrate(&unbalanced(), &mut all, &options, backend.as_ref()).unwrap();
    let error = equalized(&residual(), &ranges.equalized).unwrap_err();
    assert!(matches!(&error, Error::Range { tensor } if tensor == "dr"), "{error}");
}
