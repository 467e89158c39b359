"""AUC of whole videos from the scores of their snippets, by their mean and by their highest.

usage: video_auc.py SCORES labels.json

SCORES has a .npy of `trainer score` for each video; a video that labels.json names is abnormal. Prints
the areas and, for the mean, the standard error of Hanley and McNeil (1982).
"""

import json
import pathlib
import sys

import numpy as np


def auc(normal, abnormal):
    """The share of pairs in which the abnormal video scores higher; ties count half."""
    difference = np.asarray(abnormal)[:, None] - np.asarray(normal)[None, :]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def standard_error(a, normal, abnormal):
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    spread = a * (1 - a) + (abnormal - 1) * (q1 - a * a) + (normal - 1) * (q2 - a * a)
    return (spread / (normal * abnormal)) ** 0.5


def main():
    folder, labels = sys.argv[1:]
    labels = json.loads(pathlib.Path(labels).read_text())
    scores = {path.stem: np.load(path) for path in sorted(pathlib.Path(folder).glob("*.npy"))}
    sides = [[s for name, s in scores.items() if (name in labels) == side] for side in (False, True)]
    counts = [len(side) for side in sides]
    print(f"{counts[0]} normal and {counts[1]} abnormal videos")
    mean = auc(*[[s.mean() for s in side] for side in sides])
    print(f"mean of snippets     {mean:.4f} (standard error {standard_error(mean, *counts):.4f})")
    print(f"highest snippet      {auc(*[[s.max() for s in side] for side in sides]):.4f}")


if __name__ == "__main__":
    main()
