"""Which split a drawing belongs to: a pure function of its strokes, a seed and its category.

Identical drawings have the same hash, so they never straddle splits, and neither the order nor
the number of files and workers matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.config import IngestConfig, SplitRule
from pipeline.permutation import GOLDEN, derive_key, mix

PAPER = (70_000, 2_500, 2_500)
"""Drawings of a category's train, valid and test splits (Ha & Eck 2017, section 3.1)."""
NOWHERE = -1
"""In place of a split: a drawing that no split has room for."""
END = 1 << 64
"""Above every key."""
_SPLIT, _LIMIT = 1, 2


@dataclass(frozen=True)
class Cuts:
    """Where a category's drawings, in the order of their keys, are cut: found in a first pass."""

    limit: int
    """Drawings whose limit key is below are kept."""
    splits: tuple[int, ...]
    """Where each split ends among the split keys; empty where it does not depend on ranks."""


NO_CUTS = Cuts(END, ())
"""All drawings are kept, and splits do not depend on ranks."""


def needs_ranks(config: IngestConfig) -> bool:
    """Whether the drawings of a category must be seen once before they can be assigned."""
    return config.limit > 0 or config.splits == SplitRule.paper


def find_cuts(hashes: NDArray[np.uint64], config: IngestConfig) -> Cuts:
    """The cuts of a category with these drawings, [n], in any order.

    Copies of a drawing stay together, so that a split may hold a few more than it was meant to.
    A category with fewer drawings than the paper's is divided in the same proportions.
    """
    limit = END
    if config.limit:
        keys = _keys(hashes, config, _LIMIT)
        limit = _end_of(np.sort(keys), config.limit)
        hashes = hashes[_below(keys, limit)]
    if config.splits != SplitRule.paper:
        return Cuts(limit, ())
    keys = np.sort(_keys(hashes, config, _SPLIT))
    share = min(1.0, len(keys) / sum(PAPER))
    sizes = np.diff(np.rint(np.cumsum(PAPER) * share).astype(int), prepend=0)
    splits, num = [], 0
    for size in sizes.tolist():
        splits.append(_end_of(keys, num + size))
        num = int(np.count_nonzero(_below(keys, splits[-1])))
    return Cuts(limit, tuple(splits))


def is_within_limit(
    hashes: NDArray[np.uint64], config: IngestConfig, cuts: Cuts
) -> NDArray[np.bool_]:
    """Whether each drawing is among the `ingest.limit` that are kept, [n]."""
    if cuts.limit == END:
        return np.ones(len(hashes), dtype=np.bool_)
    return _below(_keys(hashes, config, _LIMIT), cuts.limit)


def assign_splits(
    hashes: NDArray[np.uint64], config: IngestConfig, cuts: Cuts
) -> NDArray[np.int64]:
    """Index of the split of each drawing, [n], or NOWHERE, by `fractions` or by `cuts`."""
    keys = _keys(hashes, config, _SPLIT)
    if not cuts.splits:
        return _by_fraction(keys, config.fractions)
    splits = np.full(len(keys), NOWHERE)
    for index in reversed(range(len(cuts.splits))):
        splits[_below(keys, cuts.splits[index])] = index
    return splits


def _by_fraction(keys: NDArray[np.uint64], fractions: Sequence[float]) -> NDArray[np.int64]:
    uniform = (keys >> np.uint64(11)) * 2.0**-53
    return np.searchsorted(np.cumsum(fractions)[:-1], uniform, side="right")


def _keys(hashes: NDArray[np.uint64], config: IngestConfig, purpose: int) -> NDArray[np.uint64]:
    """Two purposes order the drawings independently of each other."""
    seed = np.uint64(derive_key(config.split_seed, purpose))
    return mix((hashes ^ seed) + GOLDEN)


def _end_of(keys: NDArray[np.uint64], num: int) -> int:
    """A bound below which are the first `num`, at least one, of the ascending keys, and copies."""
    return int(keys[num - 1]) + 1 if num < len(keys) else END


def _below(keys: NDArray[np.uint64], end: int) -> NDArray[np.bool_]:
    return keys <= np.uint64(end - 1)  # END itself is no uint64
