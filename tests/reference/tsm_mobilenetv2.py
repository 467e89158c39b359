"""Golden features of MobileNetV2 with a causal temporal shift, computed over a whole clip at once.

The frames are a batch in the order of time, and in each block that adds its input the first eighth of the
residual branch's channels is moved one frame later along it, zero before the first: no state anywhere.

usage: tsm_mobilenetv2.py target/weights/mobilenetv2-imagenet.pth model-export/tests/golden/tsm_mobilenetv2.safetensors
"""

import sys

import torch
from safetensors.numpy import save_file
from torch import nn
from torchvision.models import mobilenet_v2
from torchvision.models.mobilenetv2 import InvertedResidual

from pattern import pattern

FRAMES, HEIGHT, WIDTH, SHIFT = 5, 128, 160, 8


class Shifted(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.conv = block.conv

    def forward(self, x):
        moved = x.shape[1] // SHIFT
        before = torch.cat([torch.zeros_like(x[:1, :moved]), x[:-1, :moved]])
        return x + self.conv(torch.cat([before, x[:, moved:]], 1))


def main():
    weights, golden = sys.argv[1:]
    network = mobilenet_v2()
    network.load_state_dict(torch.load(weights))
    layers = [
        Shifted(layer) if isinstance(layer, InvertedResidual) and layer.use_res_connect else layer
        for layer in network.features
    ]
    network = nn.Sequential(*layers).eval()
    frames = torch.from_numpy(pattern([FRAMES, 3, HEIGHT, WIDTH]))
    with torch.no_grad():
        features = network(frames).mean((2, 3))
        early = network[:7](frames).mean((2, 3))
    save_file({"features": features.numpy(), "early_mean": early.numpy()}, golden)


if __name__ == "__main__":
    main()
