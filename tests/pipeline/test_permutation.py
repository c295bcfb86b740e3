"""A permutation without memory must be one: bijective, keyed and without preferences."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.permutation import GOLDEN, derive_key, mix, permute


def test_every_size_is_permuted_onto_itself() -> None:
    for size in range(1, 601):
        image = permute(np.arange(size), size, key=derive_key(size))
        assert np.array_equal(np.sort(image), np.arange(size)), size


@pytest.mark.parametrize("size", [2**34, 2**34 - 1, 2**34 + 1, 50_000_000])
def test_a_huge_range_is_served_piece_by_piece(size: int) -> None:
    asked = np.unique(np.random.default_rng(0).integers(0, size, 200_000))
    asked = np.union1d(asked, [0, 1, size - 2, size - 1])
    image = permute(asked, size, key=7)
    assert len(np.unique(image)) == len(asked)
    assert 0 <= image.min()
    assert image.max() < size
    assert image.max() > 0.99 * size
    alone = permute(asked[1000:1001], size, key=7)
    assert alone[0] == image[1000], "an element depends on those asked for beside it"


def permute_in_numpy(indices: np.ndarray, size: int, key: int) -> np.ndarray:
    """The same, as it is written down in the paper: an independent program."""

    def key_of(*parts: int) -> np.uint64:
        value = np.zeros(1, dtype=np.uint64)
        for part in parts:
            value = mix((value + GOLDEN) ^ np.array([part % 2**64], dtype=np.uint64))
        return value[0]

    half_bits = np.uint64(max(1, (int(size - 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << half_bits) - np.uint64(1)
    values, outside = indices.astype(np.uint64), np.arange(len(indices))
    while len(outside):
        left, right = values[outside] >> half_bits, values[outside] & mask
        for number in range(6):
            left, right = right, left ^ (mix(right ^ key_of(key, number)) & mask)
        values[outside] = (left << half_bits) | right
        outside = outside[values[outside] >= size]
    return values.astype(np.int64)


@pytest.mark.parametrize("size", [1, 2, 3, 100, 4097, 50_000_000, 2**34 + 1, 2**60])
def test_the_compiled_permutation_is_that_of_the_numpy_program(size: int) -> None:
    indices = np.random.default_rng(0).integers(0, size, 500)
    for key in (0, 7, derive_key(-3, 5)):
        assert np.array_equal(permute(indices, size, key), permute_in_numpy(indices, size, key))


def test_indices_may_be_narrow_and_apart() -> None:
    indices = np.arange(200, dtype=np.int32)
    image = permute(indices[::2], 200, key=7)
    assert np.array_equal(image, permute(np.arange(200)[::2], 200, key=7))


def test_a_key_names_one_order() -> None:
    indices = np.arange(300)
    orders = {key: permute(indices, 300, key).tobytes() for key in range(200)}
    assert len(set(orders.values())) == 200
    assert orders[3] == permute(indices, 300, 3).tobytes()


@pytest.mark.parametrize("size", [2, 3, 4])
def test_all_orders_of_a_few_come_about_equally_often(size: int) -> None:
    """Chi-squared over all `size`! orders, at a bound that chance passes but once in 10^6."""
    num_keys = 6_000
    orders = [tuple(permute(np.arange(size), size, derive_key(key))) for key in range(num_keys)]
    _, counts = np.unique(orders, axis=0, return_counts=True)
    num_orders = [1, 1, 2, 6, 24][size]
    assert len(counts) == num_orders
    expected = num_keys / num_orders
    bound = {1: 24.0, 5: 36.0, 23: 72.0}[num_orders - 1]
    assert ((counts - expected) ** 2 / expected).sum() < bound


def test_neighbours_are_torn_apart() -> None:
    size = 10_000
    image = permute(np.arange(size), size, key=1).astype(np.float64)
    place = np.arange(size)
    for lag in (0, 1, 2, 100):
        correlation = np.corrcoef(place[: size - lag], image[lag:])[0, 1]
        assert abs(correlation) < 5 / np.sqrt(size), lag
    steps = np.diff(image)
    assert len(np.unique(steps)) > 0.6 * size, "differences repeat: a shift, not a shuffle"
    first_half = image[: size // 2]
    assert abs((first_half < size / 2).mean() - 0.5) < 0.03


def test_an_index_outside_the_range_is_an_error() -> None:
    for outside in (-1, 5):
        with pytest.raises(ValueError, match=rf"{outside}.*must lie in \[0, 5\)"):
            permute(np.array([outside]), 5, key=0)


def test_a_derived_key_depends_on_every_part_and_on_their_order() -> None:
    parts = [(0,), (1,), (0, 0), (0, 1), (1, 0), (1, 1), (-1,), (2**64 - 2,), (1, 0, 0)]
    assert len({derive_key(*each) for each in parts}) == len(parts)
    assert all(0 <= derive_key(*each) < 2**64 for each in parts)
