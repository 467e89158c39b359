//! From frames to a subscriber through a real broker, which dies, and comes back.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use alert_wire::{Alert, Phase};
use tests::broker::{self, Broker};
use tests::subscriber::{Received, Subscriber};
use video::{Frame, Reader};

use crate::common::{Outcome, command, outcome, quoted};
use crate::site::{Site, read_scores, site};

/// What the camera program of one test leaves behind.
struct Rig {
    site: &'static Site,
    folder: PathBuf,
    broker: Broker,
}

impl Rig {
    /// A running broker, or `None` where a part is not installed.
    fn new(name: &str) -> Option<Self> {
        if broker::program().is_none() {
            println!("skipped: mosquitto is not installed");
            return None;
        }
        let site = site()?;
        let folder = site.folder.join(name);
        let broker = Broker::start(&folder.join("broker")).unwrap();
        Some(Self { site, folder, broker })
    }

    fn subscribe(&self) -> Subscriber {
        Subscriber::start(self.broker.port, "pavad/gate", |_| {}).unwrap()
    }

    /// `edge-runtime run` with a camera for each test clip; incidents begin and end as often as
    /// they can, and each frame of one is announced.
    fn run(&self, top: &str) -> Command {
        let path = |name: &str| quoted(&self.folder.join(name));
        let mut text = format!(
            "device = \"gate\"\nexit_when_done = true\nevents_file = {}\nscores_dir = {}\n{top}\n\
             [model]\nbundle = {}\npublic_keys = [{}]\nbackends = [\"ort\"]\n\
             [mqtt]\nhost = \"127.0.0.1\"\nport = {}\n\
             [spool]\ndir = {}\n[evidence]\ndir = {}\n\
             [events]\nenter = 0.5\nexit = 0.49\nmin_duration = 0.0\nend_after = 0.1\n\
             cool_down = 0.0\nupdate_every = 0.1\n",
            path("announced.jsonl"),
            path("scores"),
            quoted(&self.site.bundle()),
            quoted(&self.site.public_key()),
            self.broker.port,
            path("spool"),
            path("evidence"),
        );
        for (name, threshold) in self.site.thresholds() {
            write!(
                text,
                "[[cameras]]\nid = \"{name}\"\nthreshold = {threshold}\n\
                 source = {{ type = \"file\", path = {}, pace = \"fast\" }}\n",
                quoted(&self.site.clip(name))
            )
            .unwrap();
        }
        let config = self.folder.join("edge.toml");
        std::fs::write(&config, text).unwrap();
        let mut run = command("edge-runtime");
        run.args(["run", "--config"]).arg(config);
        run
    }

    /// What the camera program says it has announced.
    fn announced(&self) -> Vec<Alert> {
        let text = std::fs::read_to_string(self.folder.join("announced.jsonl")).unwrap_or_default();
        // The last line may be half written while the program runs.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| Alert::from_json(line.as_bytes()).unwrap()).collect()
    }
}

/// Messages of each camera in order: incident and number.
fn by_camera(alerts: &[Alert]) -> BTreeMap<&str, Vec<(&str, u32)>> {
    let mut cameras: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for alert in alerts {
        cameras.entry(&alert.camera).or_default().push((alert.id.as_str(), alert.sequence));
    }
    cameras
}

/// Each incident is announced, updated and ended, without a gap.
#[track_caller]
fn assert_complete(alerts: &[Alert]) {
    let mut incidents: HashMap<&str, Vec<&Alert>> = HashMap::new();
    for alert in alerts {
        incidents.entry(&alert.id).or_default().push(alert);
    }
    for (id, messages) in incidents {
        let last = messages.len() - 1;
        for (number, message) in messages.iter().enumerate() {
            let phase = match number {
                0 => Phase::New,
                n if n == last => Phase::End,
                _ => Phase::Update,
            };
            assert_eq!((message.sequence as usize, message.phase), (number, phase), "{id}");
        }
        assert!(last > 0, "{id} has no end");
    }
}

/// Everything announced was received, in each camera's order.
#[track_caller]
fn assert_received(announced: &[Alert], received: &Received) {
    assert!(received.malformed.is_empty(), "{:?}", received.malformed);
    assert_eq!(by_camera(announced), by_camera(&received.alerts));
}

#[test]
fn every_event_reaches_a_subscriber() {
    let Some(rig) = Rig::new("delivered") else { return };
    let subscriber = rig.subscribe();
    outcome(&mut rig.run("")).succeeded();
    let announced = rig.announced();
    let received = subscriber.wait(Duration::from_secs(20), |r| {
        r.alerts.len() >= announced.len() && r.availability.last().is_some_and(|a| a == "stopped")
    });
    assert_received(&announced, &received);
    assert_complete(&received.alerts);
    assert_eq!(received.availability, ["online", "stopped"]);
    assert_eq!(received.repeated, 0, "nothing was in the way");
    let status: serde_json::Value =
        serde_json::from_str(received.status.as_deref().unwrap_or_default()).unwrap();
    assert_eq!(status["model"]["name"], "tiny");
    assert_eq!(status["model"]["backend"], "ort");
    assert_eq!(status["model"]["precision"], "int8");

    let cameras: Vec<&str> = by_camera(&announced).into_keys().collect();
    assert_eq!(cameras, ["fall", "run", "throw", "vehicle"], "every clip crosses its threshold");
    for end in announced.iter().filter(|alert| alert.phase == Phase::End) {
        agrees_with_the_scores(&rig, end);
        has_a_picture(&rig, end);
    }
}

/// An incident begins at a frame that reaches the threshold, and its peak is the highest score.
fn agrees_with_the_scores(rig: &Rig, end: &Alert) {
    let scores = read_scores(&rig.folder.join(format!("scores/{}.csv", end.camera)));
    let threshold = rig.site.thresholds()[end.camera.as_str()];
    assert!((f64::from(end.threshold) - threshold).abs() < 1e-6, "{end:?}");
    let [first, last, peak] = [end.first_frame, end.frame, end.peak_frame].map(|f| f as usize);
    assert!(scores[first] >= threshold, "{end:?}");
    assert!(first == 0 || scores[first - 1] < threshold, "{end:?}");
    let highest = scores[first..=last].iter().copied().fold(f64::MIN, f64::max);
    assert_eq!(scores[peak], highest, "{end:?}");
    assert!((f64::from(end.peak_score) - highest).abs() < 1e-6, "{end:?}");
}

fn has_a_picture(rig: &Rig, end: &Alert) {
    let name = end.snapshot.as_ref().unwrap_or_else(|| panic!("no picture: {end:?}"));
    let path = rig.folder.join("evidence").join(name.as_str());
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(bytes.starts_with(&[0xff, 0xd8, 0xff]), "{} is no JPEG", path.display());
    let mut reader = Reader::open(path.parent().unwrap()).unwrap();
    let mut frame = Frame::default();
    assert!(reader.read(&mut frame).unwrap());
    assert_eq!((frame.width(), frame.height()), (160, 120));
}

#[test]
fn a_broker_that_is_killed_and_restarted_loses_nothing() {
    let Some(mut rig) = Rig::new("killed") else { return };
    let subscriber = rig.subscribe();
    let log = rig.folder.join("run.log");
    let mut child =
        rig.run("").stdout(Stdio::null()).stderr(File::create(&log).unwrap()).spawn().unwrap();
    let before = subscriber.wait(Duration::from_secs(60), |r| !r.alerts.is_empty()).alerts.len();
    assert!(before > 0, "no event: {}", std::fs::read_to_string(&log).unwrap_or_default());
    // A broker that dies loses what it has acknowledged and not yet passed on; that is its loss,
    // not the camera's. So the camera holds its breath until the broker has passed on all it has.
    signal(&child, "-STOP");
    std::thread::sleep(Duration::from_millis(500));
    let at_kill = rig.announced().len();
    rig.broker.kill();
    signal(&child, "-CONT");
    let deadline = Instant::now() + Duration::from_secs(20);
    while rig.announced().len() < at_kill + 10 {
        assert!(Instant::now() < deadline, "nothing was announced while the broker was away");
        std::thread::sleep(Duration::from_millis(5));
    }
    rig.broker.restart().unwrap();
    let ended = Outcome {
        code: wait(&mut child, Duration::from_secs(90)),
        stdout: String::new(),
        stderr: std::fs::read_to_string(&log).unwrap(),
    };
    ended.succeeded();
    let announced = rig.announced();
    let received = subscriber.wait(Duration::from_secs(30), |r| r.alerts.len() >= announced.len());
    assert_received(&announced, &received);
    assert_complete(&received.alerts);
    assert!(received.availability.iter().filter(|a| *a == "online").count() >= 2);
}

#[test]
fn events_wait_for_a_broker_until_the_next_run() {
    let Some(mut rig) = Rig::new("away") else { return };
    rig.broker.kill();
    let spool = rig.folder.join("spool").display().to_string();
    outcome(&mut rig.run("drain_timeout = 0")).failed(
        "edge-runtime",
        4,
        &["events are still in", &spool],
    );
    let first_run = rig.announced();
    assert_complete(&first_run);
    assert!(!first_run.is_empty());

    rig.broker.restart().unwrap();
    let subscriber = rig.subscribe();
    outcome(&mut rig.run("")).succeeded();
    let announced = rig.announced();
    assert!(announced.len() > first_run.len(), "the second run announces its own");
    let received = subscriber.wait(Duration::from_secs(20), |r| r.alerts.len() >= announced.len());
    assert_received(&announced, &received);
    // In order for each camera; cameras take turns.
    for camera in first_run.iter().map(|alert| &alert.camera) {
        let of = |alerts: &[Alert]| -> Vec<_> {
            let own = alerts.iter().filter(|a| a.camera == *camera);
            own.map(|a| (a.id.clone(), a.sequence)).collect()
        };
        let (waited, came) = (of(&first_run), of(&received.alerts));
        assert_eq!(came[..waited.len()], waited, "what waited longest comes first");
    }
}

fn signal(child: &Child, signal: &str) {
    let kill = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(kill.success(), "the program has ended");
}

/// The exit code, within a time limit.
fn wait(child: &mut Child, limit: Duration) -> Option<i32> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("the program did not end within {} s", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
