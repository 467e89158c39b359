//! When an incident ends: at a score that lies above the site's normal level.
//!
//! An incident begins at `enter` and ends below `exit`. Where `exit` lies within what the site scores
//! when nothing happens, an incident never ends. How far apart two scores are depends on the
//! calibration's scale, and so on how strong pseudo-abnormal events were; the rule is therefore one
//! of fused values: `exit` lies two spreads of normal footage below `enter`, and at least half-way
//! from the normal level to it.

use model_bundle::manifest::{Calibration, Detectors, EventSpec, NormalLevel};

use crate::fuse;

/// Distance from `enter` to `exit` in spreads of normal footage.
const SPREADS: f64 = 2.0;

/// The published score of a fused value.
pub fn score_of(calibration: &Calibration, fused: f64) -> f64 {
    1.0 / (1.0 + (-(fused - calibration.threshold) / calibration.scale).exp())
}

/// The fused value of a published score; scores of 0 and 1, which are none of any, count as nearly so.
fn fused_of(calibration: &Calibration, score: f64) -> f64 {
    let score = score.clamp(1e-9, 1.0 - 1e-9);
    calibration.threshold + calibration.scale * (score / (1.0 - score)).ln()
}

/// The fused value of normal footage: as the model states it, or, of a model that does not, what the
/// detectors give when each is two deviations above its mean on normal footage.
pub fn normal_level(detectors: &Detectors) -> NormalLevel {
    detectors.calibration.normal.unwrap_or_else(|| {
        let level = fuse(detectors, Some(SPREADS), Some(SPREADS), Some(SPREADS));
        NormalLevel { level, spread: level / SPREADS }
    })
}

/// The score of the site's normal level, if it lies below `enter`. Where it does not, nothing can be
/// said of when an incident is over.
pub fn normal_score(detectors: &Detectors, enter: f64) -> Option<f64> {
    let level = normal_level(detectors).level;
    let calibration = &detectors.calibration;
    (level < fused_of(calibration, enter)).then(|| score_of(calibration, level))
}

/// The score below which an incident that began at `enter` ends, above the site's normal level by
/// construction. `None` if `enter` itself lies within it.
pub fn exit_of(detectors: &Detectors, enter: f64) -> Option<f64> {
    let NormalLevel { level, spread } = normal_level(detectors);
    let top = fused_of(&detectors.calibration, enter);
    let exit = (top - SPREADS * spread).max(f64::midpoint(level, top));
    (level < top).then(|| score_of(&detectors.calibration, exit)).filter(|exit| *exit < enter)
}

/// Of a model whose `exit` lies within the site's normal level: that level as a score, and the `exit`
/// to be taken instead.
pub fn raised_exit(detectors: &Detectors) -> Option<(f64, f64)> {
    let EventSpec { enter, exit, .. } = detectors.events;
    let normal = normal_score(detectors, enter)?;
    exit_of(detectors, enter).filter(|_| exit <= normal).map(|raised| (normal, raised))
}

/// The model's event rules, with an `exit` above the site's normal level.
pub fn sound_events(detectors: &Detectors) -> EventSpec {
    let exit = raised_exit(detectors).map_or(detectors.events.exit, |(_, raised)| raised);
    EventSpec { exit, ..detectors.events.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model_bundle::manifest::{InputSpec, MotionSpec, SmoothingSpec, ZScore};

    /// A model with a motion prior that counts what it exceeds `excess_over` by.
    fn model(threshold: f64, scale: f64, excess_over: Option<f64>) -> Detectors {
        let calibration =
            Calibration { threshold, scale, false_alarms_per_hour: 0.25, normal: None };
        Detectors {
            input: InputSpec { width: 32, height: 32, frame_rate: 10.0 },
            local: None,
            motion: Some(MotionSpec {
                box_size: 8,
                epsilon: 1.0,
                z: ZScore { mean: 0.0, std: 1.0 },
                weight: 1.0,
                excess_over,
            }),
            semantic: None,
            smoothing: SmoothingSpec { sigma: 0.0, radius: 0, lag: 0 },
            calibration,
            events: EventSpec {
                enter: 0.5,
                exit: 0.4,
                min_duration: 0.3,
                end_after: 1.0,
                cool_down: 1.0,
            },
        }
    }

    #[test]
    fn a_wide_scale_puts_the_exit_within_normal_footage() {
        // 0.4 is 7.1 below the threshold where a logit is 17.6.
        let wide = model(5.0, 17.6, None);
        let (normal, raised) = raised_exit(&wide).unwrap();
        assert!((normal - 1.0 / (1.0 + (3.0_f64 / 17.6).exp())).abs() < 1e-12);
        // Half-way from 2, two deviations, to 5 is above 5 − 2.
        assert!((raised - 1.0 / (1.0 + (1.5_f64 / 17.6).exp())).abs() < 1e-12);
        assert_eq!(sound_events(&wide).exit, raised);
        // 0.4 is 0.8 below it where a logit is 2.
        let narrow = model(5.0, 2.0, None);
        assert_eq!(raised_exit(&narrow), None);
        assert_eq!(sound_events(&narrow), narrow.events);
    }

    #[test]
    fn the_distance_is_of_normal_spreads_whatever_the_scale() {
        for scale in [0.5, 3.0, 17.6] {
            let mut model = model(6.0, scale, None);
            model.calibration.normal = Some(NormalLevel { level: 1.0, spread: 0.5 });
            let exit = exit_of(&model, 0.5).unwrap();
            assert!((fused_of(&model.calibration, exit) - 5.0).abs() < 1e-6, "{scale}");
            // A lower threshold of the user's: half-way is farther up than two spreads below.
            let enter = score_of(&model.calibration, 2.0);
            let exit = exit_of(&model, enter).unwrap();
            assert!((fused_of(&model.calibration, exit) - 1.5).abs() < 1e-6, "{scale}");
            // One within normal footage.
            assert_eq!(exit_of(&model, score_of(&model.calibration, 0.9)), None);
            assert_eq!(normal_score(&model, score_of(&model.calibration, 0.9)), None);
        }
    }

    #[test]
    fn what_a_detector_counts_beyond_the_usual_is_nothing_on_normal_footage() {
        let level = normal_level(&model(5.0, 1.0, Some(2.0)));
        assert_eq!((level.level, level.spread), (0.0, 0.0));
        // A threshold below it says that the z-scores are no deviations: nothing is changed.
        assert_eq!(raised_exit(&model(1.5, 17.6, None)), None);
    }
}
