//! What a stream computes and when it gives it out, against hand-computed values.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use inference::{Detectors, Engine, Error, FrameScore, Graph, SnippetFeatures};
use model_bundle::manifest::{GridSpec, SemanticSpec, SmoothingSpec, ZScore};
use video::Frame;

fn engine(detectors: Detectors, graphs: Vec<(&str, Box<dyn Graph>)>) -> Engine {
    let graphs = graphs.into_iter().map(|(name, graph)| (name.to_owned(), graph)).collect();
    Engine::from_graphs(detectors, graphs).unwrap()
}

fn greys(levels: &[u8]) -> Vec<Frame> {
    levels.iter().map(|&l| grey(l)).collect()
}

/// Every source frame came exactly once, in order.
fn assert_complete(scores: &[(FrameScore, usize)], frames: usize) {
    let numbers: Vec<u64> = scores.iter().map(|(s, _)| s.frame).collect();
    assert_eq!(numbers, (0..frames as u64).collect::<Vec<_>>());
}

#[test]
fn motion_values_and_the_lag() {
    let smoothing = SmoothingSpec { sigma: 0.0, radius: 0, lag: 3 };
    let mut engine = engine(Detectors { motion: Some(motion()), smoothing, ..bare() }, vec![]);
    assert_eq!(engine.latency(), 3);
    let (scores, raws) = run(&mut engine, 10.0, &greys(&[10, 12, 12, 20, 21, 21]));
    assert_complete(&scores, 6);
    let expected: Vec<f64> = [2.0, 2.0, 0.0, 8.0, 1.0, 0.0].map(|d: f64| (0.5 + d).ln()).into();
    assert_eq!(scores.iter().map(|(s, _)| s.motion.unwrap()).collect::<Vec<_>>(), expected);
    assert_eq!(raws.iter().map(|r| r.motion.unwrap()).collect::<Vec<_>>(), expected);
    assert_eq!(raws.iter().map(|r| r.frame).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    // Frame t comes when frame t + 3 has been pushed; the rest when the stream ends.
    let when: Vec<usize> = scores.iter().map(|&(_, pushed)| pushed).collect();
    assert_eq!(when, [4, 5, 6, usize::MAX, usize::MAX, usize::MAX]);
    assert!(scores.iter().all(|(s, _)| s.local.is_none() && s.semantic.is_none()));
    assert!(scores.iter().all(|(s, _)| s.kind.is_none() && s.region.is_none()));
}

#[test]
fn without_lag_only_the_first_frame_waits() {
    let mut engine = engine(Detectors { motion: Some(motion()), ..bare() }, vec![]);
    let (scores, _) = run(&mut engine, 10.0, &greys(&[10, 12, 12]));
    assert_complete(&scores, 3);
    assert_eq!(scores.iter().map(|&(_, pushed)| pushed).collect::<Vec<_>>(), [2, 2, 3]);
    let (scores, _) = run(&mut engine, 10.0, &greys(&[10]));
    assert_complete(&scores, 1);
    assert_eq!(scores[0].0.motion, Some(0.5f64.ln()));
    let (scores, raws) = run(&mut engine, 10.0, &[]);
    assert!(scores.is_empty() && raws.is_empty());
}

#[test]
fn thinned_frames_repeat_their_model_frame() {
    for lag in [0, 1, 2] {
        let smoothing = SmoothingSpec { sigma: 0.0, radius: 0, lag };
        let mut engine = engine(Detectors { motion: Some(motion()), smoothing, ..bare() }, vec![]);
        // Model frames are 0, 3, 6, 9 with levels 10, 20, 20, 60; the others must not matter.
        let levels = [10, 99, 98, 20, 97, 96, 20, 95, 94, 60, 93];
        let (scores, raws) = run(&mut engine, 30.0, &greys(&levels));
        assert_complete(&scores, 11);
        assert_eq!(raws.len(), 4);
        let value = |d: f64| (0.5 + d).ln();
        let model = [value(10.0), value(10.0), value(0.0), value(40.0)];
        for (score, pushed) in &scores {
            assert_eq!(
                score.motion,
                Some(model[score.frame as usize / 3]),
                "frame {}",
                score.frame
            );
            // Never before the frame itself has been pushed.
            assert!(*pushed > score.frame as usize);
        }
    }
}

/// Four cells in two rows; the feature of cell c is the first red of the snippet's newest frame plus
/// c, but in cell `level / 50` it is 200 more.
fn cells_graph(frames: usize) -> Box<dyn Graph> {
    FakeGraph::boxed(&[1, 3, frames, 8, 8], &[1, 4, 1], move |x, y| {
        let level = x[(frames - 1) * 64];
        for (cell, y) in y.iter_mut().enumerate() {
            let hot = cell == level as usize / 50;
            *y = level + cell as f32 + if hot { 200.0 } else { 0.0 };
        }
    })
}

/// Of a cell's window of 3 the newest alone: its log-odds are a hundredth of the feature, less one.
fn cells_head() -> Box<dyn Graph> {
    FakeGraph::boxed(&[4, 3, 1], &[4, 3], |x, y| {
        for (x, y) in x.chunks_exact(3).zip(y.chunks_exact_mut(3)) {
            y[..2].fill(f32::NAN); // never looked at
            y[2] = 1.0 / (1.0 + (1.0 - (x[2] - x[0] / 1000.0) / 100.0).exp());
        }
    })
}

#[test]
fn the_highest_cell_scores_and_says_where() {
    let spec = SemanticSpec { grid: Some(GridSpec { columns: 2, rows: 2 }), ..semantic(2, 2) };
    let graphs = vec![("backbone", cells_graph(2)), ("head", cells_head())];
    let mut engine = engine(Detectors { semantic: Some(spec), ..bare() }, graphs);
    let (scores, _) = run(&mut engine, 10.0, &greys(&[9, 10, 9, 110, 9, 60]));
    assert_complete(&scores, 6);
    // Snippets of levels 10, 110 and 60: the cells 0, 2 and 1 are hot.
    let features = [210.0, 312.0, 261.0];
    // At first the window has the first snippet thrice.
    let oldest = [210.0, 10.0 + 2.0, 10.0 + 1.0];
    let corners = [(0.0, 0.0), (0.0, 0.5), (0.5, 0.0)];
    for (score, _) in &scores {
        let snippet = score.frame as usize / 2;
        let expected = (features[snippet] - oldest[snippet] / 1000.0) / 100.0 - 1.0;
        let got = score.semantic.unwrap();
        assert!((got - expected).abs() < 1e-4, "frame {}: {got} {expected}", score.frame);
        let region = score.region.unwrap();
        assert_eq!((region.x, region.y), corners[snippet], "frame {}", score.frame);
        assert_eq!((region.width, region.height, score.kind), (0.5, 0.5, None));
    }
}

#[test]
fn the_detector_that_says_more_says_where() {
    let at = |weight: f64| {
        let semantic = SemanticSpec {
            grid: Some(GridSpec { columns: 2, rows: 2 }),
            weight,
            excess_over: Some(1.0),
            ..semantic(2, 2)
        };
        let detectors = Detectors { local: Some(local()), semantic: Some(semantic), ..bare() };
        let detectors =
            Detectors { smoothing: SmoothingSpec { lag: 1, ..bare().smoothing }, ..detectors };
        let graphs =
            vec![("local", local_graph()), ("backbone", cells_graph(2)), ("head", cells_head())];
        let (scores, _) = run(&mut engine(detectors, graphs), 10.0, &greys(&[60, 60]));
        let (score, _) = scores[1];
        assert_eq!(score.kind, Some(0));
        (score.region.unwrap().width, score.fused)
    };
    // The local detector says 60; the semantic one 0.6 beyond its 1, times its weight.
    let (width, fused) = at(1.0);
    assert!(width == 0.125 && (fused - 60.6).abs() < 0.01, "{width} {fused}");
    let (width, fused) = at(1000.0);
    assert!(width == 0.5 && fused > 600.0, "{width} {fused}");
}

#[test]
fn what_exceeds_the_usual_alone_is_fused() {
    let mut spec = motion();
    spec.weight = 3.0;
    spec.excess_over = Some(2.5);
    let detectors = Detectors { motion: Some(spec), ..bare() };
    let (scores, raws) = run(&mut engine(detectors, vec![]), 10.0, &greys(&[0, 2, 4, 90, 91]));
    let mut beyond = 0;
    for ((score, _), raw) in scores.iter().zip(&raws) {
        let z = raw.motion.unwrap();
        assert_eq!(score.motion, Some(z));
        assert!((score.fused - 3.0 * (z - 2.5).max(0.0)).abs() < 1e-12);
        beyond += usize::from(z > 2.5);
    }
    assert_eq!(beyond, 1);
}

#[test]
fn smoothing_fusion_and_calibration() {
    let mut spec = motion();
    spec.z = ZScore { mean: 1.0, std: 2.0 };
    spec.weight = 3.0;
    let smoothing = SmoothingSpec { sigma: 1.0, radius: 1, lag: 2 };
    let mut detectors = Detectors { motion: Some(spec), smoothing, ..bare() };
    detectors.calibration.threshold = -1.0;
    detectors.calibration.scale = 0.5;
    let mut engine = engine(detectors, vec![]);
    let (scores, raws) = run(&mut engine, 10.0, &greys(&[0, 9, 9, 30, 30]));
    assert_complete(&scores, 5);
    let z: Vec<f64> = raws.iter().map(|r| (r.motion.unwrap() - 1.0) / 2.0).collect();
    let w = (-0.5f64).exp();
    let expected = [
        (z[0] + w * z[1]) / (1.0 + w),
        (w * z[0] + z[1] + w * z[2]) / (1.0 + 2.0 * w),
        (w * z[1] + z[2] + w * z[3]) / (1.0 + 2.0 * w),
        (w * z[2] + z[3] + w * z[4]) / (1.0 + 2.0 * w),
        (w * z[3] + z[4]) / (1.0 + w),
    ];
    for ((score, _), z) in scores.iter().zip(expected) {
        assert!((score.motion.unwrap() - z).abs() < 1e-12);
        assert!((score.fused - 3.0 * z).abs() < 1e-12);
        let published = 1.0 / (1.0 + (-(3.0 * z + 1.0) / 0.5).exp());
        assert!((score.score - published).abs() < 1e-12);
    }
}

#[test]
fn local_looks_ahead_and_is_clamped_at_the_ends() {
    let smoothing = SmoothingSpec { sigma: 0.0, radius: 0, lag: 1 };
    let mut engine = engine(
        Detectors { local: Some(local()), smoothing, ..bare() },
        vec![("local", local_graph())],
    );
    // Kind 0 is f_t, kind 1 is (f_{t-2} - f_t) + (f_{t+1} - f_t) at its own place.
    let levels = [100u8, 10, 30, 0, 90];
    let (scores, _) = run(&mut engine, 10.0, &greys(&levels));
    assert_complete(&scores, 5);
    let at = |t: i64| levels[t.clamp(0, 4) as usize] as f64;
    for (t, (score, _)) in scores.iter().enumerate() {
        let t = t as i64;
        let kinds = [at(t), at(t - 2) - at(t) + at(t + 1) - at(t)];
        let (kind, value) = if kinds[1] > kinds[0] { (1, kinds[1]) } else { (0, kinds[0]) };
        assert_eq!((score.kind, score.local), (Some(kind), Some(value)), "frame {t}");
        let region = score.region.unwrap();
        assert_eq!((region.width, region.height), (1.0 / 8.0, 0.25));
        let corner = if kind == 0 { (0.0, 0.0) } else { (7.0 / 8.0, 0.75) };
        assert_eq!((region.x, region.y), corner, "frame {t}");
    }
    assert_eq!(scores[0].1, 2);
}

#[test]
fn model_frames_are_chosen_by_time_whatever_rate_was_promised() {
    for promised in [0.0, 1000.0, 10.0] {
        let smoothing = SmoothingSpec { sigma: 0.0, radius: 0, lag: 1 };
        let mut engine = engine(Detectors { motion: Some(motion()), smoothing, ..bare() }, vec![]);
        // At 30 frames a second, then, in the dark, at 10; the levels of other frames must not matter.
        let times = [0, 33, 67, 100, 133, 167, 200, 300, 400, 500].map(|ms| f64::from(ms) / 1000.0);
        let levels = [10, 99, 98, 20, 97, 96, 20, 60, 60, 70];
        let mut stream = engine.stream(promised);
        let (mut scores, mut looked) = (Vec::new(), Vec::new());
        for (frame, time) in greys(&levels).iter().zip(times) {
            engine.push(stream.at(time), frame, &mut |s| scores.push(*s)).unwrap();
            looked.push(stream.looked());
        }
        engine.finish(&mut stream, &mut |s| scores.push(*s)).unwrap();
        let chosen = [0, 3, 6, 7, 8, 9];
        assert!(looked.iter().enumerate().all(|(i, l)| *l == chosen.contains(&i)), "{looked:?}");
        let numbers: Vec<u64> = scores.iter().map(|s| s.frame).collect();
        assert_eq!(numbers, (0..10).collect::<Vec<_>>());
        let value = |d: f64| Some((0.5 + d).ln());
        let model = [10.0, 10.0, 10.0, 10.0, 10.0, 10.0, 0.0, 40.0, 0.0, 10.0].map(value);
        assert_eq!(scores.iter().map(|s| s.motion).collect::<Vec<_>>(), model);
    }
}

#[test]
fn maps_come_once_in_order_and_their_highest_cell_is_the_raw_value() {
    let mut spec = local();
    spec.z = ZScore { mean: 10.0, std: 4.0 };
    let smoothing = SmoothingSpec { sigma: 2.0, radius: 3, lag: 5 };
    let detectors = Detectors { local: Some(spec), smoothing, ..bare() };
    let mut engine = engine(detectors, vec![("local", local_graph())]);
    let frames = greys(&[100, 99, 10, 99, 30, 99, 0, 99, 90]); // every second one is thinned out
    let mut stream = engine.stream(20.0);
    let (mut maps, mut scores) = (Vec::new(), Vec::new());
    let mut take = |map: &inference::ScoreMap<'_>| {
        assert_eq!((map.width, map.height), (WIDTH / 4, HEIGHT / 4));
        maps.push((map.frame, map.z.to_vec()));
    };
    for frame in &frames {
        engine.push_with_maps(&mut stream, frame, &mut |s| scores.push(*s), &mut take).unwrap();
    }
    engine.finish_with_maps(&mut stream, &mut |s| scores.push(*s), &mut take).unwrap();

    let (plain, raws) = run(&mut engine, 20.0, &frames);
    assert_eq!(scores, plain.iter().map(|(score, _)| *score).collect::<Vec<_>>());
    assert_eq!((maps.len(), raws.len()), (5, 5));
    for (raw, (frame, map)) in raws.iter().zip(&maps) {
        assert_eq!(raw.frame, *frame);
        let highest = map.iter().copied().fold(f32::MIN, f32::max);
        assert_eq!(f64::from(highest), (raw.local.unwrap() - 10.0) / 4.0);
        // Kind 0 speaks in the first cell; elsewhere but the last nobody does.
        assert_eq!(map[1], (-1000.0 - 10.0) / 4.0);
    }
    assert_eq!(maps[0].1[0], (100.0 - 10.0) / 4.0);
}

#[test]
fn a_model_without_a_local_detector_has_no_maps() {
    let mut engine = engine(Detectors { motion: Some(motion()), ..bare() }, vec![]);
    let mut stream = engine.stream(10.0);
    let mut none = |_: &inference::ScoreMap<'_>| panic!("a map");
    for frame in greys(&[1, 2, 3]) {
        engine.push_with_maps(&mut stream, &frame, &mut |_| {}, &mut none).unwrap();
    }
    engine.finish_with_maps(&mut stream, &mut |_| {}, &mut none).unwrap();
}

#[test]
fn frames_of_another_size_are_resized() {
    let mut engine = engine(
        Detectors {
            local: Some(local()),
            smoothing: SmoothingSpec { sigma: 0.0, radius: 0, lag: 1 },
            ..bare()
        },
        vec![("local", local_graph())],
    );
    let frame = Frame::from_luma(50, 70, &[44; 3500]).unwrap();
    let (scores, _) = run(&mut engine, 10.0, &[frame]);
    assert_eq!(scores[0].0.local, Some(44.0));
}

#[test]
fn snippets_windows_and_the_tail() {
    let mut engine = engine(
        Detectors { semantic: Some(semantic(4, 4)), ..bare() },
        vec![("backbone", backbone_graph(4)), ("head", head_graph())],
    );
    assert_eq!(engine.latency(), 3);
    let levels: Vec<u8> = (1..=14).collect();
    let (scores, _) = run(&mut engine, 10.0, &greys(&levels));
    assert_complete(&scores, 14);
    // Features: 1+2+3+4, 5+6+7+8, 9+..+12, 13+14+14+14. The window has room for three.
    let features = [10.0f32, 26.0, 42.0, 55.0];
    let oldest = [10.0f32, 10.0, 10.0, 26.0];
    for (score, pushed) in &scores {
        let snippet = score.frame as usize / 4;
        let expected = f64::from(features[snippet] + oldest[snippet] / 1000.0);
        assert_eq!(score.semantic, Some(expected), "frame {}", score.frame);
        let complete = if snippet < 3 { 4 * snippet + 4 } else { usize::MAX };
        assert_eq!(*pushed, complete, "frame {}", score.frame);
    }
}

#[test]
fn overlapping_snippets_share_frames() {
    let spec = semantic(4, 2).snippet;
    let mut features = SnippetFeatures::new(&spec);
    let mut backbone = backbone_graph(4);
    let mut found = Vec::new();
    for level in 1..=7 {
        if let Some(f) = features.push(backbone.as_mut(), &grey(level)).unwrap() {
            found.push((level, f[0]));
        }
    }
    while let Some(f) = features.finish(backbone.as_mut()).unwrap() {
        found.push((255, f[0]));
    }
    // 1..4, 3..6, then 5 6 7 7 and 7 7 7 7 at the end.
    assert_eq!(found, [(4, 10.0), (6, 18.0), (255, 25.0), (255, 28.0)]);
    assert_eq!(features.snippets(), 4);

    let mut engine = engine(
        Detectors { semantic: Some(semantic(4, 2)), ..bare() },
        vec![("backbone", backbone_graph(4)), ("head", head_graph())],
    );
    let (scores, _) = run(&mut engine, 10.0, &greys(&[1, 2, 3, 4, 5, 6, 7]));
    assert_complete(&scores, 7);
    let newest = |s: &FrameScore| s.semantic.unwrap().floor();
    let values: Vec<f64> = scores.iter().map(|(s, _)| newest(s)).collect();
    assert_eq!(values, [10.0, 10.0, 18.0, 18.0, 25.0, 25.0, 28.0]);
}

#[test]
fn snippet_tensor_layout_and_normalisation() {
    let mut spec = semantic(2, 2).snippet;
    spec.mean = [10.0, 20.0, 30.0];
    spec.std = [2.0, 4.0, 5.0];
    let mut out = vec![f32::NAN; inference::snippet::len(&spec)];
    for i in 0..2u8 {
        let rgb = [12 + i, 28 + i, 40 + i].repeat(64);
        let frame = Frame::from_rgb(8, 8, rgb).unwrap();
        inference::snippet::fill_frame(&spec, i.into(), &frame, &mut out);
    }
    let planes: Vec<f32> = out.chunks_exact(64).map(|plane| plane[63]).collect();
    assert_eq!(planes, [1.0, 1.5, 2.0, 2.25, 2.0, 2.2]);
}

#[test]
fn all_detectors_together_and_two_streams() {
    let smoothing = SmoothingSpec { sigma: 1.5, radius: 2, lag: 3 };
    let detectors = Detectors {
        local: Some(local()),
        motion: Some(motion()),
        semantic: Some(semantic(4, 3)),
        smoothing,
        ..bare()
    };
    let mut engine = engine(
        detectors,
        vec![("head", head_graph()), ("local", local_graph()), ("backbone", backbone_graph(4))],
    );
    assert_eq!(engine.latency(), 5);
    let frames: Vec<Frame> = (0..61u32).map(|i| grey((i * 37 % 200) as u8)).collect();
    let (alone, raws) = run(&mut engine, 20.0, &frames);
    assert_complete(&alone, 61);
    assert_eq!(raws.len(), 31);
    for (score, pushed) in &alone {
        let sum = score.local.unwrap() + score.motion.unwrap() + score.semantic.unwrap();
        assert!((score.fused - sum).abs() < 1e-9);
        assert!(*pushed == usize::MAX || *pushed <= score.frame as usize + 2 * 5 + 2);
    }
    // Streams that take turns do not see each other.
    let (mut a, mut b) = (engine.stream(20.0), engine.stream(20.0));
    let mut from_a = Vec::new();
    for (i, frame) in frames.iter().enumerate() {
        engine.push(&mut a, frame, &mut |s| from_a.push(*s)).unwrap();
        engine.push(&mut b, &frames[60 - i], &mut |_| {}).unwrap();
    }
    engine.finish(&mut a, &mut |s| from_a.push(*s)).unwrap();
    assert_eq!(from_a, alone.iter().map(|(s, _)| *s).collect::<Vec<_>>());
    let error = engine.push(&mut a, &frames[0], &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::Finished { frame: 61 }));
    let mut more = 0;
    engine.finish(&mut a, &mut |_| more += 1).unwrap();
    assert_eq!(more, 0);
}

#[test]
fn graphs_that_do_not_fit_are_refused_by_name() {
    let detectors = || Detectors {
        local: Some(local()),
        smoothing: SmoothingSpec { sigma: 0.0, radius: 0, lag: 1 },
        ..bare()
    };
    let refused = |graphs| Engine::from_graphs(detectors(), graphs).err().unwrap();
    let error = refused(vec![]);
    assert!(matches!(error, Error::NoGraph { .. }) && error.to_string().contains("`local`"));
    let wrong = FakeGraph::boxed(&[1, 2, HEIGHT, WIDTH], &[1, 2, 4, 8], |_, _| {});
    let error = refused(vec![("local".into(), wrong)]);
    assert!(matches!(error, Error::Shape { .. }), "{error}");
    assert!(error.to_string().contains("[1, 2, 16, 32]"), "{error}");
    let nothing = Engine::from_graphs(bare(), vec![]).err().unwrap();
    assert!(matches!(nothing, Error::Detectors(_)), "{nothing}");
}

#[test]
fn a_value_that_is_not_a_number_stops_the_stream() {
    let broken = FakeGraph::boxed(&[1, 3, HEIGHT, WIDTH], &[1, 2, 4, 8], |_, y| {
        y.fill(f32::NAN);
    });
    let mut engine = engine(
        Detectors {
            local: Some(local()),
            smoothing: SmoothingSpec { sigma: 0.0, radius: 0, lag: 1 },
            ..bare()
        },
        vec![("local", broken)],
    );
    let mut stream = engine.stream(10.0);
    engine.push(&mut stream, &grey(1), &mut |_| {}).unwrap();
    let error = engine.push(&mut stream, &grey(1), &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::NotFinite { detector: "local", frame: 0, .. }), "{error}");
}

#[test]
fn engines_and_streams_can_move_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Engine>();
    is_send::<inference::Stream>();
}
