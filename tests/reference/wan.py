#!/usr/bin/env python3
"""Golden files for the port of Wan 2.2, and a comparison on random configurations.

The reference is diffusers' own pipeline with random weights, on a CPU in float32:

    pip install diffusers==0.42.1 transformers==5.24.0 torch==2.15.0 ftfy==6.3.1 pillow==13.0.0 \\
        safetensors sentencepiece protobuf accelerate

    python tests/reference/wan.py golden trainer/tests/golden/wan
    python tests/reference/wan.py sweep target/release/trainer [COUNT [FIRST_SEED]]

`golden` writes a model directory for each case and what every part of it computes. `sweep` draws
configurations, saves them as `save_pretrained` does, runs the program on each, and compares frames.
"""

import io
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import sentencepiece
import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanImageToVideoPipeline, WanTransformer3DModel
from diffusers.pipelines.wan.pipeline_wan_i2v import prompt_clean
from PIL import Image
from safetensors.torch import load_file, save_file
from sentencepiece import sentencepiece_model_pb2
from transformers import T5TokenizerFast, UMT5Config, UMT5EncoderModel

WORDS = "a man woman runs falls throws bag car fast slow away street camera red the of in , . fire".split()
PROMPT = "A man\u2019s bag: the  woman runs &amp; falls in the street, fast fire! </s> \u4f60\u597d"
NEGATIVE = "slow camera"


def vocabulary(rng):
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0)]
    pieces += [("\u2581" + word, -3.0 - rng.random() * 4) for word in WORDS]
    pieces += [(chr(c), -8.0 - rng.random()) for c in range(33, 127)]
    return pieces


def disturb(module, rng):
    """Moves norms, biases and tables away from ones and zeros, so that nothing goes unnoticed."""
    for name, p in module.named_parameters():
        if p.dim() < 2 or name.endswith("gamma") or "scale_shift_table" in name:
            p.data += 0.2 * torch.randn(p.shape, generator=rng)
        elif "relative_attention_bias" in name:
            p.data += torch.randn(p.shape, generator=rng)


def round_weights(module):
    """To what float16 can say: half the size on disk, and no difference to the reference."""
    for p in module.parameters():
        p.data = p.data.half().float()


def build(spec, seed):
    """A pipeline with random weights."""
    rng = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    pieces = vocabulary(random.Random(seed))
    tokenizer = T5TokenizerFast(vocab=pieces, extra_ids=spec.get("extra_ids", 5))
    text = UMT5EncoderModel(UMT5Config(vocab_size=max(160, len(tokenizer)), **spec["text"]))
    vae = AutoencoderKLWan(**spec["vae"])
    transformers = [WanTransformer3DModel(**spec["transformer"]) for _ in range(spec["experts"])]
    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, **spec["scheduler"])
    modules = [text, vae, *transformers]
    for module in modules:
        module.eval()
        disturb(module, rng)
        round_weights(module)
    return WanImageToVideoPipeline(
        tokenizer=tokenizer, text_encoder=text, vae=vae, scheduler=scheduler, transformer=transformers[0],
        transformer_2=transformers[1] if spec["experts"] == 2 else None,
        boundary_ratio=spec.get("boundary_ratio"), expand_timesteps=spec.get("expand_timesteps", False))


def picture(width, height, seed):
    """Smooth, with an edge."""
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    rng = np.random.default_rng(seed)
    planes = [0.5 + 0.5 * np.sin(9 * (a * x + b * y) + c) for a, b, c in rng.normal(size=(3, 3))]
    planes = np.stack(planes, -1)
    planes[height // 3 : height // 2, width // 4 : width // 2] = rng.random(3)
    return Image.fromarray((planes * 255).astype(np.uint8))


def noise(pipe, size, frames, seed):
    factor = pipe.vae_scale_factor_spatial
    multiple = [factor * p for p in pipe.transformer.config.patch_size[1:]]
    h, w = (s // m * m // factor for s, m in zip(size[::-1], multiple))
    t = (frames - 1) // pipe.vae_scale_factor_temporal + 1
    return torch.randn(1, pipe.vae.config.z_dim, t, h, w, generator=torch.Generator().manual_seed(seed))


def generate(pipe, run, image, latents, **more):
    guidance = run["guidance"]
    text = {} if "prompt_embeds" in more else {"prompt": PROMPT, "negative_prompt": NEGATIVE}
    with torch.no_grad():
        frames = pipe(
            image=image, height=run["size"][1], width=run["size"][0], num_frames=run["frames"],
            num_inference_steps=run["steps"], guidance_scale=guidance[0],
            guidance_scale_2=guidance[1] if len(guidance) > 1 else None, latents=latents,
            max_sequence_length=run["max_sequence_length"], output_type="np", **text, **more).frames
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 1, 4, 2, 3)))


def save(pipe, folder, **shards):
    """As `save_pretrained` does, weights in float16."""
    pipe.save_pretrained(folder)
    for name in ["text_encoder", "vae", "transformer", "transformer_2"]:
        module = getattr(pipe, name)
        if module is not None:
            for old in (folder / name).glob("*.safetensors*"):
                old.unlink()
            module.half().save_pretrained(folder / name, **shards.get(name, {}))
            module.float()


CASES = {
    # TI2V-5B in small: residual autoencoder with patches, time step of each token, one transformer.
    "ti2v": dict(
        text=dict(d_model=24, d_kv=8, d_ff=40, num_layers=3, num_heads=4, relative_attention_num_buckets=8,
                  relative_attention_max_distance=12),
        vae=dict(base_dim=4, decoder_base_dim=6, z_dim=6, dim_mult=[1, 2, 2, 2], num_res_blocks=1,
                 temperal_downsample=[False, True, True], is_residual=True, in_channels=12, out_channels=12,
                 patch_size=2, scale_factor_spatial=16,
                 latents_mean=[0.1, -0.2, 0.3, 0.0, 0.5, -0.4], latents_std=[0.8, 1.1, 0.6, 0.9, 1.3, 0.7]),
        transformer=dict(num_attention_heads=3, attention_head_dim=16, in_channels=6, out_channels=6,
                         text_dim=24, freq_dim=32, ffn_dim=70, num_layers=2, rope_max_seq_len=32),
        scheduler=dict(flow_shift=5.0), experts=1, expand_timesteps=True,
        run=dict(size=(64, 32), frames=9, steps=25, guidance=(5.0,), max_sequence_length=48)),
    # I2V-A14B in small: plain autoencoder, mask and picture as channels, two transformers.
    "i2v": dict(
        text=dict(d_model=20, d_kv=6, d_ff=30, num_layers=2, num_heads=3),
        vae=dict(base_dim=4, z_dim=4, dim_mult=[1, 2, 2, 3], num_res_blocks=1,
                 temperal_downsample=[False, True, True],
                 latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[0.8, 1.1, 0.6, 0.9]),
        transformer=dict(num_attention_heads=2, attention_head_dim=12, in_channels=12, out_channels=4,
                         text_dim=20, freq_dim=16, ffn_dim=50, num_layers=3, rope_max_seq_len=32),
        scheduler=dict(flow_shift=5.0), experts=2, boundary_ratio=0.9,
        run=dict(size=(48, 32), frames=9, steps=25, guidance=(3.5, 2.5), max_sequence_length=40)),
}


def parts(pipe, run, image, latents):
    """What every part computes."""
    out = {"latents": latents}
    with torch.no_grad():
        tokens = pipe.tokenizer(
            [prompt_clean(PROMPT)], padding="max_length", max_length=run["max_sequence_length"], truncation=True,
            return_attention_mask=True, return_tensors="pt")
        used = int(tokens.attention_mask.sum())
        out["tokens"] = tokens.input_ids[0, :used].to(torch.int64)
        states = pipe.text_encoder(tokens.input_ids, tokens.attention_mask).last_hidden_state
        out["text_states"] = states[0, :used].clone()
        text, negative = pipe.encode_prompt(
            PROMPT, NEGATIVE, True, max_sequence_length=run["max_sequence_length"])
        out["prompt_embeds"], out["negative_prompt_embeds"] = text.clone(), negative.clone()

        prepared = pipe.video_processor.preprocess(image, height=run["size"][1], width=run["size"][0])
        out["picture"] = prepared.float()
        # The order of the passes depends on the sizes: in this one columns come first.
        out["picture_tall"] = pipe.video_processor.preprocess(image, height=80, width=16).float()
        out["frames"] = generate(pipe, run, image, latents)
        video = out["frames"].transpose(1, 2) * 2 - 1
        out["vae_latents"] = pipe.vae.encode(video).latent_dist.mode()
        out["vae_decoded"] = pipe.vae.decode(latents[:, :, :2], return_dict=False)[0]
        pipe.vae.enable_tiling(32, 32, 16, 16)
        out["vae_latents_tiled"] = pipe.vae.encode(video).latent_dist.mode()
        out["vae_decoded_tiled"] = pipe.vae.decode(latents[:, :, :2], return_dict=False)[0]
        pipe.vae.disable_tiling()

        config = pipe.transformer.config
        t, h, w = latents.shape[2:]
        generator = torch.Generator().manual_seed(4)
        hidden = torch.randn(1, config.in_channels, t, h, w, generator=generator)
        out["velocity_input"] = hidden
        if pipe.config.expand_timesteps:
            time = torch.full((1, t * (h // 2) * (w // 2)), 731)
            time[:, : (h // 2) * (w // 2)] = 0
        else:
            time = torch.tensor([731])
        out["velocity"] = pipe.transformer(hidden, time, text, return_dict=False)[0]

        pipe.scheduler.set_timesteps(run["steps"])
        out["timesteps"], out["sigmas"] = pipe.scheduler.timesteps.clone(), pipe.scheduler.sigmas.clone()
        sample, steps = latents[:, :2, :1].clone(), []
        for i, step in enumerate(pipe.scheduler.timesteps):
            # No network: a velocity that depends on the sample and changes from step to step.
            velocity = torch.tanh(sample) * (0.5 + 0.02 * i) - 0.3 * latents[:, 2:4, :1]
            sample = pipe.scheduler.step(velocity, step, sample, return_dict=False)[0]
            steps.append(sample)
        out["unipc_steps"] = torch.stack(steps)
    return {name: tensor.contiguous() for name, tensor in out.items()}


def golden(folder):
    for number, (name, spec) in enumerate(CASES.items()):
        target = folder / name
        shutil.rmtree(target, ignore_errors=True)
        pipe = build(spec, 40 + number)
        image = picture(50, 38, number)
        latents = noise(pipe, spec["run"]["size"], spec["run"]["frames"], 50 + number)
        tensors = parts(pipe, spec["run"], image, latents)
        # One model in several files.
        save(pipe, target, transformer=dict(max_shard_size="60KB") if name == "ti2v" else {})
        image.save(target / "image.png")
        save_file(tensors, target / "expected.safetensors")
        run = dict(spec["run"], prompt=PROMPT, negative=NEGATIVE)
        (target / "run.json").write_text(json.dumps(run, indent=2) + "\n")
        for file in target.rglob("*.safetensors"):
            file.chmod(0o644)
        print(name, {key: list(value.shape) for key, value in tensors.items()})
    sentencepiece_model(folder / "sentencepiece")


def sentencepiece_model(folder):
    """A tokenizer of `spiece.model` alone, and tokens of some texts."""
    folder.mkdir(exist_ok=True)
    model = io.BytesIO()
    lines = [" ".join(random.Random(i).choices(WORDS, k=12)) for i in range(200)]
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        # Full-width A to lower-case a, and so on: a small table in place of NFKC's 240 kB.
        rules.write("".join(f"{0xFF21 + i:X}\t{0x61 + i:X}\n" for i in range(26)))
        rules.flush()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_writer=model, model_type="unigram", vocab_size=60, pad_id=0, eos_id=1,
            unk_id=2, bos_id=-1, pad_piece="<pad>", normalization_rule_tsv=rules.name, hard_vocab_limit=False,
            user_defined_symbols=["[bag]"], minloglevel=2)
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    # A temporary path; without it the file is the same each time.
    proto.normalizer_spec.normalization_rule_tsv = ""
    (folder / "spiece.model").write_bytes(proto.SerializeToString(deterministic=True))
    tokenizer = T5TokenizerFast.from_pretrained(folder)
    texts = ["a man runs", "ＡＢ car[bag]fast", "unknown \u4f60 </s> fire, <extra_id_3> x", ""]
    cases = {text: tokenizer(text, truncation=True, max_length=16).input_ids for text in texts}
    (folder / "tokens.json").write_text(json.dumps(cases) + "\n")
    print(cases)


def draw(seed):
    """A configuration, from everything that the published ones vary."""
    r = random.Random(seed)
    residual = r.random() < 0.5
    levels = r.choice([3, 4, 4])
    patch = 2 if residual and r.random() < 0.7 else None
    z = r.choice([2, 3, 4, 5, 8])
    time = [r.random() < 0.5 for _ in range(levels - 1)]
    while sum(time) != 2:
        time = [r.random() < 0.5 for _ in range(levels - 1)]
    vae = dict(
        base_dim=r.choice([2, 3, 4, 6]), z_dim=z, num_res_blocks=r.choice([1, 1, 2]), temperal_downsample=time,
        dim_mult=[1] + [r.choice([1, 2]) for _ in range(levels - 1)], is_residual=residual,
        in_channels=3 * (patch or 1) ** 2, out_channels=3 * (patch or 1) ** 2, patch_size=patch,
        scale_factor_spatial=(patch or 1) * 2 ** (levels - 1), scale_factor_temporal=4,
        latents_mean=[r.uniform(-1, 1) for _ in range(z)], latents_std=[r.uniform(0.5, 3) for _ in range(z)])
    if residual:
        vae["dim_mult"] = [1] * levels if r.random() < 0.5 else [1, 2, 4, 4][:levels]
        if vae["dim_mult"][-1] == 4 and vae["dim_mult"][-2] != 4:
            vae["dim_mult"][-1] = vae["dim_mult"][-2]
    else:
        # Wan 2.1's decoder halves channels.
        vae["base_dim"] = r.choice([2, 4, 6])
    if r.random() < 0.5:
        vae["decoder_base_dim"] = r.choice([2, 4, 8])
    expand = r.random() < 0.5
    experts = 1 if expand else r.choice([1, 2])
    width = r.choice([16, 20, 32])
    spec = dict(
        text=dict(d_model=width, d_kv=r.choice([4, 8]), d_ff=r.choice([20, 48]), num_layers=r.choice([1, 2, 4]),
                  num_heads=r.choice([1, 3, 4]), relative_attention_num_buckets=r.choice([8, 32]),
                  relative_attention_max_distance=r.choice([16, 128]),
                  feed_forward_proj=r.choice(["gated-gelu", "gated-gelu", "relu", "gelu", "gated-silu"])),
        vae=vae,
        transformer=dict(
            patch_size=(1, 2, 2) if expand else r.choice([(1, 2, 2), (1, 2, 2), (1, 1, 1), (1, 2, 1)]),
            num_attention_heads=r.choice([1, 2, 3]), attention_head_dim=r.choice([8, 10, 12, 16, 22, 24]),
            in_channels=z if expand else 2 * z + 4, out_channels=z, text_dim=width, freq_dim=r.choice([16, 33, 256]),
            ffn_dim=r.choice([24, 50]), num_layers=r.choice([1, 2, 3, 4]), cross_attn_norm=r.random() < 0.7,
            qk_norm=r.choice(["rms_norm_across_heads", None]), eps=r.choice([1e-6, 1e-5]),
            rope_max_seq_len=r.choice([32, 1024])),
        scheduler=dict(flow_shift=r.choice([1.0, 3, 5.0, 8.0]), solver_order=r.choice([2, 2, 2, 1, 3]),
                       solver_type=r.choice(["bh2", "bh2", "bh1"]), num_train_timesteps=r.choice([1000, 1000, 500]),
                       disable_corrector=r.choice([[], [], [0, 1]])),
        experts=experts, extra_ids=r.choice([0, 3, 100]), expand_timesteps=expand,
        run=dict(size=r.choice([(32, 32), (64, 32), (48, 80)]), frames=r.choice([1, 5, 9, 13]),
                 steps=r.choice([1, 2, 5, 25, 25]), guidance=r.choice([(1.0,), (5.0,), (3.5,)]),
                 max_sequence_length=r.choice([8, 64, 512])))
    # With a last sigma of zero the reference's bh1 is not a number.
    last = "sigma_min" if spec["scheduler"]["solver_type"] == "bh1" else r.choice(["zero", "zero", "sigma_min"])
    spec["scheduler"]["final_sigmas_type"] = last
    if experts == 2:
        spec["boundary_ratio"] = r.choice([0.9, 0.5, 0.875])
        spec["run"]["guidance"] = r.choice([(3.5, 3.5), (4.0, 2.0), (3.0,)])
    return spec


def sweep(program, count, first):
    worst = 0.0
    for seed in range(first, first + count):
        spec = draw(seed)
        run = spec["run"]
        pipe = build(spec, seed)
        pipe.set_progress_bar_config(disable=True)
        image = picture(*random.Random(seed).choice([(32, 32), (50, 38), (200, 120), (64, 32)]), seed)
        latents = noise(pipe, run["size"], run["frames"], seed)
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            expected = generate(pipe, run, image, latents)
            pipe.save_pretrained(folder / "model", **(dict(max_shard_size="20KB") if seed % 3 == 0 else {}))
            image.save(folder / "image.png")
            save_file({"latents": latents}, folder / "latents.safetensors")
            command = [
                program, "-q", "wan", "--model", folder / "model", "--image", folder / "image.png", "--prompt", PROMPT,
                "--negative", NEGATIVE, "--frames", run["frames"], "--size", "%dx%d" % run["size"],
                "--steps", run["steps"], "--guidance", ",".join(map(str, run["guidance"])), "--latents",
                folder / "latents.safetensors", "--max-sequence-length", run["max_sequence_length"],
                "--out", folder / "frames.safetensors"]
            if subprocess.run([str(part) for part in command]).returncode != 0:
                print(seed, "FAILED", spec)
                continue
            got = load_file(folder / "frames.safetensors")["frames"]
        assert got.shape == expected.shape, (got.shape, expected.shape)
        difference = (got - expected).abs()
        worst = max(worst, difference.max().item())
        verdict = "" if difference.max() < 1e-2 and difference.mean() < 1e-3 else f"  TOO FAR {spec}"
        print(f"{seed}: max {difference.max():.2e} mean {difference.mean():.2e} spread {expected.std():.3f}{verdict}",
              flush=True)
    print(f"worst {worst:.2e}")


def main():
    if sys.argv[1] == "golden":
        golden(pathlib.Path(sys.argv[2]))
    else:
        count, first = (int(sys.argv[3 + i]) if len(sys.argv) > 3 + i else d for i, d in [(0, 20), (1, 1000)])
        sweep(sys.argv[2], count, first)


if __name__ == "__main__":
    main()
