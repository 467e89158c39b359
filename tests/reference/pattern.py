"""The input that golden files are made with, so that the input itself need not be kept.

Element i is ((i * 2654435761 mod 2**32) >> 8) / 2**23 - 1: in [-1, 1), exact in float32, and the same
in Rust (`model-export/tests/support/mod.rs`).
"""

import numpy as np


def pattern(shape, start=0):
    """A float32 array of this shape whose element i is that of `start + i`."""
    i = np.arange(start, start + int(np.prod(shape)), dtype=np.uint64)
    bits = (i * np.uint64(2654435761) % np.uint64(2**32)) >> np.uint64(8)
    return (bits.astype(np.float64) / 2**23 - 1).astype(np.float32).reshape(shape)
