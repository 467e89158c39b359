//! The loop with a fake model: the score of a frame is its grey level / 100, two frames late.

use std::sync::Mutex;

use alert_wire::{Alert, Phase};
use inference::FrameScore;
use video::Frame;

use super::*;
use crate::capture::{self, Demand, Next, Stamp};
use crate::clock::ManualClock;
use crate::update::Offer;

struct Fake;

#[derive(Default)]
struct FakeStream {
    waiting: std::collections::VecDeque<f64>,
    frame: u64,
}

impl FakeStream {
    fn emit(&mut self, emit: &mut dyn FnMut(&FrameScore)) {
        if let Some(score) = self.waiting.pop_front() {
            emit(&FrameScore {
                frame: self.frame,
                score,
                fused: 0.0,
                local: None,
                motion: None,
                semantic: None,
                kind: Some(1),
                region: Some(inference::Region { x: 0.5, y: 0.25, width: 0.125, height: 0.25 }),
            });
            self.frame += 1;
        }
    }
}

/// Grey level on which the fake model fails.
const BROKEN: u8 = 255;

impl Scorer for Fake {
    type Stream = FakeStream;

    fn stream(&self, _: f64) -> FakeStream {
        FakeStream::default()
    }

    fn look_only_at(&self, _: &mut FakeStream, _: &Zones) -> bool {
        true
    }

    fn lag(&self) -> u64 {
        2
    }

    fn rate(&self) -> f64 {
        5.0
    }

    fn kinds(&self) -> &[String] {
        static KINDS: Mutex<Option<&'static [String]>> = Mutex::new(None);
        KINDS.lock().unwrap().get_or_insert_with(|| Vec::leak(vec!["slow".into(), "fast".into()]))
    }

    fn push(
        &mut self,
        stream: &mut FakeStream,
        frame: &Frame,
        _: f64,
        emit: &mut dyn FnMut(&FrameScore),
    ) -> Result<bool, inference::Error> {
        let level = frame.rgb()[0];
        if level == BROKEN {
            return Err(inference::Error::Run { graph: "local".into(), reason: "broken".into() });
        }
        stream.waiting.push_back(f64::from(level) / 100.0);
        if stream.waiting.len() > 2 {
            stream.emit(emit);
        }
        Ok(true)
    }

    fn finish(
        &mut self,
        stream: &mut FakeStream,
        emit: &mut dyn FnMut(&FrameScore),
    ) -> Result<(), inference::Error> {
        while !stream.waiting.is_empty() {
            stream.emit(emit);
        }
        Ok(())
    }
}

/// Plays grey levels at ten frames a second; `None` is a gap.
struct Script {
    levels: std::vec::IntoIter<Option<u8>>,
    time: u64,
}

impl FrameSource for Script {
    fn rate(&self) -> f64 {
        10.0
    }

    fn next(
        &mut self,
        frame: &mut Frame,
        _: &mut Demand,
        _: &dyn Fn() -> bool,
    ) -> Result<Next, capture::Error> {
        Ok(match self.levels.next() {
            None => Next::End,
            Some(None) => {
                self.time += 100;
                Next::Gap(None)
            }
            Some(Some(level)) => {
                frame.reshape(16, 8);
                frame.rgb_mut().fill(level);
                let ms = self.time * 100;
                self.time += 1;
                Next::Frame(Stamp { stream: ms as f64 / 1000.0, wall_ms: 7000 + ms, uptime_ms: ms })
            }
        })
    }
}

const RULES: Rules = Rules {
    enter: 0.5,
    exit: 0.3,
    min_duration: 0.15,
    end_after: 0.25,
    cool_down: 0.0,
    update_every: 5.0,
    longest: crate::detection::LONGEST,
    normal_level: 0.0,
};

fn camera(dir: &std::path::Path, id: &str, levels: Vec<Option<u8>>) -> CameraSetup {
    CameraSetup {
        id: id.into(),
        source: Box::new(Script { levels: levels.into_iter(), time: 0 }),
        delivery: Delivery::Lossless,
        rules: RULES,
        scores: Some(ScoreFile::create(&dir.join(format!("{id}.csv"))).unwrap()),
        scene: None,
        zones: Zones::default(),
    }
}

/// Runs cameras to their end; gives the report and the events.
fn run_all(dir: &std::path::Path, cameras: Vec<CameraSetup>) -> (Report, Vec<Alert>) {
    let hub = Arc::new(Hub::new(&vec![Delivery::Lossless; cameras.len()]));
    let mut outputs = Outputs::none();
    outputs.events = Some(EventFile::open(&dir.join("events.jsonl"), false).unwrap());
    outputs.evidence = Some(
        crate::evidence::Evidence::open(&crate::config::EvidenceConfig {
            dir: dir.join("evidence"),
            max_bytes: 1 << 20,
            max_days: None,
            quality: 90,
            draw_region: false,
            clip_before: 0.2,
            clip_after: 0.1,
        })
        .unwrap(),
    );
    let setup = Setup {
        identity: Identity { device: "cam-01".into(), model: Default::default() },
        outputs,
        ids: IncidentIds::Seeded(1),
        clock: Arc::new(ManualClock::new(0)),
        model: ModelStatus::default(),
        status_every: Duration::from_secs(10),
        end_with_sources: true,
        remote: None,
        board: Board::none(),
        life: Life::default(),
    };
    let report = run(cameras, &mut Fake, setup, &hub);
    let text = std::fs::read_to_string(dir.join("events.jsonl")).unwrap();
    let events = text.lines().map(|l| Alert::from_json(l.as_bytes()).unwrap()).collect();
    (report, events)
}

fn levels(text: &str) -> Vec<Option<u8>> {
    text.chars().map(|c| c.to_digit(10).map(|d| d as u8 * 10)).collect()
}

#[test]
fn an_incident_from_frames_to_events() {
    let dir = tempfile::tempdir().unwrap();
    let setup = camera(dir.path(), "door", levels("0005796400000"));
    let (report, events) = run_all(dir.path(), vec![setup]);
    let counts = report.cameras[0].counts;
    assert_eq!((counts.frames, counts.scored, counts.events), (13, 13, 1));
    assert!(report.cameras[0].error.is_none());

    let [new, end] = &events[..] else { panic!("{events:?}") };
    assert_eq!((new.phase, new.first_frame, new.frame, new.peak_frame), (Phase::New, 3, 5, 5));
    assert_eq!((new.started_ms, new.time_ms, new.uptime_ms), (7300, 7500, 500));
    assert_eq!((new.kind.as_str(), new.camera.as_str()), ("fast", "door"));
    assert_eq!((new.score, new.peak_score, new.threshold), (0.9, 0.9, 0.5));
    assert_eq!(new.region.unwrap().x, 0.5);
    assert!(!new.time_synced);
    assert_eq!((end.phase, end.sequence, end.frame, end.duration_ms), (Phase::End, 1, 7, 400));
    assert_eq!(end.started_ms, new.started_ms);
    assert_eq!(end.id, new.id);

    // The picture is of the peak although the score came two frames later.
    let path = dir.path().join("evidence").join(end.snapshot.as_ref().unwrap().as_str());
    let level = image::open(path).unwrap().to_rgb8().get_pixel(0, 0).0[0];
    assert!(level.abs_diff(90) <= 2, "{level}");

    // The clip, complete when the outputs are closed.
    let clip = dir.path().join("evidence").join(end.clip.as_ref().unwrap().as_str());
    drop(report);
    assert_eq!(new.clip, end.clip);
    #[cfg(feature = "ffmpeg")]
    {
        // From 0.1 s (0.2 before frame 3) to 0.8 s (0.1 after frame 7), at ten a second.
        let mut reader = video::Reader::open(&clip).unwrap();
        let (mut frame, mut seen) = (Frame::default(), Vec::new());
        while reader.read(&mut frame).unwrap() {
            seen.push((f32::from(frame.rgb()[0]) / 10.0).round() as u8);
        }
        assert_eq!(seen, [0, 0, 5, 7, 9, 6, 4, 0]);
    }
    #[cfg(not(feature = "ffmpeg"))]
    assert!(clip.exists());

    let csv = std::fs::read_to_string(dir.path().join("door.csv")).unwrap();
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!((rows[0], rows[1], rows[6], rows.len()), ("frame,score", "0,0", "5,0.9", 14));
}

#[test]
fn the_end_of_a_source_ends_its_incident() {
    let dir = tempfile::tempdir().unwrap();
    let (_, events) = run_all(dir.path(), vec![camera(dir.path(), "door", levels("0067899"))]);
    let phases: Vec<Phase> = events.iter().map(|e| e.phase).collect();
    assert_eq!(phases, [Phase::New, Phase::End]);
    assert_eq!((events[1].frame, events[1].peak_frame), (6, 5));
}

#[test]
fn a_gap_ends_an_incident_and_frames_count_on() {
    let dir = tempfile::tempdir().unwrap();
    let script = levels("00777.77700000");
    let (report, events) = run_all(dir.path(), vec![camera(dir.path(), "door", script)]);
    let story: Vec<_> = events.iter().map(|e| (e.phase, e.first_frame, e.frame)).collect();
    assert_eq!(
        story,
        [(Phase::New, 2, 4), (Phase::End, 2, 4), (Phase::New, 5, 7), (Phase::End, 5, 7)]
    );
    assert_ne!(events[0].id, events[2].id);
    assert_eq!(report.cameras[0].counts.scored, 13);
    let csv = std::fs::read_to_string(dir.path().join("door.csv")).unwrap();
    assert!(csv.ends_with("12,0\n"), "{csv}");
}

#[test]
fn a_replay_is_the_same_each_time_whatever_the_other_cameras_do() {
    let mut seen = Vec::new();
    for others in [0, 3, 3] {
        let dir = tempfile::tempdir().unwrap();
        let mut cameras = vec![camera(dir.path(), "door", levels("00577710006660000777"))];
        for i in 0..others {
            cameras.push(camera(dir.path(), &format!("c{i}"), levels("0077777000555500")));
        }
        let (_, events) = run_all(dir.path(), cameras);
        let own: Vec<Alert> = events.into_iter().filter(|e| e.camera == "door").collect();
        seen.push((own, std::fs::read(dir.path().join("door.csv")).unwrap()));
    }
    assert!(seen[0].0.len() >= 4);
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[1], seen[2]);
}

#[test]
fn a_model_that_fails_ends_a_recording_but_not_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let mut broken = levels("00000000");
    broken[3] = Some(BROKEN);
    let cameras =
        vec![camera(dir.path(), "bad", broken), camera(dir.path(), "good", levels("0077700000"))];
    let (report, events) = run_all(dir.path(), cameras);
    let error = report.cameras[0].error.as_ref().unwrap();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().starts_with("camera bad: frame 3: "), "{error}");
    assert_eq!((report.cameras[1].counts.scored, events.len()), (10, 2));
}

#[test]
fn a_light_that_is_switched_is_no_incident() {
    let dir = tempfile::tempdir().unwrap();
    // Every frame is of one grey level, so each step is a change of the whole picture.
    let script = "0".repeat(30) + &"8".repeat(10) + &"0".repeat(10);
    for (scene, incidents) in [(None, 1), (Some(SceneRules::default()), 0)] {
        let setup = CameraSetup { scene, ..camera(dir.path(), "door", levels(&script)) };
        let (report, events) = run_all(dir.path(), vec![setup]);
        assert_eq!(events.iter().filter(|e| e.phase == Phase::New).count(), incidents);
        assert_eq!(report.cameras[0].counts.vetoed > 0, scene.is_some());
    }
}

#[test]
fn a_model_takes_over_between_two_frames() {
    let dir = tempfile::tempdir().unwrap();
    let exchange = Exchange::default();
    // Offered before the first frame, so that the new rules hold from there.
    exchange.offer(Offer {
        scorer: Fake,
        status: ModelStatus { version: "2.0.0".into(), ..ModelStatus::default() },
        id: alert_wire::ModelId { version: alert_wire::truncate("2.0.0"), ..Default::default() },
        rules: vec![Rules { enter: 0.95, ..RULES }],
    });
    let mut script = levels("0006660009999900000");
    script[7] = Some(BROKEN);
    let hub = Arc::new(Hub::new(&[Delivery::Lossless]));
    let mut outputs = Outputs::none();
    let path = dir.path().join("events.jsonl");
    outputs.events = Some(EventFile::open(&path, false).unwrap());
    let setup = Setup {
        identity: Identity { device: "cam-01".into(), model: Default::default() },
        outputs,
        ids: IncidentIds::Seeded(1),
        clock: Arc::new(ManualClock::new(0)),
        model: ModelStatus::default(),
        status_every: Duration::from_secs(10),
        end_with_sources: true,
        remote: None,
        board: Board::none(),
        life: Life::default(),
    };
    let cameras = vec![camera(dir.path(), "door", script)];
    run_exchanging(cameras, &mut Fake, setup, &hub, &exchange);
    assert!(!exchange.is_waiting());
    let (scored, failures) = exchange.counts();
    assert_eq!((scored, failures), (5, 1), "scores of frames 0 to 4 came before the failure");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "", "0.6 is below the new threshold");
}

/// A live camera of 300 frames that counts those it was spared decoding.
struct Live {
    left: u32,
    spared: Arc<std::sync::atomic::AtomicU32>,
}

impl FrameSource for Live {
    fn rate(&self) -> f64 {
        10.0
    }

    fn next(
        &mut self,
        frame: &mut Frame,
        demand: &mut Demand,
        _: &dyn Fn() -> bool,
    ) -> Result<Next, capture::Error> {
        if self.left == 0 {
            return Ok(Next::End);
        }
        self.left -= 1;
        std::thread::sleep(Duration::from_millis(5));
        if !demand.takes(0.1 * f64::from(300 - self.left)) {
            self.spared.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            return Ok(Next::Passed);
        }
        frame.reshape(16, 8);
        Ok(Next::Frame(Stamp::default()))
    }
}

#[test]
fn a_board_that_is_too_hot_watches_nothing_and_says_so() {
    let sensor = boards::simulated::Simulated::new();
    sensor.set_reading(boards::ThermalReading { temperature: 120_000, throttling: true });
    let spared = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let source = Live { left: 300, spared: Arc::clone(&spared) };
    let camera = CameraSetup {
        id: "hot".into(),
        source: Box::new(source),
        delivery: Delivery::Newest,
        rules: RULES,
        scores: None,
        scene: None,
        zones: Zones::default(),
    };
    let setup = Setup {
        identity: Identity { device: "cam-01".into(), model: Default::default() },
        outputs: Outputs::none(),
        ids: IncidentIds::Seeded(1),
        clock: Arc::new(ManualClock::new(0)),
        model: ModelStatus::default(),
        status_every: Duration::from_secs(10),
        end_with_sources: true,
        remote: None,
        board: Board::with_parts(None, None, Some(Box::new(sensor))),
        life: Life::default(),
    };
    let hub = Arc::new(Hub::new(&[Delivery::Newest]));
    let report = run(vec![camera], &mut Fake, setup, &hub);
    // The first frame tells the loop to look at the board; from then on none is wanted.
    let (frames, spared) =
        (report.cameras[0].counts.frames, spared.load(std::sync::atomic::Ordering::Relaxed));
    assert!((1..150).contains(&frames), "{frames} frames were looked at");
    assert!(spared > 150, "{spared} frames were spared");
}
