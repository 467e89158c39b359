//! Several live cameras on one model whose semantic detector takes long for a snippet.
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

#[path = "common/constant.rs"]
mod constant;

use std::sync::Arc;
use std::time::{Duration, Instant};

use constant::Constant;
use edge_runtime::board::Board;
use edge_runtime::capture::{self, Delivery, Demand, FrameSource, Next, Stamp};
use edge_runtime::clock::SystemClock;
use edge_runtime::detection::{IncidentIds, LONGEST, Rules};
use edge_runtime::engine::{
    self, CameraSetup, Hub, Identity, Life, ModelStatus, Outputs, Report, Setup,
};
use edge_runtime::web::Live;
use edge_runtime::zones::Zones;
use inference::{Engine, Graph};
use model_bundle::manifest::{
    Calibration, Detectors, EventSpec, InputSpec, LocalSpec, SemanticSpec, SmoothingSpec,
    SnippetSpec, ZScore,
};
use serde_json::Value;
use video::Frame;

/// Frames of a snippet, and of the time between two.
const SNIPPET: u32 = 8;

/// A graph that takes its time.
fn slow(input: &[usize], output: &[usize], time: Duration) -> Box<dyn Graph> {
    Constant::boxed(input, output, 0.25, time)
}

fn model(local: Duration, backbone: Duration) -> Engine {
    let z = ZScore { mean: 0.0, std: 1.0 };
    let detectors = Detectors {
        input: InputSpec { width: 32, height: 32, frame_rate: 10.0 },
        local: Some(LocalSpec {
            stream: None,
            graph: "local".into(),
            offsets: vec![-1],
            mean: 0.0,
            std: 1.0,
            diff_scale: 1.0,
            map_stride: 4,
            pool: 1,
            kinds: vec!["fast".into()],
            z,
            weight: 1.0,
        }),
        motion: None,
        semantic: Some(SemanticSpec {
            backbone: "backbone".into(),
            head: "head".into(),
            snippet: SnippetSpec {
                stream: None,
                frames: SNIPPET,
                stride: SNIPPET,
                width: 16,
                height: 16,
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
        smoothing: SmoothingSpec { sigma: 0.0, radius: 0, lag: 0 },
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
        ("local".to_owned(), slow(&[1, 2, 32, 32], &[1, 1, 8, 8], local)),
        ("backbone".to_owned(), slow(&[1, 3, 8, 16, 16], &[1, 1], backbone)),
        ("head".to_owned(), slow(&[1, 3, 1], &[1, 3], Duration::ZERO)),
    ];
    Engine::from_graphs(detectors, graphs).unwrap()
}

/// A camera of ten frames a second that waits for nobody.
struct Metronome {
    started: Instant,
    given: u32,
    frames: u32,
}

impl FrameSource for Metronome {
    fn rate(&self) -> f64 {
        10.0
    }

    fn next(
        &mut self,
        frame: &mut Frame,
        _: &mut Demand,
        _: &dyn Fn() -> bool,
    ) -> Result<Next, capture::Error> {
        if self.given == self.frames {
            return Ok(Next::End);
        }
        let due = self.started + Duration::from_millis(100) * self.given;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        frame.reshape(32, 32);
        frame.rgb_mut().fill((self.given % 200) as u8);
        let ms = u64::from(self.given) * 100;
        self.given += 1;
        Ok(Next::Frame(Stamp { stream: ms as f64 / 1000.0, wall_ms: ms, uptime_ms: ms }))
    }
}

/// Four cameras for so many frames each; what became of them, and the newest status before their end.
fn four(mut engine: Engine, frames: u32) -> (Report, Value) {
    let started = Instant::now() + Duration::from_millis(100);
    let rules = Rules {
        enter: 0.9,
        exit: 0.8,
        min_duration: 0.0,
        end_after: 1.0,
        cool_down: 0.0,
        update_every: 5.0,
        longest: LONGEST,
        normal_level: 0.0,
    };
    let camera = |number: u32| CameraSetup {
        id: format!("c{number}"),
        source: Box::new(Metronome { started, given: 0, frames }),
        delivery: Delivery::Newest,
        rules,
        scores: None,
        scene: None,
        zones: Zones::default(),
    };
    let live = Arc::new(Live::new(4));
    let mut outputs = Outputs::none();
    outputs.live = Some(Arc::clone(&live));
    let setup = Setup {
        identity: Identity { device: "cam-01".into(), model: Default::default() },
        outputs,
        ids: IncidentIds::Seeded(1),
        clock: Arc::new(SystemClock::new()),
        model: ModelStatus::default(),
        status_every: Duration::from_secs(10),
        end_with_sources: true,
        board: Board::none(),
        remote: None,
        life: Life::default(),
    };
    let hub = Arc::new(Hub::new(&[Delivery::Newest; 4]));
    let last = Duration::from_millis(100) * frames.saturating_sub(5);
    let watching = std::thread::spawn(move || {
        std::thread::sleep((started + last).saturating_duration_since(Instant::now()));
        serde_json::from_str(&live.status()).unwrap()
    });
    let report = engine::run((0..4).map(camera).collect(), &mut engine, setup, &hub);
    (report, watching.join().unwrap())
}

#[test]
fn no_camera_drops_a_frame_because_of_anothers_long_call() {
    // Four calls of 0.15 s in 0.8 s: the machine carries it, but each call is longer than a frame.
    let (report, status) = four(model(Duration::from_millis(2), Duration::from_millis(150)), 80);
    for (camera, told) in report.cameras.iter().zip(status["cameras"].as_array().unwrap()) {
        assert_eq!((camera.counts.frames, camera.counts.scored, camera.dropped), (80, 80, 0));
        assert_eq!((camera.counts.given_up, told["missed_total"].as_u64()), (0, Some(0)), "{told}");
        assert_eq!((&told["overloaded"], &told["looks_every"]), (&false.into(), &1.into()));
    }
    assert_eq!(status["overloaded"], false);
}

#[test]
fn snippets_that_the_machine_does_not_carry_are_given_up_evenly_and_it_says_so() {
    // Four calls of 0.4 s in 0.8 s: half of them.
    let (report, status) = four(model(Duration::from_millis(2), Duration::from_millis(400)), 120);
    let given_up: Vec<u64> = report.cameras.iter().map(|c| c.counts.given_up).collect();
    let (least, most) = (given_up.iter().min().unwrap(), given_up.iter().max().unwrap());
    assert!(*least >= 4 && most - least <= 3, "{given_up:?}");
    for (camera, told) in report.cameras.iter().zip(status["cameras"].as_array().unwrap()) {
        // Frames go on, and each has its score.
        assert_eq!((camera.counts.frames, camera.counts.scored, camera.dropped), (120, 120, 0));
        assert_eq!(told["overloaded"], true, "{told}");
    }
    assert_eq!(status["overloaded"], true);
}

#[test]
fn frames_that_the_machine_does_not_carry_are_given_up_evenly_and_it_says_so() {
    // 40 frames a second at 40 ms each: 1.6 s of work a second, of which half fits, or less where the
    // machine has other work.
    let (report, status) = four(model(Duration::from_millis(40), Duration::from_millis(20)), 150);
    let cameras = status["cameras"].as_array().unwrap();
    let every = cameras[0]["looks_every"].as_u64().unwrap();
    assert!([2, 4, 8].contains(&every), "{status}");
    for (camera, told) in report.cameras.iter().zip(cameras) {
        assert_eq!((&told["overloaded"], &told["looks_every"]), (&true.into(), &every.into()));
        assert_eq!(camera.counts.frames, camera.counts.scored);
        // Until enough was given up frames were dropped; half of all, had nothing been.
        assert!((5..60).contains(&camera.dropped), "{}", camera.dropped);
    }
    let dropped: Vec<u64> = report.cameras.iter().map(|camera| camera.dropped).collect();
    let (least, most) = (dropped.iter().min().unwrap(), dropped.iter().max().unwrap());
    assert!(most - least <= most / 2, "{dropped:?}");
}
