"""Splits depend on the strokes and the seed, and on nothing else (guarantee G4)."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.config import IngestConfig, SplitRule
from pipeline.ingest.split import (
    NO_CUTS,
    NOWHERE,
    PAPER,
    assign_splits,
    find_cuts,
    is_within_limit,
    needs_ranks,
)

HASHES = np.random.default_rng(0).integers(0, 2**64, 100_000, dtype=np.uint64)


def by_fractions(
    hashes: NDArray[np.uint64], fractions: list[float], seed: int = 0
) -> NDArray[np.int64]:
    config = IngestConfig(fractions=fractions, split_seed=seed)
    assert not needs_ranks(config)
    return assign_splits(hashes, config, NO_CUTS)


def test_fractions_are_met() -> None:
    counts = np.bincount(by_fractions(np.arange(100_000, dtype=np.uint64), [0.7, 0.2, 0.1]))
    # Four standard deviations of a binomial count.
    assert np.abs(counts - [70_000, 20_000, 10_000]).max() < 4 * np.sqrt(100_000 * 0.7 * 0.3)


@pytest.mark.parametrize("fractions", [[1.0, 0.0, 0.0], [0.5, 0.0, 0.5], [0.1, 0.1, 0.8]])
def test_a_split_of_no_share_is_empty(fractions: list[float]) -> None:
    splits = by_fractions(np.arange(10_000, dtype=np.uint64), fractions, 3)
    assert set(np.unique(splits)) == {i for i, share in enumerate(fractions) if share}


def test_order_does_not_matter_and_the_seed_does() -> None:
    hashes = np.arange(10_000, dtype=np.uint64) * np.uint64(2**50)
    fractions = [0.5, 0.25, 0.25]
    splits = by_fractions(hashes, fractions, 7)
    assert np.array_equal(by_fractions(hashes[::-1], fractions, 7)[::-1], splits)
    same = (by_fractions(hashes, fractions, 8) == splits).mean()
    assert same == pytest.approx(0.375, abs=0.03)  # as independent draws would agree


def splitmix64(value: int) -> int:
    """Steele, Lea and Flood 2014, in Python's integers."""
    value = (value + 0x9E3779B97F4A7C15) % 2**64
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
    return value ^ (value >> 31)


def keys_of(hashes: NDArray[np.uint64], seed: int, purpose: int) -> list[int]:
    key = 0
    for part in (seed, purpose):
        # Of splitmix64 only the mixing: `derive_key` adds the constant before the part comes in.
        key = (splitmix64(((key + 0x9E3779B97F4A7C15) ^ part) - 0x9E3779B97F4A7C15)) % 2**64
    return [splitmix64(int(value) ^ key) for value in hashes]


def test_splits_stay_as_they_are() -> None:
    """A change here would move drawings between the splits of data sets that exist."""
    hashes = np.array([0, 1, 2**63, 2**64 - 1, *range(7, 200_000_000, 999_983)], dtype=np.uint64)
    uniform = [key / 2**64 for key in keys_of(hashes, 5, 1)]
    expected = [0 if u < 0.4 else 1 if u < 0.7 else 2 for u in uniform]
    assert by_fractions(hashes, [0.4, 0.3, 0.3], 5).tolist() == expected


def test_the_paper_takes_the_first_by_rank() -> None:
    config = IngestConfig(splits=SplitRule.paper, split_seed=4)
    assert needs_ranks(config)
    cuts = find_cuts(HASHES[::-1], config)
    assert is_within_limit(HASHES, config, cuts).all(), "there is no limit"
    splits = assign_splits(HASHES, config, cuts)
    ranks = np.argsort(np.argsort(np.array(keys_of(HASHES, 4, 1), dtype=np.uint64)))
    ends = np.cumsum(PAPER)
    expected = np.searchsorted(ends, ranks, side="right")
    expected[expected == 3] = NOWHERE
    assert np.array_equal(splits, expected)
    assert tuple(np.bincount(splits[splits >= 0])) == PAPER


def test_a_small_category_is_divided_in_the_proportions_of_the_paper() -> None:
    config = IngestConfig(splits=SplitRule.paper)
    for num in (3000, 7, 1, 0):
        cuts = find_cuts(HASHES[:num], config)
        counts = np.bincount(assign_splits(HASHES[:num], config, cuts), minlength=3)
        assert counts.sum() == num
        assert np.abs(counts - np.array(PAPER) / 75_000 * num).max() <= 1


def test_a_limit_keeps_a_random_sample_and_every_split() -> None:
    kept = {}
    for limit in (100, 1000):
        config = IngestConfig(limit=limit, fractions=[0.5, 0.3, 0.2])
        assert needs_ranks(config)
        cuts = find_cuts(HASHES, config)
        assert cuts.splits == (), "these do not depend on ranks"
        within = is_within_limit(HASHES, config, cuts)
        kept[limit] = set(HASHES[within].tolist())
        assert len(kept[limit]) == limit
        counts = np.bincount(assign_splits(HASHES[within], config, cuts))
        assert np.abs(counts / limit - config.fractions).max() < 0.15
    assert kept[100] < kept[1000]
    everything = IngestConfig(limit=len(HASHES) + 1)
    assert is_within_limit(HASHES, everything, find_cuts(HASHES, everything)).all()


def test_a_limit_lies_right_above_the_last_key_that_is_kept() -> None:
    config = IngestConfig(limit=100, split_seed=6)
    keys = sorted(keys_of(HASHES[:500], 6, 2))
    assert find_cuts(HASHES[:500], config).limit == keys[99] + 1


def test_a_limit_comes_before_the_ranks_of_the_paper() -> None:
    config = IngestConfig(splits=SplitRule.paper, limit=750)
    cuts = find_cuts(HASHES, config)
    within = is_within_limit(HASHES, config, cuts)
    assert np.bincount(assign_splits(HASHES[within], config, cuts)).tolist() == [700, 25, 25]


def test_copies_stay_together() -> None:
    hashes = np.repeat(HASHES[:100], 10)
    config = IngestConfig(splits=SplitRule.paper, limit=505)
    cuts = find_cuts(hashes, config)
    within = is_within_limit(hashes, config, cuts)
    assert np.count_nonzero(within) == 510
    splits = assign_splits(hashes[within], config, cuts).reshape(-1, 10)
    assert (splits == splits[:, :1]).all()
    assert set(np.unique(splits)) == {0, 1, 2}
