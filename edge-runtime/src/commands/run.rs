//! `edge-runtime run`: the camera program.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use boards::profile::Profile;
use edge_runtime::Error;
use edge_runtime::alarm::Alarm;
use edge_runtime::board::{self, Board};
use edge_runtime::capture::{self, Delivery, FrameSource};
use edge_runtime::clock::{Clock, SystemClock};
use edge_runtime::config::{CameraConfig, Config, SourceConfig};
use edge_runtime::detection::IncidentIds;
use edge_runtime::engine::{
    self, CameraSetup, EventFile, Hub, Identity, Outputs, Report, ScoreFile, Setup,
};
use edge_runtime::evidence::Evidence;
use edge_runtime::model::Model;
use edge_runtime::publish::{Publisher, Spool};

use super::{model_id, model_status, warn_of_origin};
use crate::ConfigArgument;

/// Longest wait for the broker with `--require-broker`.
const BROKER_WAIT: Duration = Duration::from_secs(10);
/// Longest wait for the spool to empty after a signal: a service manager kills soon.
const SIGNAL_DRAIN: Duration = Duration::from_secs(5);
/// Longest wait for the broker to take `stopped`.
const GOODBYE: Duration = Duration::from_secs(2);

/// Arguments of `run`.
#[derive(clap::Args)]
#[command(after_help = "\
A broker that is away is waited for: events stay in the spool. A camera that is away is waited for
too, unless none can be opened at the start (exit code 4).

Examples:
  edge-runtime run --config /etc/pavad/edge.toml
  edge-runtime run --config edge.toml --require-broker -v")]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// End with exit code 4 if the broker cannot be reached at the start.
    #[arg(long)]
    require_broker: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let mut config = Config::load(&arguments.config.config).map_err(Error::from)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let root = Path::new("/");
    let (profile, origin) = board::profile(&config.board, root)?;
    log::info!("board: {}", board::describe(&profile, origin, root));
    config.model.backends = config.model.backends.or_else(|| board::backends(&profile));
    let mut model = Model::load(&config.model)?;
    warn_of_origin(&model, "name the key in `model.public_keys`");
    model.check_device(&config.model.bundle, &profile.device_class)?;
    let cameras = cameras(&config, &model, &clock)?;
    let setup = Setup {
        identity: Identity { device: config.device.clone(), model: model_id(&model) },
        outputs: outputs(&config, &profile, arguments.require_broker)?,
        ids: IncidentIds::random().context("/dev/urandom")?,
        clock,
        model: model_status(&model),
        status_every: Duration::from_secs_f64(config.status_every),
        end_with_sources: config.exit_when_done,
        // Last, so that the watchdog does not run while the model is loaded.
        board: Board::open(&profile, root),
    };
    let deliveries: Vec<Delivery> = cameras.iter().map(|c| c.delivery).collect();
    let hub = Arc::new(Hub::new(&deliveries));
    let handler = Arc::clone(&hub);
    ctrlc::set_handler(move || handler.stop()).context("signal handler")?;
    let report = engine::run(cameras, &mut model.engine, setup, &hub);
    Ok(finish(report, &config)?)
}

/// Opens the cameras. Devices that are away are waited for, if at least one source is there.
fn cameras(
    config: &Config,
    model: &Model,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<CameraSetup>, Error> {
    let mut setups = Vec::new();
    let mut away: Option<capture::Error> = None;
    let mut there = 0;
    for camera in &config.cameras {
        let rules = config
            .rules(&model.bundle.manifest().detectors.events, camera)
            .map_err(Error::Usage)?;
        let (source, delivery): (Box<dyn FrameSource>, Delivery) =
            match (capture::open(&camera.source, clock), &camera.source) {
                (Ok(opened), _) => {
                    there += 1;
                    opened
                }
                (Err(e), SourceConfig::V4l2(device)) => {
                    log::warn!("camera {}: {e}; it is waited for", camera.id);
                    away.get_or_insert(e);
                    let later = capture::V4l2::later(device, Arc::clone(clock));
                    (Box::new(later), Delivery::Newest)
                }
                (Err(e), _) => return Err(e.into()),
            };
        setups.push(CameraSetup {
            id: camera.id.clone(),
            source,
            delivery,
            rules,
            scores: scores(config, camera)?,
        });
    }
    match away {
        Some(e) if there == 0 => Err(e.into()),
        _ => Ok(setups),
    }
}

fn scores(config: &Config, camera: &CameraConfig) -> Result<Option<ScoreFile>, Error> {
    let path = config.scores_dir.as_ref().map(|dir| dir.join(format!("{}.csv", camera.id)));
    path.map(|p| ScoreFile::with_detectors(&p)).transpose()
}

fn outputs(config: &Config, profile: &Profile, require_broker: bool) -> Result<Outputs, Error> {
    let publisher = match &config.mqtt {
        None if require_broker => {
            return Err(Error::Usage(
                "--require-broker: the configuration has no [mqtt]; add it".into(),
            ));
        }
        None => None,
        Some(mqtt) => {
            let spool = Spool::open(&config.spool.dir, config.spool.max_bytes)?;
            if !spool.is_empty() {
                log::info!("{} events from an earlier run wait for the broker", spool.len());
            }
            let publisher = Publisher::start(mqtt.clone(), spool);
            if require_broker && !publisher.wait_connected(BROKER_WAIT) {
                return Err(Error::Unavailable(format!(
                    "broker {}:{}: no connection in {} s; start it, or check `mqtt` with \
                     `edge-runtime doctor`",
                    mqtt.host,
                    mqtt.port,
                    BROKER_WAIT.as_secs()
                )));
            }
            Some(publisher)
        }
    };
    Ok(Outputs {
        publisher,
        events: config.events_file.as_ref().map(|p| EventFile::open(p, true)).transpose()?,
        evidence: config.evidence.as_ref().map(Evidence::open).transpose()?,
        alarm: Alarm::open(profile, Path::new("/"))?,
    })
}

/// Drains and closes the broker link, and turns what happened into an exit code.
fn finish(report: Report, config: &Config) -> Result<u8, Error> {
    for camera in &report.cameras {
        log::info!(
            "camera {}: {} frames, {} dropped, {} events",
            camera.id,
            camera.counts.frames,
            camera.dropped,
            camera.counts.events
        );
    }
    // Interrupted runs must end soon; a run that is done may take its time.
    let done = config.exit_when_done && !report.stopped;
    let mut left = 0;
    if let Some(publisher) = report.outputs.publisher {
        let drain = Duration::from_secs_f64(config.drain_timeout);
        publisher.drain(if done { drain } else { drain.min(SIGNAL_DRAIN) });
        left = publisher.close(GOODBYE).depth;
    }
    if let Some(error) = report.failure {
        return Err(error);
    }
    if let Some(error) = report.cameras.into_iter().find_map(|c| c.error) {
        return Err(error);
    }
    if left > 0 {
        let message = format!(
            "{left} events are still in {} because the broker did not take them; they are sent at \
             the next start",
            config.spool.dir.display()
        );
        if done {
            return Err(Error::Unavailable(message));
        }
        log::warn!("{message}");
    }
    Ok(0)
}
