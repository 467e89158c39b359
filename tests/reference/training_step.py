#!/usr/bin/env python3
"""The training steps of the two detectors in PyTorch, timed, for `cargo xtask bench train` and `gpu-check`.

    python tests/reference/training_step.py detector|local THREADS [cpu|cuda]

Waits for a line on standard input, takes one step (forward, backward, optimiser), prints its seconds,
and so on; `trainer/examples/training_step.rs` does the same. float32. The batch is the same in every
step: assembling it is not timed here, and is in the Rust program. On a GPU the most memory in use is
printed at the end; reading the loss there ends each step.
"""

import sys
import time

import torch
import torch.nn.functional as F

import urdmu

DETECTOR = dict(
    batch=32, segments=200, feature_size=1024, embedding=512, heads=4, head_size=128, layers=2,
    feed_forward=512, classifier_hidden=128, abnormal_slots=60, normal_slots=60, domain_hidden=128,
    grl=0.1, lambda1=1.0, lambda2=0.1, beta=1.0, gain=0.5, dropout=0.5,
)


def detector():
    """UR-DMU with DARM, 32 + 32 videos of 200 snippets of 1024 features; Adam with an L2 penalty."""
    c = DETECTOR
    weights = urdmu.make_weights(c)
    features = torch.rand(2 * c["batch"], c["segments"], c["feature_size"])
    optimizer = torch.optim.Adam(weights.values(), lr=1e-4, weight_decay=5e-5)

    def step():
        eps = torch.randn(c["batch"], c["segments"], c["embedding"])
        _, losses = urdmu.train_forward(weights, c, features, eps)
        optimizer.zero_grad()
        losses["total"].backward()
        optimizer.step()
        return losses["total"].item()

    return step


class Unit(torch.nn.Module):
    def __init__(self, inputs, outputs, kernel, stride=1, dilation=1):
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = torch.nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False)
        self.bn = torch.nn.BatchNorm2d(outputs)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


def local():
    """The local detector on 12 stacks of 5 x 128 x 192, eleven kinds; AdamW and a moving average."""
    kinds, hard_weight, hard_share = 11, 0.3, 0.01
    stem = torch.nn.Sequential(Unit(5, 24, 5, 2), Unit(24, 48, 3, 2))
    blocks = torch.nn.ModuleList([Unit(48, 48, 3, 1, d) for d in (1, 2, 4, 1)])
    head = torch.nn.Conv2d(48, kinds, 1)
    network = torch.nn.ModuleList([stem, blocks, head])
    parameters = list(network.parameters())
    average = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=1e-3)
    stacks = torch.randn(12, 5, 128, 192)
    labels = torch.randint(0, 4 * kinds, (12, 32, 48))  # a quarter of the cells is of some kind
    negative = (labels == 0) | (labels > kinds)

    def step():
        x = stem(stacks)
        for block in blocks:
            x = x + block(x)
        maps = head(F.dropout(x, 0.1))
        loss = 0
        for kind in range(kinds):
            logits = maps[:, kind]
            normal = F.softplus(logits[negative])
            hardest = normal.topk(max(1, round(hard_share * normal.numel()))).values
            loss = loss + normal.mean() + hard_weight * hardest.mean()
            loss = loss + F.softplus(-logits[labels == kind + 1]).mean()
        loss = loss / kinds
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 0.01)
        return loss.item()

    return step


def main():
    torch.set_num_threads(int(sys.argv[2]))
    device = sys.argv[3] if len(sys.argv) > 3 else "cpu"
    torch.set_default_device(device)
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(1)
    step = {"detector": detector, "local": local}[sys.argv[1]]()
    for _ in sys.stdin:
        start = time.perf_counter()
        step()
        if device == "cuda":
            torch.cuda.synchronize()
        print(f"{time.perf_counter() - start:.6f}", flush=True)
    if device == "cuda":
        print(f"peak {torch.cuda.max_memory_allocated()}", flush=True)


if __name__ == "__main__":
    main()
