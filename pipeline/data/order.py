"""Which sketch is served when: a pure function of (seed, position), so nothing needs saving.

Positions 0, 1, 2, ... form one endless stream; position p lies in epoch p // num_sketches, and
every epoch is a permutation of its own. The stream is cut into global batches of `batch_size`, and
`pool` consecutive batches are sorted by length together, so that sketches of a batch have similar
lengths and little of a padded batch is padding. The batches of a pool are served in random order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.permutation import derive_key, permute

_EPOCH, _POOL = 1, 2


class Slots(NamedTuple):
    """The sketches of one batch, shortest first."""

    positions: NDArray[np.int64]
    """Places in the endless stream: the keys of the sketches' randomness."""
    rows: NDArray[np.int64]
    """Rows of the split's drawings."""


@dataclass(frozen=True, eq=False)
class Order:
    """The order of training sketches.

    `lengths` are the points of each drawing of the split, int32 [num_sketches].
    """

    lengths: NDArray[np.int32]
    batch_size: int
    pool: int
    seed: int

    def __post_init__(self) -> None:
        if not len(self.lengths):
            raise ValueError("there is no drawing to put in order")
        object.__setattr__(self, "_pool_slots", lru_cache(maxsize=2)(self._sorted_pool))

    def rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the drawings at these positions of the stream."""
        epochs, indices = np.divmod(positions, len(self.lengths))
        rows = np.empty_like(positions)
        for epoch in np.unique(epochs):
            inside = epochs == epoch
            key = derive_key(self.seed, _EPOCH, int(epoch))
            rows[inside] = permute(indices[inside], len(self.lengths), key)
        return rows

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
        number, place = divmod(step, self.pool)
        key = derive_key(self.seed, _POOL, number)
        place = int(permute(np.array([place]), self.pool, key)[0])
        share = slice(place * self.batch_size + rank, (place + 1) * self.batch_size, world_size)
        pooled: Slots = self._pool_slots(number)  # type: ignore[attr-defined]
        return Slots(pooled.positions[share], pooled.rows[share])

    def _sorted_pool(self, number: int) -> Slots:
        size = self.pool * self.batch_size
        positions = np.arange(number * size, (number + 1) * size, dtype=np.int64)
        rows = self.rows(positions)
        by_length = np.argsort(self.lengths[rows], kind="stable")
        return Slots(positions[by_length], rows[by_length])
