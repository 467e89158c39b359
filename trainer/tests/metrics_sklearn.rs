//! The figures of merit against scikit-learn (`tests/reference/metrics.py`).
#![allow(clippy::unwrap_used, reason = "test code outside a test function")]

use trainer::evaluation::metrics::{
    PixelRanking, average_precision, brier_score, expected_calibration_error, localisation_score,
    precision_recall_curve, reliability, roc_auc, roc_curve,
};
use trainer::evaluation::regions::cells;

#[derive(serde::Deserialize)]
struct Case {
    labels: Vec<u8>,
    scores: Vec<f64>,
    roc_auc: f64,
    average_precision: f64,
    fpr: Vec<f64>,
    tpr: Vec<f64>,
    precision: Vec<f64>,
    recall: Vec<f64>,
    probabilities: Vec<f64>,
    brier: f64,
    bin_counts: Vec<usize>,
    bin_true: Vec<f64>,
    bin_predicted: Vec<f64>,
    calibration_error: f64,
}

impl Case {
    fn labels(&self) -> Vec<bool> {
        self.labels.iter().map(|l| *l == 1).collect()
    }
}

fn cases() -> Vec<Case> {
    let cases: Vec<Case> = serde_json::from_str(include_str!("golden/metrics.json")).unwrap();
    assert_eq!(cases.len(), 5);
    cases
}

#[track_caller]
fn close(what: &str, ours: f64, theirs: f64) {
    assert!((ours - theirs).abs() < 1e-9, "{what}: {ours} against {theirs}");
}

/// Points against two lists of coordinates.
#[track_caller]
fn same_curve<'a>(
    what: &str,
    ours: &[(f64, f64)],
    x: impl ExactSizeIterator<Item = &'a f64>,
    y: impl ExactSizeIterator<Item = &'a f64>,
) {
    assert_eq!((ours.len(), ours.len()), (x.len(), y.len()), "{what}");
    for (i, ((ours, x), y)) in ours.iter().zip(x).zip(y).enumerate() {
        close(&format!("{what}, x of point {i}"), ours.0, *x);
        close(&format!("{what}, y of point {i}"), ours.1, *y);
    }
}

#[test]
fn areas_agree_with_scikit_learn() {
    for (i, case) in cases().iter().enumerate() {
        let auc = roc_auc(&case.scores, &case.labels()).unwrap();
        close(&format!("case {i}, AUC"), auc, case.roc_auc);
        let ap = average_precision(&case.scores, &case.labels()).unwrap();
        close(&format!("case {i}, AP"), ap, case.average_precision);
    }
}

#[test]
fn curves_agree_with_scikit_learn() {
    for (i, case) in cases().iter().enumerate() {
        let roc = roc_curve(&case.scores, &case.labels(), usize::MAX);
        same_curve(&format!("case {i}, ROC"), &roc, case.fpr.iter(), case.tpr.iter());
        let curve = precision_recall_curve(&case.scores, &case.labels(), usize::MAX);
        // Theirs begins at the lowest threshold.
        let (recall, precision) = (case.recall.iter().rev(), case.precision.iter().rev());
        same_curve(&format!("case {i}, precision and recall"), &curve, recall, precision);
    }
}

#[test]
fn calibration_agrees_with_scikit_learn() {
    for (i, case) in cases().iter().enumerate() {
        let labels = case.labels();
        let brier = brier_score(&case.probabilities, &labels).unwrap();
        close(&format!("case {i}, Brier score"), brier, case.brier);
        let bins = reliability(&case.probabilities, &labels, 10);
        let error = expected_calibration_error(&bins).unwrap();
        close(&format!("case {i}, calibration error"), error, case.calibration_error);
        let full: Vec<_> = bins.iter().filter(|bin| bin.frames > 0).collect();
        let counts: Vec<usize> = full.iter().map(|bin| bin.frames).collect();
        assert_eq!(counts, case.bin_counts, "case {i}");
        for (bin, (share, score)) in full.iter().zip(case.bin_true.iter().zip(&case.bin_predicted))
        {
            close(&format!("case {i}, abnormal share"), bin.abnormal_share.unwrap(), *share);
            close(&format!("case {i}, mean score"), bin.mean_score.unwrap(), *score);
        }
    }
}

#[derive(serde::Deserialize)]
struct PixelCase {
    /// Frames of rows of cells.
    maps: Vec<Vec<Vec<f32>>>,
    /// Frames of rows of pixels.
    masks: Vec<Vec<Vec<u8>>>,
    auc_pixel: f64,
    auc_localised: f64,
}

#[test]
fn areas_over_pixels_agree_with_scikit_learn() {
    let cases: Vec<PixelCase> = serde_json::from_str(include_str!("golden/pixels.json")).unwrap();
    assert_eq!(cases.len(), 3);
    for (i, case) in cases.iter().enumerate() {
        let mut ranking = PixelRanking::default();
        let (mut frame_scores, mut frame_labels) = (Vec::new(), Vec::new());
        for (map, mask) in case.maps.iter().zip(&case.masks) {
            let (rows, columns) = (map.len(), map[0].len());
            let (height, width) = (mask.len(), mask[0].len());
            let scores = map.concat();
            let mask: Vec<bool> = mask.concat().iter().map(|pixel| *pixel == 1).collect();
            let mut cells = cells(&scores, (columns, rows), &mask, (width, height));
            for &(score, abnormal, normal) in &cells {
                ranking.add(score, abnormal, normal);
            }
            frame_scores.push(localisation_score(&mut cells).unwrap());
            frame_labels.push(mask.contains(&true));
        }
        let (auc, error) = ranking.auc().unwrap();
        close(&format!("case {i}, pixel AUC"), auc, case.auc_pixel);
        assert_eq!(error, 0.0, "case {i}");
        let localised = roc_auc(&frame_scores, &frame_labels).unwrap();
        close(&format!("case {i}, pixel-level criterion"), localised, case.auc_localised);
    }
}
