#!/usr/bin/env python3
"""ONNX Runtime's static quantization beside ours, for `cargo xtask bench quantize`.

    python tests/reference/quantize_static.py FOLDER THREADS

FOLDER holds what `trainer/examples/quantization.rs` wrote: `model.onnx`, `calibration/*.npy`,
`held-out/*.npy`, `ours.*.onnx`. The model is quantized with `quantize_static` and each of its
calibrators (QDQ, weights per channel, U8S8, after `quant_pre_process`) on the same samples; then every
INT8 graph runs on the held-out samples and is compared with the fp32 one. `ours.full-range.onnx` is also run with
its weights as unsigned bytes (`u8u8`), which ONNX Runtime adds in 32 bits on every processor. Prints one line each:
quantizer, method, mean and least cosine similarity, signal to noise in dB, bytes, milliseconds a run
(median; the graphs take turns).
"""

import pathlib
import sys
import time

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

CALIBRATORS = {
    "min-max": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}


class Samples(CalibrationDataReader):
    """The files of a folder, in order, as the model's one input."""

    def __init__(self, folder, name):
        self.arrays = ({name: np.load(path)} for path in sorted(folder.glob("*.npy")))

    def get_next(self):
        return next(self.arrays, None)


def session(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def with_unsigned_weights(path):
    """The graph with its weights as unsigned bytes whose zero is 128: the same reals, other kernels."""
    model = onnx.load(str(path))
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in constants:
            continue
        for name in (node.input[0], node.input[2]):
            tensor = constants[name]
            values = onnx.numpy_helper.to_array(tensor)
            if values.dtype == np.int8:
                moved = (values.astype(np.int16) + 128).astype(np.uint8)
                tensor.CopyFrom(onnx.numpy_helper.from_array(moved, name))
    to = path.with_name("unsigned.onnx")
    onnx.save(model, str(to))
    return to


def main():
    folder, threads = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    model, prepared = folder / "model.onnx", folder / "prepared.onnx"
    reference = session(model, threads)
    name = reference.get_inputs()[0].name
    quant_pre_process(str(model), str(prepared))
    graphs = {("fp32", "-"): reference}
    sizes = {("fp32", "-"): model.stat().st_size}
    for path in sorted(folder.glob("ours.*.onnx")):
        key = ("ours", path.name.split(".")[1])
        graphs[key], sizes[key] = session(path, threads), path.stat().st_size
    unsigned = with_unsigned_weights(folder / "ours.full-range.onnx")
    graphs["ours", "u8u8"], sizes["ours", "u8u8"] = session(unsigned, threads), unsigned.stat().st_size
    for method, calibrator in CALIBRATORS.items():
        path = folder / f"onnxruntime.{method}.onnx"
        quantize_static(
            str(prepared), str(path), Samples(folder / "calibration", name),
            quant_format=QuantFormat.QDQ, per_channel=True, activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8, calibrate_method=calibrator,
        )
        key = ("onnxruntime", method)
        graphs[key], sizes[key] = session(path, threads), path.stat().st_size

    cosines, signal, noise, times = ({key: [] for key in graphs} for _ in range(4))
    for path in sorted((folder / "held-out").glob("*.npy")):
        sample = {name: np.load(path)}
        expected = None
        for key, graph in graphs.items():
            start = time.perf_counter()
            found = graph.run(None, sample)
            times[key].append(time.perf_counter() - start)
            found = np.concatenate([np.ravel(output) for output in found]).astype(np.float64)
            expected = found if expected is None else expected
            lengths = np.linalg.norm(expected) * np.linalg.norm(found)
            cosines[key].append(float(expected @ found / lengths) if lengths else 0.0)
            signal[key].append(float(expected @ expected))
            noise[key].append(float(np.sum((expected - found) ** 2)))
    for key in graphs:
        ratio = 10 * np.log10(sum(signal[key]) / max(sum(noise[key]), 1e-300))
        print(
            *key, f"{np.mean(cosines[key]):.6f}", f"{min(cosines[key]):.6f}",
            f"{min(ratio, 200):.2f}", sizes[key], f"{1000 * np.median(times[key]):.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
