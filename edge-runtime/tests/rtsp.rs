//! A camera in the network: an RTSP server in a process of its own, with real H.264, that is killed and
//! started again. The server is this test program once more (`server`), and knows nothing of the client.
#![cfg(feature = "rtsp")]
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Maker, Running, command, free_port};
use edge_runtime::capture::{Demand, FrameSource as _, Next, Rtsp, Stamp};
use edge_runtime::clock::{Clock as _, SystemClock};
use edge_runtime::config::{RtspConfig, Transport};
use video::{Frame, Writer};

/// Frames a second of the stream.
const RATE: u32 = 10;
/// What the server lets in: `cam`, `secret`.
const LETS_IN: &str = "Authorization: Basic Y2FtOnNlY3JldA==";
/// Largest payload of an RTP packet.
const PAYLOAD: usize = 1000;

/// Variables by which the test tells the server what to do.
const PORT: &str = "PAVAD_TEST_RTSP_PORT";
const STREAM: &str = "PAVAD_TEST_RTSP_STREAM";

/// Access units, each a list of NAL units: pairs of a key frame and one that depends on it, of noise
/// over grey levels that go up by 20 from pair to pair.
fn stream(dir: &Path) -> Vec<Vec<Vec<u8>>> {
    let mut units = Vec::new();
    for pair in 0..8u8 {
        let path = dir.join(format!("{pair}.h264"));
        let mut writer = Writer::create(&path, 320, 240, RATE.into()).unwrap();
        let mut state = u32::from(pair) + 1;
        for _ in 0..2 {
            let luma: Vec<u8> = (0..320 * 240)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    40 + pair * 20 + (state >> 28) as u8
                })
                .collect();
            writer.write(&Frame::from_luma(320, 240, &luma).unwrap()).unwrap();
        }
        writer.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let mut unit: Vec<Vec<u8>> = Vec::new();
        for nal in nals(&bytes) {
            let is_slice = matches!(nal[0] & 31, 1 | 5);
            unit.push(nal.to_vec());
            if is_slice {
                units.push(std::mem::take(&mut unit));
            }
        }
    }
    assert_eq!(units.len(), 16);
    units
}

/// The NAL units of an Annex B stream.
fn nals(bytes: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> =
        (0..bytes.len() - 2).filter(|&i| bytes[i..i + 3] == [0, 0, 1]).map(|i| i + 3).collect();
    let ends = starts.iter().skip(1).map(|s| s - 3).chain([bytes.len()]);
    let zero = |nal: &[u8]| nal.len() - nal.iter().rev().take_while(|&&b| b == 0).count();
    starts.iter().zip(ends).map(|(&s, e)| &bytes[s..e][..zero(&bytes[s..e])]).collect()
}

/// The RTP payloads of a NAL unit: itself, or fragments (FU-A).
fn payloads(nal: &[u8]) -> Vec<Vec<u8>> {
    if nal.len() <= PAYLOAD {
        return vec![nal.to_vec()];
    }
    let parts: Vec<&[u8]> = nal[1..].chunks(PAYLOAD).collect();
    let last = parts.len() - 1;
    let fragment = |(i, part): (usize, &&[u8])| {
        let flags = u8::from(i == 0) << 7 | u8::from(i == last) << 6;
        [&[nal[0] & 0xe0 | 28, nal[0] & 31 | flags], *part].concat()
    };
    parts.iter().enumerate().map(fragment).collect()
}

/// The stamp of a frame; the path of the address says what is odd.
fn stamp(path: &str, number: u32) -> u32 {
    let stamp = number * (90_000 / RATE);
    match path {
        "ahead" if number == 40 => stamp + 3 * 90_000,
        "reset" if number >= 40 => stamp.wrapping_sub(9800 * 90_000),
        "equal" => 7,
        "slow" => stamp / 100 * 84,
        _ => stamp,
    }
}

/// Sends the stream over and over, at its rate, until the client is gone.
fn play(to: &Mutex<TcpStream>, units: &[Vec<Vec<u8>>], path: &str) {
    let (start, mut sequence) = (Instant::now(), 0u16);
    for (number, unit) in (0u32..).zip(units.iter().cycle()) {
        let due = start + Duration::from_secs(1) * number / RATE;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let packets: Vec<Vec<u8>> = unit.iter().flat_map(|nal| payloads(nal)).collect();
        let last = packets.len() - 1;
        let mut to = to.lock().unwrap();
        for (i, payload) in packets.iter().enumerate() {
            let mut packet = vec![0x80, 96 | u8::from(i == last) << 7];
            packet.extend(sequence.to_be_bytes());
            packet.extend(stamp(path, number).to_be_bytes());
            packet.extend(7u32.to_be_bytes());
            packet.extend(payload);
            let framed = [&[b'$', 0], &(packet.len() as u16).to_be_bytes()[..], &packet].concat();
            if to.write_all(&framed).is_err() {
                return;
            }
            sequence = sequence.wrapping_add(1);
        }
    }
}

/// Answers one client.
fn answer(connection: TcpStream, port: u16, units: &Arc<Vec<Vec<Vec<u8>>>>) -> Option<()> {
    let mut from = BufReader::new(connection.try_clone().ok()?);
    let to = Arc::new(Mutex::new(connection));
    loop {
        // Reports of the receiver come in between.
        while from.fill_buf().ok()?.first()? == &b'$' {
            let mut head = [0; 4];
            from.read_exact(&mut head).ok()?;
            let mut rest = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
            from.read_exact(&mut rest).ok()?;
        }
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if from.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line.trim().is_empty() {
                break;
            }
            lines.push(line.trim().to_owned());
        }
        let method = lines[0].split(' ').next()?;
        let number = lines.iter().find_map(|l| l.strip_prefix("CSeq: "))?;
        let asked = lines[0].split(' ').nth(1)?.split('/').nth(3)?;
        let path = asked.split('?').next()?.to_owned();
        let url = format!("rtsp://127.0.0.1:{port}/{path}");
        let rate = if path == "norate" { String::new() } else { format!("a=framerate:{RATE}\r\n") };
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=test\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n\
             m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n\
             {rate}a=control:track1\r\n"
        );
        let (head, body) = match method {
            "DESCRIBE" if !lines.iter().any(|line| line == LETS_IN) => {
                ("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"camera\"".to_owned(), "")
            }
            "DESCRIBE" => (
                format!(
                    "200 OK\r\nContent-Base: {url}/\r\nContent-Type: application/sdp\r\n\
                     Content-Length: {}",
                    sdp.len()
                ),
                &*sdp,
            ),
            "SETUP" => (
                "200 OK\r\nSession: 12345678;timeout=60\r\n\
                 Transport: RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=00000007"
                    .to_owned(),
                "",
            ),
            "PLAY" => (
                format!(
                    "200 OK\r\nSession: 12345678\r\nRTP-Info: url={url}/track1;seq=0;rtptime=0"
                ),
                "",
            ),
            _ => ("200 OK\r\nSession: 12345678".to_owned(), ""),
        };
        let text = format!("RTSP/1.0 {head}\r\nCSeq: {number}\r\n\r\n{body}");
        to.lock().unwrap().write_all(text.as_bytes()).ok()?;
        match method {
            "PLAY" if path != "silent" => {
                let (to, units) = (Arc::clone(&to), Arc::clone(units));
                std::thread::spawn(move || play(&to, &units, &path));
            }
            "TEARDOWN" => return None,
            _ => {}
        }
    }
}

/// Not a test of its own: the server, where the variables say so.
#[test]
#[ignore = "is started by the other tests"]
fn server() {
    let port: u16 = std::env::var(PORT).expect("started by the other tests").parse().unwrap();
    let units = Arc::new(stream(Path::new(&std::env::var_os(STREAM).unwrap())));
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    for connection in listener.incoming() {
        let units = Arc::clone(&units);
        std::thread::spawn(move || answer(connection.unwrap(), port, &units));
    }
}

fn start(dir: &Path, port: u16) -> Running {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "server", "--ignored", "--nocapture"]);
    command.env(PORT, port.to_string()).env(STREAM, dir).stdout(Stdio::null());
    let server = Running::start(&mut command);
    let until = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "the server does not listen on {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
    server
}

fn config(port: u16, password: &Path) -> RtspConfig {
    at("live", port, password)
}

fn at(path: &str, port: u16, password: &Path) -> RtspConfig {
    RtspConfig {
        url: format!("rtsp://127.0.0.1:{port}/{path}"),
        username: Some("cam".into()),
        password_file: Some(password.into()),
        password_env: None,
        transport: Transport::Tcp,
        timeout: 2.0,
    }
}

/// Takes frames until `count` have come in a row; what else comes is told.
fn take(source: &mut Rtsp, count: usize) -> (Vec<(Stamp, u8)>, Vec<String>) {
    let (mut frames, mut rest, mut frame) = (Vec::new(), Vec::new(), Frame::default());
    let until = Instant::now() + Duration::from_secs(60);
    while frames.len() < count {
        assert!(Instant::now() < until, "{} frames, {rest:?}", frames.len());
        match source.next(&mut frame, &mut Demand::all(), &|| false).unwrap() {
            Next::Frame(stamp) => {
                assert_eq!((frame.width(), frame.height()), (320, 240));
                let sum: u64 = frame.rgb().iter().map(|&v| u64::from(v)).sum();
                frames.push((stamp, (sum / (320 * 240 * 3)) as u8));
            }
            Next::Gap(why) => {
                frames.clear();
                rest.push(format!("gap: {}", why.unwrap()));
            }
            Next::Away(why) => rest.push(format!("away: {why}")),
            Next::Passed => panic!("every frame is wanted"),
            Next::End => panic!("the stream has no end"),
        }
    }
    (frames, rest)
}

#[test]
fn a_camera_that_is_killed_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (port, password) = (free_port(), dir.path().join("password"));
    std::fs::write(&password, "secret\n").unwrap();
    let server = start(dir.path(), port);
    let clock = Arc::new(SystemClock::new());
    let mut source = Rtsp::open(&config(port, &password), clock.clone()).unwrap();
    assert!((source.rate() - 10.0).abs() < 1e-9);

    let (frames, rest) = take(&mut source, 20);
    assert!(rest.is_empty(), "{rest:?}");
    assert_eq!(frames[0].0.stream, 0.0);
    for (number, pair) in frames.windows(2).enumerate() {
        // The camera's clock, not the network's: every tenth of a second within a hundredth.
        let step = pair[1].0.stream - pair[0].0.stream;
        assert!((step - 0.1).abs() < 0.01, "frame {number}: {step}");
    }
    // Every level of the stream, twice each, and the noise on it has a mean of 7.5.
    for (i, (_, level)) in frames.iter().enumerate() {
        let expected = 47 + (i / 2 % 8) as u8 * 20;
        assert!(level.abs_diff(expected) <= 3, "frame {i} is {level}, not {expected}");
    }

    // Not looked at for a while: what comes next is new, whatever waits in the connection.
    std::thread::sleep(Duration::from_secs(4));
    let (frames, _) = take(&mut source, 1);
    let age = clock.monotonic().as_millis() as u64 - frames[0].0.uptime_ms;
    assert!(age < 1500, "a frame {age} ms old");
    let before = frames[0].0.stream;
    assert!(before > 4.5, "{before}");

    drop(server);
    let mut gone = Vec::new();
    while gone.len() < 2 {
        match source.next(&mut Frame::default(), &mut Demand::all(), &|| false).unwrap() {
            Next::Gap(why) => gone.push(why.unwrap().to_string()),
            Next::Away(why) => gone.push(why.to_string()),
            // What was still in the connection.
            Next::Frame(_) | Next::Passed => {}
            Next::End => panic!(),
        }
    }
    for what in &gone {
        assert!(what.starts_with(&format!("rtsp://127.0.0.1:{port}/...: ")), "{what}");
        assert!(!what.contains('\n'), "{what}");
    }
    let _server = start(dir.path(), port);
    let (frames, _) = take(&mut source, 5);
    assert!(frames[0].0.stream > before, "the time of the stream goes on");

    // While it is waited for, a stop is heard.
    let mut later = Rtsp::later(&config(free_port(), &password), clock).unwrap();
    let asked = std::cell::Cell::new(0);
    let stop = || asked.replace(asked.get() + 1) > 3;
    assert!(matches!(later.next(&mut Frame::default(), &mut Demand::all(), &stop), Ok(Next::End)));
}

#[test]
fn the_password_lets_in_and_is_told_to_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let _server = start(dir.path(), port);
    let maker = Maker::new();
    std::fs::write(dir.path().join("model.pavad"), maker.bundle("1.0.0", 1, "any")).unwrap();
    let text = |password: &str| {
        format!(
            "device = \"a\"\n[model]\nbundle = \"model.pavad\"\nbackends = [\"tract\"]\n\
             public_keys = [\"{}\"]\n[[cameras]]\nid = \"gate\"\n[cameras.source]\ntype = \"rtsp\"\n\
             url = \"rtsp://127.0.0.1:{port}/live\"\nusername = \"cam\"\n{password}\n",
            maker.key()
        )
    };
    let doctor = |password: &str| {
        std::fs::write(dir.path().join("edge.toml"), text(password)).unwrap();
        let mut command = command(dir.path());
        command.args(["doctor", "-vv", "--config", "edge.toml"]);
        let output = command.env("CAMERA_WORD", "secret").output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    let (code, said) = doctor("password_env = \"CAMERA_WORD\"");
    assert_eq!(code, Some(0), "{said}");
    let line = format!("OK   camera gate: rtsp://127.0.0.1:{port}/... at 10.0 frames per second");
    assert!(said.contains(&line), "{said}");
    for hidden in ["secret", "Y2FtOnNlY3JldA"] {
        assert!(!said.contains(hidden), "{said}");
    }
    std::fs::write(dir.path().join("password"), "wrongword\n").unwrap();
    let (code, said) = doctor("password_file = \"password\"");
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("refuses the user name or the password"), "{said}");
    assert!(!said.contains("wrongword"), "{said}");
    let (code, said) = doctor("password_file = \"no-such-file\"");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("no-such-file"), "{said}");
}

#[test]
fn cameras_with_odd_stamps_are_not_lost_sight_of() {
    let dir = tempfile::tempdir().unwrap();
    let (port, password) = (free_port(), dir.path().join("password"));
    std::fs::write(&password, "secret\n").unwrap();
    let _server = start(dir.path(), port);
    let watch = |path: &str| {
        let clock = Arc::new(SystemClock::new());
        let mut source = Rtsp::open(&at(path, port, &password), clock).unwrap();
        let (until, mut frame) = (Instant::now() + Duration::from_secs(12), Frame::default());
        let (mut times, mut gaps) = (Vec::new(), 0);
        let stop = || Instant::now() > until;
        loop {
            match source.next(&mut frame, &mut Demand::all(), &stop).unwrap() {
                Next::Frame(stamp) => times.push(stamp.stream),
                Next::Gap(None) => gaps += 1,
                Next::End => break,
                other => panic!("{path}: {other:?}"),
            }
        }
        (path.to_owned(), times, gaps, source.rate())
    };
    let paths = ["live", "ahead", "reset", "equal", "slow", "norate"];
    let seen: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = paths.iter().map(|path| scope.spawn(move || watch(path))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (path, times, gaps, rate) in seen {
        let count = times.len();
        assert!(count > 105, "{path}: {count} of 120 frames, {gaps} gaps");
        assert!(times[count - 1] > 11.0, "{path}: the last frame is of {}", times[count - 1]);
        let expected = match path.as_str() {
            "reset" => 1..=1,
            "equal" => 1..=3,
            _ => 0..=0,
        };
        assert!(expected.contains(&gaps), "{path}: {gaps} gaps");
        assert!((rate - 10.0).abs() < 0.5, "{path}: {rate} frames a second");
    }
}

#[test]
fn a_channel_that_plays_and_sends_nothing_is_away_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let (port, password) = (free_port(), dir.path().join("password"));
    std::fs::write(&password, "secret\n").unwrap();
    let _server = start(dir.path(), port);
    let clock = Arc::new(SystemClock::new());
    let mut source = Rtsp::open(&at("silent?word=hushhush", port, &password), clock).unwrap();
    let next = source.next(&mut Frame::default(), &mut Demand::all(), &|| false).unwrap();
    let Next::Away(why) = next else { panic!("{next:?}") };
    let why = why.to_string();
    assert!(why.contains("has accepted to play and sends nothing for 2 s"), "{why}");
    assert!(!why.contains("hushhush") && !why.contains("silent"), "{why}");
}

#[test]
fn heat_and_a_pause_reach_the_decoder() {
    let dir = tempfile::tempdir().unwrap();
    let (port, password) = (free_port(), dir.path().join("password"));
    std::fs::write(&password, "secret\n").unwrap();
    let _server = start(dir.path(), port);
    let clock = Arc::new(SystemClock::new());
    let mut source = Rtsp::open(&config(port, &password), clock).unwrap();
    let mut count = |demand: &mut Demand, seconds: f64| {
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        let (mut frame, mut given, mut passed) = (Frame::default(), 0, 0);
        loop {
            match source.next(&mut frame, demand, &|| Instant::now() > until).unwrap() {
                Next::Frame(_) => given += 1,
                Next::Passed => passed += 1,
                Next::End => return (given, passed),
                other => panic!("{other:?}"),
            }
        }
    };
    let (given, passed) = count(&mut Demand::of(5.0), 4.0);
    assert!((15..=22).contains(&given) && passed >= 15, "{given} given, {passed} passed");
    // Paused for longer than its timeout: nothing comes, and it is not taken for lost.
    assert_eq!(count(&mut Demand::of(0.0), 3.0), (0, 0));
    let (given, _) = count(&mut Demand::all(), 2.0);
    assert!(given >= 12, "{given}");
}

/// A configuration of network cameras at these ports, with a timeout of 5 s each.
fn configure(dir: &Path, maker: &Maker, ports: &[u16]) {
    std::fs::write(dir.join("model.pavad"), maker.bundle("1.0.0", 1, "any")).unwrap();
    let mut text = format!(
        "device = \"a\"\nstate_dir = \"state\"\n[model]\nbundle = \"model.pavad\"\nbackends = [\"tract\"]\n\
         public_keys = [\"{}\"]\n",
        maker.key()
    );
    for (i, port) in ports.iter().enumerate() {
        text += &format!(
            "[[cameras]]\nid = \"gate{i}\"\n[cameras.source]\ntype = \"rtsp\"\n\
             url = \"rtsp://127.0.0.1:{port}/live\"\nusername = \"cam\"\n\
             password_env = \"CAMERA_WORD\"\ntimeout = 5.0\n"
        );
    }
    std::fs::write(dir.join("edge.toml"), text).unwrap();
}

#[test]
fn cameras_are_opened_side_by_side_and_a_start_hears_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    // They take connections and never answer.
    let deaf: Vec<TcpListener> =
        (0..3).map(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap()).collect();
    let ports: Vec<u16> = deaf.iter().map(|l| l.local_addr().unwrap().port()).collect();
    configure(dir.path(), &Maker::new(), &ports);
    let run = |words: &[&str]| {
        let mut command = command(dir.path());
        command.args(["run", "--config", "edge.toml"]).args(words).env("CAMERA_WORD", "secret");
        command.stderr(std::fs::File::create(dir.path().join("log")).unwrap());
        Running::start(&mut command)
    };
    let started = Instant::now();
    let mut program = run(&["--require-camera"]);
    assert_eq!(program.0.wait().unwrap().code(), Some(4));
    let took = started.elapsed();
    assert!((4.5..10.0).contains(&took.as_secs_f64()), "three times five seconds in {took:?}");
    for words in [&[][..], &["--require-camera"]] {
        let program = run(words);
        std::thread::sleep(Duration::from_millis(1500));
        let told = Instant::now();
        program.stop();
        let took = told.elapsed();
        assert!(took < Duration::from_secs(2), "{words:?}: {took:?}");
    }
}

#[test]
fn a_camera_that_is_not_there_at_boot_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    configure(dir.path(), &Maker::new(), &[port]);
    let mut command = command(dir.path());
    command.args(["run", "--config", "edge.toml"]).env("CAMERA_WORD", "secret");
    command.stderr(std::fs::File::create(dir.path().join("log")).unwrap());
    let program = Running::start(&mut command);
    let log = || std::fs::read_to_string(dir.path().join("log")).unwrap();
    let wait = |what: &str| {
        let until = Instant::now() + Duration::from_secs(30);
        while !log().contains(what) {
            assert!(Instant::now() < until, "{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    wait("it is waited for");
    let server = dir.path().join("server");
    std::fs::create_dir(&server).unwrap();
    let _server = start(&server, port);
    wait("camera gate0 is running, 320x240");
    assert!(!log().contains("/live"), "{}", log());
    program.stop();
}
