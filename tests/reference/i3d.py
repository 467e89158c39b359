"""Golden outputs of Inception-I3D, computed with PyTorch from the same weights file.

usage: i3d.py target/weights/i3d-rgb-kinetics400.ckpt model-export/tests/golden/i3d.safetensors

Written from the paper's figure 3 and DeepMind's published network, and nothing of the graph that
`model-export` builds: batch norms are applied as such, convolutions run without bias.
"""

import pickle
import sys

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

from pattern import pattern


def same(x, kernel, stride, value):
    """TensorFlow's SAME padding: the odd element at the end."""
    pads = []
    for size, k, s in reversed(list(zip(x.shape[2:], kernel, stride))):
        total = max((-(-size // s) - 1) * s + k - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value)


class I3D:
    def __init__(self, path):
        with open(path, "rb") as file:
            tree = pickle.load(file)
        self.params, self.stats = tree["params"], tree["batch_stats"]

    def unit(self, path, x, kernel, stride=(1, 1, 1)):
        params, stats = self.params, self.stats
        for part in path:
            params, stats = params[part], stats[part]
        weight = torch.from_numpy(np.ascontiguousarray(params["Conv_0"]["kernel"].transpose(4, 3, 0, 1, 2)))
        x = F.conv3d(same(x, kernel, stride, 0.0), weight, stride=stride)
        mean = torch.from_numpy(stats["BatchNorm_0"]["mean"].reshape(1, -1, 1, 1, 1).copy())
        variance = torch.from_numpy(stats["BatchNorm_0"]["var"].reshape(1, -1, 1, 1, 1).copy())
        bias = torch.from_numpy(params["BatchNorm_0"]["bias"].reshape(1, -1, 1, 1, 1).copy())
        return F.relu((x - mean) / torch.sqrt(variance + 1e-3) + bias)

    def mixed(self, name, x):
        b0 = self.unit((name, "Branch_0/Conv3d_0a_1x1"), x, (1, 1, 1))
        b1 = self.unit((name, "Branch_1/Conv3d_0a_1x1"), x, (1, 1, 1))
        b1 = self.unit((name, "Branch_1/Conv3d_0b_3x3"), b1, (3, 3, 3))
        b2 = self.unit((name, "Branch_2/Conv3d_0a_1x1"), x, (1, 1, 1))
        b2 = self.unit((name, "Branch_2/Conv3d_0b_3x3"), b2, (3, 3, 3))
        b3 = self.pool(x, (3, 3, 3), (1, 1, 1))
        b3 = self.unit((name, "Branch_3/Conv3d_0b_1x1"), b3, (1, 1, 1))
        return torch.cat([b0, b1, b2, b3], 1)

    @staticmethod
    def pool(x, kernel, stride):
        return F.max_pool3d(same(x, kernel, stride, -float("inf")), kernel, stride)

    def __call__(self, x):
        """Features, logits, the Mixed_3c grid and the last grid of [1, 3, t, h, w] in [-1, 1]."""
        x = self.unit(("Conv3d_1a_7x7",), x, (7, 7, 7), (2, 2, 2))
        x = self.pool(x, (1, 3, 3), (1, 2, 2))
        x = self.unit(("Conv3d_2b_1x1",), x, (1, 1, 1))
        x = self.unit(("Conv3d_2c_3x3",), x, (3, 3, 3))
        x = self.pool(x, (1, 3, 3), (1, 2, 2))
        x = self.mixed("Mixed_3b", x)
        early = x = self.mixed("Mixed_3c", x)
        x = self.pool(x, (3, 3, 3), (2, 2, 2))
        for name in ["Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f"]:
            x = self.mixed(name, x)
        x = self.pool(x, (2, 2, 2), (2, 2, 2))
        grid = x = self.mixed("Mixed_5c", self.mixed("Mixed_5b", x))
        x = F.avg_pool3d(x, (2, 7, 7), 1)
        last = self.params["Logits/Conv3d_0c_1x1"]["Conv_0"]
        weight = torch.from_numpy(last["kernel"].reshape(1024, 400).copy())
        logits = torch.einsum("nctyx,ck->nktyx", x, weight).mean((2, 3, 4)) + torch.from_numpy(last["bias"].copy())
        return x.mean((2, 3, 4)), logits, early, grid


def main():
    weights, golden = sys.argv[1:]
    network = I3D(weights)
    out = {}
    with torch.no_grad():
        features, logits, early, grid = network(torch.from_numpy(pattern([1, 3, 16, 224, 224])))
        out["features"], out["logits"] = features.numpy(), logits.numpy()
        out["grid_mean"] = grid.mean((2, 3, 4)).numpy()
        # Sizes that are no powers of two pad differently at every layer.
        features, _, early, _ = network(torch.from_numpy(pattern([1, 3, 23, 230, 250])))
        out["odd_features"] = features.numpy()
        out["odd_early_mean"] = early.mean((2, 3, 4)).numpy()
        out["odd_early_shape"] = np.array(early.shape, dtype=np.int64)
    save_file(out, golden)


if __name__ == "__main__":
    main()
