"""Batches for the training loop: packed, assembled in this process, resumable at any step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.data.order import Order
from sketch_model.batch import PackedBatch

_ANNOUNCED = 1 << 16
"""Positions between two looks at what comes next."""


class Sketches(Protocol):
    """A split of drawings."""

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Points of each drawing."""

    def gather(
        self, indices: NDArray[np.int64], positions: NDArray[np.int64] | None = None
    ) -> PackedBatch:
        """The drawings at these rows, in this order; `positions` key their randomness."""

    def prefetch(self, rows: NDArray[np.int64]) -> None:
        """Begins to bring near what these rows are part of, if it is far away, in this order."""


class TrainingLoader:
    """The endless stream of training batches, from `next_step` on.

    One pass over it never ends: epochs are a matter of `Order`, and training stops by steps.

    The state is the next step alone. It is the same on every rank, so that it does not matter that
    Lightning restores all ranks from rank zero's; and it is counted where batches are handed out.
    """

    def __init__(
        self, sketches: Sketches, order: Order, *, rank: int = 0, world_size: int = 1
    ) -> None:
        self._sketches, self._order = sketches, order
        self._rank, self._world_size = rank, world_size
        self.next_step = 0

    def __len__(self) -> int:
        """Lightning fetches one batch ahead of loaders without a length, spoiling the count."""
        return 2**40

    def __iter__(self) -> Iterator[PackedBatch]:
        announced = -1
        while True:
            position = self.next_step * self._order.batch_size
            if position // _ANNOUNCED != announced:
                announced = position // _ANNOUNCED
                self._announce(position)
            slots = self._order.batch(self.next_step, self._rank, self._world_size)
            self.next_step += 1
            yield self._sketches.gather(slots.rows, slots.positions)

    def _announce(self, position: int) -> None:
        rows = self._order.stream.upcoming(position)
        # Processes that share a cache begin at different places, not to fetch the same.
        self._sketches.prefetch(np.roll(rows, -(len(rows) * self._rank // self._world_size)))

    def state_dict(self) -> dict[str, int]:
        """What a checkpoint keeps."""
        return {"next_step": self.next_step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on where the checkpoint stopped."""
        self.next_step = state["next_step"]


class EvaluationLoader:
    """Every drawing of a split once, shortest first; the last batch may be short.

    Rank r of w takes every w-th drawing, and none is repeated to even the ranks out.
    """

    def __init__(
        self, sketches: Sketches, *, batch_size: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self._sketches, self._batch_size = sketches, batch_size
        by_length = np.argsort(sketches.lengths, kind="stable").astype(np.int64)
        self._rows = by_length[rank::world_size]

    def __len__(self) -> int:
        return math.ceil(len(self._rows) / self._batch_size)

    def __iter__(self) -> Iterator[PackedBatch]:
        for start in range(0, len(self._rows), self._batch_size):
            rows = self._rows[start : start + self._batch_size]
            yield self._sketches.gather(rows)
