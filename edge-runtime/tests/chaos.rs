//! Everything is killed at random while incidents are announced: the broker, and the program itself.
//! Every announced event must arrive, in order once repetitions are removed.
//!
//! The test is short; `cargo xtask bench chaos` runs the long form, by these variables:
//! `PAVAD_CHAOS_EVENTS`, `PAVAD_CHAOS_BROKER_KILLS`, `PAVAD_CHAOS_PROGRAM_KILLS`.
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

mod common;

use std::collections::HashSet;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use alert_wire::Alert;
use common::{Broker, Key, Maker, Running, command, key, memory, subscribe_keys};

/// Most memory that the program may have in use, in bytes: the smallest model, one camera, a spool.
const MEMORY: u64 = 192 << 20;

fn setting(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().map_or(usual, |text| text.parse().unwrap())
}

fn configure(dir: &Path, port: u16, maker: &Maker, source: &str, top: &str) {
    let text = format!(
        "device = \"a\"\nevents_file = \"events.jsonl\"\n{top}\n\
         [model]\nbundle = \"model.pavad\"\nbackends = [\"tract\"]\npublic_keys = [\"{}\"]\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {port}\n[events]\nupdate_every = 0.1\n\
         [[cameras]]\nid = \"door\"\nsource = {source}\n",
        maker.key()
    );
    std::fs::write(dir.join("edge.toml"), text).unwrap();
}

/// Keys of the events that were announced, in order.
fn announced(dir: &Path) -> Vec<Key> {
    let text = std::fs::read_to_string(dir.join("events.jsonl")).unwrap_or_default();
    // The last line may be half written when the program is killed.
    text.split_inclusive('\n')
        .filter_map(|line| Alert::from_json(line.strip_suffix('\n')?.as_bytes()).ok())
        .map(|alert| key(&alert))
        .collect()
}

#[test]
fn every_announced_event_arrives_whatever_is_killed() {
    let events = setting("PAVAD_CHAOS_EVENTS", 300);
    let (mut broker_kills, mut program_kills) =
        (setting("PAVAD_CHAOS_BROKER_KILLS", 3), setting("PAVAD_CHAOS_PROGRAM_KILLS", 3));
    let dir = tempfile::tempdir().unwrap();
    let Some(first) = Broker::start(dir.path(), 0) else { return };
    let port = first.port;
    let maker = Maker::new();
    std::fs::write(dir.path().join("model.pavad"), maker.bundle("1.0.0", 1, "any")).unwrap();
    common::clip(&dir.path().join("clip"), 40, 4..24);
    common::clip(&dir.path().join("still"), 1, 0..0);
    let source = "{ type = \"images\", path = \"clip\", pace = \"fast\", at_end = \"loop\" }";
    configure(dir.path(), port, &maker, source, "");
    let receiver = subscribe_keys(port, "pavad/a/events/+");
    // The broker saves its sessions once a second; killed before that it would forget the subscriber.
    std::thread::sleep(Duration::from_millis(1500));

    let run = || {
        let mut command = command(dir.path());
        Running::start(command.args(["run", "--config", "edge.toml"]).stderr(Stdio::null()))
    };
    let (mut broker, mut program) = (Some(first), run());
    let mut state = 1u64;
    let mut random = |from: u64, to: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        from + (state >> 33) % (to - from)
    };
    let mut highest = 0;
    let until = Instant::now() + Duration::from_secs(60 + events as u64);
    while broker_kills > 0 || program_kills > 0 || announced(dir.path()).len() < events {
        assert!(Instant::now() < until, "{} events so far", announced(dir.path()).len());
        std::thread::sleep(Duration::from_millis(random(400, 1000)));
        highest = highest.max(memory(&program));
        // Both in turn, at moments that have nothing to do with what they are doing.
        if broker_kills > 0 && (program_kills == 0 || random(0, 3) > 0) {
            broker_kills -= 1;
            drop(broker.take());
            std::thread::sleep(Duration::from_millis(random(20, 400)));
            broker = Broker::start(dir.path(), port);
        } else if program_kills > 0 {
            program_kills -= 1;
            // SIGKILL.
            drop(program);
            program = run();
        }
    }
    program.stop();
    // What is still owed is sent by the next run, which has nothing to announce itself.
    let still = "{ type = \"images\", path = \"still\", pace = \"fast\" }";
    configure(dir.path(), port, &maker, still, "exit_when_done = true\ndrain_timeout = 120");
    let last = command(dir.path()).args(["run", "--config", "edge.toml"]).output().unwrap();
    assert!(last.status.success(), "{}", String::from_utf8_lossy(&last.stderr));

    let announced = announced(dir.path());
    let wanted: HashSet<&Key> = announced.iter().collect();
    let (mut seen, mut order, mut repeated) = (HashSet::new(), Vec::new(), 0);
    while seen.len() < wanted.len() {
        let received = receiver.recv_timeout(Duration::from_secs(20));
        let Ok(key) = received else {
            let lost: Vec<&Key> = announced.iter().filter(|k| !seen.contains(*k)).collect();
            panic!("{} of {} events are lost: {lost:.3?}", lost.len(), announced.len());
        };
        // One that was stored when the program was killed, but not yet written to the file, comes too.
        if !wanted.contains(&key) {
            continue;
        }
        if seen.insert(key.clone()) {
            order.push(key);
        } else {
            repeated += 1;
        }
    }
    assert!(order == announced, "the order is another");
    assert!(highest < MEMORY, "{highest} bytes of memory");
    println!(
        "{} events announced, all received in order, {repeated} repeated; at most {:.0} MiB of memory",
        announced.len(),
        highest as f64 / f64::from(1 << 20)
    );
    drop(broker);
}
