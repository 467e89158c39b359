//! Graphs that stream: called with every frame once, their states kept with the stream.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use inference::{Detectors, Engine, Error, FrameScore, Graph, SnippetFeatures};
use model_bundle::manifest::{InitialState, LocalSpec, SemanticSpec, SmoothingSpec, SnippetSpec};
use video::Frame;

/// Snippets for [`backbone`].
fn spec(frames: u32, stride: u32) -> SemanticSpec {
    let semantic = semantic(frames, stride);
    let stream = Some(one_state(&[1, 2], InitialState::Zero));
    SemanticSpec { snippet: SnippetSpec { stream, ..semantic.snippet }, ..semantic }
}

/// The feature of a frame is its first red and 100 times that of the frame before.
fn backbone() -> Box<dyn Graph> {
    FakeStream::boxed(&[1, 3, 8, 8], (&[1, 1], "features"), &[1, 2], |frame, state, y, next| {
        y[0] = frame[0] + 100.0 * state[1];
        next.copy_from_slice(&[f32::NAN, frame[0]]);
    })
}

/// Features of the complete snippets, then of those that the end cut short.
fn features(spec: &SnippetSpec, levels: &[u8]) -> (Vec<f32>, Vec<f32>) {
    let mut snippets = SnippetFeatures::new(spec);
    let mut backbone = backbone();
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
    let (whole, rest) = features(&spec(2, 2).snippet, &levels);
    assert_eq!((whole, rest), (vec![51.5, 253.5, 455.5], vec![607.0]));
    // Snippets 1-4, 3-6; then 5-7 and 7, as far as there are frames.
    let (whole, rest) = features(&spec(4, 2).snippet, &levels);
    assert_eq!((whole, rest), (vec![152.5, 354.5], vec![506.0, 607.0]));
}

#[test]
fn every_stream_begins_anew() {
    let detectors = Detectors { semantic: Some(spec(2, 2)), ..bare() };
    let graphs = vec![("backbone".into(), backbone()), ("head".into(), head_graph())];
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

/// As [`local_graph`], from the newest frame and a ring of the three before it: two back, one ahead.
fn streaming_local() -> (LocalSpec, Box<dyn Graph>) {
    let ring = [1, 3, HEIGHT, WIDTH];
    let stream = one_state(&ring.map(|size| size as u32), InitialState::FirstFrame);
    let pixels = WIDTH * HEIGHT;
    let maps = [1, 2, HEIGHT / 4, WIDTH / 4];
    let compute = move |frame: &[f32], ring: &[f32], y: &mut [f32], next: &mut [f32]| {
        let centre = ring[2 * pixels];
        y.fill(-1000.0);
        y[0] = centre;
        *y.last_mut().unwrap() = (ring[0] - centre) + (frame[0] - centre);
        next[..2 * pixels].copy_from_slice(&ring[pixels..]);
        next[2 * pixels..].copy_from_slice(frame);
    };
    let graph = FakeStream::boxed(&[1, 1, HEIGHT, WIDTH], (&maps, "maps"), &ring, compute);
    (LocalSpec { stream: Some(stream), ..local() }, graph)
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
    let detectors = Detectors { semantic: Some(spec(2, 2)), ..bare() };
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
