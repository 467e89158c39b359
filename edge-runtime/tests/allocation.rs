//! From a camera's buffer to the score nothing is allocated, once the first frames have gone through:
//! conversion, queue, scene checks, the picture ring, the feed of clips, all three detectors, smoothing,
//! event rules. Graphs are computed in Rust here; what a backend allocates inside is its own. So is what
//! the JPEG decoder does for a camera that sends MJPEG, and the worker that compresses clips.
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

#[path = "common/constant.rs"]
mod constant;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use constant::Constant;
use edge_runtime::capture::{self, Delivery, PixelFormat, Stamp, to_rgb};
use edge_runtime::clock::ManualClock;
use edge_runtime::config::EvidenceConfig;
use edge_runtime::detection::{IncidentIds, Rules};
use edge_runtime::engine::{Camera, Context, Hub, Identity, Item, Outputs, Work};
use edge_runtime::evidence::Evidence;
use edge_runtime::scene::SceneRules;
use edge_runtime::zones::Zones;
use inference::Engine;
use model_bundle::manifest::{
    Calibration, Detectors, EventSpec, InputSpec, LocalSpec, MotionSpec, SemanticSpec,
    SmoothingSpec, SnippetSpec, ZScore,
};
use video::Frame;

thread_local! {
    /// What this thread has allocated; other threads (the worker of clips) count for themselves.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending has no counter any more, and is not the one that is looked at.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn engine() -> Engine {
    let z = ZScore { mean: 0.0, std: 1.0 };
    let (width, height) = (128, 96);
    let detectors = Detectors {
        input: InputSpec { width, height, frame_rate: 10.0 },
        local: Some(LocalSpec {
            stream: None,
            graph: "local".into(),
            offsets: vec![-2, 1],
            mean: 0.0,
            std: 1.0,
            diff_scale: 1.0,
            map_stride: 4,
            pool: 3,
            kinds: vec!["fast".into(), "bike".into()],
            z,
            weight: 1.0,
        }),
        motion: Some(MotionSpec { box_size: 8, epsilon: 0.5, z, weight: 0.1, excess_over: None }),
        semantic: Some(SemanticSpec {
            backbone: "backbone".into(),
            head: "head".into(),
            snippet: SnippetSpec {
                stream: None,
                frames: 4,
                stride: 3,
                width: 32,
                height: 32,
                mean: [0.0; 3],
                std: [1.0; 3],
            },
            feature_size: 1,
            window: 3,
            grid: None,
            z,
            weight: 1.0,
            excess_over: None,
        }),
        smoothing: SmoothingSpec { sigma: 2.0, radius: 5, lag: 8 },
        // So high that no incident begins: one is announced, which allocates.
        calibration: Calibration {
            threshold: 100.0,
            scale: 1.0,
            false_alarms_per_hour: 1.0,
            normal: None,
        },
        events: EventSpec {
            enter: 0.5,
            exit: 0.4,
            min_duration: 0.0,
            end_after: 1.0,
            cool_down: 1.0,
        },
    };
    let graphs = vec![
        (
            "local".to_owned(),
            Constant::boxed(&[1, 3, 96, 128], &[1, 2, 24, 32], 0.5, Duration::ZERO),
        ),
        ("backbone".to_owned(), Constant::boxed(&[1, 3, 4, 32, 32], &[1, 1], 0.5, Duration::ZERO)),
        ("head".to_owned(), Constant::boxed(&[1, 3, 1], &[1, 3], 0.5, Duration::ZERO)),
    ];
    Engine::from_graphs(detectors, graphs).unwrap()
}

const WIDTH: usize = 640;
const HEIGHT: usize = 480;

/// Buffers as a driver fills them: seven pictures with structure, each another one.
fn buffers(format: PixelFormat) -> Vec<Vec<u8>> {
    let luma = |i: usize, x: usize, y: usize| (60 + (x / 16 * 7 + y / 16 * 5 + i) % 11 * 12) as u8;
    let picture = |i: usize| match format {
        PixelFormat::Yuyv => {
            (0..WIDTH * HEIGHT).flat_map(|at| [luma(i, at % WIDTH, at / WIDTH), 128]).collect()
        }
        PixelFormat::Nv12 => {
            let mut bytes: Vec<u8> =
                (0..WIDTH * HEIGHT).map(|at| luma(i, at % WIDTH, at / WIDTH)).collect();
            bytes.resize(WIDTH * HEIGHT * 3 / 2, 128);
            bytes
        }
        PixelFormat::Mjpeg => {
            let grey: Vec<u8> =
                (0..WIDTH * HEIGHT).map(|at| luma(i, at % WIDTH, at / WIDTH)).collect();
            video::encode_jpeg(&Frame::from_luma(WIDTH, HEIGHT, &grey).unwrap(), 80).unwrap()
        }
    };
    (0..7).map(picture).collect()
}

/// Allocations in 1000 frames: of the conversion, and of everything after it.
fn steadily(format: PixelFormat) -> (u64, u64) {
    let dir = tempfile::tempdir().unwrap();
    let evidence = Evidence::open(&EvidenceConfig {
        dir: dir.path().into(),
        max_bytes: 1 << 20,
        max_days: None,
        quality: 80,
        draw_region: true,
        clip_before: 1.0,
        clip_after: 1.0,
    })
    .unwrap();
    let mut engine = engine();
    let rules = Rules {
        enter: 0.5,
        exit: 0.4,
        min_duration: 0.2,
        end_after: 1.0,
        cool_down: 0.0,
        update_every: 5.0,
        longest: edge_runtime::detection::LONGEST,
        normal_level: 0.0,
    };
    let feed = evidence.feed(0, "door", 2.0, false);
    let mut camera = Camera::new(0, "door", rules, 20.0, true, None, &engine)
        .watching(Some(SceneRules::default()), Zones::default())
        .recording(feed);
    let mut outputs = Outputs::none();
    outputs.evidence = Some(evidence);
    let identity = Identity { device: "a".into(), model: Default::default() };
    let (mut ids, clock) = (IncidentIds::Seeded(1), ManualClock::new(0));
    let hub = Hub::new(&[Delivery::Newest]);
    let buffers = buffers(format);
    let (mut converting, mut scoring) = (0, 0);
    for number in 0..1100usize {
        let (before, stream) = (ALLOCATIONS.get(), number as f64 / 20.0);
        let ms = (stream * 1000.0) as u64;
        let mut frame = hub.spare(0);
        let buffer = &buffers[number % buffers.len()];
        let layout = capture::Layout::plain(format, WIDTH, HEIGHT, 0);
        to_rgb(&layout, buffer, &mut frame).unwrap();
        let converted = ALLOCATIONS.get();
        hub.push(0, Item::Frame(frame, Stamp { stream, wall_ms: ms, uptime_ms: ms }));
        let Some(Work::Camera(0, Item::Frame(frame, stamp))) = hub.pop(0, &[true], Duration::ZERO)
        else {
            panic!("no frame")
        };
        let mut context =
            Context { outputs: &mut outputs, identity: &identity, ids: &mut ids, clock: &clock };
        camera.frame(&mut engine, &frame, stamp, &mut context).unwrap();
        hub.give_back(0, frame);
        // Buffers, rings and windows fill up in the first hundred.
        if number >= 100 {
            converting += converted - before;
            scoring += ALLOCATIONS.get() - converted;
        }
    }
    let counts = camera.counts();
    assert_eq!((counts.frames, counts.events), (1100, 0));
    assert!(counts.scored > 1000, "{counts:?}");
    (converting, scoring)
}

#[test]
fn nothing_is_allocated_from_the_buffer_to_the_score() {
    for format in [PixelFormat::Yuyv, PixelFormat::Nv12] {
        assert_eq!(steadily(format), (0, 0), "{format:?}: allocations in 1000 frames");
    }
    let (converting, scoring) = steadily(PixelFormat::Mjpeg);
    assert_eq!(scoring, 0, "allocations after the JPEG decoder");
    // The decoder makes its tables anew for each picture, and no more of them for the last.
    assert!(converting > 0 && converting < 200_000, "{converting} in the JPEG decoder");
    println!("MJPEG: {} allocations a frame in the decoder", converting / 1000);
}
