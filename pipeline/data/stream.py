"""Which row is served at which position of the endless stream: pure functions of the seed.

Every `Stream` is cut into epochs in which each of its drawings comes exactly once, except under
`BalancedStream`, where each position is served once and drawings of small categories repeat.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Balance, TrainOrder
from pipeline.permutation import derive_key, permute

_EPOCH, _BLOCKS, _WINDOW, _CYCLE, _CATEGORY = 1, 3, 4, 5, 6

WINDOW = 256
"""Record batches that are mixed with each other under `order=blocks`: about 280 MB."""


class Stream(Protocol):
    """An endless stream of rows."""

    def rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the drawings at these positions."""

    def upcoming(self, position: int) -> NDArray[np.int64]:
        """First rows of the record batches that drawings are mixed of from here on for a while."""


def make_stream(
    starts: NDArray[np.int64],
    categories: NDArray[np.int16],
    *,
    order: TrainOrder,
    balance: Balance,
    seed: int,
) -> Stream:
    """The stream that `train.order` and `train.balance` ask for.

    Args:
        starts: first row of each record batch, and the number of rows, [R + 1].
        categories: of each record batch, ascending, [R].
        order: whether all drawings are mixed, or those of a window of record batches.
        balance: whether categories come as often as they have drawings, or equally often.
        seed: names the stream.

    Raises:
        ValueError: if there is no drawing.
    """
    if starts[-1] == 0:
        raise ValueError("there is no drawing to put in order")
    if balance is Balance.natural:
        return _ordered(starts, order, seed)
    edges = np.flatnonzero(np.diff(categories, prepend=-1, append=-1))
    groups = [starts[first : last + 1] for first, last in pairwise(edges)]
    return BalancedStream([group for group in groups if group[-1] > group[0]], order, seed)


def _ordered(starts: NDArray[np.int64], order: TrainOrder, seed: int) -> Stream:
    if order is TrainOrder.blocks:
        return BlockStream(starts, seed)
    return FullStream(int(starts[-1]), seed, starts)


def _span(numbers: NDArray[np.int64]) -> range:
    """From the least to the greatest: of neighbours, quicker than sorting out which there are."""
    return range(int(numbers.min()), int(numbers.max()) + 1) if len(numbers) else range(0)


class FullStream:
    """A permutation of all drawings per epoch."""

    def __init__(
        self, num_sketches: int, seed: int, starts: NDArray[np.int64] | None = None
    ) -> None:
        if not num_sketches:
            raise ValueError("there is no drawing to put in order")
        self._num_sketches, self._seed = num_sketches, seed
        self._starts = np.array([0, num_sketches]) if starts is None else starts

    def rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the drawings at these positions."""
        epochs, indices = np.divmod(positions, self._num_sketches)
        rows = np.empty_like(positions)
        for epoch in _span(epochs):
            inside = epochs == epoch
            key = derive_key(self._seed, _EPOCH, epoch)
            rows[inside] = permute(indices[inside], self._num_sketches, key)
        return rows

    def upcoming(self, position: int) -> NDArray[np.int64]:
        """First rows of all record batches."""
        return self._starts[:-1]


class _Epoch(NamedTuple):
    """Record batches in the order of an epoch."""

    chosen: NDArray[np.int64]
    ends: NDArray[np.int64]
    """Rows up to the end of each, with a zero in front."""


class BlockStream:
    """Windows of randomly chosen record batches, each window permuted within itself.

    What is served for a while lies in `window` record batches: they can be fetched together, and
    fit in memory where the split does not.
    """

    def __init__(self, starts: NDArray[np.int64], seed: int, *, window: int = WINDOW) -> None:
        self._starts, self._sizes = starts[:-1], np.diff(starts)
        self._num_sketches = int(self._sizes.sum())
        if not self._num_sketches:
            raise ValueError("there is no drawing to put in order")
        self._seed, self._window = seed, window
        self._epoch = lru_cache(maxsize=2)(self._arrange)

    def rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the drawings at these positions."""
        epochs, indices = np.divmod(positions, self._num_sketches)
        rows = np.empty_like(positions)
        for epoch in _span(epochs):
            inside = epochs == epoch
            rows[inside] = self._rows_of_epoch(epoch, indices[inside])
        return rows

    def upcoming(self, position: int) -> NDArray[np.int64]:
        """First rows of the record batches of this position's window, and of the next one."""
        epoch, index = divmod(position, self._num_sketches)
        _, ends = self._epoch(epoch)
        number = int(np.searchsorted(ends, index, side="right") - 1) // self._window
        later = self._choose(epoch, number + 1)
        if not len(later):
            later = self._choose(epoch + 1, 0)
        return np.concatenate([self._choose(epoch, number), later])

    def _choose(self, epoch: int, window: int) -> NDArray[np.int64]:
        """First rows of a window's record batches; none after an epoch's last window."""
        chosen = self._epoch(epoch).chosen[window * self._window : (window + 1) * self._window]
        return self._starts[chosen]

    def _rows_of_epoch(self, epoch: int, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        chosen, ends = self._epoch(epoch)
        edges = np.append(ends[: -1 : self._window], self._num_sketches)
        windows = np.searchsorted(edges, indices, side="right") - 1
        mixed = np.empty_like(indices)
        for window in _span(windows):
            inside = windows == window
            first, size = edges[window], int(edges[window + 1] - edges[window])
            key = derive_key(self._seed, _WINDOW, epoch, window)
            mixed[inside] = first + permute(indices[inside] - first, size, key)
        batches = np.searchsorted(ends, mixed, side="right") - 1
        return self._starts[chosen[batches]] + mixed - ends[batches]

    def _arrange(self, epoch: int) -> _Epoch:
        num = len(self._sizes)
        chosen = permute(np.arange(num), num, derive_key(self._seed, _BLOCKS, epoch))
        return _Epoch(chosen, np.cumsum(np.append(0, self._sizes[chosen])))


class BalancedStream:
    """Every category equally often in each cycle, which mixes some hundred turns of each.

    A category has a stream of its own, of which cycle c takes the drawings from c * TURNS on.
    """

    TURNS = 256

    def __init__(self, groups: list[NDArray[np.int64]], order: TrainOrder, seed: int) -> None:
        self._first = [int(group[0]) for group in groups]
        self._streams = [
            _ordered(group - group[0], order, derive_key(seed, _CATEGORY, number))
            for number, group in enumerate(groups)
        ]
        self._seed = seed

    def rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the drawings at these positions."""
        num = len(self._streams)
        cycles, slots = np.divmod(positions, num * self.TURNS)
        turns = np.empty_like(positions)
        for cycle in _span(cycles):
            inside = cycles == cycle
            key = derive_key(self._seed, _CYCLE, cycle)
            turns[inside] = permute(slots[inside], num * self.TURNS, key)
        categories, places = turns % num, cycles * self.TURNS + turns // num
        rows = np.empty_like(positions)
        for category in np.unique(categories).tolist():
            inside = categories == category
            rows[inside] = self._first[category] + self._streams[category].rows(places[inside])
        return rows

    def upcoming(self, position: int) -> NDArray[np.int64]:
        """First rows of the record batches that each category's stream is mixed of."""
        place = position // (len(self._streams) * self.TURNS) * self.TURNS
        streams = zip(self._first, self._streams, strict=True)
        return np.concatenate([first + stream.upcoming(place) for first, stream in streams])
