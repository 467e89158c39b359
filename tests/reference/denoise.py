#!/usr/bin/env python3
"""A denoising step of Wan 2.2 in diffusers, with random weights, timed, for `gpu-check`.

    python tests/reference/denoise.py 5b|a14b|small THREADS [cpu|cuda]

Waits for a line on standard input, takes one step with guidance (the transformer twice), prints its
seconds, and so on; on a GPU the most memory in use is printed at the end. 832 x 480 x 81, bfloat16, PyTorch
eager. `small` is the 5b model in small, to try the script.
"""

import sys
import time

import torch

COMMON = dict(attention_head_dim=128, text_dim=4096, freq_dim=256, cross_attn_norm=True, eps=1e-6)
MODELS = {
    # Latents [channels, frames, rows, columns]; whether the first frame has time step 0.
    "5b": (
        dict(num_attention_heads=24, in_channels=48, out_channels=48, ffn_dim=14336, num_layers=30, **COMMON),
        (48, 21, 30, 52), True,
    ),
    "a14b": (
        dict(num_attention_heads=40, in_channels=36, out_channels=16, ffn_dim=13824, num_layers=40, **COMMON),
        (36, 21, 60, 104), False,
    ),
    "small": (
        dict(num_attention_heads=3, in_channels=48, out_channels=48, ffn_dim=192, num_layers=2, **COMMON),
        (48, 3, 12, 16), True,
    ),
}


def main():
    try:
        from diffusers import WanTransformer3DModel
    except ImportError as error:
        sys.exit(f"diffusers cannot be imported ({error})")
    torch.set_num_threads(int(sys.argv[2]))
    device = sys.argv[3] if len(sys.argv) > 3 else "cpu"
    torch.manual_seed(1)
    torch.set_default_device(device)
    torch.set_default_dtype(torch.bfloat16)
    config, shape, first_frame = MODELS[sys.argv[1]]
    model = WanTransformer3DModel(**config).to(torch.bfloat16).eval()
    latents = torch.randn(1, *shape)
    texts = [torch.randn(1, 512, config["text_dim"]) for _ in range(2)]
    times = torch.tensor([805.0])
    if first_frame:
        _, frames, rows, columns = shape
        times = torch.full((1, frames * rows * columns // 4), 805.0)
        times[:, : rows * columns // 4] = 0.0

    @torch.no_grad()
    def step():
        with_prompt, without = (
            model(hidden_states=latents, timestep=times, encoder_hidden_states=text, return_dict=False)[0]
            for text in texts
        )
        velocity = without + 5.0 * (with_prompt - without)
        return velocity.float().square().mean().item()

    for _ in sys.stdin:
        start = time.perf_counter()
        step()
        print(f"{time.perf_counter() - start:.6f}", flush=True)
    if device == "cuda":
        print(f"peak {torch.cuda.max_memory_allocated()}", flush=True)


if __name__ == "__main__":
    main()
