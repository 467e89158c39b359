//! `edge-runtime run`: the camera program.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use alert_wire::{Setting, Topics};
use anyhow::Context as _;
use boards::profile::Profile;
use edge_runtime::Error;
use edge_runtime::alarm::Alarm;
use edge_runtime::board::{self, Board};
use edge_runtime::capture::{self, Delivery, FrameSource};
use edge_runtime::clock::{Clock, SystemClock};
use edge_runtime::config::{
    CameraConfig, Config, MqttConfig, SourceConfig, UpdatesConfig, WebConfig,
};
use edge_runtime::control::{Command, Order, Refusal, Settings, UpdateCommand};
use edge_runtime::detection::{IncidentIds, Rules};
use edge_runtime::engine::{
    self, CameraSetup, EventFile, Hub, Identity, Life, Outputs, Remote, Report, ScoreFile, Setup,
};
use edge_runtime::evidence::Evidence;
use edge_runtime::later::Later;
use edge_runtime::life::{self, LastEnd, SignFile};
use edge_runtime::model::Model;
use edge_runtime::publish::{
    Announced, Incoming, Listener, Outbox, Publisher, Spool, home_assistant,
};
use edge_runtime::update::{self, Exchange, Lock, Offer, Slot, Store, Watch, WatchSetup};
use edge_runtime::web::{Live, Web, WebSetup};
use inference::Engine;
use model_bundle::Bundle;

use super::signals::Signals;
use super::{model_id, model_status, store, warn_of_origin};
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
too, from the start on; with --require-camera none that can be opened is exit code 4.

Examples:
  edge-runtime run --config /etc/pavad/edge.toml
  edge-runtime run --config edge.toml --require-broker -v
  kill -HUP PID     reads the configuration again; a wrong one changes nothing")]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// End with exit code 4 if the broker cannot be reached at the start.
    #[arg(long)]
    require_broker: bool,
    /// End with exit code 4 if no camera can be opened at the start.
    #[arg(long)]
    require_camera: bool,
}

/// What must be there at the start.
#[derive(Clone, Copy)]
struct Required {
    broker: bool,
    camera: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let path = &arguments.config.config;
    let mut config = Config::load(path).map_err(Error::from)?;
    let signals = Signals::watch(path).context("signal handler")?;
    let mut required =
        Required { broker: arguments.require_broker, camera: arguments.require_camera };
    // The configuration to go back to where a new one turns out not to run.
    let mut before = None;
    loop {
        let report = match (run_once(&config, required, &signals), before.take()) {
            (Ok(report), _) => report,
            (Err(e), Some(earlier)) => {
                log::error!("{}: {e:#}; the configuration before goes on", path.display());
                config = earlier;
                continue;
            }
            (Err(e), None) => return Err(e),
        };
        match signals.take_reloaded() {
            Some(new) => {
                // Cameras end with this configuration whatever became of them.
                for error in report.cameras.iter().filter_map(|camera| camera.error.as_ref()) {
                    log::error!("{error}");
                }
                if let Some(publisher) = report.outputs.publisher {
                    publisher.close(GOODBYE);
                }
                log::info!("{}: read again", path.display());
                before = Some(std::mem::replace(&mut config, new));
                required = Required { broker: false, camera: false };
            }
            None => return Ok(finish(report, &config)?),
        }
    }
}

/// Runs with one configuration until its cameras end, or a signal comes.
fn run_once(config: &Config, required: Required, signals: &Signals) -> anyhow::Result<Report> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let root = Path::new("/");
    let (profile, origin) = board::profile(&config.board, root)?;
    log::info!("board: {}", board::describe(&profile, origin, root));
    let mut config = config.clone();
    config.model.backends = config.model.backends.take().or_else(|| board::backends(&profile));
    let config = &config;
    let (mut model, slot) = load(config, &profile)?;
    warn_of_origin(&model, "name the key in `model.public_keys`");
    let deliveries: Vec<Delivery> =
        config.cameras.iter().map(|camera| capture::delivery(&camera.source)).collect();
    let hub = Arc::new(Hub::new(&deliveries));
    signals.stops(&hub);
    let later = Arc::new(Later::start()?);
    let cameras = cameras(config, &model, &clock, required.camera, &hub, &later)?;
    let announced = Announced::remember(&config.state_dir, &camera_ids(config));
    let remote = remote(config, &announced);
    let (sender, receiver) = Watch::commands();
    let update_sender = config.updates.is_some().then(|| sender.clone());
    let mut outputs = outputs(config, &profile, required.broker, &remote, &hub, update_sender)?;
    if let (Some(mqtt), Some(publisher)) = (&config.mqtt, &outputs.publisher) {
        forget(&announced.gone, &mqtt.topics(), publisher);
    }
    let web = config.web.as_ref().map(|c| web(config, c, &hub, &remote)).transpose()?;
    outputs.evidence = outputs.evidence.map(|evidence| evidence.later(&later));
    outputs.later = Some(later);
    outputs.live = web.as_ref().map(|(_, live)| Arc::clone(live));
    // Last, so that the watchdog does not run while the model is loaded.
    let board = Board::open(&profile, root);
    let life = life(config, &board, root);
    let setup = Setup {
        identity: Identity { device: config.device.clone(), model: model_id(&model) },
        outputs,
        ids: IncidentIds::random().context("/dev/urandom")?,
        clock,
        model: model_status(&model),
        status_every: Duration::from_secs_f64(config.status_every),
        end_with_sources: config.exit_when_done,
        board,
        remote: Some(remote),
        life,
    };
    let exchange = Arc::new(Exchange::default());
    let _watch = config
        .updates
        .as_ref()
        .map(|updates| {
            let outbox = setup.outputs.publisher.as_ref().map(Publisher::outbox);
            let store = store(config, updates, &profile)?;
            watch(config, updates, store, slot, outbox, &exchange, (sender, receiver))
        })
        .transpose()?;
    Ok(engine::run_exchanging(cameras, &mut model.engine, setup, &hub, exchange.as_ref()))
}

/// Says how the program ended before, if not in order.
fn life(config: &Config, board: &Board, root: &Path) -> Life {
    let file = SignFile::new(&config.state_dir);
    let boot_id = life::boot_id(root);
    let last_end =
        file.read().map(|sign| LastEnd::of(&sign, boot_id.as_deref(), board.boot_cause()));
    if let Some(end) = &last_end {
        end.tell();
    }
    Life { file: Some(file), boot_id, last_end }
}

/// Starts the local web server.
fn web(
    config: &Config,
    web: &WebConfig,
    hub: &Arc<Hub>,
    remote: &Remote,
) -> Result<(Web, Arc<Live>), Error> {
    let live = Arc::new(Live::new(config.cameras.len()));
    let server = Web::start(WebSetup {
        listen: web.listen,
        token: token(web)?,
        cameras: camera_ids(config),
        live: Arc::clone(&live),
        hub: Arc::clone(hub),
        counters: Arc::clone(&remote.counters),
        evidence: config.evidence.as_ref().map(|evidence| evidence.dir.clone()),
    })?;
    Ok((server, live))
}

/// The token that the local page asks for, if it asks for one.
pub(super) fn token(web: &WebConfig) -> Result<Option<String>, Error> {
    let Some(path) = &web.token_file else { return Ok(None) };
    let wrong = |what: &str| Error::Usage(format!("{}: {what}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| wrong(&e.to_string()))?;
    let token = text.lines().next().unwrap_or_default().trim().to_owned();
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !(16..=128).contains(&token.len()) || !token.bytes().all(allowed) {
        return Err(wrong("the token must be 16 to 128 of a-z, A-Z, 0-9, '-' and '_'"));
    }
    Ok(Some(token))
}

/// The model that is to run: that of a slot, or the configuration's.
fn load(config: &Config, profile: &Profile) -> Result<(Model, Option<Slot>), Error> {
    let Some(updates) = &config.updates else {
        let model = Model::load(&config.model)?;
        model.check_device(&config.model.bundle, &profile.device_class)?;
        return Ok((model, None));
    };
    let store = store(config, updates, profile)?;
    let _lock = Lock::take(store.dir())?;
    let selected = store.select(|bundle, path| {
        Model::from_bundle(bundle, &config.model, path).and_then(|model| {
            // Rules that do not go together with the configuration's are a failure of the update.
            offered_rules(config, &model)?;
            Ok(model)
        })
    })?;
    if let Some(slot) = selected.slot {
        let trial = if selected.on_trial { ", on trial" } else { "" };
        log::info!("bundle of slot {slot}{trial}");
    }
    Ok((selected.value, selected.slot))
}

fn offered_rules(config: &Config, model: &Model) -> Result<Vec<Rules>, Error> {
    let detectors = &model.bundle.manifest().detectors;
    let rules = config.cameras.iter().map(|camera| config.rules(detectors, camera));
    rules.collect::<Result<_, _>>().map_err(Error::Usage)
}

/// Starts to look after updates.
fn watch(
    config: &Config,
    updates: &UpdatesConfig,
    store: Store,
    running: Option<Slot>,
    outbox: Option<Outbox>,
    exchange: &Arc<Exchange<Engine>>,
    (sender, commands): (SyncSender<UpdateCommand>, Receiver<UpdateCommand>),
) -> Result<Watch, Error> {
    let own = config.clone();
    let load = move |bundle: Bundle, path: &Path| {
        let model = Model::from_bundle(bundle, &own.model, path)?;
        let (rules, status, id) =
            (offered_rules(&own, &model)?, model_status(&model), model_id(&model));
        Ok(Offer { scorer: model.engine, status, id, rules })
    };
    let topic = config.mqtt.as_ref().map(|mqtt| mqtt.topics().bundle());
    let report = move |report: &update::Report| {
        let (Some(outbox), Some(topic)) = (&outbox, &topic) else { return };
        match serde_json::to_vec(report) {
            Ok(json) => outbox.set_retained(topic, json),
            Err(e) => log::error!("{topic}: {e}"),
        }
    };
    let setup = WatchSetup {
        store,
        load: Box::new(load),
        exchange: Arc::clone(exchange),
        url_prefixes: updates.url_prefixes.clone(),
        ca_file: updates.ca_file.clone(),
        probation_frames: updates.probation_frames,
        probation: Duration::from_secs_f64(updates.probation_seconds),
        running,
        report: Box::new(report),
        commands,
    };
    Watch::start(setup, sender)
}

/// The cameras. Each is opened by its own thread when its first frame is asked for, side by side with
/// the others, and waited for. With `require` they are opened now, and at least one must be there.
fn cameras(
    config: &Config,
    model: &Model,
    clock: &Arc<dyn Clock>,
    require: bool,
    hub: &Hub,
    later: &Arc<Later>,
) -> Result<Vec<CameraSetup>, Error> {
    let sources = if require {
        opened(config, clock, hub)?
    } else {
        let later = |camera: &CameraConfig| capture::later(&camera.source, clock);
        config.cameras.iter().map(later).collect::<Result<_, _>>()?
    };
    let setup = |(camera, source): (&CameraConfig, Box<dyn FrameSource>)| {
        let detectors = &model.bundle.manifest().detectors;
        let delivery = capture::delivery(&camera.source);
        Ok(CameraSetup {
            id: camera.id.clone(),
            source,
            delivery,
            rules: config.rules(detectors, camera).map_err(Error::Usage)?,
            scores: scores(config, camera)?
                .map(|file| file.later(later, delivery == Delivery::Lossless)),
            scene: Some(config.scene),
            zones: camera.zones.clone(),
        })
    };
    config.cameras.iter().zip(sources).map(setup).collect()
}

/// Opens all sources side by side. Cameras that are away are waited for, if at least one source is
/// there.
fn opened(
    config: &Config,
    clock: &Arc<dyn Clock>,
    hub: &Hub,
) -> Result<Vec<Box<dyn FrameSource>>, Error> {
    let stop = || hub.is_stopped();
    let attempts: Vec<_> = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for camera in &config.cameras {
            threads.push(scope.spawn(|| capture::open_until(&camera.source, clock, &stop)));
        }
        threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    let (mut sources, mut away, mut there) = (Vec::new(), None, false);
    for (camera, attempt) in config.cameras.iter().zip(attempts) {
        let attempt = attempt.unwrap_or_else(|_| {
            let what = "the source failed in an unforeseen way".into();
            Err(capture::Error::Device { path: camera.source.name().into(), what })
        });
        let live = matches!(camera.source, SourceConfig::V4l2(_) | SourceConfig::Rtsp(_));
        sources.push(match attempt {
            Ok(source) => {
                there = true;
                source
            }
            Err(e) if live => {
                log::warn!("camera {}: {e}; it is waited for", camera.id);
                away.get_or_insert(e);
                capture::later(&camera.source, clock)?
            }
            Err(e) => return Err(e.into()),
        });
    }
    match away {
        Some(e) if !there => Err(e.into()),
        _ => Ok(sources),
    }
}

fn scores(config: &Config, camera: &CameraConfig) -> Result<Option<ScoreFile>, Error> {
    let path = config.scores_dir.as_ref().map(|dir| dir.join(format!("{}.csv", camera.id)));
    path.map(|p| ScoreFile::with_detectors(&p)).transpose()
}

fn remote(config: &Config, announced: &Announced) -> Remote {
    let mqtt = config.mqtt.as_ref();
    let introduction = mqtt.and_then(|mqtt| {
        let home_assistant = mqtt.home_assistant.as_ref()?;
        let message = if home_assistant.enabled {
            let topics = mqtt.topics();
            let Announced { cameras, gone } = announced;
            home_assistant::message(&config.device, cameras, gone, &topics).to_string()
        } else {
            String::new()
        };
        Some((home_assistant::topic(home_assistant, &config.device), message))
    });
    Remote {
        topics: mqtt.map(MqttConfig::topics),
        settings: Settings::open(&config.state_dir),
        counters: Arc::default(),
        telemetry_every: Duration::from_secs_f64(config.telemetry_every),
        introduction,
    }
}

/// Takes from the broker what it keeps of cameras that are gone.
fn forget(gone: &[String], topics: &Topics, publisher: &Publisher) {
    for camera in gone {
        for setting in [Setting::Armed, Setting::Threshold, Setting::Snapshot] {
            if let Some(topic) = topics.setting(camera, setting) {
                publisher.set_retained(&topic, "");
            }
        }
    }
}

fn camera_ids(config: &Config) -> Vec<String> {
    config.cameras.iter().map(|camera| camera.id.clone()).collect()
}

/// What is subscribed to, and what is done with it.
fn listener(
    config: &Config,
    mqtt: &MqttConfig,
    remote: &Remote,
    hub: &Arc<Hub>,
    updates: Option<SyncSender<UpdateCommand>>,
) -> (Vec<String>, Listener) {
    let topics = mqtt.topics();
    let mut filters = Vec::new();
    if mqtt.commands {
        filters.extend(topics.commands().iter().map(ToString::to_string));
    }
    let birth = mqtt
        .home_assistant
        .as_ref()
        .filter(|home_assistant| home_assistant.enabled)
        .map(home_assistant::birth_topic);
    filters.extend(birth.clone());
    let (cameras, counters, hub) =
        (camera_ids(config), Arc::clone(&remote.counters), Arc::clone(hub));
    let listener = move |message: &Incoming| {
        if birth.as_ref() == Some(&message.topic) {
            // Its first word may be kept by the broker; hearing it again does no harm.
            if message.payload == b"online" {
                hub.command(Command::Introduce);
            }
            return;
        }
        let order = Order::parse(message, &topics, &cameras);
        let accepted = order.and_then(|order| match order {
            Order::Run(command) if hub.command(command) => Ok(()),
            Order::Run(_) => Err(Refusal::Busy),
            Order::Update(command) => match &updates {
                Some(updates) => updates.try_send(command).map_err(|_| Refusal::Busy),
                None => Err(Refusal::UnknownTopic),
            },
        });
        counters.count(&message.topic, accepted);
    };
    (filters, Box::new(listener))
}

/// Waits for the broker; not on after a stop, when nobody asks any more.
fn connected(publisher: &Publisher, hub: &Hub) -> bool {
    const STEP: Duration = Duration::from_millis(100);
    let until = Instant::now() + BROKER_WAIT;
    while !hub.is_stopped() && Instant::now() < until {
        if publisher.wait_connected(STEP) {
            return true;
        }
    }
    hub.is_stopped()
}

fn outputs(
    config: &Config,
    profile: &Profile,
    require_broker: bool,
    remote: &Remote,
    hub: &Arc<Hub>,
    updates: Option<SyncSender<UpdateCommand>>,
) -> Result<Outputs, Error> {
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
            let (filters, listener) = listener(config, mqtt, remote, hub, updates);
            let publisher = Publisher::listening(mqtt.clone(), spool, filters, listener);
            if require_broker && !connected(&publisher, hub) {
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
        alarm: Alarm::open(profile, Path::new("/"))?.limited(config.alarm.limit()),
        live: None,
        later: None,
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
