"""Training steps of one contender, taken when the parent asks for them.

    python -m benchmarks.trainers CONTENDER MANIFEST

A step is all that training does with a packed batch: padding, scaling and augmentation, forward,
losses, backward, clipping, Adam; batches come in training's order, pooled by length as there.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import memory
from benchmarks.contenders import Contender
from benchmarks.workers import answer
from pipeline.config import Balance, TrainConfig, TrainOrder
from pipeline.data.dataset import ShardedSketches
from pipeline.data.loader import TrainingLoader
from pipeline.data.order import Order
from pipeline.data.stream import make_stream
from sketch_model.batch import PackedBatch, to_stroke5
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
        self.settings = TrainConfig()
        self.model, self._compute_loss = contender.build(data)
        rate = self.settings.learning_rate
        self.optimizer = torch.optim.Adam(self.model.parameters(), rate, fused=True)
        self.num_steps = self.num_rows = 0

    def step(self) -> float:
        """The loss of one step, padded as wide as training makes it.

        Raises:
            ArithmeticError: if it is not finite.
        """
        is_wide = not self.contender.pooled or self.num_steps % self.settings.pool == 0
        batch = to_stroke5(
            next(self._batches),
            offset_scale=self.data.offset_scale,
            width=self.data.N_max if is_wide else None,
            augmentation=self.settings.augmentation,
        )
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
        self.num_rows += batch.targets.shape[0] * batch.targets.shape[1]
        return loss.item()

    def take_turn(self) -> dict[str, Any]:
        """One step, or with pooling those of a whole pool, for every width to come up.

        The rate is per second of processor time: one thread with nothing to wait for takes as much
        as there is on the clock, unless others want its core.
        """
        num_steps = self.settings.pool if self.contender.pooled else 1
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
    return Trainer(contender, data, iter(_load(train, contender.pooled)))


def _load(train: ShardedSketches, pooled: bool) -> TrainingLoader:
    """The train split in training's order."""
    settings = TrainConfig()
    stream = make_stream(
        train.starts,
        train.category_of_recordbatch,
        order=TrainOrder.full,
        balance=Balance.natural,
        seed=0,
    )
    pool = settings.pool if pooled else 1
    return TrainingLoader(train, Order(stream, train.lengths_of, settings.batch_size, pool, 0))


if __name__ == "__main__":
    answer(open_trainer(Contender.from_json(sys.argv[1]), Path(sys.argv[2])).take_turn)
