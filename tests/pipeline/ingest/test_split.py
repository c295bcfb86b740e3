"""Splits depend on the strokes and the seed, and on nothing else (guarantee G4)."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from pipeline.ingest.split import assign_splits, hash_strokes


def test_hash_is_blake2b_of_each_sketch_alone() -> None:
    points = np.arange(-9, 12, dtype=np.int16).reshape(7, 3)
    lengths = np.array([2, 4, 1])
    expected = [
        int.from_bytes(hashlib.blake2b(part.tobytes(), digest_size=8).digest(), "little")
        for part in np.split(points.astype("<i2"), [2, 6])
    ]
    assert hash_strokes(points, lengths).tolist() == expected
    assert hash_strokes(points[2:6], lengths[1:2]).tolist() == expected[1:2]


def test_fractions_are_met() -> None:
    hashes = np.arange(100_000, dtype=np.uint64)
    counts = np.bincount(assign_splits(hashes, 0, [0.7, 0.2, 0.1]), minlength=3)
    # Four standard deviations of a binomial count.
    assert np.abs(counts - [70_000, 20_000, 10_000]).max() < 4 * np.sqrt(100_000 * 0.7 * 0.3)


@pytest.mark.parametrize("fractions", [[1.0, 0.0, 0.0], [0.5, 0.0, 0.5], [0.1, 0.1, 0.8]])
def test_a_split_of_no_share_is_empty(fractions: list[float]) -> None:
    splits = assign_splits(np.arange(10_000, dtype=np.uint64), 3, fractions)
    assert set(np.unique(splits)) == {i for i, share in enumerate(fractions) if share}


def test_order_does_not_matter_and_the_seed_does() -> None:
    hashes = np.arange(10_000, dtype=np.uint64) * np.uint64(2**50)
    splits = assign_splits(hashes, 7, [0.5, 0.25, 0.25])
    assert np.array_equal(assign_splits(hashes[::-1], 7, [0.5, 0.25, 0.25])[::-1], splits)
    same = (assign_splits(hashes, 8, [0.5, 0.25, 0.25]) == splits).mean()
    assert same == pytest.approx(0.375, abs=0.03)  # as independent draws would agree


def splitmix64(value: int) -> int:
    """Steele, Lea and Flood 2014, in Python's integers."""
    value = (value + 0x9E3779B97F4A7C15) % 2**64
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
    return value ^ (value >> 31)


def test_splits_stay_as_they_are() -> None:
    """A change here would move drawings between the splits of data sets that exist."""
    hashes = np.array([0, 1, 2**63, 2**64 - 1, *range(7, 200_000_000, 999_983)], dtype=np.uint64)
    uniform = [splitmix64(int(value) ^ splitmix64(5)) / 2**64 for value in hashes]
    expected = [0 if u < 0.4 else 1 if u < 0.7 else 2 for u in uniform]
    assert assign_splits(hashes, 5, [0.4, 0.3, 0.3]).tolist() == expected
