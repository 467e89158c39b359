//! What the detectors said of a clip, and what follows for a choice of maps and fusion weights.

use inference::smoothing::Kernel;
use model_bundle::manifest::{SmoothingSpec, ZScore};
use serde::{Deserialize, Serialize};

use crate::evaluation::roc_auc;
use crate::synthesis::LabelMap;

/// Smallest deviation of a detector on normal footage, as in calibration.
const FLOOR: f64 = 0.05;

/// Changed pixels from which a frame is abnormal, as the synthesizer counts.
const SEEN: usize = 4;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Truth {
    /// Nothing abnormal, and nothing so near in time that smoothing brings it here.
    Normal,
    /// Something abnormal.
    Abnormal,
    /// Beside something abnormal: counts as neither.
    LeftOut,
}

/// The truth of a pseudo clip's frames; `reach` is how many frames smoothing looks to each side.
#[must_use]
pub fn truth_of(labels: &[LabelMap], reach: usize) -> Vec<Truth> {
    let changed = |map: &LabelMap| {
        let pixels = map.data.iter().filter(|l| ![LabelMap::NORMAL, LabelMap::IGNORE].contains(l));
        pixels.count() >= SEEN
    };
    let abnormal: Vec<bool> = labels.iter().map(changed).collect();
    (0..abnormal.len())
        .map(|t| {
            let around = t.saturating_sub(reach)..(t + reach + 1).min(abnormal.len());
            match (abnormal[t], abnormal[around].contains(&true)) {
                (true, _) => Truth::Abnormal,
                (false, true) => Truth::LeftOut,
                (false, false) => Truth::Normal,
            }
        })
        .collect()
}

/// What the detectors said of the frames of a clip that were looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Largest pooled logit of each kind's map: a row for each frame.
    pub peaks: Vec<Vec<f32>>,
    /// The motion prior's raw value of each frame.
    pub motion: Vec<f64>,
    /// What each frame is.
    pub truth: Vec<Truth>,
}

/// How the detectors become one value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fusion {
    /// Weight of the motion prior; that of the local detector is 1.
    pub motion: f64,
    /// The motion prior counts by what its z-score exceeds this by.
    pub excess_over: f64,
}

/// What is normal for each detector at a site.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale<'a> {
    maps: &'a [usize],
    local: ZScore,
    motion: ZScore,
}

impl Record {
    /// The local detector's raw value of each frame, by some of its maps.
    fn local<'a>(&'a self, maps: &'a [usize]) -> impl Iterator<Item = f64> + 'a {
        self.peaks.iter().map(|peaks| {
            maps.iter().map(|map| f64::from(peaks[*map])).fold(f64::NEG_INFINITY, f64::max)
        })
    }
}

impl<'a> Scale<'a> {
    /// Of normal footage, if only the given maps are looked at (at least one); `None` without a
    /// frame or a map.
    pub fn of(normal: &[Record], maps: &'a [usize]) -> Option<Self> {
        let local: Vec<f64> = normal.iter().flat_map(|record| record.local(maps)).collect();
        let motion: Vec<f64> = normal.iter().flat_map(|record| record.motion.clone()).collect();
        if maps.is_empty() || local.is_empty() {
            return None;
        }
        let scale = |values: &[f64]| {
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
            ZScore { mean, std: variance.sqrt().max(FLOOR) }
        };
        Some(Self { maps, local: scale(&local), motion: scale(&motion) })
    }

    /// The fused value of each frame, smoothed over time.
    pub fn fused(&self, record: &Record, fusion: Fusion, smoothing: &SmoothingSpec) -> Vec<f64> {
        let kernel = Kernel::new(smoothing);
        let smooth = |values: &[f64], z: &ZScore| -> Vec<f64> {
            let last = values.len().saturating_sub(1) as u64;
            let at = |t| kernel.smooth(t, last, |u| (values[u as usize] - z.mean) / z.std);
            (0..values.len() as u64).map(at).collect()
        };
        let local = smooth(&record.local(self.maps).collect::<Vec<_>>(), &self.local);
        let motion = smooth(&record.motion, &self.motion);
        let excess = |z: f64| (z - fusion.excess_over).max(0.0);
        local.iter().zip(&motion).map(|(l, m)| l + fusion.motion * excess(*m)).collect()
    }
}

/// AUC of frames that are abnormal against those that are normal; `values` are those of the records'
/// frames, in their order. `None` unless both classes occur.
pub fn auc<'a>(frames: impl Iterator<Item = (&'a Record, &'a [f64])>) -> Option<f64> {
    let (scores, truth): (Vec<f64>, Vec<bool>) = frames
        .flat_map(|(record, values)| values.iter().zip(&record.truth))
        .filter(|(_, truth)| **truth != Truth::LeftOut)
        .map(|(value, truth)| (*value, *truth == Truth::Abnormal))
        .unzip();
    roc_auc(&scores, &truth)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNSMOOTHED: SmoothingSpec = SmoothingSpec { sigma: 0.0, radius: 0, lag: 0 };

    fn record(peaks: &[[f32; 2]], motion: &[f64]) -> Record {
        Record {
            peaks: peaks.iter().map(|p| p.to_vec()).collect(),
            motion: motion.to_vec(),
            truth: vec![Truth::Normal; motion.len()],
        }
    }

    #[test]
    fn frames_beside_an_event_are_left_out() {
        let map = |pixels: usize, label: u8| {
            let mut map = LabelMap::new(4, 4);
            map.data[..pixels].fill(label);
            map
        };
        let labels =
            [map(0, 1), map(9, LabelMap::IGNORE), map(3, 2), map(4, 2), map(0, 1), map(0, 1)];
        use Truth::{Abnormal, LeftOut, Normal};
        assert_eq!(truth_of(&labels, 1), [Normal, Normal, LeftOut, Abnormal, LeftOut, Normal]);
        assert_eq!(truth_of(&labels, 0), [Normal, Normal, Normal, Abnormal, Normal, Normal]);
    }

    #[test]
    fn a_z_score_of_the_chosen_maps_and_the_motion_beyond_the_usual() {
        let normal = [record(&[[1.0, 9.0], [3.0, 5.0]], &[0.0, 2.0])];
        let first = Scale::of(&normal, &[0]).unwrap();
        let both = Scale::of(&normal, &[0, 1]).unwrap();
        let seen = record(&[[4.0, 7.0]], &[5.0]);
        let fusion = |motion| Fusion { motion, excess_over: 1.5 };
        // Map 0: mean 2, deviation 1; the larger of both: mean 7, deviation 2; motion: mean 1,
        // deviation 1, so 4, which exceeds 1.5 by 2.5.
        assert_eq!(first.fused(&seen, fusion(0.0), &UNSMOOTHED), [2.0]);
        assert_eq!(both.fused(&seen, fusion(0.0), &UNSMOOTHED), [0.0]);
        assert_eq!(first.fused(&seen, fusion(2.0), &UNSMOOTHED), [7.0]);
        assert_eq!(Scale::of(&normal, &[]), None);
        assert_eq!(Scale::of(&[], &[0]), None);
    }

    #[test]
    fn smoothing_is_that_of_the_camera() {
        let normal = [record(&[[0.0, 0.0], [2.0, 0.0]], &[0.0, 1.0])];
        let scale = Scale::of(&normal, &[0]).unwrap();
        let smoothing = SmoothingSpec { sigma: 1.0, radius: 1, lag: 1 };
        let fusion = Fusion { motion: 0.0, excess_over: 0.0 };
        let values =
            scale.fused(&record(&[[1.0; 2], [1.0; 2], [4.0; 2]], &[0.0; 3]), fusion, &smoothing);
        let side = (-0.5f64).exp();
        let expected = [0.0, 3.0 * side / (1.0 + 2.0 * side), 3.0 / (1.0 + side)];
        assert!(values.iter().zip(expected).all(|(v, e)| (v - e).abs() < 1e-12), "{values:?}");
    }

    #[test]
    fn what_is_left_out_does_not_count() {
        let mut seen = record(&[[0.0; 2]; 4], &[0.0; 4]);
        seen.truth = vec![Truth::Normal, Truth::LeftOut, Truth::Abnormal, Truth::Normal];
        let values = [0.5, 9.0, 0.7, 0.8];
        assert_eq!(auc([(&seen, &values[..])].into_iter()), Some(0.5));
        seen.truth[2] = Truth::LeftOut;
        assert_eq!(auc([(&seen, &values[..])].into_iter()), None);
    }
}
