//! The stages: each runs one of the programs that users run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use tests::broker::Broker;
use tests::programs;
use tests::subscriber::{Received, Subscriber};

use crate::{Args, PLAZA};

/// The device's name, and with it the root of its topics.
const DEVICE: &str = "demo";

/// Training for the procedural scene: a light backbone and fewer steps than the defaults, so that the
/// whole demonstration stays within a few minutes on two cores; more falls, which are short and
/// small, among the pseudo events; and none of strange texture, for people dress as they like here.
const SCENE_CONFIG: &str = "\
pseudo_clips = 112

[composite.kinds]
fall = 3.0
texture = 0.0

[local]
steps = 1000

[semantic]
backbone = \"mobilenetv2\"

[semantic.detector]
segments = 32
batch = 8
steps = 60
";

/// Most cameras of one process.
const CAMERAS: usize = 32;

/// A program that failed, with its exit code.
#[derive(Debug)]
pub struct Failed {
    what: String,
    pub code: u8,
}

impl Failed {
    pub fn usage(what: String) -> Self {
        Self { what, code: 2 }
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failed {}

/// Where the videos and their truth are.
#[derive(Debug)]
pub struct Site {
    pub title: String,
    pub normal: PathBuf,
    pub test: PathBuf,
    pub labels: Option<PathBuf>,
}

/// What came of watching the test videos.
pub struct Watched {
    /// Camera id by clip, in the order of the clips.
    pub clips: Vec<(video::Clip, String)>,
    /// Alerts as the subscriber received them.
    pub received: Received,
    /// Alerts that the camera program announced.
    pub announced: usize,
    /// Backend that the camera program chose.
    pub backend: String,
    /// Seconds the camera program took.
    pub seconds: f64,
}

/// Runs the stages and times them.
pub struct Stages<'a> {
    args: &'a Args,
    checkpoint: PathBuf,
    seconds: Vec<(String, f64)>,
}

impl<'a> Stages<'a> {
    pub fn new(args: &'a Args) -> Result<Self> {
        for stale in ["summary.json", "report.html", "events.jsonl", "announced.jsonl"] {
            let path = args.out.join(stale);
            if path.exists() {
                std::fs::remove_file(&path).with_context(|| path.display().to_string())?;
            }
        }
        for stale in ["scores", "evidence", "spool", "broker"] {
            let path = args.out.join(stale);
            if path.exists() {
                std::fs::remove_dir_all(&path).with_context(|| path.display().to_string())?;
            }
        }
        Ok(Self { args, checkpoint: args.out.join("checkpoint"), seconds: Vec::new() })
    }

    /// Seconds by stage, in order.
    pub fn seconds(&self) -> &[(String, f64)] {
        &self.seconds
    }

    /// The user's videos, or a scene of its own.
    pub fn site(&mut self) -> Result<Site> {
        if let (Some(normal), Some(test)) = (&self.args.normal, &self.args.test) {
            return Ok(Site {
                title: format!("{}, seed {}", test.display(), self.args.seed),
                normal: normal.clone(),
                test: test.clone(),
                labels: self.args.labels.clone(),
            });
        }
        let seed = self.args.seed.to_string();
        let folder = self.args.out.join("site");
        say("filming a procedural scene: everyday life, and held-out clips with events");
        let site = self.args.site.as_str();
        let words = ["scene", "--site", site, "--seed", &seed, "--out"];
        self.time("scene", || run("trainer", &words, &[&folder]))?;
        Ok(Site {
            title: match site {
                PLAZA => format!("Procedural scene, seed {seed}"),
                _ => format!("Procedural scene {site}, seed {seed}"),
            },
            normal: folder.join("normal"),
            test: folder.join("test"),
            labels: Some(folder.join("kinds.json")),
        })
    }

    /// Normal videos become a checkpoint.
    pub fn train(&mut self, site: &Site) -> Result<()> {
        say("training on normal footage and pseudo-abnormal clips made of it");
        let seed = self.args.seed.to_string();
        let mut words = vec!["train", "--seed", &seed];
        let config = match &self.args.config {
            Some(path) => Some(path.clone()),
            None if self.args.normal.is_none() && self.args.site == PLAZA => {
                let path = self.args.out.join("train.toml");
                std::fs::write(&path, SCENE_CONFIG).with_context(|| path.display().to_string())?;
                Some(path)
            }
            None => None,
        }
        .map(|path| path.display().to_string());
        if let Some(config) = &config {
            words.extend(["--config", config]);
        }
        let normal = site.normal.display().to_string();
        words.extend(["--normal", &normal, "--out"]);
        let checkpoint = self.checkpoint.clone();
        self.time("training", || run("trainer", &words, &[&checkpoint]))
    }

    /// The checkpoint becomes a signed INT8 bundle.
    pub fn export(&mut self) -> Result<()> {
        say("exporting a signed INT8 bundle");
        let keys = self.args.out.join("keys");
        let checkpoint = self.checkpoint.display().to_string();
        let key = keys.join("demo.key").display().to_string();
        let bundle = self.bundle();
        self.time("export", || {
            if !Path::new(&key).exists() {
                run("model-export", &["keygen", "--out"], &[&keys.join("demo")])?;
            }
            run(
                "model-export",
                &["pack", &checkpoint, "--key", &key, "--name", "demo", "--out"],
                &[&bundle],
            )
        })
    }

    fn bundle(&self) -> PathBuf {
        self.args.out.join("model.pavad")
    }

    /// The camera program watches the test videos; a subscriber takes its alerts from a broker.
    pub fn watch(&mut self, site: &Site) -> Result<Watched> {
        say("the camera watches held-out videos; a subscriber prints what it receives");
        let out = self.args.out.clone();
        let clips = cameras(video::list_clips(&site.test)?);
        let broker = Broker::start(&out.join("broker")).map_err(|e| anyhow!(e))?;
        let subscriber = Subscriber::start(broker.port, &format!("pavad/{DEVICE}"), |alert| {
            println!(
                "alert  {:<12} {:<6} {:<8} score {:.3}  frames {}-{}",
                alert.camera,
                format!("{:?}", alert.phase).to_lowercase(),
                alert.kind,
                alert.peak_score,
                alert.first_frame,
                alert.frame
            );
        })
        .map_err(|e| anyhow!(e))?;
        let config = out.join("edge.toml");
        let start = Instant::now();
        // One process serves as many cameras as a device can have; more clips take turns.
        for clips in clips.chunks(CAMERAS) {
            std::fs::write(&config, self.config(clips, broker.port)?)
                .with_context(|| config.display().to_string())?;
            run("edge-runtime", &["run", "--config"], &[&config])?;
        }
        let seconds = start.elapsed().as_secs_f64();
        self.seconds.push(("camera".into(), seconds));

        let path = out.join("announced.jsonl");
        let announced = std::fs::read_to_string(&path).map_or(0, |text| text.lines().count());
        let received = subscriber.wait(Duration::from_secs(10), |r| r.alerts.len() >= announced);
        let lines: String = received.json.iter().map(|line| format!("{line}\n")).collect();
        let path = out.join("events.jsonl");
        std::fs::write(&path, lines).with_context(|| path.display().to_string())?;
        // Scores are named after clips, whatever the camera had to be called.
        for (clip, id) in clips.iter().filter(|(clip, id)| clip.name != *id) {
            for ending in ["csv", "detectors.csv"] {
                let scores = out.join("scores");
                let _ = std::fs::rename(
                    scores.join(format!("{id}.{ending}")),
                    scores.join(format!("{}.{ending}", clip.name)),
                );
            }
        }
        let backend = backend(&received).unwrap_or_else(|| "unknown".into());
        Ok(Watched { clips, received, announced, backend, seconds })
    }

    /// The camera program's configuration: one camera for each clip.
    fn config(&self, clips: &[(video::Clip, String)], port: u16) -> Result<String> {
        let out = self.args.out.canonicalize()?;
        let quoted = |path: &Path| toml::Value::from(path.display().to_string()).to_string();
        let keys = out.join("keys/demo.pub");
        let mut text = format!(
            "device = \"{DEVICE}\"\nscores_dir = {}\nevents_file = {}\nexit_when_done = true\n\n\
             [model]\nbundle = {}\npublic_keys = [{}]\n\n\
             [mqtt]\nhost = \"127.0.0.1\"\nport = {port}\n\n[spool]\ndir = {}\n\n\
             [evidence]\ndir = {}\n",
            quoted(&out.join("scores")),
            quoted(&out.join("announced.jsonl")),
            quoted(&out.join("model.pavad")),
            quoted(&keys),
            quoted(&out.join("spool")),
            quoted(&out.join("evidence")),
        );
        for (clip, id) in clips {
            let path = clip.path.canonicalize()?;
            let kind = if path.is_dir() { "images" } else { "file" };
            write!(
                text,
                "\n[[cameras]]\nid = \"{id}\"\nsource = {{ type = \"{kind}\", path = {}, pace = \"fast\" }}\n",
                quoted(&path)
            )?;
        }
        Ok(text)
    }

    fn time<T>(&mut self, stage: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let result = work()?;
        self.seconds.push((stage.to_string(), start.elapsed().as_secs_f64()));
        Ok(result)
    }
}

/// The backend that the device's status names.
fn backend(received: &Received) -> Option<String> {
    let status: serde_json::Value = serde_json::from_str(received.status.as_ref()?).ok()?;
    Some(status.pointer("/model/backend")?.as_str()?.to_string())
}

/// A camera id for each clip: its name where that can be part of a topic.
fn cameras(clips: Vec<video::Clip>) -> Vec<(video::Clip, String)> {
    let mut taken = BTreeMap::new();
    clips
        .into_iter()
        .map(|clip| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            let id: String =
                clip.name.chars().map(|c| if allowed(c) { c } else { '-' }).take(60).collect();
            let count = taken.entry(id.clone()).and_modify(|n| *n += 1).or_insert(1);
            let id = if *count > 1 { format!("{id}-{count}") } else { id };
            (clip, id)
        })
        .collect()
}

fn say(what: &str) {
    eprintln!("\n== {what}");
}

/// Runs a program of this workspace; its output is the user's to see.
fn run(program: &str, words: &[&str], paths: &[&Path]) -> Result<()> {
    let mut command = programs::command(program).map_err(|e| anyhow!(e))?;
    command.args(words).args(paths);
    let status = command.status().with_context(|| format!("starting {program}"))?;
    if !status.success() {
        let code = status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1);
        let verb = words.first().copied().unwrap_or_default();
        bail!(Failed { what: format!("{program} {verb} failed ({status}); see above"), code });
    }
    Ok(())
}
