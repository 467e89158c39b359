"""Golden features of the student, MobileNetV2 with causal temporal shift, with made-up weights.

The network is torchvision's, with three groups of blocks; the shift is written here, frame by frame as
a camera runs it: the state of a block is its last input. Weights and input follow from the pattern, so
that the file holds outputs only.

usage: tsm_student.py trainer/tests/golden/tsm_student.safetensors
"""

import sys

import torch
from safetensors.torch import save_file
from torchvision.models.mobilenetv2 import InvertedResidual, MobileNetV2

from pattern import pattern

GROUPS = [[1, 16, 1, 1], [6, 24, 3, 2], [6, 32, 2, 2]]
FEATURES, FRAMES, SIZE = 24, 32, 33


def fill(state):
    """Every tensor from the pattern, in the order of names."""
    start = 0
    for name in sorted(state):
        tensor = state[name]
        values = torch.from_numpy(pattern(list(tensor.shape), start))
        start += tensor.numel()
        if name.endswith("running_var"):
            values = values * 0.5 + 1.0
        elif tensor.dim() > 1:
            values = values * (3.0 / tensor[0].numel()) ** 0.5
        elif not name.endswith("weight"):
            values = values * 0.3
        else:
            values = values * 0.5 + 1.0
        tensor.copy_(values)


class Student:
    def __init__(self):
        network = MobileNetV2(inverted_residual_setting=GROUPS)
        self.features = network.features.eval()
        self.projection = torch.nn.Linear(network.last_channel, FEATURES)
        state = {f"features.{k}": v for k, v in self.features.state_dict().items()}
        state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
        state |= {f"projection.{k}": v for k, v in self.projection.state_dict().items()}
        fill(state)

    def frame(self, x, states):
        """Features of a frame `[1, 3, h, w]`; `states` are the blocks' last inputs, changed in place."""
        for index, module in enumerate(self.features):
            if isinstance(module, InvertedResidual) and module.use_res_connect:
                eighth = x.shape[1] // 8
                before = states.get(index, torch.zeros_like(x))
                mixed = torch.cat([before[:, :eighth], x[:, eighth:]], 1)
                states[index] = x
                x = x + module.conv(mixed)
            else:
                x = module(x)
        return self.projection(x.mean((2, 3)))


def main():
    with torch.no_grad():
        student = Student()
        # Neighbours differ by sign and strength, so that a wrong past shows.
        strength = torch.tensor([t * 7 % 5 - 2.0 for t in range(FRAMES)])
        frames = torch.from_numpy(pattern([FRAMES, 3, SIZE, SIZE])) * strength[:, None, None, None]
        states = {}
        every = torch.cat([student.frame(frame[None], states) for frame in frames])
    out = {"frames": every, "snippets": every.reshape(FRAMES // 16, 16, FEATURES).mean(1)}
    save_file({k: v.contiguous() for k, v in out.items()}, sys.argv[1])


if __name__ == "__main__":
    main()
