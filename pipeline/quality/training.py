"""How a recogniser learns: cross-entropy on drawings of the train split, for seconds."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from pipeline.data.dataset import ShardedSketches
from pipeline.permutation import permute
from pipeline.quality.pixels import rasterize
from pipeline.quality.recogniser import Recogniser, judge
from sketch_model.annotations import Int, Tensor

_BATCH_SIZE = 128
_LEARNING_RATE = 2e-3
_LEAST_SHARE = 0.02
"""Of the learning rate, at the end of its fall."""
_WEIGHT_DECAY = 1e-2
_LABEL_SMOOTHING = 0.05


def read_drawings(
    sketches: ShardedSketches, num_per_category: int, seed: int
) -> tuple[Int[Tensor, "batch SIZE SIZE"], Int[Tensor, " batch"]]:
    """Pictures of at most so many drawings of each category, chosen by `seed`, and which it is."""
    chosen = []
    for index in range(len(sketches.manifest.categories)):
        rows = np.flatnonzero(sketches.categories == index)
        some = np.arange(min(num_per_category, len(rows)))
        chosen.append(rows[permute(some, len(rows), key=seed)])
    packed = sketches.gather(np.concatenate(chosen))
    return rasterize(packed.sketches()), packed.categories.long()


def train_recogniser(
    pixels: Int[Tensor, "batch SIZE SIZE"],
    categories: Int[Tensor, " batch"],
    num_categories: int,
    *,
    num_steps: int,
    seed: int,
) -> Recogniser:
    """The same drawings and seed give the same recogniser, on the same machine."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # of the initial weights and of dropout
        network = Recogniser(num_categories)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY
        )
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, _LEAST_SHARE, num_steps)
        for _ in range(num_steps):
            rows = torch.randint(len(pixels), (_BATCH_SIZE,), generator=generator)
            loss = F.cross_entropy(
                network(pixels[rows]), categories[rows], label_smoothing=_LABEL_SMOOTHING
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return network.eval()


def accuracies(
    network: Recogniser,
    pixels: Int[Tensor, "batch SIZE SIZE"],
    categories: Int[Tensor, " batch"],
    names: list[str],
) -> dict[str, float]:
    """Share of drawings that are recognised, of each category that has any."""
    is_right = judge(network, pixels).category == categories
    return {
        name: float(is_right[categories == index].double().mean())
        for index, name in enumerate(names)
        if (categories == index).any()
    }
