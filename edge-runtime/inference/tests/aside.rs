//! Snippets computed in a thread of their own, and frames that are not looked at.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use common::*;
use inference::{Detectors, Engine, FrameScore, Graph, Stream};
use model_bundle::manifest::{GridSpec, SemanticSpec, SmoothingSpec};
use video::Frame;

fn engine(detectors: Detectors, graphs: Vec<(&str, Box<dyn Graph>)>) -> Engine {
    let graphs = graphs.into_iter().map(|(name, graph)| (name.to_owned(), graph)).collect();
    Engine::from_graphs(detectors, graphs).unwrap()
}

fn all(semantic: SemanticSpec) -> Detectors {
    Detectors {
        local: Some(local()),
        motion: Some(motion()),
        semantic: Some(semantic),
        smoothing: SmoothingSpec { sigma: 1.5, radius: 3, lag: 4 },
        ..bare()
    }
}

/// Frames of changing level.
fn frames(count: usize) -> Vec<Frame> {
    (0..count).map(|i| grey((i * i * 37 % 251) as u8)).collect()
}

fn aside(engine: &mut Engine) -> Receiver<()> {
    let (sender, receiver) = channel();
    engine
        .compute_aside(
            || {},
            Arc::new(move || {
                let _ = sender.send(());
            }),
        )
        .unwrap();
    receiver
}

/// Scores of frames that are pushed one by one, as a caller does that never lets a push wait.
fn patiently(engine: &mut Engine, woken: &Receiver<()>, frames: &[Frame]) -> Vec<FrameScore> {
    let mut stream = engine.stream(10.0);
    let mut scores = Vec::new();
    let settle = |engine: &mut Engine, stream: &mut Stream, scores: &mut Vec<FrameScore>| {
        while !stream.is_ready() {
            woken.recv_timeout(Duration::from_secs(10)).unwrap();
            engine.collect(stream, &mut |s| scores.push(*s)).unwrap();
        }
    };
    for frame in frames {
        engine.push(&mut stream, frame, &mut |s| scores.push(*s)).unwrap();
        settle(engine, &mut stream, &mut scores);
    }
    engine.end(&mut stream).unwrap();
    settle(engine, &mut stream, &mut scores);
    engine.finish(&mut stream, &mut |s| scores.push(*s)).unwrap();
    assert!(engine.push(&mut stream, &frames[0], &mut |_| {}).is_err());
    scores
}

#[test]
fn scores_are_the_same_to_the_last_bit_in_a_thread_of_their_own() {
    let cells = SemanticSpec { grid: Some(GridSpec { columns: 3, rows: 2 }), ..semantic(4, 3) };
    for (semantic, cells) in
        [(semantic(4, 3), 1), (semantic(6, 6), 1), (semantic(7, 2), 1), (cells, 6)]
    {
        let length = semantic.snippet.frames as usize;
        let features: &[usize] = if cells == 1 { &[1, 1] } else { &[1, cells, 1] };
        let make = || {
            let backbone = FakeGraph::boxed(&[1, 3, length, 8, 8], features, |x, y| {
                for (i, y) in y.iter_mut().enumerate() {
                    *y = x.iter().step_by(64).sum::<f32>().sin() * (i + 1) as f32 / 8.0;
                }
            });
            let head = FakeGraph::boxed(&[cells, 3, 1], &[cells, 3], |x, y| {
                for (x, y) in x.chunks(3).zip(y.chunks_mut(3)) {
                    y.fill(0.5 + (x[2] + x[0] / 7.0 + x[1] / 3.0) / 100.0);
                }
            });
            let graphs = vec![("local", local_graph()), ("backbone", backbone), ("head", head)];
            engine(all(semantic.clone()), graphs)
        };
        for count in [1, 2, 3, 4, 5, 11, 40] {
            let frames = frames(count);
            let here: Vec<FrameScore> =
                run(&mut make(), 10.0, &frames).0.into_iter().map(|(score, _)| score).collect();
            assert_eq!(here.len(), count);
            let mut engine = make();
            let woken = aside(&mut engine);
            let waiting: Vec<FrameScore> =
                run(&mut engine, 10.0, &frames).0.into_iter().map(|(score, _)| score).collect();
            assert_eq!(waiting, here, "{length}, {count}");
            while woken.try_recv().is_ok() {}
            assert_eq!(patiently(&mut engine, &woken, &frames), here, "{length}, {count}");
        }
    }
}

/// An engine whose backbone computes one snippet for each word of the sender.
fn held() -> (Engine, Sender<()>) {
    let (go, wait) = channel::<()>();
    let backbone = FakeGraph::boxed(&[1, 3, 4, 8, 8], &[1, 1], move |x, y| {
        wait.recv_timeout(Duration::from_secs(10)).unwrap();
        y[0] = (0..4).map(|i| x[i * 64]).sum();
    });
    let detectors = Detectors { semantic: Some(semantic(4, 4)), ..bare() };
    (engine(detectors, vec![("backbone", backbone), ("head", head_graph())]), go)
}

#[test]
fn a_long_call_stops_no_other_stream() {
    let (mut engine, go) = held();
    let woken = aside(&mut engine);
    let (mut slow, mut other) = (engine.stream(10.0), engine.stream(10.0));
    slow.go_live();
    other.go_live();
    let mut scores = Vec::new();
    for level in 0..4u8 {
        engine.push(&mut slow, &grey(level), &mut |s| scores.push(*s)).unwrap();
        engine.push(&mut other, &grey(level), &mut |s| scores.push(*s)).unwrap();
    }
    // Both wait for their first snippet, which is not computed, and go on meanwhile.
    for level in 4..12u8 {
        assert!(slow.is_ready() && other.is_ready(), "{level}");
        engine.push(&mut slow, &grey(level), &mut |s| scores.push(*s)).unwrap();
        engine.push(&mut other, &grey(level), &mut |s| scores.push(*s)).unwrap();
    }
    assert_eq!((scores.len(), slow.given_up(), other.given_up()), (0, 2, 2));
    for _ in 0..2 {
        go.send(()).unwrap();
        woken.recv_timeout(Duration::from_secs(10)).unwrap();
    }
    engine.collect(&mut slow, &mut |s| scores.push(*s)).unwrap();
    // The frames of the snippets that were given up have the value of the one before them.
    let values: Vec<_> = scores.iter().map(|s| (s.frame, s.semantic.unwrap() as f32)).collect();
    let first = 6.0 + 6.0 / 1000.0;
    assert_eq!(values, (0..12).map(|frame| (frame, first)).collect::<Vec<_>>());
    // The window has a place for each snippet, given up or not: its oldest is the second now.
    for level in 12..16u8 {
        engine.push(&mut slow, &grey(level), &mut |s| scores.push(*s)).unwrap();
    }
    go.send(()).unwrap();
    woken.recv_timeout(Duration::from_secs(10)).unwrap();
    engine.collect(&mut slow, &mut |s| scores.push(*s)).unwrap();
    assert_eq!(scores.last().unwrap().frame, 15);
    assert_eq!(scores.last().unwrap().semantic.unwrap() as f32, 54.0 + 6.0 / 1000.0);
    drop(go);
}

#[test]
fn a_live_stream_waits_when_too_many_frames_are_owed() {
    let (mut engine, go) = held();
    let woken = aside(&mut engine);
    let mut stream = engine.stream(10.0);
    stream.go_live();
    let mut scores = 0;
    let mut pushed = 0u64;
    while stream.is_ready() {
        engine.push(&mut stream, &grey(1), &mut |_| scores += 1).unwrap();
        pushed += 1;
    }
    assert_eq!((pushed, engine.slack(), scores), (3 + 12, 12, 0));
    go.send(()).unwrap();
    woken.recv_timeout(Duration::from_secs(10)).unwrap();
    engine.collect(&mut stream, &mut |_| scores += 1).unwrap();
    assert!(stream.is_ready());
    for _ in 0..4 {
        go.send(()).unwrap();
    }
    engine.finish(&mut stream, &mut |_| scores += 1).unwrap();
    assert_eq!(scores, pushed);
}

#[test]
fn a_backbone_that_fails_aside_is_an_error_of_its_stream() {
    let backbone = FakeGraph::boxed(&[1, 3, 4, 8, 8], &[1, 1], |x, _| assert!(x[0] < 100.0));
    let detectors = Detectors { semantic: Some(semantic(4, 4)), ..bare() };
    let mut engine = engine(detectors, vec![("backbone", backbone), ("head", head_graph())]);
    let _woken = aside(&mut engine);
    let (mut good, mut bad) = (engine.stream(10.0), engine.stream(10.0));
    for _ in 0..4 {
        engine.push(&mut bad, &grey(200), &mut |_| {}).unwrap();
        engine.push(&mut good, &grey(7), &mut |_| {}).unwrap();
    }
    let error = engine.finish(&mut bad, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("unforeseen"), "{error}");
    let mut scores = 0;
    engine.finish(&mut good, &mut |_| scores += 1).unwrap();
    assert_eq!(scores, 4);
}

#[test]
fn frames_that_are_not_looked_at_have_the_values_before_them_and_time_goes_on() {
    let frames = frames(24);
    let scores = |graph: Box<dyn Graph>, spec, every| -> Vec<(u64, f64)> {
        let smoothing = SmoothingSpec { sigma: 0.0, radius: 0, lag: 1 };
        let detectors = Detectors { local: Some(spec), smoothing, ..bare() };
        let mut engine = engine(detectors, vec![("local", graph)]);
        let mut stream = engine.stream(10.0);
        stream.look_every(every);
        let mut scores = Vec::new();
        let mut emit = |s: &FrameScore| scores.push((s.frame, s.local.unwrap()));
        for frame in &frames {
            engine.push(&mut stream, frame, &mut emit).unwrap();
        }
        engine.finish(&mut stream, &mut emit).unwrap();
        scores
    };
    let full = scores(local_graph(), local(), 1);
    let half = scores(local_graph(), local(), 2);
    let third = scores(local_graph(), local(), 3);
    // The network sees the same past: its values are those of full work at the frames looked at.
    for (i, &(frame, _)) in full.iter().enumerate() {
        assert_eq!(half[i], (frame, full[i - i % 2].1));
        assert_eq!(third[i], (frame, full[i - i % 3].1));
    }
    let (spec, graph) = streaming_local();
    let streaming = scores(graph, spec, 2);
    assert_eq!(streaming.len(), 24);
    assert!(streaming.iter().enumerate().all(|(i, (frame, _))| *frame == i as u64));
}
