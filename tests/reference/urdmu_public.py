#!/usr/bin/env python3
"""Golden files for `trainer score`: UR-DMU as a PyTorch module with the public checkpoints' names.

The published architecture (arXiv 2302.05160) written as modules whose `state_dict` has exactly the
names and shapes of the public code's, in float32 and evaluation mode, so that the golden weights are
what a user of the public code would save. What differs from the paper is kept as the public code has
it: the local attention is divided by sums along the other axis, and scores, not features, are
averaged over crops.

    python tests/reference/urdmu_public.py trainer/tests/golden

For each case NAME: NAME.weights.safetensors, NAME.features.npy and NAME.scores.npy.
"""

import math
import pathlib
import sys

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

CASES = {
    # Small, with the public number of heads; plain features.
    "public_a": dict(seed=31, features=(37, 24), input=24, dim=16, depth=2, heads=4, head=8, hidden=12, slots=(20, 18)),
    # Other sizes, three layers, ten crops in the order of the published features.
    "public_b": dict(seed=32, features=(21, 10, 40), input=40, dim=24, depth=3, heads=4, head=5, hidden=30, slots=(9, 60)),
}


class PreNorm(nn.Module):
    def __init__(self, dim, fn):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fn = fn

    def forward(self, x):
        return self.fn(self.norm(x))


class FeedForward(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(0.5), nn.Linear(hidden, dim), nn.Dropout(0.5))

    def forward(self, x):
        return self.net(x)


class Attention(nn.Module):
    def __init__(self, dim, heads, head):
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(dim, 4 * heads * head, bias=False)
        self.to_out = nn.Sequential(nn.Linear(2 * heads * head, dim), nn.Dropout(0.5))

    def forward(self, x):
        videos, length, _ = x.shape
        split = lambda y: y.reshape(videos, length, self.heads, -1).transpose(1, 2)
        query, key, value, local = (split(part) for part in self.to_qkv(x).chunk(4, dim=-1))
        everywhere = (query @ key.mT / math.sqrt(query.shape[-1])).softmax(-1) @ value
        position = torch.arange(1.0, length + 1)
        near = torch.exp(-(position[None] - position[:, None]).abs() / math.e)
        near = near / near.sum(-1)  # along the other axis: entry (i, j) by the sum of row j
        both = torch.cat([everywhere, near @ local], dim=-1)  # for each head: global, local
        return self.to_out(both.transpose(1, 2).reshape(videos, length, -1))


class Transformer(nn.Module):
    def __init__(self, dim, depth, heads, head, hidden):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList([PreNorm(dim, Attention(dim, heads, head)), PreNorm(dim, FeedForward(dim, hidden))])
            for _ in range(depth)
        )

    def forward(self, x):
        for attention, feed_forward in self.layers:
            x = x + attention(x)
            x = x + feed_forward(x)
        return x


class Embedding(nn.Module):
    def __init__(self, inputs, dim):
        super().__init__()
        self.conv_1 = nn.Sequential(nn.Conv1d(inputs, dim, kernel_size=3, padding=1), nn.ReLU())

    def forward(self, x):
        return self.conv_1(x.mT).mT


class Memory(nn.Module):
    def __init__(self, slots, dim):
        super().__init__()
        self.memory_block = nn.Parameter(torch.empty(slots, dim).uniform_(-1, 1) / math.sqrt(dim))

    def forward(self, x):
        similarity = torch.sigmoid(x @ self.memory_block.T / math.sqrt(self.memory_block.shape[1]))
        return similarity @ self.memory_block


class Head(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, 1), nn.Sigmoid())

    def forward(self, x):
        return self.mlp(x).squeeze(-1)


class UrDmu(nn.Module):
    def __init__(self, input, dim, depth, heads, head, hidden, slots):
        super().__init__()
        self.embedding = Embedding(input, dim)
        self.cls_head = Head(2 * dim)
        self.Amemory, self.Nmemory = Memory(slots[0], dim), Memory(slots[1], dim)
        self.selfatt = Transformer(dim, depth, heads, head, hidden)
        self.encoder_mu = nn.Sequential(nn.Linear(dim, dim))
        self.encoder_var = nn.Sequential(nn.Linear(dim, dim))  # for training only

    def forward(self, x):
        """[crops, snippets, d] to [snippets]."""
        x = self.selfatt(self.embedding(x))
        augmented = self.encoder_mu(self.Amemory(x)) + self.encoder_mu(self.Nmemory(x))
        return self.cls_head(torch.cat([x, augmented], dim=-1)).mean(0)


def main():
    folder = pathlib.Path(sys.argv[1])
    for name, case in CASES.items():
        case = dict(case)
        torch.manual_seed(case.pop("seed"))
        features = torch.randn(*case.pop("features")).abs()
        model = UrDmu(**case).eval()
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                # Larger than a fresh network's, so that scores spread and attention is not flat.
                parameter.mul_(2.0) if "norm" not in key else parameter.add_(0.2 * torch.randn_like(parameter))
            crops = features[None] if features.ndim == 2 else features.transpose(0, 1)
            scores = model(crops)
        assert scores.max() - scores.min() > 0.05, scores
        save_file(model.state_dict(), folder / f"{name}.weights.safetensors")
        np.save(folder / f"{name}.features.npy", features.numpy())
        np.save(folder / f"{name}.scores.npy", scores.numpy())
        print(name, tuple(features.shape), f"scores {scores.min():.3f} to {scores.max():.3f}")


if __name__ == "__main__":
    main()
