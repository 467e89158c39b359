"""Golden scores of the UR-DMU head in evaluation with made-up weights, by its public names.

usage: head.py model-export/tests/golden/head.safetensors
"""

import math
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from pattern import pattern

# Smaller than published (1024, 512, 4 heads of 128, 60 slots), with no two sizes equal.
FEATURES, WIDTH, HEADS, HEAD, FORWARD, SLOTS, HIDDEN, WINDOW = 20, 12, 4, 5, 14, 7, 9, 11


def weights():
    generator = torch.Generator().manual_seed(2)

    def random(*shape, around=0.0):
        return around + 0.2 * torch.randn(*shape, generator=generator)

    w = {"embedding.conv_1.0.weight": random(WIDTH, FEATURES, 3), "embedding.conv_1.0.bias": random(WIDTH)}
    for layer in range(2):
        attention, forward = f"selfatt.layers.{layer}.0", f"selfatt.layers.{layer}.1"
        w[f"{attention}.fn.to_qkv.weight"] = random(4 * HEADS * HEAD, WIDTH)
        w[f"{attention}.fn.to_out.0.weight"] = random(WIDTH, 2 * HEADS * HEAD)
        w[f"{attention}.fn.to_out.0.bias"] = random(WIDTH)
        w[f"{forward}.fn.net.0.weight"] = random(FORWARD, WIDTH)
        w[f"{forward}.fn.net.0.bias"] = random(FORWARD)
        w[f"{forward}.fn.net.3.weight"] = random(WIDTH, FORWARD)
        w[f"{forward}.fn.net.3.bias"] = random(WIDTH)
        for norm in (attention, forward):
            w[f"{norm}.norm.weight"] = random(WIDTH, around=1.0)
            w[f"{norm}.norm.bias"] = random(WIDTH)
    w["Amemory.memory_block"] = random(SLOTS, WIDTH)
    w["Nmemory.memory_block"] = random(SLOTS + 1, WIDTH)
    for name in ("encoder_mu.0", "encoder_var.0"):
        w[f"{name}.weight"], w[f"{name}.bias"] = random(WIDTH, WIDTH), random(WIDTH)
    w["cls_head.mlp.0.weight"], w["cls_head.mlp.0.bias"] = random(HIDDEN, 2 * WIDTH), random(HIDDEN)
    w["cls_head.mlp.2.weight"], w["cls_head.mlp.2.bias"] = random(1, HIDDEN), random(1)
    return w


def attention(w, name, x):
    batch, n, _ = x.shape
    q, k, v, t = F.linear(x, w[f"{name}.to_qkv.weight"]).chunk(4, dim=-1)
    q, k, v, t = (y.view(batch, n, HEADS, HEAD).transpose(1, 2) for y in (q, k, v, t))
    far = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(HEAD), dim=-1) @ v
    steps = torch.arange(n, dtype=torch.float32)
    near = torch.exp(-(steps - steps.view(-1, 1)).abs() / math.e)
    near = (near / near.sum(-1)) @ t  # broadcasting divides column j by sum j
    both = torch.cat([far, near], dim=-1).transpose(1, 2).reshape(batch, n, 2 * HEADS * HEAD)
    return F.linear(both, w[f"{name}.to_out.0.weight"], w[f"{name}.to_out.0.bias"])


def head(w, x):
    x = F.conv1d(x.transpose(1, 2), w["embedding.conv_1.0.weight"], w["embedding.conv_1.0.bias"], padding=1)
    x = torch.relu(x).transpose(1, 2)
    for layer in range(2):
        for part in range(2):
            name = f"selfatt.layers.{layer}.{part}"
            y = F.layer_norm(x, (WIDTH,), w[f"{name}.norm.weight"], w[f"{name}.norm.bias"])
            if part == 0:
                y = attention(w, f"{name}.fn", y)
            else:
                y = F.gelu(F.linear(y, w[f"{name}.fn.net.0.weight"], w[f"{name}.fn.net.0.bias"]))
                y = F.linear(y, w[f"{name}.fn.net.3.weight"], w[f"{name}.fn.net.3.bias"])
            x = x + y
    total = 0
    for memory in ("Amemory", "Nmemory"):
        block = w[f"{memory}.memory_block"]
        read = torch.sigmoid(x @ block.T / math.sqrt(WIDTH)) @ block
        total = total + F.linear(read, w["encoder_mu.0.weight"], w["encoder_mu.0.bias"])
    x = torch.cat([x, total], dim=-1)
    x = torch.relu(F.linear(x, w["cls_head.mlp.0.weight"], w["cls_head.mlp.0.bias"]))
    return torch.sigmoid(F.linear(x, w["cls_head.mlp.2.weight"], w["cls_head.mlp.2.bias"]))[..., 0]


def main():
    w = weights()
    w["scores"] = head(w, torch.from_numpy(pattern([1, WINDOW, FEATURES])))
    save_file({k: v.contiguous() for k, v in w.items()}, sys.argv[1])


if __name__ == "__main__":
    main()
