//! After its first frames a stream allocates nothing.
#![allow(clippy::unwrap_used)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use common::*;
use inference::{Detectors, Engine, Graph};
use model_bundle::manifest::{GridSpec, LocalSpec, SemanticSpec, SmoothingSpec};
use video::Frame;

/// Counts what is allocated; the test is alone in this program, so all of it is its own.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test for all forms, because two would count each other's allocations.
#[test]
fn the_steady_state_allocates_nothing() {
    let whole = || (local(), local_graph());
    run_steadily(whole(), semantic(4, 3), backbone_graph(4), head_graph());
    let cells = SemanticSpec { grid: Some(GridSpec { columns: 3, rows: 2 }), ..semantic(4, 3) };
    let backbone = FakeGraph::boxed(&[1, 3, 4, 8, 8], &[1, 6, 1], |x, y| y.fill(x[0]));
    let head = FakeGraph::boxed(&[6, 3, 1], &[6, 3], |x, y| y.fill(x[0] / 256.0));
    run_steadily(whole(), cells, backbone, head);
    let semantic = streaming_semantic(4, 3);
    run_steadily(streaming_local(), semantic, streaming_backbone(), head_graph());
}

fn run_steadily(
    local: (LocalSpec, Box<dyn Graph>),
    semantic: SemanticSpec,
    backbone: Box<dyn Graph>,
    head: Box<dyn Graph>,
) {
    let detectors = Detectors {
        local: Some(local.0),
        motion: Some(motion()),
        semantic: Some(semantic),
        smoothing: SmoothingSpec { sigma: 2.0, radius: 5, lag: 8 },
        ..bare()
    };
    let graphs = vec![
        ("local".to_owned(), local.1),
        ("backbone".to_owned(), backbone),
        ("head".to_owned(), head),
    ];
    let mut engine = Engine::from_graphs(detectors, graphs).unwrap();
    let mut stream = engine.stream(20.0);
    // Not the model's size, so that resizing is in it too.
    let frames: Vec<Frame> =
        (0..7u8).map(|i| Frame::from_luma(80, 60, &[i * 30; 4800]).unwrap()).collect();
    let mut scores = 0u64;
    for i in 0..20 {
        engine.push(&mut stream, &frames[i % 7], &mut |_| scores += 1).unwrap();
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for i in 20..220 {
        engine.push(&mut stream, &frames[i % 7], &mut |_| scores += 1).unwrap();
    }
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    engine.finish(&mut stream, &mut |_| scores += 1).unwrap();
    assert_eq!(scores, 220);
    assert_eq!(allocations, 0, "allocations in 200 frames");
}
