use model_bundle::manifest::{Calibration, EventSpec, InputSpec, NormalLevel, SmoothingSpec};

use super::*;

const MINIMAL: &str = r#"device = "cam-01"

[model]
bundle = "model.pavad"

[[cameras]]
id = "door"
source = { type = "file", path = "door.mp4" }
"#;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("/etc/pavad/edge.toml")).map_err(|e| e.to_string())
}

#[test]
fn defaults() {
    let config = parse(MINIMAL).unwrap();
    assert_eq!(config.board, "auto");
    assert_eq!(config.model.bundle, Path::new("/etc/pavad/model.pavad"));
    assert_eq!(config.model.backends, None);
    assert_eq!(config.model.providers, [ProviderName::Cpu]);
    assert_eq!(config.model.engine_dir.as_deref(), Some(Path::new("/etc/pavad/state/engines")));
    assert_eq!(config.mqtt, None);
    assert_eq!(config.evidence, None);
    assert_eq!(config.spool.dir, Path::new("/etc/pavad/spool"));
    assert_eq!(config.spool.max_bytes, 16 << 20);
    assert_eq!(config.drain_timeout, 30.0);
    assert!(!config.exit_when_done);
    assert_eq!(
        config.cameras[0].source,
        SourceConfig::File(FileConfig {
            path: "/etc/pavad/door.mp4".into(),
            pace: Pace::Realtime,
            at_end: AtEnd::Stop,
        })
    );
}

#[test]
fn everything_given() {
    let config = parse(
        r#"
device = "cam-01"
board = "jetson-orin-nano"
status_every = 2.5
scores_dir = "/var/scores"
events_file = "events.jsonl"
exit_when_done = true
drain_timeout = 0
[model]
bundle = "/m.pavad"
public_keys = ["RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3", "site.pub"]
backends = ["tract"]
providers = ["tensorrt", "cuda", "cpu"]
engine_dir = "/var/engines"
threads = 2
ort_library = "lib/libonnxruntime.so"
[mqtt]
host = "broker.local"
protocol = "3.1.1"
root = "site/a/cam-01"
client_id = "x"
username = "u"
password_file = "pw"
keep_alive = 60
tls = { ca_file = "ca.pem", cert_file = "c.pem", key_file = "k.pem" }
[spool]
dir = "/var/spool/pavad"
max_bytes = 4096
[evidence]
dir = "evidence"
max_bytes = 65536
quality = 90
draw_region = false
clip_before = 5
clip_after = 2.5
[events]
enter = 0.6
exit = 0.4
min_duration = 0.5
end_after = 1.0
cool_down = 2.0
update_every = 1.0
[[cameras]]
id = "a"
threshold = 0.7
source = { type = "v4l2", device = "/dev/video0", width = 1280, height = 720, frame_rate = 15, timeout = 1, pixel_format = "mjpeg", controls = { brightness = 10, auto_exposure = 1 } }
[[cameras]]
id = "b"
source = { type = "images", path = "frames", pace = "fast", at_end = "loop" }
"#,
    )
    .unwrap();
    let mqtt = config.mqtt.as_ref().unwrap();
    assert_eq!((mqtt.port, mqtt.protocol), (8883, Protocol::V311));
    assert_eq!(mqtt.topics().events("a").unwrap(), "site/a/cam-01/events/a");
    assert!(config.model.public_keys[0].starts_with("RWQ"));
    assert_eq!(config.model.public_keys[1], "/etc/pavad/site.pub");
    let evidence = config.evidence.as_ref().unwrap();
    assert_eq!((evidence.clip_before, evidence.clip_after), (5.0, 2.5));
    let SourceConfig::V4l2(v4l2) = &config.cameras[0].source else { panic!() };
    assert_eq!((v4l2.width, v4l2.frame_rate, v4l2.timeout), (1280, 15.0, 1.0));
    assert_eq!(v4l2.pixel_format, Some(PixelFormat::Mjpeg));
    let controls: Vec<_> = v4l2.controls.iter().map(|(n, v)| (n.as_str(), *v)).collect();
    assert_eq!(controls, [("auto_exposure", 1), ("brightness", 10)]);
    let model = model(None);
    let rules = config.rules(&model, &config.cameras[0]).unwrap();
    assert_eq!((rules.enter, rules.cool_down, rules.update_every), (0.7, 2.0, 1.0));
    assert!((rules.exit - 0.4 * 0.7 / 0.6).abs() < 1e-12);
    assert_eq!(config.rules(&model, &config.cameras[1]).unwrap().enter, 0.6);
    // Of a model whose normal footage reaches a score of 0.42, the exit that the file and the camera's
    // threshold make, 0.467, stays; the file's own of 0.4 would let no incident end.
    let level = 1.0 + 2.0 * (0.42_f64 / 0.58).ln();
    let stated = self::model(Some(NormalLevel { level, spread: 0.1 }));
    let rules = config.rules(&stated, &config.cameras[0]).unwrap();
    assert!(
        (rules.exit - 0.4 * 0.7 / 0.6).abs() < 1e-12 && (rules.normal_level - 0.42).abs() < 1e-12
    );
    let rules = config.rules(&stated, &config.cameras[1]).unwrap();
    assert!((rules.exit - 0.51).abs() < 1e-12, "half-way from 0.42 to 0.6: {}", rules.exit);
}

/// A model's rules; nothing else of it matters here.
fn model(normal: Option<NormalLevel>) -> Detectors {
    Detectors {
        input: InputSpec { width: 32, height: 32, frame_rate: 10.0 },
        local: None,
        motion: None,
        semantic: None,
        smoothing: SmoothingSpec { sigma: 0.0, radius: 0, lag: 0 },
        calibration: Calibration { threshold: 1.0, scale: 2.0, false_alarms_per_hour: 1.0, normal },
        events: EventSpec {
            enter: 0.5,
            exit: 0.45,
            min_duration: 0.3,
            end_after: 0.7,
            cool_down: 0.0,
        },
    }
}

#[test]
fn what_is_shown_can_be_read_back() {
    let config = parse(MINIMAL).unwrap();
    let shown = toml::to_string(&config).unwrap();
    assert_eq!(parse(&shown).unwrap(), config);
}

/// Each change to the minimal file, and what the message must begin with and contain.
#[test]
fn errors_name_file_line_and_field() {
    let camera = r#"source = { type = "file", path = "door.mp4" }"#;
    let cases: &[(&str, &str, usize, &[&str])] = &[
        ("device = \"cam-01\"", "device = \"cam 01\"", 1, &["`device`", "' '"]),
        ("device = \"cam-01\"", "", 1, &["missing field `device`"]),
        ("[model]\n", "[model]\nfps = 3\n", 4, &["unknown field `fps`", "`bundle`"]),
        ("[model]\n", "[model]\nthreads = -1\n", 4, &["invalid value", "-1"]),
        ("[model]\n", "[model]\nthreads = 1000\n", 4, &["`model.threads` is 1000", "0 to 256"]),
        ("[model]\n", "[model]\nbackends = []\n", 4, &["`model.backends` is empty"]),
        ("[model]\n", "[model]\nbackends = [\"gpu\"]\n", 4, &["unknown variant `gpu`", "`tract`"]),
        ("[model]\n", "[model]\nproviders = []\n", 4, &["`model.providers` is empty"]),
        ("[model]\n", "[model]\nproviders = [\"rocm\"]\n", 4, &["unknown variant", "`cuda`"]),
        (
            "[model]\n",
            "[model]\nproviders = [\"cpu\", \"cpu\"]\n",
            4,
            &["`model.providers` names one twice"],
        ),
        (
            "[model]\n",
            "[mqtt]\nhost = \"h\"\nroot = \"a/#\"\n[model]\n",
            5,
            &["`mqtt.root`", "'#'"],
        ),
        ("[model]\n", "[mqtt]\nhost = \"h\"\nport = 0\n[model]\n", 5, &["`mqtt.port` is 0"]),
        ("[model]\n", "[mqtt]\nport = 1\n[model]\n", 3, &["missing field `host`"]),
        (
            "[model]\n",
            "[mqtt]\nhost = \"h\"\npassword_file = \"p\"\n[model]\n",
            5,
            &["needs `mqtt.username`"],
        ),
        (
            "[model]\n",
            "[mqtt]\nhost = \"h\"\ntls = { ca_file = \"c\", key_file = \"k\" }\n[model]\n",
            5,
            &["needs `mqtt.tls.cert_file`"],
        ),
        ("[model]\n", "[spool]\nmax_bytes = 12\n[model]\n", 4, &["`spool.max_bytes` is 12"]),
        ("[model]\n", "[events]\nenter = 0.3\nexit = 0.4\n[model]\n", 3, &["`events.exit` is 0.4"]),
        ("[model]\n", "[events]\nenter = nan\n[model]\n", 4, &["`events.enter` is NaN"]),
        ("id = \"door\"", "id = \"a/b\"", 7, &["`cameras.id`", "'/'"]),
        (camera, "source = { type = \"usb\" }", 8, &["unknown variant `usb`", "`v4l2`"]),
        (camera, "source = { type = \"rtsp\" }", 8, &["needs `url`"]),
        (camera, "source = { type = \"rtsp\", url = \"http://a/b\" }", 8, &["must be rtsp://"]),
        (
            camera,
            "source = { type = \"rtsp\", url = \"rtsp://a/b\", password_env = \"P\" }",
            8,
            &["needs `cameras.source.username`"],
        ),
        (
            camera,
            "source = { type = \"rtsp\", url = \"rtsp://a/b\", device = \"c\" }",
            8,
            &["`cameras.source.device` is for type \"v4l2\" only"],
        ),
        (
            camera,
            "source = { type = \"rtsp\", url = \"rtsp://a/b\", timeout = 90 }",
            8,
            &["`cameras.source.timeout` is 90"],
        ),
        (camera, "source = { type = \"v4l2\" }", 8, &["needs `device`"]),
        (camera, "source = { type = \"file\" }", 8, &["needs `path`"]),
        (
            camera,
            "source = { type = \"file\", path = \"a\",\n  width = 3 }",
            9,
            &["`cameras.source.width`", "only"],
        ),
        ("id = \"door\"", "id = \"door\"\nthreshold = 2", 8, &["`cameras.threshold` is 2"]),
        (
            "id = \"door\"",
            "id = \"door\"\nzones = [[[0, 0], [1, 0]]]",
            8,
            &["`cameras.zones`", "has 2 corners"],
        ),
        (
            "id = \"door\"",
            "id = \"door\"\nignore = [[[0, 0], [1, 0], [0, 1.5]]]",
            8,
            &["`cameras.ignore`", "outside the picture"],
        ),
        ("[model]\n", "[scene]\nfreeze_after = -1\n[model]\n", 4, &["`scene.freeze_after` is -1"]),
        ("[model]\n", "[updates]\n[model]\n", 3, &["`updates` needs `model.public_keys`"]),
        (
            "[model]\n",
            "[updates]\nurl_prefixes = [\"https://host\"]\n[model]\npublic_keys = [\"k\"]\n",
            4,
            &["`updates.url_prefixes`", "https://host"],
        ),
        (
            "[model]\n",
            "[mqtt]\nhost = \"h\"\nhome_assistant = { prefix = \"a b\" }\n[model]\n",
            5,
            &["`mqtt.home_assistant.prefix`"],
        ),
        (
            "[model]\n",
            "[web]\nlisten = \"0.0.0.0:80\"\n[model]\n",
            3,
            &["0.0.0.0:80 is not loopback", "`web.token_file`"],
        ),
        ("[model]\n", "[web]\nlisten = \"8080\"\n[model]\n", 4, &["`web.listen` \"8080\""]),
        ("[model]", "[model", 3, &[]),
    ];
    for (from, to, line, parts) in cases {
        let text = MINIMAL.replacen(from, to, 1);
        let message = parse(&text).expect_err(&text);
        let start = format!("/etc/pavad/edge.toml:{line}: ");
        assert!(message.starts_with(&start), "{message:?} should start with {start:?}");
        assert!(!message.contains('\n'), "{message:?} is not one line");
        for part in *parts {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }
}

#[test]
fn a_password_in_an_address_is_refused_and_not_repeated() {
    let source = "source = { type = \"rtsp\", url = \"rtsp://cam:hushhush@a/b\" }";
    let line = MINIMAL.lines().find(|line| line.starts_with("source")).unwrap();
    let message = parse(&MINIMAL.replacen(line, source, 1)).unwrap_err();
    assert!(message.contains("password_file") && !message.contains("hushhush"), "{message}");
}

#[test]
fn a_camera_twice_and_none_at_all() {
    let twice = format!(
        "{MINIMAL}\n[[cameras]]\nid = \"door\"\nsource = {{ type = \"file\", path = \"x\" }}\n"
    );
    assert_eq!(
        parse(&twice).unwrap_err(),
        "/etc/pavad/edge.toml:11: `cameras.id` \"door\" is used twice"
    );
    let none = "device = \"a\"\ncameras = []\n[model]\nbundle = \"m\"\n";
    assert!(parse(none).unwrap_err().contains("1 to 32"));
}

#[test]
fn a_file_that_is_not_there() {
    let message = Config::load(Path::new("/nowhere/edge.toml")).unwrap_err().to_string();
    assert!(message.starts_with("/nowhere/edge.toml: "), "{message}");
}
