"""Training steps of one contender, taken when the parent asks for them.

    python -m benchmarks.trainers CONTENDER MANIFEST

A step is all that training does with a packed batch: padding, scaling and augmentation, forward,
losses, backward, clipping, Adam; batches come in training's order. Those of a peer may be pooled by
length, which of all orders leaves the least padding.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import memory
from benchmarks.contenders import Contender
from benchmarks.workers import answer
from pipeline.config import Balance, TrainConfig, TrainOrder
from pipeline.data.dataset import ShardedSketches
from pipeline.data.loader import TrainingLoader
from pipeline.data.order import Order, Slots
from pipeline.data.stream import make_stream
from pipeline.training.rows import rows_of_step
from sketch_model.batch import PackedBatch, SketchBatch, to_stroke5
from sketch_model.config import DataSpec


class Trainer:
    """A contender on its way.

    Attributes:
        num_steps: taken so far.
        num_rows: that its decoder has computed in them, over all sketches.
    """

    def __init__(
        self, contender: Contender, data: DataSpec, batches: Iterator[PackedBatch]
    ) -> None:
        self.contender, self.data, self._batches = contender, data, batches
        self.settings = TrainConfig() if contender.narrow else TrainConfig(pad_every=1)
        self.model, self._compute_loss = contender.build(data)
        rate = self.settings.learning_rate
        self.optimizer = torch.optim.Adam(self.model.parameters(), rate, fused=True)
        self.num_steps = self.num_rows = 0

    def step(self) -> float:
        """The loss of one step, padded as wide as training makes it.

        Raises:
            ArithmeticError: if it is not finite.
        """
        packed = next(self._batches)
        batch = rows_of_step(packed, self.num_steps, self.settings, self.data)
        if self.contender.way and batch.num_rows is not None:
            batch = self._as_a_peer(packed)
        self.optimizer.zero_grad()
        loss = self._compute_loss(batch, self.num_steps)
        loss.backward()
        nn.utils.clip_grad_value_(self.model.parameters(), self.settings.clip_value)
        self.optimizer.step()
        if not math.isfinite(loss.item()):
            raise ArithmeticError(
                f"{self.contender.name}: loss {loss.item()} at step {self.num_steps}"
            )
        self.num_steps += 1
        if batch.num_rows is None:
            self.num_rows += batch.targets.shape[:2].numel()
        else:
            self.num_rows += int(batch.num_rows.sum())
        return loss.item()

    def _as_a_peer(self, packed: PackedBatch) -> SketchBatch:
        """To the end of the longest sketch."""
        return to_stroke5(
            packed,
            offset_scale=self.data.offset_scale,
            augmentation=self.settings.augmentation,
        )

    def take_turn(self) -> dict[str, Any]:
        """One step, or if narrow those of a whole pool, for all lengths to come up.

        The rate is per second of processor time: one thread with nothing to wait for takes as much
        as there is on the clock, unless others want its core.
        """
        num_steps = self.settings.pool if self.contender.narrow else 1
        num_sketches = num_steps * self.settings.batch_size
        rows_before = self.num_rows
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        for _ in range(num_steps):
            loss = self.step()
        duration_s, cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
        return {
            "sketches_per_s": num_sketches / cpu_s,
            "share_of_core": cpu_s / duration_s,
            "peak_bytes": memory.measure_peak_bytes(),
            "rows_per_sketch": (self.num_rows - rows_before) / num_sketches,
            "loss": loss,
        }


def open_trainer(contender: Contender, manifest: Path) -> Trainer:
    """On one thread, with denormals flushed, as training has them."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    train = ShardedSketches(manifest, "train")
    data = DataSpec(
        offset_scale=train.manifest.offset_scale,
        N_max=train.manifest.N_max,
        categories=tuple(train.manifest.categories),
        source="benchmark",
    )
    return Trainer(contender, data, iter(_load(train, contender)))


class Pooled(Order):
    """Batches of sketches of similar lengths: a pool's, sorted and cut."""

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> Slots:
        number, turn = divmod(step, self.pool)
        parts = [Order.batch(self, number * self.pool + each) for each in range(self.pool)]
        positions, rows = (np.concatenate(column) for column in zip(*parts, strict=True))
        batches = np.argsort(self.lengths(rows), kind="stable").reshape(self.pool, -1)
        chosen = batches[np.random.default_rng(number).permutation(self.pool)[turn]]
        return Slots(positions[chosen], rows[chosen])


def _load(train: ShardedSketches, contender: Contender) -> TrainingLoader:
    """The train split in the order that the contender is trained in."""
    settings = TrainConfig()
    stream = make_stream(
        train.starts,
        train.category_of_recordbatch,
        order=TrainOrder.full,
        balance=Balance.natural,
        seed=0,
    )
    pool = settings.pool if contender.narrow else 1
    kind = Pooled if contender.narrow and contender.way else Order
    return TrainingLoader(train, kind(stream, train.lengths_of, settings.batch_size, pool, 0))


if __name__ == "__main__":
    answer(open_trainer(Contender.from_json(sys.argv[1]), Path(sys.argv[2])).take_turn)
