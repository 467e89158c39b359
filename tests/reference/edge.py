#!/usr/bin/env python3
"""The camera's job in Python, for `cargo xtask bench edge`: OpenCV, ONNX Runtime, paho-mqtt.

    python tests/reference/edge.py BUNDLE FRAMES PUBLISHED PORT

The frames of `edge-runtime bench` (YUYV, 640 x 480) through conversion, resizing, the detectors of
the bundle with the bundle's own INT8 graphs on one thread, smoothing, fusion and the score; connected to
the broker at PORT all the while. Then frames more, whose scores are published with quality of service 1 and
waited for, until PUBLISHED frames have had any. Prints JSON. As a user of these libraries would write it: everything that a
library does in C is left to it. The scene checks, event rules and picture ring of the camera program are
not here.
"""

import collections
import json
import math
import os
import resource
import struct
import sys
import time

import cv2
import numpy as np
import onnxruntime
import paho.mqtt.client as mqtt

WIDTH, HEIGHT = 640, 480
TOPIC = "pavad/bench/events/bench"


class Bundle:
    """The manifest and the graphs; the signature is not looked at."""

    def __init__(self, path):
        with open(path, "rb") as file:
            data = file.read()
        signature = struct.unpack_from("<I", data, 12)[0]
        payload = 66 + signature
        size = struct.unpack_from("<I", data, payload)[0]
        self.manifest = json.loads(data[payload + 4 : payload + 4 + size])
        self.blobs = data[payload + 4 + size :]

    def session(self, name):
        entry = next(
            g for g in self.manifest["graphs"] if g["name"] == name and g["backend"] == "ort"
        )
        blob = entry["blob"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        graph = self.blobs[blob["offset"] : blob["offset"] + blob["size"]]
        return onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])

    def graph(self, name):
        session = self.session(name)
        key = session.get_inputs()[0].name
        return lambda tensor: session.run(None, {key: tensor})[0]


class Frames:
    """The pictures of `edge-runtime bench`: a pattern, and a square that goes across it."""

    def __init__(self):
        x, y = np.arange(WIDTH) // 16 * 7, np.arange(HEIGHT) // 16 * 5
        self.still = np.full((HEIGHT, WIDTH, 2), 128, np.uint8)
        self.still[:, :, 0] = 60 + (y[:, None] + x[None, :]) % 11 * 12
        self.yuyv = self.still.copy()

    def get(self, number):
        edge = max(HEIGHT // 8, 4)
        left = number * 8 % max(2 * WIDTH - 2 * edge, 8) // 4 * 4 // 2
        np.copyto(self.yuyv, self.still)
        self.yuyv[HEIGHT // 2 : HEIGHT // 2 + edge, left : left + edge, 0] = 220
        return self.yuyv


class Streaming:
    """A backbone that is given every frame and keeps what it needs of those before."""

    def __init__(self, session, states):
        self.session = session
        if any(state.get("initial", "zero") != "zero" for state in states):
            sys.exit("a state that does not begin with zeros is not known here")
        self.names = [state["input"] for state in states]
        self.states = [np.zeros(state["shape"], np.float32) for state in states]
        self.key = session.get_inputs()[0].name

    def __call__(self, frame):
        inputs = dict(zip(self.names, self.states), **{self.key: frame})
        features, *self.states = self.session.run(None, inputs)
        return features


class Scorer:
    """A stream of frames; `push` gives the scores that have become known."""

    def __init__(self, bundle):
        self.spec = spec = bundle.manifest["detectors"]
        self.size = (spec["input"]["width"], spec["input"]["height"])
        self.local, self.motion, self.semantic = (
            spec.get(name) for name in ("local", "motion", "semantic")
        )
        span = [0]
        if self.local:
            self.local_graph = bundle.graph(self.local["graph"])
            span += self.local["offsets"]
        self.ahead, self.back = max(span), -min(span)
        self.lumas = collections.deque(maxlen=self.ahead + self.back + 2)
        self.frames = self.scored = 0
        if self.semantic:
            self.head = bundle.graph(self.semantic["head"])
            snippet = self.semantic["snippet"]
            if "stream" in snippet:
                self.backbone = Streaming(
                    bundle.session(self.semantic["backbone"]), snippet["stream"]["states"]
                )
            else:
                self.backbone = bundle.graph(self.semantic["backbone"])
            self.mean, self.std = (np.float32(snippet[k]) for k in ("mean", "std"))
            self.snippet = collections.deque(maxlen=snippet["frames"])
            self.window, self.snippets = None, 0
        smoothing = spec["smoothing"]
        self.radius = smoothing["radius"] if smoothing["sigma"] > 0 else 0
        at = np.arange(-self.radius, self.radius + 1)
        self.kernel = np.exp(-0.5 * (at / max(smoothing["sigma"], 1e-9)) ** 2)
        self.raw = {n: [] for n in ("local", "motion", "semantic") if spec.get(n)}

    def luma(self, frame):
        """Of a frame of the stream, which counts from 0; the nearest that there is."""
        first = self.frames - len(self.lumas)
        return self.lumas[min(max(frame, 0), self.frames - 1) - first]

    def push(self, yuyv):
        rgb = cv2.cvtColor(yuyv, cv2.COLOR_YUV2RGB_YUYV)
        small = cv2.resize(rgb, self.size, interpolation=cv2.INTER_AREA)
        self.lumas.append(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
        self.frames += 1
        if self.local and self.frames > self.ahead:
            self.raw["local"].append(self.look(self.frames - 1 - self.ahead))
        if self.motion and self.frames > 1:
            self.raw["motion"].append(self.moved())
            if self.frames == 2:
                self.raw["motion"].append(self.raw["motion"][0])
        if self.semantic:
            self.understand(rgb)
        return self.due()

    def look(self, centre):
        spec = self.local
        middle = self.luma(centre).astype(np.float32)
        stack = np.empty((1, 1 + len(spec["offsets"]), *middle.shape), np.float32)
        stack[0, 0] = (middle - spec["mean"]) / spec["std"]
        for i, offset in enumerate(spec["offsets"], 1):
            stack[0, i] = (self.luma(centre + offset) - middle) / spec["diff_scale"]
        maps = self.local_graph(stack)[0]
        if spec["pool"] > 1:
            box = (spec["pool"], spec["pool"])
            maps = [cv2.blur(m, box, borderType=cv2.BORDER_REPLICATE) for m in maps]
        return max(float(m.max()) for m in maps)

    def moved(self):
        edge = self.motion["box_size"]
        difference = cv2.absdiff(self.lumas[-1], self.lumas[-2])
        means = cv2.boxFilter(difference, cv2.CV_32F, (edge, edge), anchor=(0, 0))
        return math.log(self.motion["epsilon"] + float(means[: 1 - edge, : 1 - edge].max()))

    def understand(self, rgb):
        spec = self.semantic["snippet"]
        small = cv2.resize(rgb, (spec["width"], spec["height"]), interpolation=cv2.INTER_AREA)
        picture = ((small.astype(np.float32) - self.mean) / self.std).transpose(2, 0, 1)
        streams = isinstance(self.backbone, Streaming)
        # A frame, or the features of one.
        self.snippet.append(self.backbone(picture[None]) if streams else picture)
        if self.frames < spec["frames"] or (self.frames - spec["frames"]) % spec["stride"]:
            return
        if streams:
            features = np.mean(self.snippet, axis=0)
        else:
            features = self.backbone(np.stack(self.snippet, axis=1)[None])
        features = features.reshape(-1, 1, self.semantic["feature_size"])
        if self.window is None:
            self.window = np.repeat(features, self.semantic["window"], axis=1)
        else:
            self.window = np.concatenate([self.window[:, 1:], features], axis=1)
        score = float(self.head(self.window)[:, -1].max())
        if self.semantic.get("grid"):
            score = min(max(math.log(score / (1 - score)), -16), 16)
        self.snippets += 1
        end = self.snippets * spec["stride"]
        self.raw["semantic"].extend([score] * (end - len(self.raw["semantic"])))

    def due(self):
        known = min(len(track) for track in self.raw.values())
        lag = self.spec["smoothing"]["lag"]
        scores = []
        while self.scored + lag < self.frames and self.scored + self.radius < known:
            scores.append(self.score(self.scored, known))
            self.scored += 1
        return scores

    def score(self, frame, known):
        first, last = max(frame - self.radius, 0), min(frame + self.radius + 1, known)
        kernel = self.kernel[first - frame + self.radius : last - frame + self.radius]
        fused = 0.0
        for name, track in self.raw.items():
            spec = self.spec[name]
            values = (np.array(track[first:last]) - spec["z"]["mean"]) / spec["z"]["std"]
            z = float((values * kernel).sum() / kernel.sum())
            usual = spec.get("excess_over")
            fused += spec["weight"] * (z if usual is None else max(z - usual, 0.0))
        calibration = self.spec["calibration"]
        return 1 / (1 + math.exp(-(fused - calibration["threshold"]) / calibration["scale"]))


def percentiles(milliseconds):
    at = sorted(milliseconds)
    return {f"p{p}": at[max(math.ceil(len(at) * p / 100), 1) - 1] for p in (50, 90, 99)}


def event(frame, score):
    return json.dumps({"id": "bench", "frame": frame, "score": score, "time_ms": time.time_ns() // 10**6})


def main():
    bundle, frames, published, port = sys.argv[1], *map(int, sys.argv[2:])
    cv2.setNumThreads(1)
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"bench-{os.getpid()}")
    client.connect("127.0.0.1", port)
    client.loop_start()
    scorer, pictures = Scorer(Bundle(bundle)), Frames()
    times, total, before = [], 0.0, time.process_time()
    for number in range(frames):
        picture = pictures.get(number)
        start = time.perf_counter()
        scores = scorer.push(picture)
        times.append((time.perf_counter() - start) * 1000)
        total += sum(scores)
    processor = time.process_time() - before
    acknowledged, number = [], frames
    while len(acknowledged) < published:
        picture = pictures.get(number)
        start = time.perf_counter()
        scores = scorer.push(picture)
        sent = [client.publish(TOPIC, event(number, score), qos=1) for score in scores]
        for message in sent:
            message.wait_for_publish()
        # Some frames make no score known, some those of many.
        if scores:
            acknowledged.append((time.perf_counter() - start) * 1000)
        number += 1
    client.disconnect()
    client.loop_stop()
    report = {
        "frames_per_second": frames / (sum(times) / 1000),
        "frame_ms": percentiles(times),
        "processor_ms": processor / frames * 1000,
        "memory_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "score_sum": total,
    }
    if acknowledged:
        report["acknowledged_ms"] = percentiles(acknowledged)
    print(json.dumps(report))


main()
