"""Which sketch is served when: a pure function of (seed, position), so nothing needs saving.

Positions 0, 1, 2, ... form one endless stream. It is cut into global batches of `batch_size`, and
the sketches of `pool` consecutive batches are sorted by length and shared out anew: a batch takes
some that follow each other out of each quarter, so that few of its sketches are much longer than
others, and yet all lengths are in it. With sketches of one length alone a model learns less of as
many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.data.stream import Stream
from pipeline.permutation import deal, derive_key

_POOL = 2


class Slots(NamedTuple):
    """The sketches of one batch, shortest first."""

    positions: NDArray[np.int64]
    """Places in the endless stream: the keys of the sketches' randomness."""
    rows: NDArray[np.int64]
    """Rows of the split's drawings."""


@dataclass(frozen=True, eq=False)
class Order:
    """The order of training sketches.

    `lengths` gives the points of the drawings at some rows: those of a pool are all it is asked
    for at a time, so that the first batch comes as soon from 50 million drawings as from a few.
    """

    stream: Stream
    lengths: Callable[[NDArray[np.int64]], NDArray[np.int32]]
    batch_size: int
    pool: int
    seed: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "_pool_slots", lru_cache(maxsize=2)(self._sorted_pool))

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> Slots:
        """What process `rank` of `world_size` trains on in this step.

        Every world_size-th sketch of the global batch, so that all ranks have similar lengths.

        Raises:
            ValueError: if the global batch cannot be shared out evenly.
        """
        if self.batch_size % world_size:
            raise ValueError(
                f"train.batch_size={self.batch_size} must be a multiple of the {world_size} "
                "processes that share it"
            )
        number, turn = divmod(step, self.pool)
        pooled = self._pool_slots(number)  # type: ignore[attr-defined]
        first = turn * self.batch_size
        share = slice(first + rank, first + self.batch_size, world_size)
        return Slots(pooled.positions[share], pooled.rows[share])

    def _sorted_pool(self, number: int) -> Slots:
        """A pool's sketches, batch after batch, in each the shortest first."""
        size = self.pool * self.batch_size
        positions = np.arange(number * size, (number + 1) * size, dtype=np.int64)
        rows = self.stream.rows(positions)
        lengths = self.lengths(rows)
        # Eight or sixteen bits are sorted by radix, several times as fast as 32.
        by_length = np.argsort(lengths.astype(np.min_scalar_type(lengths.max())), kind="stable")
        key = derive_key(self.seed, _POOL, number)
        batches = by_length[deal(self.pool, self.batch_size, key)].ravel()
        return Slots(positions[batches], rows[batches])
