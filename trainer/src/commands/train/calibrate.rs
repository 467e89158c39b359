//! Calibration on footage that training has not seen: what is normal for each detector, and where
//! the alarm threshold lies.

use anyhow::{Result, bail};
use inference::{Engine, FrameScore, RawScores, fuse};
use model_bundle::manifest::{Calibration, Detectors, ZScore};
use trainer::synthesis::{NormalClip, PseudoClip};
use video::Frame;

/// Smallest deviation of the head's score, which lies in 0 to 1: a head that says exactly 0 to all
/// normal footage would otherwise turn every breath into a dozen deviations.
const SEMANTIC_FLOOR: f64 = 0.05;
/// Smallest deviation of logits and log levels.
const FLOOR: f64 = 0.05;
/// Seconds of footage of which the highest value is taken: longer than the smoothing reaches, so that
/// two blocks hardly share a moment.
const BLOCK_SECONDS: f64 = 2.0;
/// Smallest spread of the fitted distribution, in deviations: footage where nothing happens, or too
/// short to show a tail, must not put the threshold a hair above it.
const SPREAD_FLOOR: f64 = 0.3;

/// What the detectors said of a clip.
struct Watched {
    /// Seconds it lasts.
    seconds: f64,
    /// Raw values of each model frame.
    raw: Vec<RawScores>,
    /// Smoothed raw values of each frame.
    smoothed: Vec<Smoothed>,
}

/// The detectors' values at a frame, smoothed over time.
#[derive(Debug, Clone, Copy)]
struct Smoothed {
    local: Option<f64>,
    motion: Option<f64>,
    semantic: Option<f64>,
}

impl Smoothed {
    /// The fused value. Smoothing is linear, so smoothed values are normalised like raw ones.
    fn fused(self, detectors: &Detectors) -> f64 {
        let z = |value: Option<f64>, z: Option<&ZScore>| {
            value.zip(z).map(|(value, z)| (value - z.mean) / z.std)
        };
        fuse(
            detectors,
            z(self.local, detectors.local.as_ref().map(|d| &d.z)),
            z(self.motion, detectors.motion.as_ref().map(|d| &d.z)),
            z(self.semantic, detectors.semantic.as_ref().map(|d| &d.z)),
        )
    }
}

fn watch(engine: &mut Engine, rate: f64, frames: &[Frame]) -> Result<Watched> {
    let mut stream = engine.stream(rate);
    let mut smoothed = Vec::with_capacity(frames.len());
    let mut raw = Vec::with_capacity(frames.len());
    let mut score = |score: &FrameScore| {
        let FrameScore { local, motion, semantic, .. } = *score;
        smoothed.push(Smoothed { local, motion, semantic });
    };
    for frame in frames {
        engine.push_with_raw(&mut stream, frame, &mut score, &mut |values| raw.push(*values))?;
    }
    engine.finish_with_raw(&mut stream, &mut score, &mut |values| raw.push(*values))?;
    Ok(Watched { seconds: frames.len() as f64 / rate, raw, smoothed })
}

/// Normalisation and threshold for the detectors of `engine`, whose own are not in use yet
/// (z-scores of mean 0 and deviation 1): `rate` false alarms an hour are allowed for.
pub fn calibrate(
    engine: &mut Engine,
    held_out: &[NormalClip],
    pseudo: &[(f64, PseudoClip)],
    rate: f64,
) -> Result<Detectors> {
    let held_out: Vec<Watched> = held_out
        .iter()
        .map(|clip| watch(engine, clip.frame_rate, &clip.frames))
        .collect::<Result<_>>()?;
    let mut detectors = engine.detectors().clone();
    normalise(&mut detectors, &held_out)?;
    let mut peaks = Vec::new();
    for (frame_rate, clip) in pseudo {
        let watched = watch(engine, *frame_rate, &clip.frames)?;
        for event in &clip.events {
            let last = event.last.min(watched.smoothed.len().saturating_sub(1));
            let values = watched.smoothed[event.first..=last].iter().map(|s| s.fused(&detectors));
            peaks.push(values.fold(f64::MIN, f64::max));
        }
    }
    detectors.calibration = threshold(&detectors, &held_out, &mut peaks, rate)?;
    Ok(detectors)
}

fn z_score(values: &[f64], floor: f64) -> Result<ZScore> {
    if values.is_empty() {
        bail!("a detector gave no value on the held-out normal footage");
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    Ok(ZScore { mean, std: variance.sqrt().max(floor) })
}

/// Fills in each detector's mean and deviation on the held-out normal footage.
fn normalise(detectors: &mut Detectors, held_out: &[Watched]) -> Result<()> {
    let raw = || held_out.iter().flat_map(|clip| &clip.raw);
    let local: Vec<f64> = raw().filter_map(|r| r.local).collect();
    let motion: Vec<f64> = raw().filter_map(|r| r.motion).collect();
    let semantic: Vec<f64> = raw().filter_map(|r| r.semantic).collect();
    if let Some(spec) = &mut detectors.local {
        spec.z = z_score(&local, FLOOR)?;
        log::info!("local on normal footage: {:.3} ± {:.3}", spec.z.mean, spec.z.std);
    }
    if let Some(spec) = &mut detectors.motion {
        spec.z = z_score(&motion, FLOOR)?;
        log::info!("motion on normal footage: {:.3} ± {:.3}", spec.z.mean, spec.z.std);
    }
    if let Some(spec) = &mut detectors.semantic {
        spec.z = z_score(&semantic, SEMANTIC_FLOOR)?;
        log::info!("semantic on normal footage: {:.3} ± {:.3}", spec.z.mean, spec.z.std);
    }
    Ok(())
}

/// Chooses the threshold so that normal footage is expected to reach it `rate` times an hour, and the
/// scale so that the usual pseudo-abnormal event scores 0.9.
///
/// Held-out footage is minutes long and a site runs for months, so the highest value seen says
/// little. The highest values of its blocks follow a Gumbel distribution in the limit (Fisher and
/// Tippett 1928); it is fitted to them and asked how high the hour's value will be. How strong
/// pseudo events are does not enter: real ones may be fainter, and only false alarms can be counted
/// on normal footage.
fn threshold(
    detectors: &Detectors,
    held_out: &[Watched],
    peaks: &mut [f64],
    rate: f64,
) -> Result<Calibration> {
    let mut blocks = Vec::new();
    for clip in held_out {
        let values: Vec<f64> = clip.smoothed.iter().map(|s| s.fused(detectors)).collect();
        let length = BLOCK_SECONDS * values.len() as f64 / clip.seconds;
        blocks.extend(block_maxima(&values, length.round() as usize));
    }
    let seconds: f64 = held_out.iter().map(|clip| clip.seconds).sum();
    let calibration = choose(&blocks, peaks, rate)?;
    let found = peaks.iter().filter(|p| **p >= calibration.threshold).count();
    let highest = blocks.iter().copied().fold(f64::MIN, f64::max);
    log::info!(
        "threshold {:.2}, for {rate} false alarms an hour: highest on {seconds:.0} s of held-out normal \
         footage {highest:.2}; {found} of {} held-out pseudo events reach it",
        calibration.threshold,
        peaks.len()
    );
    if 2 * found < peaks.len() {
        log::warn!(
            "most pseudo-abnormal events stay below the threshold: give more normal footage, or allow \
             more false alarms (false_alarms_per_hour)"
        );
    }
    Ok(calibration)
}

/// The highest value of each block of `length` values. What is left at the end, shorter than half a
/// block, belongs to the last one.
fn block_maxima(values: &[f64], length: usize) -> Vec<f64> {
    let length = length.max(1);
    let count = ((values.len() + length / 2) / length).max(usize::from(!values.is_empty()));
    (0..count)
        .map(|i| {
            let end = if i + 1 == count { values.len() } else { (i + 1) * length };
            values[i * length..end].iter().copied().fold(f64::NEG_INFINITY, f64::max)
        })
        .collect()
}

/// A Gumbel distribution: the share of blocks whose highest value is below `x` is
/// exp(−exp(−(x − mode) / spread)).
#[derive(Debug, Clone, Copy)]
struct Gumbel {
    mode: f64,
    spread: f64,
}

impl Gumbel {
    /// Fitted by L-moments (Hosking 1990), which a single outlier moves less than a variance: the
    /// mean is mode + γ·spread, half the mean difference of two values spread·ln 2.
    fn fit(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let mean = sorted.iter().sum::<f64>() / n;
        // Half of Gini's mean difference, from the order statistics.
        let half_difference = if sorted.len() < 2 {
            0.0
        } else {
            let weighted = |(i, x): (usize, &f64)| (2.0 * i as f64 + 1.0 - n) * x;
            sorted.iter().enumerate().map(weighted).sum::<f64>() / (n * (n - 1.0))
        };
        let spread = (half_difference / std::f64::consts::LN_2).max(SPREAD_FLOOR);
        Self { mode: mean - std::f64::consts::EULER_GAMMA * spread, spread }
    }

    /// The value that a share `above` of blocks exceeds.
    fn exceeded_by(self, above: f64) -> f64 {
        self.mode - self.spread * (-(-above).ln_1p()).ln()
    }
}

fn choose(blocks: &[f64], peaks: &mut [f64], rate: f64) -> Result<Calibration> {
    if peaks.is_empty() || blocks.is_empty() || !blocks.iter().all(|b| b.is_finite()) {
        bail!("no held-out footage or no pseudo-abnormal event to choose a threshold by");
    }
    peaks.sort_by(f64::total_cmp);
    let usual = peaks[peaks.len() / 2];
    let blocks_an_hour = 3600.0 / BLOCK_SECONDS;
    let normal = Gumbel::fit(blocks);
    let threshold = normal.exceeded_by((rate / blocks_an_hour).min(0.5));
    // If pseudo events do not stand out, normal footage scores about 0.1, not nothing at all.
    let distance = (usual - threshold).max(threshold - normal.mode);
    Ok(Calibration {
        threshold,
        scale: distance / 9.0_f64.ln(), // the usual pseudo event scores 0.9
        false_alarms_per_hour: rate,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn z_score_of_known_values() {
        let z = z_score(&[1.0, 2.0, 3.0, 4.0], 0.05).unwrap();
        assert!((z.mean - 2.5).abs() < 1e-12 && (z.std - 1.25_f64.sqrt()).abs() < 1e-12);
        assert_eq!(z_score(&[2.0; 5], 0.05).unwrap().std, 0.05);
        assert!(z_score(&[], 0.05).is_err());
    }

    #[test]
    fn blocks_give_their_highest_values() {
        let values: Vec<f64> = (0..11).map(f64::from).collect();
        assert_eq!(block_maxima(&values, 4), [3.0, 7.0, 10.0]);
        assert_eq!(block_maxima(&values[..9], 4), [3.0, 8.0]);
        assert_eq!(block_maxima(&values[..1], 4), [0.0]);
        assert!(block_maxima(&[], 4).is_empty());
    }

    #[test]
    fn a_gumbel_sample_gives_its_parameters_back() {
        // The quantiles of mode 2, spread 0.8 at even shares are an ideal sample of it.
        let n = 20_000;
        let values: Vec<f64> =
            (0..n).map(|i| 2.0 - 0.8 * (-((i as f64 + 0.5) / n as f64).ln()).ln()).collect();
        let found = Gumbel::fit(&values);
        assert!((found.mode - 2.0).abs() < 2e-3 && (found.spread - 0.8).abs() < 2e-3, "{found:?}");
        let exact = Gumbel { mode: 2.0, spread: 0.8 };
        // Half of the values are above the median, one in a thousand above the last but twenty.
        assert!((exact.exceeded_by(0.5) - (2.0 - 0.8 * 2.0_f64.ln().ln())).abs() < 1e-12);
        assert!((exact.exceeded_by(1e-3) - values[n - 20]).abs() < 0.03);
    }

    #[test]
    fn the_threshold_follows_the_allowed_rate() {
        let blocks: Vec<f64> = (0..100).map(|i| -(-((i as f64 + 0.5) / 100.0).ln()).ln()).collect();
        let at = |rate| choose(&blocks, &mut [42.0, 22.0, 7.0], rate).unwrap();
        // 1800 blocks an hour: ln 1800 = 7.5 above a mode near 0 for one an hour.
        assert!((at(1.0).threshold - 7.5).abs() < 0.2, "{}", at(1.0).threshold);
        assert!((at(1.0).threshold - at(10.0).threshold - 10.0_f64.ln()).abs() < 0.1);
        let calibration = at(1.0);
        let score = |x: f64| 1.0 / (1.0 + (-(x - calibration.threshold) / calibration.scale).exp());
        assert!((score(22.0) - 0.9).abs() < 1e-12);
        assert_eq!(calibration.false_alarms_per_hour, 1.0);
    }

    #[test]
    fn still_footage_and_faint_events_leave_a_distance() {
        let calibration = choose(&[1.0; 20], &mut [1.0, 1.1], 1.0).unwrap();
        assert!(calibration.threshold > 2.0);
        let score = |x: f64| 1.0 / (1.0 + (-(x - calibration.threshold) / calibration.scale).exp());
        assert!((0.05..0.2).contains(&score(1.0)), "{}", score(1.0));
        assert!(choose(&[], &mut [1.0], 1.0).is_err());
        assert!(choose(&[1.0], &mut [], 1.0).is_err());
    }
}
