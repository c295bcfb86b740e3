"""Losses of a model over every drawing of a split, as the paper defines them, and the bound."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.config import EvaluateConfig
from pipeline.data.dataset import ShardedSketches
from pipeline.data.loader import EvaluationLoader
from pipeline.permutation import derive_key
from sketch_model.batch import PackedBatch, to_stroke5
from sketch_model.losses import sketch_losses
from sketch_model.model import SketchRNN
from sketch_model.randomness import LATENT, keyed_normal

_EVALUATION = 3
Nats = dict[str, NDArray[np.float64]]


@torch.inference_mode()
def score(
    model: SketchRNN, sketches: ShardedSketches, config: EvaluateConfig, seed: int
) -> dict[str, Any]:
    """Losses over every drawing of a split, as the paper defines them, and the bound in nats.

    Rows are padded to N_max, so that L_p is the paper's (Ha & Eck 2017, eq. 9). L_KL is exact;
    everything else is a mean over `config.latent_samples` draws of z per drawing. (A decoder-only
    model has no z, and nothing is random.) The z depend on `seed` alone, not on the batches.

    `bound_nats` is the negative evidence lower bound per drawing, without floors and with the pen
    up to the first end token: it compares models whatever their w_KL, N_z and M. `nats_per_point`
    is the same per point, with offsets in drawing units, so that it compares between scales too.

    Returns:
        Figures of the split, and under "by_category" those of each category.
    """
    num_samples = config.latent_samples if model.config.conditional else 1
    batches = [
        _score_batch(model, packed, num_samples, seed)
        for packed in EvaluationLoader(sketches, batch_size=config.batch_size)
    ]
    nats = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    by_category = {}
    for index, name in enumerate(model.data.categories):
        inside = nats["category"] == index
        if inside.any():
            chosen = {key: values[inside] for key, values in nats.items()}
            by_category[name] = _metrics(chosen, model)
    return _metrics(nats, model) | {
        "latent_samples": num_samples,
        "N_max": model.data.N_max,
        "offset_scale": model.data.offset_scale,
        "by_category": by_category,
    }


def _score_batch(model: SketchRNN, packed: PackedBatch, num_samples: int, seed: int) -> Nats:
    """Nats of each sketch, as means over draws of z."""
    data, noise = model.data, None
    batch = to_stroke5(packed, offset_scale=data.offset_scale, width=data.N_max)
    draws = []
    for sample in range(num_samples):
        if model.config.conditional:
            key = derive_key(seed, _EVALUATION, sample)
            noise = keyed_normal(key, LATENT, batch.positions, model.config.N_z)
        losses = sketch_losses(model(batch, noise), batch, data.N_max)
        draws.append(
            torch.stack(
                [
                    losses.offset_nats,
                    losses.pen_nats,
                    losses.pen_nats_real,
                    losses.kl_nats,
                    losses.bound_nats,
                ]
            ).double()
        )
    offset, pen, pen_real, kl, bound = torch.stack(draws).mean(dim=0).numpy()
    return {
        "offset": offset,
        "pen": pen,
        "pen_real": pen_real,
        "kl": kl,
        "bound": bound,
        "num_points": batch.lengths.double().numpy(),
        "category": batch.categories.numpy(),
    }


def _metrics(nats: Nats, model: SketchRNN) -> dict[str, float]:
    N_max, N_z = model.data.N_max, model.config.N_z
    mean = {name: float(values.mean()) for name, values in nats.items()}
    in_drawing_units = 2 * mean["num_points"] * math.log(model.data.offset_scale)
    return {
        "L_R": (mean["offset"] + mean["pen"]) / N_max,
        "L_s": mean["offset"] / N_max,
        "L_p": mean["pen"] / N_max,
        "L_KL": mean["kl"] / N_z,
        "L_R_masked": (mean["offset"] + mean["pen_real"]) / N_max,
        "bound_nats": mean["bound"],
        "nats_per_point": (mean["bound"] + in_drawing_units) / mean["num_points"],
        "num_sketches": len(nats["bound"]),
    }
