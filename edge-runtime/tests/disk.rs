//! A disk that blocks every write: a file system of its own, frozen as a dying card or a hung controller
//! would leave it.
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

mod common;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Broker, Maker, Running, command, free_port, subscribe_keys};
use serde_json::Value;

/// A small file system that can be stopped.
struct Disk {
    at: PathBuf,
    frozen: bool,
}

impl Disk {
    /// `None`, and a message, where none can be made.
    fn make(dir: &Path) -> Option<Self> {
        let (image, at) = (dir.join("image"), dir.join("disk"));
        std::fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
        std::fs::create_dir(&at).unwrap();
        let run = |program: &str, words: &[&std::ffi::OsStr]| {
            let said = Command::new(program).args(words).output();
            match said {
                Ok(said) if said.status.success() => Ok(()),
                Ok(said) => Err(String::from_utf8_lossy(&said.stderr).trim().to_owned()),
                Err(e) => Err(format!("{program}: {e}")),
            }
        };
        let made = run("mkfs.ext4", &["-q".as_ref(), image.as_ref()]).and_then(|()| {
            run("mount", &["-o".as_ref(), "loop".as_ref(), image.as_ref(), at.as_ref()])
        });
        if let Err(e) = made {
            println!(
                "skipped: no file system that could be frozen ({e}); it takes root, loop devices and ext4"
            );
            return None;
        }
        let disk = Self { at, frozen: false };
        if !disk.tell("-f") || !disk.tell("-u") {
            println!("skipped: fsfreeze cannot be used");
            return None;
        }
        Some(disk)
    }

    fn tell(&self, how: &str) -> bool {
        let mut command = Command::new("fsfreeze");
        command.arg(how).arg(&self.at).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    fn freeze(&mut self) {
        assert!(self.tell("-f"));
        self.frozen = true;
    }

    fn thaw(&mut self) {
        assert!(self.tell("-u"));
        self.frozen = false;
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.frozen {
            self.tell("-u");
        }
        for _ in 0..50 {
            if Command::new("umount")
                .arg(&self.at)
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|s| s.success())
            {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn status(port: u16) -> Value {
    let url = format!("http://127.0.0.1:{port}/api/status");
    let text = ureq::get(url).call().and_then(|mut answer| answer.body_mut().read_to_string());
    text.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null)
}

#[test]
fn a_disk_that_stands_still_stops_neither_siren_nor_frames_and_loses_no_event() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut disk) = Disk::make(dir.path()) else { return };
    let Some(broker) = Broker::start(dir.path(), 0) else { return };
    let received = subscribe_keys(broker.port, "pavad/cam-01/events/door");
    let maker = Maker::new();
    std::fs::write(dir.path().join("model.pavad"), maker.bundle("1.0.0", 1, "any")).unwrap();
    common::clip(&dir.path().join("clip"), 40, 10..30);
    let port = free_port();
    let text = format!(
        "device = \"cam-01\"\nboard = \"development-host\"\ntelemetry_every = 1\nstate_dir = \"disk/state\"\n\
         scores_dir = \"disk/scores\"\nevents_file = \"disk/events.jsonl\"\n\
         [model]\nbundle = \"model.pavad\"\npublic_keys = [\"{}\"]\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {}\n[spool]\ndir = \"disk/spool\"\n\
         [evidence]\ndir = \"disk/evidence\"\nclip_before = 0.5\nclip_after = 0.2\n\
         [web]\nlisten = \"127.0.0.1:{port}\"\n\
         [[cameras]]\nid = \"door\"\nsource = {{ type = \"images\", path = \"clip\", at_end = \"loop\" }}\n",
        maker.key(),
        broker.port
    );
    std::fs::write(dir.path().join("edge.toml"), text).unwrap();
    let mut program = command(dir.path());
    let program = program.args(["run", "--config", "edge.toml"]).stderr(Stdio::piped());
    let mut run = Running::start(program);
    // Each line of the log with the moment at which it came.
    let lines: Arc<Mutex<Vec<(Instant, String)>>> = Arc::default();
    let (own, log) = (Arc::clone(&lines), run.0.stderr.take().unwrap());
    std::thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            own.lock().unwrap().push((Instant::now(), line));
        }
    });
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        let until = Instant::now() + Duration::from_secs(30);
        while !done() {
            let log = lines.lock().unwrap();
            assert!(Instant::now() < until, "{what}: {log:?}");
            drop(log);
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let count = |part: &str| lines.lock().unwrap().iter().filter(|(_, l)| l.contains(part)).count();
    wait("a first incident", &|| count(" End: ") == 1);
    let frames = || status(port)["cameras"][0]["frames_total"].as_u64().unwrap();

    disk.freeze();
    let (frozen, before) = (Instant::now(), frames());
    // A command is remembered on the disk, too: it must not stop anything.
    let arm = format!("http://127.0.0.1:{port}/api/cameras/door/threshold");
    ureq::post(arm).header("X-Pavad", "1").send("0.6").unwrap();
    std::thread::sleep(Duration::from_secs(10));
    let (after, seconds) = (frames(), frozen.elapsed().as_secs_f64());
    let rate = (after - before) as f64 / seconds;
    assert!(rate > 9.0, "{rate} frames a second of 10 while the disk stands still");
    let status = status(port);
    assert_eq!(status["cameras"][0]["threshold"], 0.6);
    assert!(
        status["files"]["waiting"].as_u64().unwrap() > 0,
        "nothing waits for the disk: {status}"
    );
    disk.thaw();
    let thawed = Instant::now();

    // The clip begins anew every four seconds, and its frame 13 is the one at which an incident is decided.
    let log = lines.lock().unwrap().clone();
    let origin = log.iter().find(|(_, l)| l.contains("camera door is running")).unwrap().0;
    let mut late = Vec::new();
    for (at, _) in
        log.iter().filter(|(at, l)| l.contains("alarm on") && (frozen..thawed).contains(at))
    {
        let stream = at.duration_since(origin).as_secs_f64();
        late.push((stream % 4.0) - 1.3);
    }
    println!("siren after the decision, in seconds, with the disk standing still: {late:.3?}");
    assert!(late.len() >= 2, "no siren: {log:?}");
    assert!(late.iter().all(|late| (-0.2..0.1).contains(late)), "{late:?}");

    run.signal("-TERM");
    assert!(run.0.wait().unwrap().success());
    let announced = std::fs::read_to_string(disk.at.join("events.jsonl")).unwrap();
    let announced: Vec<_> = announced
        .lines()
        .map(|line| common::key(&alert_wire::Alert::from_json(line.as_bytes()).unwrap()))
        .collect();
    assert!(announced.len() >= 6, "{announced:?}");
    let mut arrived = Vec::new();
    while let Ok(key) = received.recv_timeout(Duration::from_secs(2)) {
        arrived.push(key);
    }
    for key in &announced {
        assert!(arrived.contains(key), "{key:?} has not arrived: {arrived:?}");
    }
    let news = lines.lock().unwrap().iter().filter(|(_, l)| l.contains(" New: ")).count();
    assert_eq!(announced.iter().filter(|(_, sequence)| *sequence == 0).count(), news);
}
