//! Where the alarm threshold lies, as far as held-out footage supports one.
//!
//! Held-out footage is minutes long and a site runs for months. No distribution fitted to a few dozen
//! blocks says honestly what comes once in four hours: what it says is its own tail. So the threshold
//! starts from what was seen, goes beyond it by no more than what was seen allows, and the interval of
//! the alarms to be expected is stated with it. `docs/design/scores.md` has the reasons.

use anyhow::{Result, bail};
use model_bundle::manifest::{Calibration, NormalLevel};
use trainer::evaluation::metrics::poisson_interval;

/// Seconds of footage of which the highest value is taken: longer than the smoothing reaches, so that
/// two blocks hardly share a moment.
pub const BLOCK_SECONDS: f64 = 2.0;
/// Least distance of the threshold from a block that must not alarm, in deviations: what has been seen
/// once comes again a little higher.
const MARGIN: f64 = 0.1;
/// Smallest mean excess of the tail, in deviations: footage where nothing happens must not put the
/// threshold a hair above it.
const EXCESS_FLOOR: f64 = 0.3;
/// Share of the blocks that are the tail.
const TAIL: f64 = 0.2;
/// How many times the length of the footage the tail is followed.
const REACH: f64 = 30.0;
/// Share of the pseudo events found at the lowest threshold that a higher one may cost.
const COST: f64 = 0.1;
/// Smallest deviation of the fused value.
const SPREAD_FLOOR: f64 = 0.05;
/// Share of normal frames below the site's normal level.
const LEVEL: f64 = 0.99;
/// Shorter footage says nearly nothing of how often alarms come, in seconds.
const SHORT: f64 = 120.0;
/// A single piece shows one hour of one day, in seconds.
const SHORT_PIECE: f64 = 600.0;

/// What the threshold is chosen by.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The highest fused value of each block of held-out normal footage.
    pub blocks: &'a [f64],
    /// The fused value of each of its frames.
    pub frames: &'a [f64],
    /// Its length.
    pub seconds: f64,
    /// Pieces that it is of.
    pub pieces: usize,
    /// The highest fused value of each pseudo-abnormal event.
    pub peaks: &'a [f64],
}

/// A threshold with what speaks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// Threshold, scale and normal level; its false alarms an hour are what the tail says.
    pub calibration: Calibration,
    /// The exact 95 % interval of the alarms an hour.
    pub interval: (f64, f64),
    /// The highest normal block.
    pub highest: f64,
    /// Pseudo events that reach the threshold.
    pub found: usize,
    /// What its user should know.
    pub warnings: Vec<String>,
}

/// Chooses the threshold for at most `rate` alarms an hour, as far as the footage is long enough to
/// tell.
///
/// The lowest threshold there is lies above all blocks but those that `rate` allows in this length.
/// If it allows none, the threshold goes up from there along the tail, the exponential distribution (a generalised Pareto of shape
/// 0) of the highest fifth of the blocks, to where alarms are expected `rate` times an hour, or once
/// in thirty times the footage's length; never farther above the highest block than that one is above
/// the usual block; and no farther than one in ten of the pseudo events allows.
pub fn choose(evidence: &Evidence<'_>, rate: f64) -> Result<Chosen> {
    let Evidence { blocks, frames, seconds, pieces, peaks } = *evidence;
    let finite = |values: &[f64]| !values.is_empty() && values.iter().all(|v| v.is_finite());
    if !finite(blocks) || !finite(frames) || !finite(peaks) || seconds <= 0.0 {
        bail!("no held-out footage or no pseudo-abnormal event to choose a threshold by");
    }
    let hours = seconds / 3600.0;
    let falling = |values: &[f64]| {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(|a, b| b.total_cmp(a));
        sorted
    };
    let (blocks, peaks, frames) = (falling(blocks), falling(peaks), falling(frames));
    let usual = blocks[blocks.len() / 2];
    let allowed = ((rate * hours).floor() as usize).min(blocks.len() - 1);
    let must_not = blocks[allowed];
    let lowest = must_not + MARGIN;

    let tail = Tail::of(&blocks, hours);
    let target = rate.max(1.0 / (REACH * hours));
    let bound = must_not + (must_not - usual);
    // Footage long enough to allow alarms itself needs no tail.
    let highest = if allowed > 0 { lowest } else { tail.reached(target).min(bound).max(lowest) };
    // Peaks fall: what the cheapest tenth of those found reaches is what the threshold may cost.
    let found = peaks.iter().filter(|peak| **peak >= lowest).count();
    let kept = found - (COST * found as f64) as usize;
    let threshold = match kept.checked_sub(1) {
        Some(last) => highest.min(peaks[last]),
        // Pseudo events say nothing of where to stop: what was seen has to do.
        None => lowest,
    };

    let count = |values: &[f64]| values.iter().filter(|value| **value >= threshold).count();
    let (low, high) = poisson_interval(count(&blocks) as u64);
    let interval = (low / hours, high / hours);
    let seen = count(&blocks) as f64 / hours;
    let expected = if allowed > 0 { seen } else { tail.rate(threshold) };
    let mean = frames.iter().sum::<f64>() / frames.len() as f64;
    let variance = frames.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / frames.len() as f64;
    let level = frames[((1.0 - LEVEL) * frames.len() as f64) as usize].min(threshold - MARGIN);
    let normal = NormalLevel { level, spread: variance.sqrt().max(SPREAD_FLOOR) };
    // The usual pseudo event scores 0.9, or, if it does not stand out, the usual block 0.1; but strong
    // pseudo events do not lift the normal level above 0.25.
    let typical = peaks[peaks.len() / 2];
    let scale = (typical - threshold).max(threshold - usual) / 9.0_f64.ln();
    let scale = scale.min((threshold - level) / 3.0_f64.ln());
    let chosen = Chosen {
        calibration: Calibration {
            threshold,
            scale,
            false_alarms_per_hour: expected.clamp(interval.0, interval.1),
            normal: Some(normal),
        },
        interval,
        highest: blocks[0],
        found: count(&peaks),
        warnings: Vec::new(),
    };
    Ok(Chosen { warnings: warnings(&chosen, rate, seconds, pieces, peaks.len()), ..chosen })
}

fn warnings(chosen: &Chosen, rate: f64, seconds: f64, pieces: usize, events: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    if seconds < SHORT || (pieces == 1 && seconds < SHORT_PIECE) {
        let piece = if pieces == 1 { "in a single piece" } else { "in all" };
        warnings.push(format!(
            "calibrated on {seconds:.0} s of held-out normal footage {piece}: {:.1} to {:.0} alarms an \
             hour would agree with it; give more footage, of other hours and days",
            chosen.interval.0, chosen.interval.1
        ));
    } else if rate * seconds < 3600.0 {
        warnings.push(format!(
            "whether normal footage alarms {rate} times an hour cannot be told from {:.1} minutes of it: \
             that needs {:.1} hours held out",
            seconds / 60.0,
            1.0 / rate
        ));
    }
    if 2 * chosen.found < events {
        warnings.push(
            "most pseudo-abnormal events stay below the threshold: give more normal footage, or allow \
             more false alarms (false_alarms_per_hour)"
                .into(),
        );
    }
    warnings
}

/// The highest blocks: how often a value is exceeded in an hour, and by how much.
struct Tail {
    /// Where the tail begins.
    from: f64,
    /// Mean excess over it.
    excess: f64,
    /// Times an hour that it is exceeded.
    rate: f64,
}

impl Tail {
    /// Of blocks in falling order, one at least.
    fn of(blocks: &[f64], hours: f64) -> Self {
        let count = ((TAIL * blocks.len() as f64) as usize).max(5).min(blocks.len() - 1);
        let from = blocks[count];
        let mean = blocks[..count].iter().map(|b| b - from).sum::<f64>() / count.max(1) as f64;
        Self { from, excess: mean.max(EXCESS_FLOOR), rate: count.max(1) as f64 / hours }
    }

    /// Times an hour that a value in the tail is exceeded.
    fn rate(&self, value: f64) -> f64 {
        self.rate * (-(value - self.from) / self.excess).exp()
    }

    /// The value that is exceeded so many times an hour.
    fn reached(&self, rate: f64) -> f64 {
        self.from + self.excess * (self.rate / rate).ln()
    }
}

/// The highest value of each block of `length` values. What is left at the end, shorter than half a
/// block, belongs to the last one.
pub fn block_maxima(values: &[f64], length: usize) -> Vec<f64> {
    let length = length.max(1);
    let count = ((values.len() + length / 2) / length).max(usize::from(!values.is_empty()));
    (0..count)
        .map(|i| {
            let end = if i + 1 == count { values.len() } else { (i + 1) * length };
            values[i * length..end].iter().copied().fold(f64::NEG_INFINITY, f64::max)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn blocks_give_their_highest_values() {
        let values: Vec<f64> = (0..11).map(f64::from).collect();
        assert_eq!(block_maxima(&values, 4), [3.0, 7.0, 10.0]);
        assert_eq!(block_maxima(&values[..9], 4), [3.0, 8.0]);
        assert_eq!(block_maxima(&values[..1], 4), [0.0]);
        assert!(block_maxima(&[], 4).is_empty());
    }

    /// How blocks of normal footage are drawn: by the value that a share of them exceeds.
    type Draw = fn(f64) -> f64;
    /// Bounded, light, exponential and heavy tails (Pareto of index 3).
    const DRAWS: [(&str, Draw); 4] = [
        ("bounded", |share| 2.0 - 2.0 * share),
        ("light", |share| 1.0 + (-2.0 * share.ln()).sqrt() * 0.5),
        ("exponential", |share| 1.0 - 0.5 * share.ln()),
        ("heavy", |share| 0.5 + 0.6 * share.powf(-1.0 / 3.0)),
    ];

    fn blocks(seed: u64, count: usize, draw: Draw) -> Vec<f64> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        (0..count).map(|_| draw(1.0 - random.random::<f64>())).collect()
    }

    fn chosen(blocks: &[f64], peaks: &[f64], rate: f64) -> Chosen {
        let seconds = BLOCK_SECONDS * blocks.len() as f64;
        choose(&Evidence { blocks, frames: blocks, seconds, pieces: 4, peaks }, rate).unwrap()
    }

    /// Blocks an hour that really exceed a value, by how they are drawn.
    fn truly(draw: Draw, threshold: f64) -> f64 {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..200 {
            let share = f64::midpoint(low, high);
            if draw(share.max(1e-300)) > threshold { low = share } else { high = share }
        }
        low * 3600.0 / BLOCK_SECONDS
    }

    #[test]
    fn the_threshold_runs_away() {
        // 26 blocks that reach 2.14, pseudo events of 0.4 to 3.0: a Gumbel distribution fitted to the
        // blocks and asked for one alarm in four hours said 5.43.
        let mut blocks: Vec<f64> = (0..26).map(|i| 0.3 + 1.2 * f64::from(i) / 25.0).collect();
        blocks[25] = 2.14;
        let peaks: Vec<f64> = (0..20).map(|i| 0.4 + 2.6 * f64::from(i) / 19.0).collect();
        let chosen = chosen(&blocks, &peaks, 0.25);
        let threshold = chosen.calibration.threshold;
        assert!((2.14 + MARGIN..2.5).contains(&threshold), "{threshold}");
        assert!(chosen.found >= 4, "pseudo events above what normal footage reached are found");
        // 52 seconds without an alarm: up to 255 an hour would agree with that.
        assert_eq!(chosen.interval.0, 0.0);
        assert!((chosen.interval.1 - 255.4).abs() < 0.1, "{:?}", chosen.interval);
        assert!(chosen.warnings[0].contains("52 s"), "{:?}", chosen.warnings);
    }

    #[test]
    fn it_never_lies_farther_above_what_was_seen_than_that_above_the_usual() {
        for (name, draw) in DRAWS {
            for seed in 0..50 {
                for count in [5, 26, 54, 300] {
                    let blocks = blocks(seed, count, draw);
                    // Pseudo events that stand far out would allow any threshold.
                    let Chosen { calibration, highest, .. } = chosen(&blocks, &[80.0; 9], 0.25);
                    let mut sorted = blocks.clone();
                    sorted.sort_unstable_by(f64::total_cmp);
                    let usual = sorted[(count - 1) / 2];
                    let bound = (highest + (highest - usual)).max(highest + MARGIN);
                    let threshold = calibration.threshold;
                    assert!(
                        (highest + MARGIN..=bound + 1e-9).contains(&threshold),
                        "{name} {seed} {count}: {threshold} of {highest}"
                    );
                    // How strong pseudo events are moves neither threshold nor normal level.
                    let stronger = chosen_of(&blocks, 800.0);
                    assert_eq!(stronger.threshold, threshold);
                    assert_eq!(stronger.normal, calibration.normal);
                    assert!(score(&stronger, stronger.normal.unwrap().level) <= 0.25 + 1e-9);
                }
            }
        }
    }

    fn chosen_of(blocks: &[f64], peak: f64) -> Calibration {
        chosen(blocks, &[peak; 9], 0.25).calibration
    }

    fn score(calibration: &Calibration, fused: f64) -> f64 {
        1.0 / (1.0 + (-(fused - calibration.threshold) / calibration.scale).exp())
    }

    #[test]
    fn the_interval_holds_the_true_rate_whatever_the_tail() {
        for (name, draw) in DRAWS {
            for (count, rate) in [(26, 0.25), (54, 0.25), (300, 0.25), (3600, 6.0)] {
                let mut inside = 0;
                for seed in 0..200 {
                    let chosen = chosen(&blocks(seed, count, draw), &[80.0; 9], rate);
                    let truth = truly(draw, chosen.calibration.threshold);
                    let (low, high) = chosen.interval;
                    inside += usize::from((low..=high).contains(&truth));
                    let expected = chosen.calibration.false_alarms_per_hour;
                    assert!((low..=high).contains(&expected), "{name}: {expected} {low} {high}");
                }
                assert!(inside >= 180, "{name}, {count} blocks: {inside} of 200");
            }
        }
    }

    #[test]
    fn long_footage_gives_the_rate_that_is_asked_for() {
        // Twenty hours and six alarms an hour: 120 blocks may alarm.
        for (name, draw) in DRAWS {
            for seed in 0..10 {
                let chosen = chosen(&blocks(seed, 36_000, draw), &[80.0; 9], 6.0);
                let truth = truly(draw, chosen.calibration.threshold);
                // A bounded tail ends before the margin is over.
                let least = if name == "bounded" { 0.0 } else { 2.0 };
                assert!((least..=7.5).contains(&truth), "{name}: {truth}");
                assert!(chosen.warnings.is_empty(), "{:?}", chosen.warnings);
            }
        }
    }

    #[test]
    fn pseudo_events_are_the_other_side_of_the_trade() {
        let blocks = blocks(3, 54, DRAWS[2].1);
        let far = chosen(&blocks, &[80.0; 20], 0.25);
        // As many just above what normal footage reached: not more than a tenth of them is given up.
        let near: Vec<f64> = (0..20).map(|i| far.highest + 0.11 + 0.01 * f64::from(i)).collect();
        let near = chosen(&blocks, &near, 0.25);
        assert!(near.calibration.threshold < far.calibration.threshold);
        assert_eq!(near.found, 18);
        // None of them stands out: the threshold is what normal footage says, and this is said.
        let none = chosen(&blocks, &[0.5; 20], 0.25);
        assert_eq!(none.calibration.threshold, far.highest + MARGIN);
        assert!(none.warnings.iter().any(|w| w.contains("most pseudo-abnormal events")));
    }

    #[test]
    fn still_footage_and_faint_events_leave_a_distance() {
        let Chosen { calibration, .. } = chosen(&[1.0; 20], &[1.0, 1.1, 1.2], 1.0);
        assert_eq!(calibration.threshold, 1.0 + MARGIN);
        let normal = calibration.normal.unwrap();
        assert!(normal.level < calibration.threshold && normal.spread > 0.0);
        assert!(calibration.scale > 0.0 && score(&calibration, 1.0) <= 0.25 + 1e-9);
        let none = |blocks: &[f64], peaks: &[f64]| {
            let evidence = Evidence { blocks, frames: blocks, seconds: 9.0, pieces: 1, peaks };
            choose(&evidence, 1.0).is_err()
        };
        assert!(none(&[], &[1.0]) && none(&[1.0], &[]) && none(&[f64::NAN], &[1.0]));
        // A single block is little, and not too little to go on.
        assert!(!none(&[1.0], &[1.0]));
    }

    #[test]
    fn a_single_short_piece_is_warned_of() {
        let blocks = blocks(1, 200, DRAWS[1].1);
        let warned = |seconds: f64, pieces| {
            let evidence =
                Evidence { blocks: &blocks, frames: &blocks, seconds, pieces, peaks: &[80.0] };
            choose(&evidence, 6.0).unwrap().warnings
        };
        assert!(warned(400.0, 1)[0].contains("400 s of held-out normal footage in a single piece"));
        assert!(warned(60.0, 5)[0].contains("60 s of held-out normal footage in all"));
        assert!(warned(400.0, 5)[0].contains("cannot be told from 6.7 minutes"));
        assert_eq!(warned(3600.0, 5), Vec::<String>::new());
    }
}
