"""Golden features of MobileNetV2, computed with torchvision from the same weights file.

usage: mobilenetv2.py target/weights/mobilenetv2-imagenet.pth model-export/tests/golden/mobilenetv2.safetensors
"""

import sys

import torch
from safetensors.numpy import save_file
from torchvision.models import mobilenet_v2

from pattern import pattern


def main():
    weights, golden = sys.argv[1:]
    network = mobilenet_v2()
    network.load_state_dict(torch.load(weights))
    network.eval()
    snippet = torch.from_numpy(pattern([1, 3, 3, 224, 224]))
    with torch.no_grad():
        frames = snippet[0].permute(1, 0, 2, 3)
        features = network.features(frames).mean((2, 3)).mean(0, keepdim=True)
    save_file({"features": features.numpy()}, golden)


if __name__ == "__main__":
    main()
