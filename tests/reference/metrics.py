#!/usr/bin/env python3
"""Golden values of the figures of merit, by scikit-learn.

    python tests/reference/metrics.py trainer/tests/golden/metrics.json trainer/tests/golden/pixels.json
"""

import json
import sys

import numpy as np
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    average_precision_score, brier_score_loss, precision_recall_curve, roc_auc_score, roc_curve,
)

BINS = 10


def ranking(labels, scores):
    """The curves with all their points: every distinct score is a threshold."""
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    precision, recall, _ = precision_recall_curve(labels, scores, drop_intermediate=False)
    return {
        "labels": labels.astype(int).tolist(), "scores": scores.tolist(),
        "roc_auc": roc_auc_score(labels, scores), "average_precision": average_precision_score(labels, scores),
        "fpr": fpr.tolist(), "tpr": tpr.tolist(), "precision": precision.tolist(), "recall": recall.tolist(),
    }


def calibration(labels, probabilities):
    """Brier score and the bins of the reliability diagram, empty ones left out as scikit-learn does."""
    true, predicted = calibration_curve(labels, probabilities, n_bins=BINS, strategy="uniform")
    edges = np.linspace(0, 1, BINS + 1)
    counts = np.bincount(np.searchsorted(edges[1:-1], probabilities), minlength=BINS)
    counts = counts[counts > 0]
    return {
        "probabilities": probabilities.tolist(), "brier": brier_score_loss(labels, probabilities),
        "bin_counts": counts.tolist(), "bin_true": true.tolist(), "bin_predicted": predicted.tolist(),
        "calibration_error": float(np.sum(counts * np.abs(true - predicted)) / len(labels)),
    }


def pixels(rng, frames, cells, size, levels, lift):
    """Score maps of some cells over masks of more pixels: every pixel has the score of its cell."""
    (height, width), (rows, columns) = size, cells
    masks = np.zeros((frames, height, width), bool)
    for t in range(frames // 3, frames):  # a moving box; the first third is normal
        y, x = rng.integers(0, height - 4), rng.integers(0, width - 5)
        masks[t, y : y + rng.integers(1, 5), x : x + rng.integers(1, 6)] = True
    row = ((np.arange(height) + 0.5) * rows / height).astype(int)
    column = ((np.arange(width) + 0.5) * columns / width).astype(int)
    maps = rng.normal(size=(frames, rows, columns))
    for t, y, x in np.argwhere(masks):
        maps[t, row[y], column[x]] += lift
    maps = (np.round(maps * levels) / levels if levels else maps).astype(np.float32)
    upsampled = maps[:, row][:, :, column]

    # The pixel-level criterion by its definition: sweep the threshold, look at each frame.
    abnormal = masks.any(axis=(1, 2))
    curve = [(0.0, 0.0)]
    for threshold in np.unique(maps)[::-1]:
        found = upsampled >= threshold
        share = np.array([found[t][masks[t]].mean() if abnormal[t] else 0.0 for t in range(frames)])
        hits = share[abnormal] >= 0.4
        alarms = found[~abnormal].any(axis=(1, 2))
        curve.append((alarms.mean(), hits.mean()))
    x, y = np.array(curve).T
    return {
        "maps": maps.tolist(), "masks": masks.astype(int).tolist(),
        "auc_pixel": roc_auc_score(masks.ravel(), upsampled.ravel()),
        "auc_localised": float(np.trapezoid(y, x)),
    }


def write(path, cases):
    with open(path, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")


rng = np.random.default_rng(5)
cases = []
for n, levels, share in [(12, 4, 0.5), (60, 7, 0.2), (90, 0, 0.35), (40, 2, 0.1), (50, 1, 0.4)]:
    labels = rng.random(n) < share
    labels[:2] = [True, False]
    scores = rng.normal(size=n) + 0.8 * labels
    if levels:  # ties
        scores = np.round(scores * levels / 4) / levels
    scores = np.round(scores, 6)
    probabilities = np.round(1 / (1 + np.exp(-2 * scores)), 6)
    if levels:  # on the edges of the bins, too
        probabilities = np.round(probabilities * 20) / 20
    cases.append(ranking(labels, scores) | calibration(labels, probabilities))
write(sys.argv[1], cases)

rng = np.random.default_rng(6)
write(sys.argv[2], [
    pixels(rng, 9, (4, 5), (12, 15), 0, 0.5),
    pixels(rng, 12, (3, 4), (10, 13), 2, 0.25),  # ties, and pixels that cells do not divide
    pixels(rng, 6, (8, 8), (8, 8), 4, 2.5),
])
