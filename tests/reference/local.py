"""Golden maps of the local detector's network with made-up weights.

usage: local.py model-export/tests/golden/local.safetensors
"""

import sys

import torch
from safetensors.torch import save_file
from torch import nn

from pattern import pattern

CHANNELS, KINDS, INPUTS = 6, 3, 5


class Unit(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride=1, dilation=1):
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


class Local(nn.Module):
    def __init__(self):
        super().__init__()
        half = CHANNELS // 2
        self.stem = nn.ModuleList([Unit(INPUTS, half, 5, 2), Unit(half, CHANNELS, 3, 2)])
        self.blocks = nn.ModuleList([Unit(CHANNELS, CHANNELS, 3, 1, d) for d in (1, 2, 4, 1)])
        self.head = nn.Conv2d(CHANNELS, KINDS, 1)

    def forward(self, x):
        for stem in self.stem:
            x = stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


def main():
    torch.manual_seed(1)
    network = Local()
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.1, 2.0)
        elif ".bn." in name and tensor.is_floating_point():
            tensor.uniform_(-1.0, 1.0)
    network.eval()
    with torch.no_grad():
        maps = network(torch.from_numpy(pattern([1, INPUTS, 36, 44])))
    # Checkpoints call the convolution by its block: local.stem.0.weight, local.stem.0.bn.weight.
    out = {"local." + k.replace(".conv.", "."): v for k, v in network.state_dict().items()}
    out["maps"] = maps
    save_file({k: v.contiguous() for k, v in out.items()}, sys.argv[1])


if __name__ == "__main__":
    main()
