//! The ranking metrics against scikit-learn (`tests/reference/metrics.py`).

use trainer::evaluation::{average_precision, roc_auc};

#[derive(serde::Deserialize)]
struct Case {
    labels: Vec<u8>,
    scores: Vec<f64>,
    roc_auc: f64,
    average_precision: f64,
}

#[test]
fn metrics_agree_with_scikit_learn() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("golden/metrics.json")).unwrap();
    assert_eq!(cases.len(), 5);
    for (i, case) in cases.iter().enumerate() {
        let labels: Vec<bool> = case.labels.iter().map(|l| *l == 1).collect();
        let auc = roc_auc(&case.scores, &labels).unwrap();
        let ap = average_precision(&case.scores, &labels).unwrap();
        assert!((auc - case.roc_auc).abs() < 1e-9, "case {i}: {auc} against {}", case.roc_auc);
        assert!((ap - case.average_precision).abs() < 1e-9, "case {i}: {ap}");
    }
}
