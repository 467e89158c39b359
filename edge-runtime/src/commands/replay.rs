//! `edge-runtime replay`: recorded video through the camera's path.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use edge_runtime::Error;
use edge_runtime::board::Board;
use edge_runtime::capture::{Delivery, Recorded};
use edge_runtime::clock::{Clock, ManualClock};
use edge_runtime::config::{AtEnd, BackendName, FileConfig, ModelConfig, Pace, ProviderName};
use edge_runtime::detection::{IncidentIds, Rules};
use edge_runtime::engine::{
    self, CameraSetup, EventFile, Hub, Identity, ModelStatus, Outputs, ScoreFile, Setup,
};
use edge_runtime::maps::{MapFile, MapScorer};
use edge_runtime::model::Model;
use edge_runtime::scene::SceneRules;
use edge_runtime::zones::Zones;
use serde::Serialize;
use video::Clip;

use super::{model_id, model_status, warn_of_origin};
use crate::print;

/// Arguments of `replay`.
#[derive(clap::Args)]
#[command(after_help = "\
The scores file has the header `frame,score` and one row a frame, frames from 0. Times in events
are those of the recording: milliseconds since its first frame.

Examples:
  edge-runtime replay --bundle model.pavad --input door.mp4 --scores door.csv
  edge-runtime replay --bundle model.pavad --input clips/ --scores scores/ --events events.jsonl
  edge-runtime replay --bundle model.pavad --input clips/ --scores scores/ --maps maps/")]
pub struct Arguments {
    /// The model bundle.
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// A video, a folder of pictures, or a folder of such clips.
    #[arg(long, value_name = "VIDEO_OR_DIR")]
    input: PathBuf,
    /// The inference backend; without it the first of ort and tract that works.
    #[arg(long, value_enum)]
    backend: Option<BackendName>,
    /// Which of the bundle's graphs run: those for the backend, as on the camera, or those in fp32, to
    /// measure what INT8 costs.
    #[arg(long, value_enum, default_value = "packed")]
    precision: Precision,
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
    /// Where the score of every frame goes; for several clips a folder that gets `<clip>.csv`.
    #[arg(long, value_name = "FILE.csv")]
    scores: Option<PathBuf>,
    /// Beside the scores, <clip>.detectors.csv with each detector's own smoothed z-score.
    #[arg(long, requires = "scores")]
    detectors: bool,
    /// Where the events go, one JSON object a line.
    #[arg(long, value_name = "FILE.jsonl")]
    events: Option<PathBuf>,
    /// A folder that gets `<clip>.npy`, the local detector's score map of every model frame:
    /// [frames, height, width], float32, the z-score of the strongest kind in each cell.
    #[arg(long, value_name = "DIR")]
    maps: Option<PathBuf>,
    /// The key that must have signed the bundle: a `.pub` file or its text. Without it only the
    /// bundle's own key is used, and its origin is not checked.
    #[arg(long, value_name = "FILE")]
    public_key: Option<String>,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

/// Which graphs run.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Precision {
    /// Those that the bundle has for the backend.
    Packed,
    /// The fp32 ones, on whichever backend is used.
    Fp32,
}

#[derive(Serialize)]
struct Summary {
    model: ModelStatus,
    backend: String,
    int8: bool,
    frames: u64,
    events: u64,
    seconds: f64,
    frames_per_second: f64,
    clips: Vec<ClipSummary>,
}

#[derive(Serialize)]
struct ClipSummary {
    name: String,
    frames: u64,
    events: u64,
    seconds: f64,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let load = match arguments.precision {
        Precision::Packed => Model::load,
        Precision::Fp32 => Model::load_fp32,
    };
    let mut model = load(&ModelConfig {
        bundle: arguments.bundle.clone(),
        public_keys: arguments.public_key.clone().into_iter().collect(),
        backends: arguments.backend.map(|backend| vec![backend]),
        providers: vec![arguments.provider],
        engine_dir: arguments.engine_dir.clone(),
        threads: arguments.threads.into(),
        ort_library: arguments.ort_library.clone(),
    })?;
    warn_of_origin(&model, "give the key with --public-key FILE");
    if arguments.maps.is_some() && model.bundle.manifest().detectors.local.is_none() {
        let message = "--maps: the model has no local detector and so no maps; leave it out";
        return Err(Error::Usage(message.into()).into());
    }
    let clips = video::list_clips(&arguments.input).map_err(Error::Input)?;
    let mut outputs = Outputs::none();
    outputs.events =
        arguments.events.as_ref().map(|path| EventFile::open(path, false)).transpose()?;
    let mut summary = Summary {
        model: model_status(&model),
        backend: model.backend.clone(),
        int8: model.precision == "int8",
        frames: 0,
        events: 0,
        seconds: 0.0,
        frames_per_second: 0.0,
        clips: Vec::new(),
    };
    for clip in &clips {
        let scores = arguments
            .scores
            .as_deref()
            .map(|path| scores_path(path, clip, &clips))
            .map(|path| match arguments.detectors {
                true => ScoreFile::with_detectors(&path),
                false => ScoreFile::create(&path),
            })
            .transpose()?;
        let maps = arguments.maps.as_deref().map(|path| path.join(format!("{}.npy", clip.name)));
        let (done, back) = replay(clip, scores, maps.as_deref(), &mut model, outputs)?;
        outputs = back;
        if !arguments.json {
            print(&format!("{}: {} frames, {} events", done.name, done.frames, done.events))?;
        }
        summary.frames += done.frames;
        summary.events += done.events;
        summary.seconds += done.seconds;
        summary.clips.push(done);
    }
    summary.frames_per_second = summary.frames as f64 / summary.seconds.max(1e-9);
    if arguments.json {
        print(&serde_json::to_string_pretty(&summary).context("report as JSON")?)?;
    } else {
        print(&format!(
            "{} frames in {:.1} s ({:.1} frames per second), {} events, {}",
            summary.frames,
            summary.seconds,
            summary.frames_per_second,
            summary.events,
            summary.backend
        ))?;
    }
    Ok(0)
}

/// The file itself for one clip, a file in the folder for several.
fn scores_path(path: &Path, clip: &Clip, clips: &[Clip]) -> PathBuf {
    if clips.len() == 1 && !path.is_dir() {
        path.to_owned()
    } else {
        path.join(format!("{}.csv", clip.name))
    }
}

fn replay(
    clip: &Clip,
    scores: Option<ScoreFile>,
    maps: Option<&Path>,
    model: &mut Model,
    outputs: Outputs,
) -> Result<(ClipSummary, Outputs), Error> {
    // A recording has no wall time of its own: its first frame is at 0.
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(0));
    let config = FileConfig { path: clip.path.clone(), pace: Pace::Fast, at_end: AtEnd::Stop };
    let source = Recorded::open(&config, Arc::clone(&clock))?;
    let camera = CameraSetup {
        id: camera_id(&clip.name),
        source: Box::new(source),
        delivery: Delivery::Lossless,
        rules: Rules::of_model(&model.bundle.manifest().detectors),
        scores,
        scene: Some(SceneRules::default()),
        zones: Zones::default(),
    };
    let setup = Setup {
        identity: Identity { device: "replay".into(), model: model_id(model) },
        outputs,
        ids: IncidentIds::Seeded(0),
        clock,
        model: ModelStatus::default(),
        status_every: Duration::from_secs(3600),
        end_with_sources: true,
        remote: None,
        board: Board::none(),
        life: engine::Life::default(),
    };
    let hub = Arc::new(Hub::new(&[Delivery::Lossless]));
    let mut report = match maps.map(|path| map_file(path, model)).transpose()? {
        None => engine::run(vec![camera], &mut model.engine, setup, &hub),
        Some(file) => {
            let mut scorer = MapScorer::new(&mut model.engine, file, &hub);
            let report = engine::run(vec![camera], &mut scorer, setup, &hub);
            // A clip that failed has no maps; why it did is the better message.
            if report.cameras.iter().all(|camera| camera.error.is_none()) {
                scorer.finish()?;
            }
            report
        }
    };
    let Some(camera) = report.cameras.pop() else {
        return Err(Error::Failed("the replay had no camera".into()));
    };
    if let Some(error) = camera.error {
        return Err(error);
    }
    let done = ClipSummary {
        name: clip.name.clone(),
        frames: camera.counts.frames,
        events: camera.counts.events,
        seconds: report.seconds,
    };
    Ok((done, report.outputs))
}

/// The file for a clip's maps, of the size that the model gives them.
fn map_file(path: &Path, model: &Model) -> Result<MapFile, Error> {
    let detectors = &model.bundle.manifest().detectors;
    let stride = detectors.local.as_ref().map_or(1, |local| local.map_stride);
    let cells = |pixels: u32| (pixels / stride) as usize;
    MapFile::create(path, cells(detectors.input.width), cells(detectors.input.height))
}

/// A clip's name as the camera of its events: as it is. One that is too long for a message ends with a
/// number made of the whole, so that no two clips have the same.
fn camera_id(name: &str) -> String {
    video::event_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clip_names_stay_as_they_are_and_are_never_two_clips() {
        for name in ["Test 01.b", "Tür 1 run", "Tör 1 run"] {
            assert_eq!(camera_id(name), name);
        }
        let long = ["ö".repeat(100), "ö".repeat(101)].map(|name| camera_id(&name));
        assert!(long.iter().all(|id| id.len() <= alert_wire::MAX_ID), "{long:?}");
        assert_ne!(long[0], long[1]);
    }
}
