//! Region- and track-based detection criterion (Ramachandra, Jones, "Street Scene", WACV 2020).

use std::collections::BTreeMap;

/// Share of a track's regions that must be found for the track to be.
const TRACK_SHARE: f64 = 0.1;
/// IoU from which a detection finds a region.
const REGION_IOU: f64 = 0.1;

/// A rectangle of pixels: left, top, right, bottom, all included.
pub type PixelBox = [u64; 4];

/// A frame of a clip.
pub type Place = (usize, u64);

/// Something that a detector found.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// Clip and frame.
    pub place: Place,
    /// Where.
    pub area: PixelBox,
    /// The higher, the surer.
    pub score: f32,
}

/// A region of the truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackedRegion {
    /// Clip and frame.
    pub place: Place,
    /// Where.
    pub area: PixelBox,
    /// Which of all tracks, from 0.
    pub track: usize,
}

/// Intersection over union of two rectangles, in pixels.
pub fn box_iou(a: PixelBox, b: PixelBox) -> f64 {
    let area = |b: PixelBox| ((b[2] - b[0] + 1) * (b[3] - b[1] + 1)) as f64;
    let (left, top) = (a[0].max(b[0]), a[1].max(b[1]));
    let (right, bottom) = (a[2].min(b[2]), a[3].min(b[3]));
    if right < left || bottom < top {
        return 0.0;
    }
    let common = area([left, top, right, bottom]);
    common / (area(a) + area(b) - common)
}

/// RBDC and TBDC: the areas below the shares of regions and of tracks that are found, over the
/// number of false detections a frame from 0 to 1, as the threshold falls. A detection finds every
/// region of its frame with an IoU of 0.1 or more; one that finds none is false, one that finds
/// only what has been found is neither. A track is found with a tenth of its regions. Detections of
/// one score count together. `None` without a region or a frame.
///
/// # Panics
/// If a score is NaN.
pub fn rbdc_tbdc(
    mut detections: Vec<Detection>,
    truth: &[TrackedRegion],
    frames: usize,
) -> Option<(f64, f64)> {
    if truth.is_empty() || frames == 0 {
        return None;
    }
    assert!(detections.iter().all(|d| !d.score.is_nan()), "scores are numbers");
    let mut by_place: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
    let mut lengths: BTreeMap<usize, usize> = BTreeMap::new();
    for (i, region) in truth.iter().enumerate() {
        by_place.entry(region.place).or_default().push(i);
        *lengths.entry(region.track).or_default() += 1;
    }
    let mut found = vec![false; truth.len()];
    let mut found_of: BTreeMap<usize, usize> = BTreeMap::new();
    let (mut regions, mut tracks, mut wrong) = (0_usize, 0_usize, 0_usize);
    let (mut rbdc, mut tbdc) = (0.0, 0.0);
    let mut last = (0.0, 0.0, 0.0);
    detections.sort_by(|a, b| b.score.total_cmp(&a.score));
    for ties in detections.chunk_by(|a, b| a.score == b.score) {
        for detection in ties {
            let mut hit = false;
            for &i in by_place.get(&detection.place).into_iter().flatten() {
                if box_iou(truth[i].area, detection.area) < REGION_IOU {
                    continue;
                }
                hit = true;
                if !std::mem::replace(&mut found[i], true) {
                    regions += 1;
                    let of = found_of.entry(truth[i].track).or_default();
                    let length = lengths[&truth[i].track] as f64;
                    let before = *of as f64 / length >= TRACK_SHARE;
                    *of += 1;
                    tracks += usize::from(!before && *of as f64 / length >= TRACK_SHARE);
                }
            }
            wrong += usize::from(!hit);
        }
        let now = (
            wrong as f64 / frames as f64,
            regions as f64 / truth.len() as f64,
            tracks as f64 / lengths.len() as f64,
        );
        let (step, cut) = match now.0 - last.0 {
            // The last step may go beyond one false detection a frame: its part below counts.
            step if now.0 > 1.0 => (1.0 - last.0, (1.0 - last.0) / step),
            step => (step, 1.0),
        };
        let area = |from: f64, to: f64| step * (from + (from + cut * (to - from))) / 2.0;
        rbdc += area(last.1, now.1);
        tbdc += area(last.2, now.2);
        last = now;
        if now.0 >= 1.0 {
            return Some((rbdc, tbdc));
        }
    }
    // No further detection: the shares stay as they are.
    Some((rbdc + (1.0 - last.0) * last.1, tbdc + (1.0 - last.0) * last.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(frame: u64, track: usize, x: u64) -> TrackedRegion {
        TrackedRegion { place: (0, frame), area: [x, 0, x + 9, 9], track }
    }

    fn detection(frame: u64, x: u64, score: f32) -> Detection {
        Detection { place: (0, frame), area: [x, 0, x + 9, 9], score }
    }

    #[test]
    fn boxes_overlap_by_pixels() {
        assert_eq!(box_iou([0, 0, 9, 9], [0, 0, 9, 9]), 1.0);
        // Five of the ten columns of each are common: 50 of 150 pixels.
        assert_eq!(box_iou([0, 0, 9, 9], [5, 0, 14, 9]), 1.0 / 3.0);
        assert_eq!(box_iou([0, 0, 9, 9], [10, 0, 19, 9]), 0.0);
    }

    #[test]
    fn curves_by_hand() {
        // Two tracks of two regions in four frames.
        let truth = [region(0, 0, 0), region(1, 0, 0), region(2, 1, 50), region(3, 1, 50)];
        let detections = vec![
            detection(0, 0, 0.9),   // finds: 1/4 regions, 1/2 tracks
            detection(0, 100, 0.8), // false: 1/4 a frame
            detection(2, 50, 0.7),  // finds: 2/4 regions, 2/2 tracks
            detection(2, 52, 0.6),  // found already: neither
            detection(1, 200, 0.5), // false: 2/4 a frame
        ];
        let (rbdc, tbdc) = rbdc_tbdc(detections, &truth, 4).unwrap();
        // A quarter of the axis at 1/4 (then 1/2 at once), a quarter at 1/2, the rest at 1/2.
        assert!((rbdc - (0.25 * 0.25 + 0.25 * 0.5 + 0.5 * 0.5)).abs() < 1e-12, "{rbdc}");
        assert!((tbdc - (0.25 * 0.5 + 0.75)).abs() < 1e-12, "{tbdc}");
    }

    #[test]
    fn nothing_beyond_one_false_detection_a_frame_counts() {
        let truth = [region(0, 0, 0)];
        let detections = vec![
            detection(0, 100, 0.9),
            detection(1, 100, 0.8), // one a frame
            detection(0, 0, 0.7),
        ];
        assert_eq!(rbdc_tbdc(detections, &truth, 2), Some((0.0, 0.0)));
        assert_eq!(rbdc_tbdc(vec![detection(0, 0, 0.1)], &truth, 2), Some((1.0, 1.0)));
        assert_eq!(rbdc_tbdc(vec![], &truth, 2), Some((0.0, 0.0)));
        assert_eq!(rbdc_tbdc(vec![], &[], 2), None);
    }

    #[test]
    fn detections_of_one_score_count_together() {
        // Whichever comes first in the list, a straight line from (0, 0) to (1/2, 1).
        let truth = [region(0, 0, 0)];
        for order in [[0, 100], [100, 0]] {
            let detections = order.map(|x| detection(0, x, 0.5)).to_vec();
            let (rbdc, _) = rbdc_tbdc(detections, &truth, 2).unwrap();
            assert!((rbdc - 0.75).abs() < 1e-12, "{rbdc}");
        }
    }

    /// Six tracks in two clips; two of three regions are detected, displaced by up to 19 pixels; and
    /// detections of nothing, wherever.
    fn drawn(seed: u64, extra: usize) -> (Vec<Detection>, Vec<TrackedRegion>) {
        let mut state = seed;
        let mut next = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut truth = Vec::new();
        for track in 0..6 {
            let (x, y, clip, first, width) = (next(60), next(40), next(2), next(20), 8 + next(12));
            for k in 0..3 + next(15) {
                let area = [x + k, y, x + k + width - 1, y + 11];
                truth.push(TrackedRegion { place: (clip as usize, first + k), area, track });
            }
        }
        let mut detections = Vec::new();
        for region in &truth {
            if next(3) > 0 {
                let dx = next(20);
                let [left, top, right, bottom] = region.area;
                let area = [left + dx, top, right + dx, bottom];
                let score = next(1_000_000) as f32;
                detections.push(Detection { place: region.place, area, score });
            }
        }
        for _ in 0..extra {
            let (x, y) = (next(80), next(60));
            let place = (next(2) as usize, next(40));
            let score = next(1_000_000) as f32;
            detections.push(Detection { place, area: [x, y, x + 9, y + 9], score });
        }
        (detections, truth)
    }

    /// Seed, false detections at least, RBDC, TBDC.
    const REFERENCE: [(u64, usize, f64, f64); 3] = [
        (1, 20, 0.321_458_333, 0.825),
        (2, 60, 0.312_686_567, 0.868_75),
        (5, 160, 0.107_115_385, 0.502_083_333),
    ];

    #[test]
    fn it_is_what_the_published_evaluation_gives() {
        // Of the algorithm of `evaluation/compute_tbdc_rbdc.py` of lilygeorgescu/AED on the same cases,
        // all scores different.
        for (seed, extra, rbdc, tbdc) in REFERENCE {
            let (detections, truth) = drawn(seed, extra);
            let found = rbdc_tbdc(detections, &truth, 80).unwrap();
            assert!((found.0 - rbdc).abs() < 1e-8, "{seed}: {found:?}");
            assert!((found.1 - tbdc).abs() < 1e-8, "{seed}: {found:?}");
        }
    }
}
