"""A shuffle that needs no memory: the n-th element of a random permutation, computed alone.

A Feistel network is a bijection on the integers of an even number of bits; numbers that it sends
beyond the wanted range are sent through again until they fall inside ("cycle walking"), which
makes it a bijection on that range (Black & Rogaway, "Ciphers with Arbitrary Finite Domains", 2002).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numba
import numpy as np
from numpy.typing import NDArray

_NUM_ROUNDS, _NUM_QUARTERS = 6, 4
_U64 = np.uint64
_MASK = 2**64 - 1

GOLDEN = _U64(0x9E3779B97F4A7C15)
"""Step between the inputs of SplitMix64: keeps zero from being mapped to itself."""


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finaliser of SplitMix64 (Steele, Lea & Flood 2014), a bijection that spreads every bit."""
    values = (values ^ (values >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> _U64(27))) * _U64(0x94D049BB133111EB)
    return values ^ (values >> _U64(31))


def derive_key(*parts: int) -> int:
    """A 64-bit key that depends on every part and on their order."""
    key = 0
    for part in parts:
        key = ((key + 0x9E3779B97F4A7C15) ^ part) & _MASK
        # `mix` on Python's integers: an array of one element takes ten times as long.
        key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) & _MASK
        key ^= key >> 31
    return key


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
    images = np.empty(len(indices), dtype=np.int64)
    _permute(
        np.ascontiguousarray(indices, dtype=np.int64), size, half_bits, _round_keys(key), images
    )
    return images


@lru_cache(maxsize=1024)
def _round_keys(key: int) -> NDArray[np.uint64]:
    """The same few keys are asked for again and again: those of an epoch, mostly."""
    return np.array([derive_key(key, number) for number in range(_NUM_ROUNDS)], dtype=_U64)


@numba.njit("int64(int64, int64, uint64[::1])", cache=True, nogil=True, inline="always")
def _encipher(index: int, half_bits: int, round_keys: NDArray[np.uint64]) -> np.int64:
    """The Feistel network on integers of 2 * half_bits bits."""
    shift = _U64(half_bits)
    mask = (_U64(1) << shift) - _U64(1)
    left, right = _U64(index) >> shift, _U64(index) & mask
    for number in range(_NUM_ROUNDS):  # a count known to the compiler, so that it vectorises
        mixed = right ^ round_keys[number]
        mixed = (mixed ^ (mixed >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> _U64(27))) * _U64(0x94D049BB133111EB)
        mixed ^= mixed >> _U64(31)
        left, right = right, left ^ (mixed & mask)
    return np.int64((left << shift) | right)


@numba.njit("void(int64[::1], int64, int64, uint64[::1], int64[::1])", cache=True, nogil=True)
def _permute(
    indices: NDArray[np.int64],
    size: int,
    half_bits: int,
    round_keys: NDArray[np.uint64],
    images: NDArray[np.int64],
) -> None:
    # A pass without branches, several elements per instruction, then one over those outside.
    for place in range(len(indices)):
        images[place] = _encipher(indices[place], half_bits, round_keys)
    for place in range(len(indices)):
        while images[place] >= size:
            images[place] = _encipher(images[place], half_bits, round_keys)


def deal(num_hands: int, size: int, key: int) -> NDArray[np.int64]:
    """Shares out what is in order: indices, [num_hands, size], each row in order too.

    A hand takes of each quarter some that follow each other; which ones meet is up to `key`.
    """
    bounds = [quarter * size // _NUM_QUARTERS for quarter in range(_NUM_QUARTERS + 1)]
    runs = []
    for quarter, (start, stop) in enumerate(pairwise(bounds)):
        indices = np.arange(num_hands * start, num_hands * stop)
        turns = permute(np.arange(num_hands), num_hands, derive_key(key, quarter))
        runs.append(indices.reshape(num_hands, stop - start)[turns])
    return np.concatenate(runs, axis=1)
