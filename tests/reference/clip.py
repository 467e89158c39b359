#!/usr/bin/env python3
"""CLIP in transformers: tiny random models, and what they make of pictures and texts.

    python tests/reference/clip.py golden trainer/tests/golden/clip
    python tests/reference/clip.py check trainer-binary FOLDER...  # models in Hugging Face's layout
    python tests/reference/clip.py sweep trainer-binary  # many random configurations, compared at once

transformers 5.24.0, tokenizers 0.23.3, torch 2.15.0 (CPU), pillow 13.0.0, numpy; no torchvision, so
that the preprocessing is Pillow's. float32. `golden` writes, for each model, the folder as
`save_pretrained` writes it, and `expected.json` with ids, pixels' sums and embeddings.
"""

import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

TEXTS = [
    "Fighting between people, CCTV footage, surveillance camera view",
    "a person setting fire to a car",
    "",
    "It's 12:45, they'll run & I'm LATE!!",
    "café — naïve über 東京 \u0301e 🙂",
    "  many   spaces\tand\nlines ",
    "end<|endoftext|>of text",
    "robbery " * 40,
]
WORDS = (
    "a person people fighting fight fire car setting between surveillance camera view cctv footage the of "
    "and running run stealing robbery shooting road accident vandalism explosion black screen logo it they "
).split()


def bytes_to_unicode():
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    chars, extra = {b: chr(b) for b in printable}, 0
    for b in range(256):
        if b not in chars:
            chars[b] = chr(256 + extra)
            extra += 1
    return [chars[b] for b in sorted(chars)]


def vocabulary(merges_wanted):
    """CLIP's layout: bytes, bytes that end a word, merges, start and end; merges learned from WORDS."""
    alphabet = bytes_to_unicode()
    words = [list(w[:-1]) + [w[-1] + "</w>"] for w in WORDS]
    merges = []
    while len(merges) < merges_wanted:
        pairs = {}
        for w in words:
            for pair in zip(w, w[1:]):
                pairs[pair] = pairs.get(pair, 0) + 1
        if not pairs:
            break
        best = max(sorted(pairs), key=lambda p: pairs[p])
        merges.append(best)
        for i, w in enumerate(words):
            out = []
            for part in w:
                if out and (out[-1], part) == best and not out[-1].endswith("</w>"):
                    out[-1] += part
                else:
                    out.append(part)
            words[i] = out
    tokens = alphabet + [c + "</w>" for c in alphabet] + [a + b for a, b in merges]
    tokens = list(dict.fromkeys(tokens)) + ["<|startoftext|>", "<|endoftext|>"]
    return {t: i for i, t in enumerate(tokens)}, merges


def make(folder, seed, *, act="quick_gelu", old_eos=False, side=32, patch=8, hidden=24, heads=3, layers=2,
         vision_hidden=32, vision_heads=4, projection=16, context=24, merges=60, crop=True, resample=3,
         size=None, mean=None, parts=False, joint=False, shard=None, half=False):
    torch.manual_seed(seed)
    vocab, merge_list = vocabulary(merges)
    end = vocab["<|endoftext|>"]
    config = CLIPConfig(
        text_config=dict(
            vocab_size=len(vocab), hidden_size=hidden, intermediate_size=2 * hidden + 5,
            num_hidden_layers=layers, num_attention_heads=heads, max_position_embeddings=context,
            hidden_act=act, bos_token_id=end - 1, eos_token_id=2 if old_eos else end, pad_token_id=1),
        vision_config=dict(
            hidden_size=vision_hidden, intermediate_size=2 * vision_hidden + 3,
            num_hidden_layers=layers + 1, num_attention_heads=vision_heads, image_size=side,
            patch_size=patch, hidden_act=act),
        projection_dim=projection)
    model = CLIPModel(config).eval()
    # The default initialisation is so small that most mistakes would not show.
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() > 0:
                p.copy_(torch.randn_like(p) * (0.25 if p.dim() > 1 else 0.3) + (p if p.dim() == 1 else 0))
    if half:
        model = model.half()
    model.save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    tokenizer = CLIPTokenizer(vocab=vocab, merges=merge_list, model_max_length=context)
    processor = CLIPImageProcessorPil(
        size=size or {"shortest_edge": side}, crop_size={"height": side, "width": side},
        do_center_crop=crop, resample=resample, **({"image_mean": mean} if mean else {}))
    tokenizer.save_pretrained(folder)
    processor.save_pretrained(folder)
    if joint:
        settings = os.path.join(folder, "preprocessor_config.json")
        json.dump({"image_processor": json.load(open(settings)), "processor_class": "CLIPProcessor"},
                  open(os.path.join(folder, "processor_config.json"), "w"), indent=2)
        os.remove(settings)
    if parts:
        os.remove(os.path.join(folder, "tokenizer.json"))
        json.dump(vocab, open(os.path.join(folder, "vocab.json"), "w"), ensure_ascii=False)
        with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as file:
            file.write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merge_list))


def pictures(folder, seed=3):
    """Pictures of several shapes: reduced, enlarged, cropped on either side, with alpha, grey."""
    rng, paths = np.random.default_rng(seed), []
    for i, (w, h, mode) in enumerate(
        [(61, 47, "RGB"), (40, 90, "RGB"), (20, 13, "RGB"), (32, 32, "RGB"), (70, 50, "RGBA"), (51, 64, "L")]
    ):
        y, x = np.mgrid[0:h, 0:w]
        planes = [127 + 90 * np.sin(x / (3 + i) + c) * np.cos(y / (4 + c)) for c in range(len(mode))]
        pixels = np.stack(planes, -1) + rng.normal(0, 25, (h, w, len(mode)))
        pixels = np.clip(pixels, 0, 255).astype(np.uint8)
        path = os.path.join(folder, f"{i}.png")
        Image.fromarray(pixels[..., 0] if mode == "L" else pixels, mode).save(path)
        paths.append(path)
    return paths


def expected(folder, images):
    model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    settings = os.path.join(folder, "preprocessor_config.json")
    if os.path.exists(settings):
        settings = json.load(open(settings))
    else:
        settings = json.load(open(os.path.join(folder, "processor_config.json")))["image_processor"]
    settings.pop("image_processor_type", None)
    processor = CLIPImageProcessorPil(**settings)

    def unit(x):
        x = x.pooler_output if hasattr(x, "pooler_output") else x
        return (x / x.norm(dim=-1, keepdim=True)).squeeze(0).tolist()

    result = {"texts": [], "ids": [], "images": []}
    with torch.no_grad():
        for text in TEXTS:
            ids = tokenizer(text, truncation=True, return_tensors="pt")
            result["ids"].append(ids["input_ids"][0].tolist())
            result["texts"].append(unit(model.get_text_features(**ids)))
        for image in images:
            pixels = processor(Image.open(image), return_tensors="pt")["pixel_values"]
            result["images"].append(unit(model.get_image_features(pixel_values=pixels)))
    return result


GOLDEN = {
    "quick": dict(seed=1),
    "old": dict(seed=2, act="gelu", old_eos=True, side=30, patch=7, hidden=20, heads=2, vision_hidden=24,
                vision_heads=3, projection=12, context=16, merges=30, parts=True, joint=True, shard="40KB",
                resample=2),
}


def golden(folder):
    os.makedirs(os.path.join(folder, "pictures"), exist_ok=True)
    images = pictures(os.path.join(folder, "pictures"))
    texts = {"texts": TEXTS, "models": {}}
    for name, options in GOLDEN.items():
        make(os.path.join(folder, name), **options)
        texts["models"][name] = expected(os.path.join(folder, name), images)
    with open(os.path.join(folder, "expected.json"), "w") as file:
        json.dump(texts, file, ensure_ascii=True)


def compare(trainer, folder, images):
    """The largest difference of an embedding from the program's."""
    wanted = expected(folder, images)
    arguments = [a for i in images for a in ("--image", i)] + [a for t in TEXTS for a in ("--text", t)]
    got = json.loads(subprocess.check_output([trainer, "-q", "clip", "--model", folder] + arguments))
    return max(
        float(np.abs(np.array(got[k]) - np.array(wanted[k])).max()) for k in ("images", "texts"))


def sweep(trainer):
    configurations = [
        dict(), dict(act="gelu"), dict(act="gelu_new"), dict(act="relu"), dict(act="silu"),
        dict(old_eos=True), dict(side=48, patch=16), dict(side=37, patch=5), dict(patch=32),
        dict(hidden=64, heads=8, layers=4), dict(vision_hidden=96, vision_heads=2), dict(projection=64),
        dict(context=77, merges=200), dict(resample=0), dict(resample=1), dict(resample=2),
        dict(resample=4), dict(resample=5), dict(crop=False, size={"height": 32, "width": 32}),
        dict(size={"height": 40, "width": 50}), dict(size={"shortest_edge": 20}),
        dict(mean=[0.5, 0.4, 0.3]), dict(parts=True), dict(joint=True), dict(shard="20KB"),
        dict(half=True),
    ]
    worst = 0.0
    for seed, options in enumerate(configurations):
        with tempfile.TemporaryDirectory() as folder:
            make(folder, seed, **options)
            os.mkdir(os.path.join(folder, "pictures"))
            difference = compare(trainer, folder, pictures(os.path.join(folder, "pictures"), seed))
            print(f"{difference:.2e}  {options}", flush=True)
            worst = max(worst, difference)
    print(f"largest difference {worst:.2e}")
    return worst <= 1e-5


if __name__ == "__main__":
    command = sys.argv[1]
    if command == "golden":
        golden(sys.argv[2])
    elif command == "check":
        for path in sys.argv[3:]:
            with tempfile.TemporaryDirectory() as pictures_folder:
                print(compare(sys.argv[2], path, pictures(pictures_folder)), path)
    elif command == "sweep":
        sys.exit(0 if sweep(sys.argv[2]) else 1)
