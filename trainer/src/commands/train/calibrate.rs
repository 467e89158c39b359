//! Calibration on footage that training has not seen: what is normal for each detector, and where
//! the alarm threshold lies.

use anyhow::{Result, bail};
use inference::{Engine, FrameScore, RawScores, fuse, hysteresis};
use model_bundle::manifest::{Detectors, ZScore};
use trainer::synthesis::{NormalClip, PseudoClip};
use video::Frame;

use super::threshold::{BLOCK_SECONDS, Chosen, Evidence, block_maxima, choose};

/// Smallest deviation of the head's score, which lies in 0 to 1: a head that says exactly 0 to all
/// normal footage would otherwise turn every breath into a dozen deviations.
const SEMANTIC_FLOOR: f64 = 0.05;
/// Smallest deviation of logits and log levels.
const FLOOR: f64 = 0.05;

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

/// Detectors that are calibrated, and what there is to say of how.
pub struct Calibrated {
    /// With z-scores, threshold, and an `exit` above the site's normal level.
    pub detectors: Detectors,
    /// For the provenance.
    pub record: Vec<(&'static str, String)>,
}

/// Normalisation, threshold and `exit` for the detectors of `engine`, whose own are not in use yet
/// (z-scores of mean 0 and deviation 1): `rate` false alarms an hour are allowed for.
pub fn calibrate(
    engine: &mut Engine,
    held_out: &[NormalClip],
    pseudo: &[(f64, PseudoClip)],
    rate: f64,
) -> Result<Calibrated> {
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
    let chosen = threshold(&detectors, &held_out, &peaks, rate)?;
    detectors.calibration = chosen.calibration.clone();
    detectors.events.exit = exit(&detectors)?;
    Ok(Calibrated { record: record(&chosen, &held_out, peaks.len()), detectors })
}

/// The score below which incidents end: above the site's normal level whatever the configuration says;
/// a configured one that is higher still counts.
fn exit(detectors: &Detectors) -> Result<f64> {
    let events = &detectors.events;
    let Some(least) = hysteresis::exit_of(detectors, events.enter) else {
        bail!(
            "events.enter = {} lies within what the site scores when nothing happens; raise it",
            events.enter
        );
    };
    log::info!("incidents end below a score of {:.3}", least.max(events.exit));
    Ok(least.max(events.exit))
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

/// Chooses the threshold, and says what speaks for it.
fn threshold(
    detectors: &Detectors,
    held_out: &[Watched],
    peaks: &[f64],
    rate: f64,
) -> Result<Chosen> {
    let (mut blocks, mut frames) = (Vec::new(), Vec::new());
    for clip in held_out {
        let values: Vec<f64> = clip.smoothed.iter().map(|s| s.fused(detectors)).collect();
        let length = BLOCK_SECONDS * values.len() as f64 / clip.seconds;
        blocks.extend(block_maxima(&values, length.round() as usize));
        frames.extend(values);
    }
    let evidence = Evidence {
        blocks: &blocks,
        frames: &frames,
        seconds: held_out.iter().map(|clip| clip.seconds).sum(),
        pieces: held_out.len(),
        peaks,
    };
    let chosen = choose(&evidence, rate)?;
    log::info!(
        "threshold {:.2}: highest on {:.0} s of held-out normal footage {:.2}; {:.2} alarms an hour are \
         expected, {:.2} to {:.2} agree with that footage (95 %); {} of {} held-out pseudo events reach it",
        chosen.calibration.threshold,
        evidence.seconds,
        chosen.highest,
        chosen.calibration.false_alarms_per_hour,
        chosen.interval.0,
        chosen.interval.1,
        chosen.found,
        peaks.len()
    );
    chosen.warnings.iter().for_each(|warning| log::warn!("{warning}"));
    Ok(chosen)
}

/// What the provenance says of a threshold.
fn record(chosen: &Chosen, held_out: &[Watched], events: usize) -> Vec<(&'static str, String)> {
    let seconds: f64 = held_out.iter().map(|clip| clip.seconds).sum();
    vec![
        ("alarms_per_hour_low", format!("{:.4}", chosen.interval.0)),
        ("alarms_per_hour_high", format!("{:.4}", chosen.interval.1)),
        ("calibration_seconds", format!("{seconds:.0}")),
        ("calibration_pieces", held_out.len().to_string()),
        ("calibration_highest", format!("{:.4}", chosen.highest)),
        ("calibration_pseudo_events", events.to_string()),
        ("calibration_pseudo_events_found", chosen.found.to_string()),
    ]
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
}
