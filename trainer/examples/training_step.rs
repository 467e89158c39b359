//! One training step after another, timed, for `cargo xtask bench train`.
//!
//! `training_step detector|local STEPS`: waits for a line on standard input, takes one step of the
//! real training loop (assembling the batch, drawing noise, forward, backward, optimiser), prints its
//! seconds, and so on. Whoever holds the other end decides when a step is taken, so that two
//! implementations can take turns on the same cores. The sizes are those of the published
//! training; `tests/reference/training_step.py` does the same work in PyTorch.

use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use candle_core::Device;
use trainer::detector::noise::{Purpose, open_unit, stream};
use trainer::detector::{self, Bag, DetectorConfig};
use trainer::local::{self, LocalConfig, LumaClip};

/// Waits for the next turn; says how long the one before took.
struct Turns(Option<Instant>);

impl Turns {
    fn next(&mut self) {
        if let Some(started) = self.0 {
            println!("{:.6}", started.elapsed().as_secs_f64());
            std::io::stdout().flush().expect("whoever asked for the step reads its time");
        }
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line).unwrap_or(0) == 0 {
            std::process::exit(0);
        }
        self.0 = Some(Instant::now());
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let what = args.next().unwrap_or_default();
    let steps: usize = args.next().and_then(|n| n.parse().ok()).unwrap_or(0);
    match (what.as_str(), steps) {
        ("detector", 1..) => semantic(steps),
        ("local", 1..) => pixels(steps),
        _ => {
            eprintln!("usage: training_step detector|local STEPS");
            std::process::exit(2);
        }
    }
}

/// 32 + 32 videos of 200 snippets of I3D's 1024 features.
fn semantic(steps: usize) {
    let config = DetectorConfig { steps, ..DetectorConfig::default() };
    let bags = |index: u64| -> Vec<Bag> {
        let mut rng = stream(1, Purpose::Init, index);
        let values = config.segments * config.model.feature_size;
        let mut bag = |number: usize| {
            let features = (0..values).map(|_| open_unit(&mut rng) as f32).collect();
            let (snippets, d) = (config.segments, config.model.feature_size);
            Bag::pooled(number.to_string(), features, snippets, d)
        };
        (0..config.batch).map(&mut bag).collect()
    };
    let (normal, pseudo) = (bags(0), bags(1));
    let mut turns = Turns(None);
    turns.next();
    detector::train(
        &normal,
        &pseudo,
        &config,
        1,
        &Device::Cpu,
        None,
        &mut |_| turns.next(),
        &AtomicBool::new(false),
    )
    .expect("the bags are valid");
}

/// Batches of 12 crops of 192 × 128, eleven kinds.
fn pixels(steps: usize) {
    let kinds: Vec<String> = (0..11).map(|kind| kind.to_string()).collect();
    let config = LocalConfig { kinds, steps, warm_up: 0, ..LocalConfig::default() };
    let (width, height, frames) = (320, 240, 32);
    let mut rng = stream(2, Purpose::Init, 0);
    let mut clip = |labelled: bool| {
        let mut pixel = |_| (256.0 * open_unit(&mut rng)) as u8;
        let mut picture = |_| (0..width * height).map(&mut pixel).collect();
        let frames: Vec<Vec<u8>> = (0..frames).map(&mut picture).collect();
        // A square of each kind in every frame.
        let label = |at: usize| {
            let (x, y) = (at % width / 16, at / width / 16);
            if (x + y) % 4 == 0 { (1 + (x + y) / 4 % 11) as u8 } else { 0 }
        };
        let map: Vec<u8> = (0..width * height).map(label).collect();
        let labels = labelled.then(|| vec![map; frames.len()]);
        LumaClip { width, height, frames, labels }
    };
    let (normal, pseudo) = (vec![clip(false)], vec![clip(true)]);
    let mut turns = Turns(None);
    turns.next();
    local::train(
        &normal,
        &pseudo,
        &config,
        1,
        &Device::Cpu,
        None,
        &mut |_| turns.next(),
        &AtomicBool::new(false),
    )
    .expect("the clips are valid");
}
