//! Graphs that stream: called with every frame once, their states kept with the stream.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use inference::{Detectors, Engine, Error, FrameScore, Graph, SnippetFeatures};
use model_bundle::manifest::{SmoothingSpec, SnippetSpec};
use video::Frame;

/// Features of the complete snippets, then of those that the end cut short.
fn features(spec: &SnippetSpec, levels: &[u8]) -> (Vec<f32>, Vec<f32>) {
    let mut snippets = SnippetFeatures::new(spec);
    let mut backbone = streaming_backbone();
    let (mut whole, mut rest) = (Vec::new(), Vec::new());
    for &level in levels {
        whole.extend(snippets.push(backbone.as_mut(), &grey(level)).unwrap().map(|f| f[0]));
    }
    while let Some(features) = snippets.finish(backbone.as_mut()).unwrap() {
        rest.push(features[0]);
    }
    (whole, rest)
}

#[test]
fn a_snippet_is_the_mean_of_its_frames_and_the_state_goes_on() {
    // Frames give 1, 102, 203, 304, 405, 506, 607.
    let levels = [1, 2, 3, 4, 5, 6, 7];
    let (whole, rest) = features(&streaming_semantic(2, 2).snippet, &levels);
    assert_eq!((whole, rest), (vec![51.5, 253.5, 455.5], vec![607.0]));
    // Snippets 1-4, 3-6; then 5-7 and 7, as far as there are frames.
    let (whole, rest) = features(&streaming_semantic(4, 2).snippet, &levels);
    assert_eq!((whole, rest), (vec![152.5, 354.5], vec![506.0, 607.0]));
}

#[test]
fn every_stream_begins_anew() {
    let detectors = Detectors { semantic: Some(streaming_semantic(2, 2)), ..bare() };
    let graphs = vec![("backbone".into(), streaming_backbone()), ("head".into(), head_graph())];
    let mut engine = Engine::from_graphs(detectors, graphs).unwrap();
    let frames: Vec<Frame> = [1, 2, 3, 4, 5].map(grey).into();
    let (alone, _) = run(&mut engine, 10.0, &frames);
    let newest: Vec<f64> = alone.iter().map(|(s, _)| s.semantic.unwrap()).collect();
    let oldest = f64::from(51.5f32 / 1000.0);
    for (found, expected) in newest.iter().zip([51.5, 51.5, 253.5, 253.5, 405.0]) {
        assert!((found - expected - oldest).abs() < 1e-3, "{newest:?}");
    }
    // Streams that take turns on one graph do not see each other's states.
    let (mut a, mut b) = (engine.stream(10.0), engine.stream(10.0));
    let mut from_a: Vec<FrameScore> = Vec::new();
    for (i, frame) in frames.iter().enumerate() {
        engine.push(&mut b, &frames[4 - i], &mut |_| {}).unwrap();
        engine.push(&mut a, frame, &mut |s| from_a.push(*s)).unwrap();
    }
    engine.finish(&mut a, &mut |s| from_a.push(*s)).unwrap();
    assert_eq!(from_a, alone.iter().map(|(s, _)| *s).collect::<Vec<_>>());
}

#[test]
fn a_local_graph_with_its_own_frames_scores_as_one_that_takes_stacks() {
    let smoothing = SmoothingSpec { sigma: 0.0, radius: 0, lag: 1 };
    let (spec, graph) = streaming_local();
    let mut results = [(local(), local_graph()), (spec, graph)].map(|(spec, graph)| {
        let detectors = Detectors { local: Some(spec), smoothing: smoothing.clone(), ..bare() };
        let mut engine = Engine::from_graphs(detectors, vec![("local".into(), graph)]).unwrap();
        // Also streams so short that the frame ahead is always missing.
        [7, 2, 1].map(|length| {
            let frames: Vec<Frame> =
                (0..length).map(|i: u32| grey((i * 37 % 200) as u8 + 10)).collect();
            run(&mut engine, 10.0, &frames)
        })
    });
    let streaming = results[1].each_mut().map(std::mem::take);
    assert_eq!(results[0], streaming);
    assert_eq!(streaming[0].0.len(), 7);
    // The second map wins where a difference is larger than the level.
    assert!(streaming[0].0.iter().any(|(score, _)| score.kind == Some(1)));
}

#[test]
fn a_graph_with_other_states_than_described_is_refused() {
    let detectors = Detectors { semantic: Some(streaming_semantic(2, 2)), ..bare() };
    let refused = |backbone: Box<dyn Graph>| {
        let graphs = vec![("backbone".into(), backbone), ("head".into(), head_graph())];
        Engine::from_graphs(detectors.clone(), graphs).err().unwrap()
    };
    for (graph, what) in [
        (backbone_graph(2), "`in`"),
        (
            FakeStream::boxed(&[1, 3, 8, 8], (&[1, 1], "features"), &[1, 3], |_, _, _, _| {}),
            "[1, 3]",
        ),
        (FakeStream::boxed(&[1, 3, 8, 8], (&[1, 1], "other"), &[1, 2], |_, _, _, _| {}), "`other`"),
    ] {
        let error = refused(graph);
        assert!(matches!(error, Error::Shape { .. }), "{error}");
        assert!(
            error.to_string().contains("`backbone`") && error.to_string().contains(what),
            "{error}"
        );
    }
}
