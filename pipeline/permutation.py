"""A shuffle that needs no memory: the n-th element of a random permutation, computed alone.

A Feistel network is a bijection on the integers of an even number of bits; numbers that it sends
beyond the wanted range are sent through again until they fall inside ("cycle walking"), which
makes it a bijection on that range (Black & Rogaway, "Ciphers with Arbitrary Finite Domains", 2002).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_NUM_ROUNDS = 6
_U64 = np.uint64

GOLDEN = _U64(0x9E3779B97F4A7C15)
"""Step between the inputs of SplitMix64: keeps zero from being mapped to itself."""


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finaliser of SplitMix64 (Steele, Lea & Flood 2014), a bijection that spreads every bit."""
    values = (values ^ (values >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> _U64(27))) * _U64(0x94D049BB133111EB)
    return values ^ (values >> _U64(31))


def derive_key(*parts: int) -> int:
    """A 64-bit key that depends on every part and on their order."""
    key = np.zeros(1, dtype=_U64)
    for part in parts:
        key = mix((key + GOLDEN) ^ np.array([part % 2**64], dtype=_U64))
    return int(key[0])


def permute(indices: NDArray[np.int64], size: int, key: int) -> NDArray[np.int64]:
    """Where the permutation of range(size) that `key` names sends each index.

    Raises:
        ValueError: if an index lies outside [0, size).
    """
    if len(indices) and not (0 <= indices.min() and indices.max() < size):
        raise ValueError(
            f"indices {indices.min()}..{indices.max()} must lie in [0, {size}), the permuted range"
        )
    half_bits = max(1, (int(size - 1).bit_length() + 1) // 2)
    round_keys = [_U64(derive_key(key, number)) for number in range(_NUM_ROUNDS)]
    values = _feistel(indices.astype(_U64), half_bits, round_keys)
    outside = np.flatnonzero(values >= size)
    while len(outside):
        values[outside] = _feistel(values[outside], half_bits, round_keys)
        outside = outside[values[outside] >= size]
    return values.astype(np.int64)


def _feistel(
    values: NDArray[np.uint64], half_bits: int, round_keys: list[np.uint64]
) -> NDArray[np.uint64]:
    shift, mask = _U64(half_bits), _U64((1 << half_bits) - 1)
    left, right = values >> shift, values & mask
    for round_key in round_keys:
        left, right = right, left ^ (mix(right ^ round_key) & mask)
    return (left << shift) | right
