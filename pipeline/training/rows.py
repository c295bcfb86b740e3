"""Which rows of a batch a training step computes."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pipeline.config import TrainConfig
from sketch_model.batch import PackedBatch, SketchBatch, to_stroke5
from sketch_model.config import DataSpec

NEAR_END: Final = 10
"""Rows after the first end token in which a model takes a sketch for unfinished: after 1,500 steps
they have all but one in 5,000 of the nats that the pen has after the end."""


def rows_of_step(packed: PackedBatch, step: int, train: TrainConfig, data: DataSpec) -> SketchBatch:
    """A batch, augmented, with the rows that count at a step.

    At one step in `train.pad_every` those are all rows to N_max, as eq. 9 has them: a model that
    never sees the rows long after an end token begins to draw again there. At the others they end
    `NEAR_END` after each sketch's first end token, and the batch after its longest sketch's.
    """
    has_all, width = step % train.pad_every == 0, data.N_max
    if not has_all:
        width = min(width, int(packed.lengths.max()) + 1 + NEAR_END)
    batch = to_stroke5(
        packed,
        offset_scale=data.offset_scale,
        width=width,
        augmentation=train.augmentation,
        seed=train.seed,
    )
    if has_all:
        return batch
    return replace(batch, num_rows=(batch.lengths + 1 + NEAR_END).clamp(max=width))
