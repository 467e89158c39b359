#!/usr/bin/env python3
"""MATLAB files as CUHK Avenue's ground truth is, by scipy: a cell array of masks, among other variables.

    python tests/reference/mat.py trainer/tests/golden/dataset
"""

import sys

import numpy as np
from scipy.io import savemat

integers = np.zeros((3, 5), np.uint8)
integers[0, 4], integers[2, 1] = 1, 255
logical = np.zeros((3, 5), bool)
logical[1, 0] = True
doubles = np.zeros((3, 5))
doubles[0, 0], doubles[2, 4] = -0.0, 0.5  # a negative zero is zero
shorts = np.array([[0, 256]], np.int16)  # four bytes: a small data element

masks = np.empty((1, 6), object)
masks[0, :] = [np.zeros((3, 5), np.uint8), integers, logical, doubles, shorts, np.zeros((0, 0))]
variables = {"fps": 25.0, "author": {"name": "x", "year": 2013}, "volLabel": masks}
for name, compressed in [("compressed", True), ("plain", False)]:
    savemat(f"{sys.argv[1]}/{name}.mat", variables, do_compression=compressed)
