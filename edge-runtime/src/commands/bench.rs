//! `edge-runtime bench`: how fast this machine scores a camera's frames, and in how much memory.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use edge_runtime::Error;
use edge_runtime::capture::{Layout, PixelFormat, Stamp, to_rgb};
use edge_runtime::clock::ManualClock;
use edge_runtime::config::{BackendName, ModelConfig, MqttConfig, Protocol, ProviderName};
use edge_runtime::detection::{IncidentIds, LONGEST, Rules};
use edge_runtime::engine::{Camera, Context, Identity, ModelStatus, Outputs, Percentiles};
use edge_runtime::model::Model;
use edge_runtime::publish::{Publisher, Spool};
use edge_runtime::scene::SceneRules;
use edge_runtime::vitals;
use edge_runtime::zones::Zones;
use inference::hysteresis;
use serde::Serialize;
use video::Frame;

use super::{model_id, model_status, warn_of_origin};
use crate::print;

/// Arguments of `bench`.
#[derive(clap::Args)]
#[command(after_help = "\
Frames are made in memory, in the form in which a USB camera gives them (YUYV), and go through
conversion, scene checks, model and event rules, one after the other. What is reported is for one camera
on an otherwise idle machine.

Examples:
  edge-runtime bench --bundle gate-3.pavad
  edge-runtime bench --bundle gate-3.pavad --backend ort --threads 1 --frames 10000 --json
  edge-runtime bench --bundle gate-3.pavad --mqtt broker.local:1883")]
pub struct Arguments {
    /// The model bundle.
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// Frames that are scored.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    frames: u32,
    /// Width of the camera's frames.
    #[arg(long, default_value_t = 640, value_parser = clap::value_parser!(u16).range(16..=8192))]
    width: u16,
    /// Height of the camera's frames.
    #[arg(long, default_value_t = 480, value_parser = clap::value_parser!(u16).range(16..=8192))]
    height: u16,
    /// Frames a second that the camera says it gives; a model looks at as many as it was trained for.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=240))]
    rate: u16,
    /// The inference backend; without it the first of ort and tract that works.
    #[arg(long, value_enum)]
    backend: Option<BackendName>,
    /// What ONNX Runtime computes with.
    #[arg(long, value_enum, default_value = "cpu")]
    provider: ProviderName,
    /// Folder in which engines that TensorRT builds are kept; without it they are built anew.
    #[arg(long, value_name = "DIR")]
    engine_dir: Option<PathBuf>,
    /// Threads of the backend, 0 for as many as there are cores.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=256))]
    threads: u16,
    /// ONNX Runtime's library.
    #[arg(long, value_name = "FILE")]
    ort_library: Option<PathBuf>,
    /// Afterwards announce an event at each of 200 frames to this broker, and report the time from a
    /// frame's buffer to the broker's acknowledgement: score, spool on disk (in the system's folder for
    /// temporary files) and network.
    #[arg(long, value_name = "HOST:PORT", value_parser = broker)]
    mqtt: Option<(String, u16)>,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

fn broker(text: &str) -> Result<(String, u16), String> {
    let parts = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let parts = parts.and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    parts.ok_or_else(|| "must be HOST:PORT".into())
}

#[derive(Serialize)]
struct Report {
    model: ModelStatus,
    backend: String,
    width: u16,
    height: u16,
    frames: u32,
    seconds: f64,
    frames_per_second: f64,
    /// Over all frames.
    frame_ms: Percentiles,
    /// Processor time of all threads, a frame. Hardly depends on what else the machine does.
    processor_ms: f64,
    /// Resident memory after a tenth of the frames, and at the end.
    memory_early_bytes: Option<u64>,
    memory_bytes: Option<u64>,
    /// Highest resident memory, loading the model included.
    memory_peak_bytes: Option<u64>,
    /// Sum of all scores: two programs that do the same job agree in it.
    score_sum: f64,
    /// From a frame's buffer to the broker's acknowledgement of an event.
    acknowledged_ms: Option<Percentiles>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let mut model = Model::load(&ModelConfig {
        bundle: arguments.bundle.clone(),
        public_keys: Vec::new(),
        backends: arguments.backend.map(|backend| vec![backend]),
        providers: vec![arguments.provider],
        engine_dir: arguments.engine_dir.clone(),
        threads: arguments.threads.into(),
        ort_library: arguments.ort_library.clone(),
    })?;
    warn_of_origin(&model, "a measurement needs no more");
    let publisher = arguments.mqtt.as_ref().map(connect).transpose()?;
    let Measured { mut times, memory_early, score_sum, processor } =
        measure(arguments, &mut model)?;
    let seconds = times.iter().sum::<f64>() / 1000.0;
    let (acknowledged_ms, memory) = match publisher {
        None => (None, vitals::resident_memory()),
        Some((publisher, folder)) => {
            let memory = vitals::resident_memory();
            let published = announce(arguments, &mut model, publisher);
            // The folder is ours, and what is in it has been sent or is of no use.
            let _ = std::fs::remove_dir_all(folder);
            (Some(percentiles(&mut published?)), memory)
        }
    };
    let report = Report {
        model: model_status(&model),
        backend: model.backend.clone(),
        width: arguments.width,
        height: arguments.height,
        frames: arguments.frames,
        seconds,
        frames_per_second: f64::from(arguments.frames) / seconds.max(1e-9),
        frame_ms: percentiles(&mut times),
        processor_ms: processor.as_secs_f64() * 1000.0 / f64::from(arguments.frames),
        memory_early_bytes: memory_early,
        memory_bytes: memory,
        memory_peak_bytes: vitals::peak_memory(),
        score_sum,
        acknowledged_ms,
    };
    if arguments.json {
        print(&serde_json::to_string_pretty(&report).context("report as JSON")?)?;
        return Ok(0);
    }
    let Percentiles { p50, p90, p99, max } = report.frame_ms;
    let mib = |bytes: Option<u64>| bytes.map_or(f64::NAN, |b| b as f64 / f64::from(1 << 20));
    print(&format!(
        "{} frames of {}x{} in {:.2} s: {:.1} frames per second\n\
         {:.2} ms of processor time a frame\n\
         a frame takes {p50:.2} ms (half), {p90:.2} ms (90 %), {p99:.2} ms (99 %), {max:.2} ms (longest)\n\
         memory {:.1} MiB after a tenth of them, {:.1} MiB at the end, {:.1} MiB at most\n{}, {}",
        report.frames,
        report.width,
        report.height,
        report.seconds,
        report.frames_per_second,
        report.processor_ms,
        mib(report.memory_early_bytes),
        mib(report.memory_bytes),
        mib(report.memory_peak_bytes),
        report.backend,
        report.model.precision
    ))?;
    if let Some(Percentiles { p50, p90, p99, max }) = report.acknowledged_ms {
        print(&format!(
            "an event is acknowledged {p50:.2} ms (half), {p90:.2} ms (90 %), {p99:.2} ms (99 %), \
             {max:.2} ms (longest) after its frame"
        ))?;
    }
    Ok(0)
}

/// Nearest-rank percentiles.
fn percentiles(times: &mut [f64]) -> Percentiles {
    times.sort_by(f64::total_cmp);
    let rank = |percent: usize| times[(times.len() * percent).div_ceil(100).max(1) - 1];
    Percentiles { p50: rank(50), p90: rank(90), p99: rank(99), max: rank(100) }
}

/// A link to the broker, and the folder of its spool.
fn connect((host, port): &(String, u16)) -> Result<(Publisher, PathBuf), Error> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let name = format!("pavad-bench-{}", std::process::id());
    let folder = std::env::temp_dir().join(&name);
    let config = MqttConfig {
        host: host.clone(),
        port: *port,
        protocol: Protocol::V5,
        root: "pavad/bench".into(),
        client_id: name,
        username: None,
        password_file: None,
        keep_alive: 30,
        tls: None,
        commands: false,
        home_assistant: None,
    };
    let publisher = Publisher::start(config, Spool::open(&folder, 1 << 24)?);
    if publisher.wait_connected(PATIENCE) {
        return Ok((publisher, folder));
    }
    let message = format!("--mqtt {host}:{port}: no connection in {} s", PATIENCE.as_secs());
    Err(Error::Unavailable(message))
}

/// Milliseconds from a frame's buffer until the broker has acknowledged the event that it causes.
fn announce(
    arguments: &Arguments,
    model: &mut Model,
    publisher: Publisher,
) -> Result<Vec<f64>, Error> {
    const EVENTS: usize = 200;
    const PATIENCE: Duration = Duration::from_secs(10);
    // Whatever the score, an incident begins, and every frame has something new to say of it.
    let rules = Rules {
        enter: f64::MIN_POSITIVE,
        exit: 0.0,
        min_duration: 0.0,
        end_after: 1.0,
        cool_down: 0.0,
        update_every: 0.0,
        longest: LONGEST,
        normal_level: 0.0,
    };
    let identity = Identity { device: "bench".into(), model: model_id(model) };
    let rate = f64::from(arguments.rate);
    let engine = &mut model.engine;
    let mut camera = Camera::new(0, "bench", rules, rate, false, None, engine);
    let (mut outputs, mut ids) = (Outputs::none(), IncidentIds::Seeded(1));
    outputs.publisher = Some(publisher);
    let clock = ManualClock::new(0);
    let mut source = Source::new(arguments);
    let (mut frame, mut times, mut number) = (Frame::default(), Vec::new(), 0);
    while times.len() < EVENTS {
        source.advance(number);
        let stamp = source.stamp(number, rate);
        let before = camera.counts().scored;
        let mut context =
            Context { outputs: &mut outputs, identity: &identity, ids: &mut ids, clock: &clock };
        let start = Instant::now();
        source.convert(&mut frame)?;
        camera.frame(engine, &frame, stamp, &mut context)?;
        number += 1;
        // The first frames have no score yet.
        if camera.counts().scored == before {
            continue;
        }
        let drained = outputs.publisher.as_ref().is_some_and(|p| p.drain(PATIENCE));
        if !drained {
            return Err(Error::Unavailable("--mqtt: the broker does not acknowledge".into()));
        }
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    if let Some(publisher) = outputs.publisher.take() {
        publisher.close(PATIENCE);
    }
    Ok(times)
}

/// What was measured.
struct Measured {
    /// Milliseconds of each frame.
    times: Vec<f64>,
    /// Resident memory after a tenth of the frames.
    memory_early: Option<u64>,
    score_sum: f64,
    /// Of all frames.
    processor: Duration,
}

fn measure(arguments: &Arguments, model: &mut Model) -> Result<Measured, Error> {
    let rate = f64::from(arguments.rate);
    let events = &hysteresis::sound_events(&model.bundle.manifest().detectors);
    let rules = Rules {
        enter: events.enter,
        exit: events.exit,
        min_duration: events.min_duration,
        end_after: events.end_after,
        cool_down: events.cool_down,
        update_every: 5.0,
        longest: LONGEST,
        normal_level: 0.0,
    };
    let identity = Identity { device: "bench".into(), model: model_id(model) };
    let engine = &mut model.engine;
    let mut camera = Camera::new(0, "bench", rules, rate, false, None, engine)
        .watching(Some(SceneRules::default()), Zones::default());
    let (mut outputs, mut ids) = (Outputs::none(), IncidentIds::Seeded(0));
    let clock = ManualClock::new(0);
    let mut source = Source::new(arguments);
    let mut frame = Frame::default();
    // Filled, so that its pages are there from the beginning and do not pass for growth.
    let mut times = vec![f64::NAN; arguments.frames as usize];
    let (mut processor, mut memory_early) = (Duration::ZERO, None);
    let (mut scored, mut score_sum) = (0, 0.0);
    for number in 0..arguments.frames {
        source.advance(number);
        let stamp = source.stamp(number, rate);
        let mut context =
            Context { outputs: &mut outputs, identity: &identity, ids: &mut ids, clock: &clock };
        let before = vitals::processor_time();
        let start = Instant::now();
        source.convert(&mut frame)?;
        camera.frame(engine, &frame, stamp, &mut context)?;
        times[number as usize] = start.elapsed().as_secs_f64() * 1000.0;
        processor += vitals::processor_time().saturating_sub(before);
        let counts = camera.counts();
        if counts.scored > scored {
            score_sum += (counts.scored - scored) as f64 * counts.score;
            scored = counts.scored;
        }
        if number + 1 == arguments.frames / 10 {
            memory_early = vitals::resident_memory();
        }
    }
    Ok(Measured { times, memory_early, score_sum, processor })
}

/// A camera of YUYV frames in memory.
struct Source {
    width: usize,
    height: usize,
    stride: usize,
    still: Vec<u8>,
    yuyv: Vec<u8>,
}

impl Source {
    fn new(arguments: &Arguments) -> Self {
        let (width, height) = (usize::from(arguments.width), usize::from(arguments.height));
        let stride = width.next_multiple_of(2) * 2;
        let still = picture(width, height, stride);
        Self { width, height, stride, yuyv: still.clone(), still }
    }

    /// Goes on to this frame.
    fn advance(&mut self, number: u32) {
        move_square(&mut self.yuyv, &self.still, self.stride, self.height, number as usize);
    }

    fn stamp(&self, number: u32, rate: f64) -> Stamp {
        let stream = f64::from(number) / rate;
        let ms = (stream * 1000.0).round() as u64;
        Stamp { stream, wall_ms: ms, uptime_ms: ms }
    }

    fn convert(&self, frame: &mut Frame) -> Result<(), Error> {
        let Self { width, height, stride, yuyv, .. } = self;
        let layout = Layout::plain(PixelFormat::Yuyv, *width, *height, *stride);
        to_rgb(&layout, yuyv, frame).map_err(Error::Failed)
    }
}

/// A picture with structure.
fn picture(width: usize, height: usize, stride: usize) -> Vec<u8> {
    let mut bytes = vec![128; stride * height];
    for (y, row) in bytes.chunks_exact_mut(stride).enumerate() {
        for x in 0..width {
            row[2 * x] = 60 + ((x / 16 * 7 + y / 16 * 5) % 11 * 12) as u8;
        }
    }
    bytes
}

/// A square goes across the picture, so that no frame is like the one before it.
fn move_square(yuyv: &mut [u8], still: &[u8], stride: usize, height: usize, number: usize) {
    yuyv.copy_from_slice(still);
    let edge = (height / 8).max(4);
    // An even number of bytes, so that luma stays luma.
    let left = number * 8 % (stride - 2 * edge).max(8) / 4 * 4;
    for row in yuyv.chunks_exact_mut(stride).skip(height / 2).take(edge) {
        row.iter_mut().skip(left).take(2 * edge).step_by(2).for_each(|luma| *luma = 220);
    }
}
