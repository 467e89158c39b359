#!/usr/bin/env python3
"""Golden files for the semantic detector: UR-DMU with DARM, in PyTorch, float64.

Written from the papers (UR-DMU, arXiv 2302.05160; PA-VAD, arXiv 2512.06845) and checked against
the behaviour of UR-DMU's public code, in functional form and with PyTorch's own losses, so that it
shares no step with the Rust implementation that it judges.

    python tests/reference/urdmu.py trainer/tests/golden

Each file holds weights (`w.`), inputs and noise (`in.`), outputs (`out.`), loss terms (`loss.`), the
gradient of the total loss with respect to every weight (`grad.`) and the gradient of every single term
with respect to every weight that it depends on (`TERM.grad.`, as float32); the metadata holds the
sizes and the weights of the terms. Dropout is off.

A case with `cells` has bags of (snippet, cell) instances: features `[videos, cells, snippets, d]`, every
cell encoded as a time series of its own, and labels of the abnormal half's instances (`in.changed`).
"""

import math
import pathlib
import sys

import torch
import torch.nn.functional as F

CASES = {
    "urdmu_a": dict(
        seed=11, batch=2, segments=20, feature_size=12, embedding=16, heads=2, head_size=4, layers=2,
        feed_forward=12, classifier_hidden=8, abnormal_slots=20, normal_slots=20, domain_hidden=6,
        grl=0.1, lambda1=1.0, lambda2=0.1, beta=1.0, gain=1.0,
    ),
    # Odd sizes, fewer slots than sixteen, another exponent, weights large enough to sharpen attention.
    "urdmu_b": dict(
        seed=12, batch=3, segments=33, feature_size=7, embedding=10, heads=5, head_size=3, layers=1,
        feed_forward=9, classifier_hidden=5, abnormal_slots=7, normal_slots=33, domain_hidden=4,
        grl=0.2, lambda1=0.7, lambda2=0.3, beta=1.5, gain=1.4,
        weight_abnormal_in_a=0.3, weight_abnormal_not_in_n=0.2, weight_normal_in_n=0.15,
        weight_normal_not_in_a=0.25, weight_triplet=0.4, weight_kl=0.02, weight_distance=0.003,
    ),
    # Three cells of five snippets each; the five highest of the fifteen instances count.
    "urdmu_cells": dict(
        seed=13, batch=2, segments=5, cells=3, top_share=4, feature_size=6, embedding=8, heads=2, head_size=3,
        layers=1, feed_forward=6, classifier_hidden=4, abnormal_slots=18, normal_slots=5, domain_hidden=4,
        grl=0.15, lambda1=0.8, lambda2=0.2, beta=1.2, gain=1.2, weight_instances=0.6, weight_kl=0.02,
    ),
}


# The weights of UR-DMU's auxiliary terms, unless a case says otherwise (`weight_TERM`).
TERMS = dict(
    abnormal_in_a=0.1, abnormal_not_in_n=0.1, normal_in_n=0.1, normal_not_in_a=0.1, triplet=0.1, kl=0.001,
    distance=0.0001,
)


class Reverse(torch.autograd.Function):
    """Gradient reversal (Ganin and Lempitsky, 2015)."""

    @staticmethod
    def forward(ctx, x, strength):
        ctx.strength = strength
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return -ctx.strength * grad, None


def make_weights(c):
    inner = c["heads"] * c["head_size"]
    e, f = c["embedding"], c["feed_forward"]
    shapes = {"embedding.conv_1.0.weight": (e, c["feature_size"], 3), "embedding.conv_1.0.bias": (e,)}
    for i in range(c["layers"]):
        p = f"selfatt.layers.{i}"
        shapes |= {
            f"{p}.0.norm.weight": (e,), f"{p}.0.norm.bias": (e,),
            f"{p}.0.fn.to_qkv.weight": (4 * inner, e),
            f"{p}.0.fn.to_out.0.weight": (e, 2 * inner), f"{p}.0.fn.to_out.0.bias": (e,),
            f"{p}.1.norm.weight": (e,), f"{p}.1.norm.bias": (e,),
            f"{p}.1.fn.net.0.weight": (f, e), f"{p}.1.fn.net.0.bias": (f,),
            f"{p}.1.fn.net.3.weight": (e, f), f"{p}.1.fn.net.3.bias": (e,),
        }
    h, d = c["classifier_hidden"], c["domain_hidden"]
    shapes |= {
        "Amemory.memory_block": (c["abnormal_slots"], e), "Nmemory.memory_block": (c["normal_slots"], e),
        "encoder_mu.0.weight": (e, e), "encoder_mu.0.bias": (e,),
        "encoder_var.0.weight": (e, e), "encoder_var.0.bias": (e,),
        "cls_head.mlp.0.weight": (h, 2 * e), "cls_head.mlp.0.bias": (h,),
        "cls_head.mlp.2.weight": (1, h), "cls_head.mlp.2.bias": (1,),
        "domain.0.weight": (d, e), "domain.0.bias": (d,),
        "domain.2.weight": (1, d), "domain.2.bias": (1,),
    }
    weights = {}
    for name, shape in shapes.items():
        fan = math.prod(shape[1:]) if len(shape) > 1 else e
        value = torch.randn(shape) * c["gain"] / math.sqrt(fan)
        if name.endswith("norm.weight"):
            value = 1 + 0.2 * value
        weights[name] = value.requires_grad_()
    return weights


def encode(w, c, x, dropout=0.0):
    """Temporal convolution, then the global-local transformer. [N, T, D] -> [N, T, E]."""
    drop = lambda y: F.dropout(y, dropout) if dropout else y
    x = F.relu(F.conv1d(x.mT, w["embedding.conv_1.0.weight"], w["embedding.conv_1.0.bias"], padding=1)).mT
    n, t, e = x.shape
    distance = torch.arange(t)[None, :] - torch.arange(t)[:, None]
    near = torch.exp(-distance.abs().to(x.dtype) / math.e)
    # UR-DMU divides by a vector of row sums that broadcasts along columns: entry (i, j) is divided by
    # the sum of row j. The matrix is symmetric, so this is a normalisation of columns.
    near = near / near.sum(-1)
    for i in range(c["layers"]):
        p = f"selfatt.layers.{i}"
        y = F.layer_norm(x, (e,), w[f"{p}.0.norm.weight"], w[f"{p}.0.norm.bias"])
        y = F.linear(y, w[f"{p}.0.fn.to_qkv.weight"])
        y = y.view(n, t, 4, c["heads"], c["head_size"]).permute(2, 0, 3, 1, 4)
        q, k, v, local = y.unbind(0)
        both = torch.cat([F.scaled_dot_product_attention(q, k, v), near @ local], dim=-1)
        both = both.transpose(1, 2).flatten(2)
        x = x + drop(F.linear(both, w[f"{p}.0.fn.to_out.0.weight"], w[f"{p}.0.fn.to_out.0.bias"]))
        y = F.layer_norm(x, (e,), w[f"{p}.1.norm.weight"], w[f"{p}.1.norm.bias"])
        y = drop(F.gelu(F.linear(y, w[f"{p}.1.fn.net.0.weight"], w[f"{p}.1.fn.net.0.bias"])))
        x = x + drop(F.linear(y, w[f"{p}.1.fn.net.3.weight"], w[f"{p}.1.fn.net.3.bias"]))
    return x


def remember(memory, x):
    s = torch.sigmoid(F.linear(x, memory) / math.sqrt(memory.shape[1]))
    return s.topk(memory.shape[0] // 16 + 1, dim=-1).values.mean(-1), s @ memory


def classify(w, x):
    hidden = F.relu(F.linear(x, w["cls_head.mlp.0.weight"], w["cls_head.mlp.0.bias"]))
    return torch.sigmoid(F.linear(hidden, w["cls_head.mlp.2.weight"], w["cls_head.mlp.2.bias"])).squeeze(-1)


def pick(values, attention, k):
    """Mean of the rows of `values` [B, T, E] where `attention` [B, T] is largest."""
    rows = attention.topk(k, dim=-1).indices
    return values.gather(1, rows[:, :, None].expand(-1, -1, values.shape[2])).mean(1)


def train_forward(w, c, features, eps, changed=None):
    cells = c.get("cells", 1)
    b, k = c["batch"], cells * c["segments"] // c.get("top_share", 16) + 1
    if cells > 1:
        # The encoder never sees two cells together; all that follows sees a video's instances.
        x = torch.stack([torch.cat([encode(w, c, cell[None])[0] for cell in video]) for video in features])
    else:
        x = encode(w, c, features, c.get("dropout", 0.0))
    normal, abnormal = x[:b], x[b:]
    mu = lambda z: F.linear(z, w["encoder_mu.0.weight"], w["encoder_mu.0.bias"])
    A, N = w["Amemory.memory_block"], w["Nmemory.memory_block"]
    abnormal_by_a, aug_aa = remember(A, abnormal)
    abnormal_by_n, aug_an = remember(N, abnormal)
    normal_by_a, aug_na = remember(A, normal)
    normal_by_n, aug_nn = remember(N, normal)

    mean, log_var = mu(aug_nn), F.linear(aug_nn, w["encoder_var.0.weight"], w["encoder_var.0.bias"])
    sampled = mean + eps * torch.exp(log_var).sqrt()
    augmented = torch.cat([sampled + mu(aug_na), mu(aug_aa) + mu(aug_an)])
    scores = classify(w, torch.cat([x, augmented], dim=-1))

    unit = lambda z: F.normalize(z, dim=-1)
    anchor, positive = pick(normal, normal_by_n, k), pick(abnormal, abnormal_by_n, k)
    negative = pick(abnormal, abnormal_by_a, k)
    anchor_aug, negative_aug = pick(sampled, normal_by_n, k), pick(mu(aug_aa), abnormal_by_a, k)

    top = lambda z: z.topk(k, dim=-1).values.mean(-1)
    ones, bce = torch.ones(b), F.binary_cross_entropy
    losses = {
        "classification": bce(top(scores), torch.cat([torch.zeros(b), ones])),
        "abnormal_in_a": bce(top(abnormal_by_a), ones),
        "abnormal_not_in_n": bce(top(1 - abnormal_by_n), ones),
        "normal_in_n": bce(normal_by_n, torch.ones_like(normal_by_n)),
        "normal_not_in_a": bce(normal_by_a, torch.zeros_like(normal_by_a)),
        "triplet": F.triplet_margin_loss(unit(anchor), unit(positive), unit(negative), margin=1.0),
        # Summed over the instances, averaged over videos and channels, as in UR-DMU.
        "kl": (-0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(1)).mean(),
        "distance": F.relu(100 - negative_aug.norm(dim=-1) + anchor_aug.norm(dim=-1)).mean(),
    }
    losses["urdmu"] = losses["classification"] + sum(
        c.get(f"weight_{name}", weight) * losses[name] for name, weight in TERMS.items()
    )
    losses["instances"] = torch.zeros(())
    if changed is not None:
        # Scores as in evaluation: the mean of the augmentation for normal videos, too.
        known = classify(w, torch.cat([abnormal, mu(aug_aa) + mu(aug_an)], dim=-1))[changed]
        untouched = classify(w, torch.cat([normal, mean + mu(aug_na)], dim=-1))
        hardest = untouched.flatten().topk(untouched.numel() // 100 + 1).values
        zero = lambda z: bce(z, torch.zeros_like(z))
        losses["instances"] = (bce(known, torch.ones_like(known)) + zero(untouched)) / 2 + 0.3 * zero(hardest)
        losses["urdmu"] = losses["urdmu"] + c["weight_instances"] * losses["instances"]

    # DARM: the normal streams of real and pseudo videos, through the normal memory.
    real, pseudo = mean.mean(1), mu(aug_an).mean(1)
    z = Reverse.apply(torch.cat([real, pseudo]), c["grl"])
    z = F.linear(F.relu(F.linear(z, w["domain.0.weight"], w["domain.0.bias"])), w["domain.2.weight"], w["domain.2.bias"])
    losses["domain"] = F.binary_cross_entropy_with_logits(z.squeeze(-1), torch.cat([torch.zeros(b), ones]))
    losses["mean_distance"] = ((real.mean(0) - pseudo.mean(0)) ** 2).sum()
    items = abnormal.flatten(0, 1)
    assignment = torch.softmax(items @ A.T / math.sqrt(A.shape[1]), dim=1)
    usage = assignment.mean(0)
    centre = assignment.T @ items / (assignment.sum(0)[:, None] + 1e-6)
    losses["update"] = ((usage.mean() / (usage + 1e-6)) ** c["beta"] * ((A - centre) ** 2).sum(1)).mean()
    losses["total"] = (
        losses["urdmu"] + c["lambda1"] * (losses["domain"] + losses["mean_distance"]) + c["lambda2"] * losses["update"]
    )
    outputs = dict(
        scores=scores, abnormal_by_a=abnormal_by_a, abnormal_by_n=abnormal_by_n, normal_by_a=normal_by_a,
        normal_by_n=normal_by_n, mean=mean, log_var=log_var, anchor=anchor, positive=positive, negative=negative,
        anchor_augmented=anchor_aug, negative_augmented=negative_aug, encoded=x,
    )
    return outputs, losses


def evaluate(w, c, features):
    x = encode(w, c, features)
    mu = lambda z: F.linear(z, w["encoder_mu.0.weight"], w["encoder_mu.0.bias"])
    augmented = mu(remember(w["Amemory.memory_block"], x)[1]) + mu(remember(w["Nmemory.memory_block"], x)[1])
    return classify(w, torch.cat([x, augmented], dim=-1))


def main():
    from safetensors.torch import save_file

    torch.set_default_dtype(torch.float64)
    folder = pathlib.Path(sys.argv[1])
    for name, c in CASES.items():
        torch.manual_seed(c["seed"])
        w = make_weights(c)
        cells = c.get("cells", 1)
        shape = (cells, c["segments"]) if cells > 1 else (c["segments"],)
        features = torch.randn(2 * c["batch"], *shape, c["feature_size"])
        features[c["batch"]:, ::3] *= 3
        eps = torch.randn(c["batch"], cells * c["segments"], c["embedding"])
        changed = torch.rand(c["batch"], cells * c["segments"]) < 0.3 if cells > 1 else None
        outputs, losses = train_forward(w, c, features, eps, changed)
        term_gradients = {}
        terms = ("classification", *TERMS, "domain", "mean_distance", "update")
        for term in terms + (("instances",) if cells > 1 else ()):
            grads = torch.autograd.grad(losses[term], w.values(), retain_graph=True, allow_unused=True)
            for key, grad in zip(w, grads):
                if grad is not None:
                    term_gradients[f"{term}.grad.{key}"] = grad.float()
        losses["total"].backward()
        tensors = {f"w.{k}": v.detach() for k, v in w.items()}
        tensors |= {f"grad.{k}": v.grad for k, v in w.items()}
        tensors |= term_gradients
        tensors |= {"in.features": features, "in.eps": eps}
        tensors |= {f"out.{k}": v.detach() for k, v in outputs.items()}
        tensors |= {f"loss.{k}": v.detach() for k, v in losses.items()}
        series = features.flatten(0, 1) if cells > 1 else features
        tensors["out.evaluation_scores"] = evaluate(w, c, series).detach()
        if cells > 1:
            tensors["in.changed"] = changed.to(features.dtype)
        tensors = {k: v.contiguous().clone() for k, v in tensors.items()}
        weights = {f"weight_{k}": c.get(f"weight_{k}", v) for k, v in TERMS.items()}
        weights |= {"cells": cells, "top_share": c.get("top_share", 16)}
        weights |= {"weight_instances": c.get("weight_instances", 0.0)}
        metadata = {k: str(v) for k, v in (c | weights).items()}
        save_file(tensors, folder / f"{name}.safetensors", metadata)
        # Reading PyTorch's own format is proven on a file of one tensor.
        torch.save({"Amemory.memory_block": torch.arange(6.0).float().view(2, 3) / 2}, folder / "state_dict.pth")
        print(name, {k: round(v.item(), 6) for k, v in losses.items()})


if __name__ == "__main__":
    main()
