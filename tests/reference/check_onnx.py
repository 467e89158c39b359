#!/usr/bin/env python3
"""ONNX's own checker on graphs, with inference of all shapes: `python check_onnx.py FILE.onnx...`

Run by `model-export/tests/checker.rs`. Exit code 77 if Python has no `onnx`.
"""

import sys

try:
    import onnx
except ImportError as error:
    print(error)
    sys.exit(77)

for path in sys.argv[1:]:
    try:
        onnx.checker.check_model(path, full_check=True)
    except Exception as error:  # whatever kind it is, it is a finding
        print(f"{path}: {error}")
        sys.exit(1)
    print(f"{path}: good")
