"""Models and batches for `benchmarks.gpu`: of random drawings, with nothing read from a disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sketch_model.batch import PackedBatch, SketchBatch
from sketch_model.config import Cell, DataSpec, ModelConfig
from sketch_model.losses import floored_kl, sketch_losses
from sketch_model.model import SketchRNN

N_MAX = 250
MEAN_LENGTH = 44.5
"""Points of a simplified drawing of Quick, Draw!."""

BATCH_FIELDS = ("stroke5", "lengths", "categories", "positions")


class NotHere(Exception):
    """A check that this machine cannot make; the message says what is missing."""


def hyper_sizes(device: torch.device, *cells: Cell) -> dict[str, int]:
    """Of a HyperLSTM, if one of the cells is one: the default's, or small ones for a CPU."""
    if Cell.hyper not in cells or device.type == "cuda":
        return {}
    return {"hyper_size": 8, "hyper_embedding_size": 4}


def make_model(device: torch.device, kind: Cell, **fields: Any) -> SketchRNN:
    """The default model of a kind of cell, or on a CPU a small one."""
    sizes: dict[str, Any] = {}
    if device.type != "cuda":
        sizes = {"encoder_size": 12, "decoder_size": 20, "N_z": 8, "M": 3}
        sizes |= hyper_sizes(device, kind)
    return build_model(device, encoder_cell=kind, decoder_cell=kind, **{**sizes, **fields})


def build_model(device: torch.device, **fields: Any) -> SketchRNN:
    """A model with these fields of its configuration; the same weights every time."""
    data = DataSpec(offset_scale=1.0, N_max=N_MAX, categories=("any",), source="random")
    torch.manual_seed(0)
    return SketchRNN(ModelConfig(**fields), data).to(device)


@torch.no_grad()
def perturb(model: SketchRNN, scale: float) -> None:
    """Adds random numbers to all weights, in place."""
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=scale)


def random_batch(device: torch.device, num_sketches: int, width: int, seed: int) -> SketchBatch:
    """Stroke-5 of random pens and lengths, the longest of `width` - 1."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, width, (num_sketches,), generator=generator)
    lengths[0] = width - 1
    row = torch.arange(width + 1)
    ended = row > lengths[:, None]
    lifted = (torch.rand(ended.shape, generator=generator) < 0.1) & ~ended
    offsets = torch.randn(*ended.shape, 2, generator=generator) * ~ended[..., None]
    pens = torch.stack([~(lifted | ended), lifted, ended], dim=-1).float()
    stroke5 = torch.cat([offsets, pens], dim=-1)
    stroke5[:, 0] = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0])
    zeros = torch.zeros(num_sketches, dtype=torch.int64)
    batch = SketchBatch(stroke5, lengths, zeros, zeros)
    return SketchBatch(*(getattr(batch, name).to(device) for name in BATCH_FIELDS))


def batch_tensors(batch: SketchBatch) -> tuple[Tensor, ...]:
    """What `make_loss`'s function takes first."""
    return tuple(getattr(batch, name) for name in BATCH_FIELDS)


def make_loss(
    model: SketchRNN, *, bf16: bool = False, generator: torch.Generator | None = None
) -> Callable[..., tuple[Tensor, ...]]:
    """From (stroke-5, lengths, categories, positions, noise, w_KL) to (loss, L_R, L_KL)."""
    device = model.device.type

    def compute(*tensors: Tensor) -> tuple[Tensor, ...]:
        batch, noise, w_KL = SketchBatch(*tensors[:4]), tensors[4], tensors[5]
        with torch.autocast(device, torch.bfloat16, enabled=bf16, cache_enabled=False):
            prediction = model(batch, noise, generator=generator)
            losses = sketch_losses(prediction, batch, max(N_MAX, batch.targets.shape[1]))
        loss = losses.L_R + w_KL * floored_kl(losses.L_KL, 0.2)
        return loss, losses.L_R, losses.L_KL

    return compute


def loss_arguments(N_z: int, batch: SketchBatch, seed: int = 0) -> tuple[Tensor, ...]:
    """What `make_loss`'s function takes, for a batch."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(batch.lengths), N_z, generator=generator)
    w_KL = torch.tensor(0.25 + 0.01 * seed)
    device = batch.lengths.device
    return (*batch_tensors(batch), noise.to(device), w_KL.to(device))


def differentiate(
    compute: Callable[..., tuple[Tensor, ...]], model: SketchRNN, arguments: Sequence[Tensor]
) -> list[Tensor]:
    """Loss, what is told beside it, and all gradients."""
    outputs = compute(*arguments)
    gradients = torch.autograd.grad(outputs[0], list(model.parameters()))
    return [*(output.detach() for output in outputs), *gradients]


def random_drawings(num: int, mean_length: float, seed: int) -> PackedBatch:
    """Packed sketches of log-normal lengths, at most 249 points, as simplified drawings have."""
    random = np.random.default_rng(seed)
    lengths = random.lognormal(np.log(mean_length) - 0.18, 0.6, num).astype(np.int64).clip(3, 249)
    points = random.integers(-60, 61, (lengths.sum(), 3), dtype=np.int16)
    points[:, 2] = points[:, 2] > 48  # a pen lift in ten
    offsets = np.concatenate([[0], lengths.cumsum()])
    return PackedBatch(
        points=torch.from_numpy(points),
        offsets=torch.from_numpy(offsets.astype(np.int32)),
        categories=torch.zeros(num, dtype=torch.int16),
        positions=torch.arange(num),
    )


class Drawings:
    """Packed drawings in memory, as `pipeline.data.resident` asks a split for them."""

    def __init__(self, packed: PackedBatch) -> None:
        num = packed.num_sketches
        self._packed, self.split = packed, "train"
        shard = SimpleNamespace(num_points=len(packed.points), split="train")
        self.manifest: Any = SimpleNamespace(shards=[shard])
        self.starts = np.append(np.arange(0, num, 4096), num)
        self.category_of_recordbatch = np.zeros(len(self.starts) - 1, dtype=np.int16)

    def prefetch(self, rows: Any) -> None:
        """Everything is there."""

    def gather(self, indices: Any) -> PackedBatch:
        """Neighbouring drawings, by index."""
        offsets = self._packed.offsets[torch.from_numpy(np.append(indices, indices[-1] + 1))]
        return PackedBatch(
            points=self._packed.points[offsets[0] : offsets[-1]],
            offsets=offsets - offsets[0],
            categories=self._packed.categories[: len(indices)],
            positions=torch.from_numpy(indices),
        )


def load_resident(packed: PackedBatch, device: torch.device) -> Any:
    """The drawings in the memory of the device.

    Raises:
        NotHere: if the loader of `pipeline` lacks a library here.
    """
    drawings: Any = Drawings(packed)
    try:
        from pipeline.data.resident import ResidentSketches

        return ResidentSketches(drawings, device, report=lambda line: None)
    except ModuleNotFoundError as missing:
        raise NotHere(f"pipeline.data.resident needs {missing.name}") from None
