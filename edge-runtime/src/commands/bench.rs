//! `edge-runtime bench`: how fast this machine scores a camera's frames, and in how much memory.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use edge_runtime::Error;
use edge_runtime::capture::{PixelFormat, Stamp, to_rgb};
use edge_runtime::clock::ManualClock;
use edge_runtime::config::{BackendName, ModelConfig};
use edge_runtime::detection::{IncidentIds, Rules};
use edge_runtime::engine::{Camera, Context, Identity, ModelStatus, Outputs, Percentiles};
use edge_runtime::model::Model;
use edge_runtime::scene::SceneRules;
use edge_runtime::vitals;
use edge_runtime::zones::Zones;
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
  edge-runtime bench --bundle gate-3.pavad --backend ort --threads 1 --frames 10000 --json")]
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
    /// Threads of the backend, 0 for as many as there are cores.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=256))]
    threads: u16,
    /// ONNX Runtime's library.
    #[arg(long, value_name = "FILE")]
    ort_library: Option<PathBuf>,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
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
    /// Mean milliseconds of a frame that this thread ran on a processor: with one thread for the backend
    /// all of the work, whatever else the machine does.
    processor_ms: Option<f64>,
    /// Over all frames.
    frame_ms: Percentiles,
    /// Resident memory after a tenth of the frames, and at the end.
    memory_early_bytes: Option<u64>,
    memory_bytes: Option<u64>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let mut model = Model::load(&ModelConfig {
        bundle: arguments.bundle.clone(),
        public_keys: Vec::new(),
        backends: arguments.backend.map(|backend| vec![backend]),
        threads: arguments.threads.into(),
        ort_library: arguments.ort_library.clone(),
    })?;
    warn_of_origin(&model, "a measurement needs no more");
    let Measured { mut times, processor, memory_early } = measure(arguments, &mut model)?;
    let seconds = times.iter().sum::<f64>() / 1000.0;
    times.sort_by(f64::total_cmp);
    let rank = |percent: usize| times[(times.len() * percent).div_ceil(100).max(1) - 1];
    let report = Report {
        model: model_status(&model),
        backend: model.backend.clone(),
        width: arguments.width,
        height: arguments.height,
        frames: arguments.frames,
        seconds,
        frames_per_second: f64::from(arguments.frames) / seconds.max(1e-9),
        processor_ms: processor.map(|seconds| seconds * 1000.0 / f64::from(arguments.frames)),
        frame_ms: Percentiles { p50: rank(50), p90: rank(90), p99: rank(99), max: rank(100) },
        memory_early_bytes: memory_early,
        memory_bytes: vitals::resident_memory(),
    };
    if arguments.json {
        print(&serde_json::to_string_pretty(&report).context("report as JSON")?)?;
        return Ok(0);
    }
    let Percentiles { p50, p90, p99, max } = report.frame_ms;
    let mib = |bytes: Option<u64>| bytes.map_or(f64::NAN, |b| b as f64 / f64::from(1 << 20));
    print(&format!(
        "{} frames of {}x{} in {:.2} s: {:.1} frames per second\n\
         a frame takes {p50:.2} ms (half), {p90:.2} ms (90 %), {p99:.2} ms (99 %), {max:.2} ms (longest), \
         {:.2} ms on a processor of this thread (mean)\n\
         memory {:.1} MiB after a tenth of them, {:.1} MiB at the end\n{}, {}",
        report.frames,
        report.width,
        report.height,
        report.seconds,
        report.frames_per_second,
        report.processor_ms.unwrap_or(f64::NAN),
        mib(report.memory_early_bytes),
        mib(report.memory_bytes),
        report.backend,
        report.model.precision
    ))?;
    Ok(0)
}

struct Measured {
    /// Milliseconds of each frame.
    times: Vec<f64>,
    /// Seconds of all frames on a processor.
    processor: Option<f64>,
    /// Memory after a tenth of the frames.
    memory_early: Option<u64>,
}

fn measure(arguments: &Arguments, model: &mut Model) -> Result<Measured, Error> {
    let (width, height) = (usize::from(arguments.width), usize::from(arguments.height));
    let rate = f64::from(arguments.rate);
    let events = &model.bundle.manifest().detectors.events;
    let rules = Rules {
        enter: events.enter,
        exit: events.exit,
        min_duration: events.min_duration,
        end_after: events.end_after,
        cool_down: events.cool_down,
        update_every: 5.0,
    };
    let identity = Identity { device: "bench".into(), model: model_id(model) };
    let engine = &mut model.engine;
    let mut camera = Camera::new(0, "bench", rules, rate, false, None, engine)
        .watching(Some(SceneRules::default()), Zones::default());
    let (mut outputs, mut ids) = (Outputs::none(), IncidentIds::Seeded(0));
    let clock = ManualClock::new(0);
    let stride = width.next_multiple_of(2) * 2;
    let still = picture(width, height, stride);
    let mut yuyv = still.clone();
    let mut frame = Frame::default();
    let mut times = Vec::with_capacity(arguments.frames as usize);
    let (mut processor, mut memory_early) = (Some(0.0), None);
    for number in 0..arguments.frames {
        move_square(&mut yuyv, &still, stride, height, number as usize);
        let stream = f64::from(number) / rate;
        let wall_ms = (stream * 1000.0).round() as u64;
        let stamp = Stamp { stream, wall_ms, uptime_ms: wall_ms };
        let mut context =
            Context { outputs: &mut outputs, identity: &identity, ids: &mut ids, clock: &clock };
        let before = vitals::thread_time();
        let start = Instant::now();
        to_rgb(PixelFormat::Yuyv, &yuyv, width, height, stride, &mut frame)
            .map_err(Error::Failed)?;
        camera.frame(engine, &frame, stamp, &mut context)?;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
        let ran = vitals::thread_time().zip(before).map(|(after, before)| after - before);
        processor = processor.zip(ran).map(|(sum, ran)| sum + ran);
        if number + 1 == arguments.frames / 10 {
            memory_early = vitals::resident_memory();
        }
    }
    Ok(Measured { times, processor, memory_early })
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
