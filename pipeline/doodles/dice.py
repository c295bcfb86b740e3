"""Random numbers that belong to one drawing, whichever drawings are made before it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

PHILOX_WORDS_PER_COUNT = 4

Option = TypeVar("Option")


def keyed_uniforms(name: str, start: int, num: int, words_per_drawing: int) -> NDArray[np.float64]:
    """Uniforms in [0, 1) of the drawings from `start` on: [num, words_per_drawing].

    Row i depends on `name` and `start` + i alone. Built from the raw words of Philox, whose stream
    numpy guarantees, unlike that of its distributions.
    """
    key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=16).digest(), "little")
    counts_per_drawing, rest = divmod(words_per_drawing, PHILOX_WORDS_PER_COUNT)
    assert rest == 0, "a drawing's words must start at a count of the generator"
    philox = np.random.Philox(key=key, counter=start * counts_per_drawing)
    words = philox.random_raw(num * words_per_drawing).reshape(num, words_per_drawing)
    return (words >> 11).astype(np.float64) * 2.0**-53


class Dice:
    """Choices taken one after another from a drawing's own uniforms."""

    def __init__(self, uniforms: list[float]) -> None:
        self._uniform = iter(uniforms).__next__

    def between(self, low: float, high: float) -> float:
        """Any value of the range, all equally likely."""
        return low + (high - low) * self._uniform()

    def near(self, value: float, share: float = 0.15) -> float:
        """The value, up to this share larger or smaller; small changes are likelier."""
        return value * (1 + share * (self._uniform() + self._uniform() - 1))

    def chance(self, probability: float) -> bool:
        """Whether something that happens with this probability happens."""
        return self._uniform() < probability

    def count(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return low + int((high - low + 1) * self._uniform())

    def pick(self, options: Sequence[Option]) -> Option:
        """One of the options."""
        return options[int(len(options) * self._uniform())]
