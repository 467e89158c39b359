#!/usr/bin/env python3
"""Golden values of the ranking metrics, by scikit-learn.

    python tests/reference/metrics.py trainer/tests/golden/metrics.json
"""

import json
import sys

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

rng = np.random.default_rng(5)
cases = []
for n, levels, share in [(12, 4, 0.5), (60, 7, 0.2), (90, 0, 0.35), (40, 2, 0.1), (50, 1, 0.4)]:
    labels = rng.random(n) < share
    labels[:2] = [True, False]
    scores = rng.normal(size=n) + 0.8 * labels
    if levels:  # ties
        scores = np.round(scores * levels / 4) / levels
    scores = np.round(scores, 6)
    cases.append({
        "labels": labels.astype(int).tolist(), "scores": scores.tolist(),
        "roc_auc": roc_auc_score(labels, scores), "average_precision": average_precision_score(labels, scores),
    })
with open(sys.argv[1], "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
