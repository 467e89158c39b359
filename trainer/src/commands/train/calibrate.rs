//! Calibration on footage that training has not seen: what is normal for each detector, and where
//! the alarm threshold lies.

use anyhow::{Result, bail};
use inference::{Engine, RawScores};
use model_bundle::manifest::{Calibration, Detectors, ZScore};
use trainer::synthesis::{NormalClip, PseudoClip};
use video::Frame;

/// Smallest deviation of the head's score, which lies in 0 to 1: a head that says exactly 0 to all
/// normal footage would otherwise turn every breath into a dozen deviations.
const SEMANTIC_FLOOR: f64 = 0.05;
/// Smallest deviation of logits and log levels.
const FLOOR: f64 = 0.05;
/// Where the threshold lies between the highest score on normal footage and the usual peak of a
/// pseudo-abnormal event. Held-out footage is minutes long and a site runs for months, so the
/// threshold keeps a distance from the highest value seen; a real event is no larger than a pseudo
/// one, so the distance is the smaller part.
const MARGIN: f64 = 0.35;

/// Runs clips through the engine; `take` gets the raw values of each model frame of each clip.
fn run_raw(
    engine: &mut Engine,
    clips: &[NormalClip],
    mut take: impl FnMut(&RawScores),
) -> Result<()> {
    for clip in clips {
        let mut stream = engine.stream(clip.frame_rate);
        for frame in &clip.frames {
            engine.push_with_raw(&mut stream, frame, &mut |_| {}, &mut take)?;
        }
        engine.finish_with_raw(&mut stream, &mut |_| {}, &mut take)?;
    }
    Ok(())
}

/// The fused values of a clip's frames.
fn fused(engine: &mut Engine, rate: f64, frames: &[Frame]) -> Result<Vec<f64>> {
    let mut stream = engine.stream(rate);
    let mut values = Vec::with_capacity(frames.len());
    for frame in frames {
        engine.push(&mut stream, frame, &mut |score| values.push(score.fused))?;
    }
    engine.finish(&mut stream, &mut |score| values.push(score.fused))?;
    Ok(values)
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
pub fn normalise(engine: &mut Engine, held_out: &[NormalClip]) -> Result<Detectors> {
    let (mut local, mut motion, mut semantic) = (Vec::new(), Vec::new(), Vec::new());
    run_raw(engine, held_out, |raw| {
        local.extend(raw.local);
        motion.extend(raw.motion);
        semantic.extend(raw.semantic);
    })?;
    let mut detectors = engine.detectors().clone();
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
    Ok(detectors)
}

/// Chooses the threshold on held-out normal footage and pseudo-abnormal clips kept for this.
pub fn threshold(
    engine: &mut Engine,
    held_out: &[NormalClip],
    pseudo: &[(f64, PseudoClip)],
) -> Result<Calibration> {
    let (mut highest, mut seconds) = (f64::NEG_INFINITY, 0.0);
    for clip in held_out {
        seconds += clip.frames.len() as f64 / clip.frame_rate;
        highest = fused(engine, clip.frame_rate, &clip.frames)?.into_iter().fold(highest, f64::max);
    }
    let mut peaks = Vec::new();
    for (rate, clip) in pseudo {
        let values = fused(engine, *rate, &clip.frames)?;
        for event in &clip.events {
            let last = event.last.min(values.len().saturating_sub(1));
            peaks.push(values[event.first..=last].iter().copied().fold(f64::MIN, f64::max));
        }
    }
    let calibration = choose(highest, &mut peaks, seconds)?;
    let found = peaks.iter().filter(|p| **p >= calibration.threshold).count();
    log::info!(
        "threshold {:.2}: highest on {seconds:.0} s of held-out normal footage {highest:.2}; {found} of \
         {} held-out pseudo events reach it",
        calibration.threshold,
        peaks.len()
    );
    Ok(calibration)
}

fn choose(highest: f64, peaks: &mut [f64], seconds: f64) -> Result<Calibration> {
    if peaks.is_empty() || !highest.is_finite() {
        bail!("no held-out footage or no pseudo-abnormal event to choose a threshold by");
    }
    peaks.sort_by(f64::total_cmp);
    let usual = peaks[peaks.len() / 2];
    // If pseudo events do not stand out, keep a distance of one deviation all the same.
    let distance = (usual - highest).max(1.0 / MARGIN);
    let threshold = highest + MARGIN * distance;
    Ok(Calibration {
        threshold,
        // The usual pseudo event scores 0.9.
        scale: (highest + distance - threshold) / 9.0_f64.ln(),
        false_alarms_per_hour: 3600.0 / seconds.max(1.0),
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
    fn threshold_lies_between_normal_and_pseudo() {
        let calibration = choose(2.0, &mut [22.0, 12.0, 7.0], 60.0).unwrap();
        assert!((calibration.threshold - 5.5).abs() < 1e-12);
        let score = |fused: f64| 1.0 / (1.0 + (-(fused - 5.5) / calibration.scale).exp());
        assert!((score(12.0) - 0.9).abs() < 1e-12);
        assert_eq!(calibration.false_alarms_per_hour, 60.0);
    }

    #[test]
    fn pseudo_events_that_do_not_stand_out_still_leave_a_distance() {
        let calibration = choose(3.0, &mut [1.0, 2.0], 60.0).unwrap();
        assert!((calibration.threshold - 4.0).abs() < 1e-12);
        assert!(calibration.scale > 0.0);
    }
}
