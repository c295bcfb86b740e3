"""Which split a drawing belongs to: a pure function of its strokes and a seed.

Identical drawings have the same hash, so they never straddle splits, and neither the order nor
the number of other drawings matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from pipeline.permutation import GOLDEN, mix

HASH_BYTES = 8


def hash_strokes(points: NDArray[np.int16], lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
    """BLAKE2b of each sketch's stroke-3 rows as little-endian int16, shape [n].

    Args:
        points: rows of all sketches, one after another, [P, 3].
        lengths: rows of each sketch, [n].
    """
    ends = np.cumsum(lengths) * points.dtype.itemsize * 3
    data = points.astype("<i2").tobytes()
    starts = [0, *ends.tolist()]
    digests = [
        blake2b(data[start:end], digest_size=HASH_BYTES).digest()
        for start, end in zip(starts, ends.tolist(), strict=False)
    ]
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def assign_splits(
    hashes: NDArray[np.uint64], seed: int, fractions: Sequence[float]
) -> NDArray[np.int64]:
    """Index of the split of each drawing, [n], in expectation in the given fractions."""
    seed_bits = mix(np.array([seed], dtype=np.uint64) + GOLDEN)
    uniform = (mix((hashes ^ seed_bits) + GOLDEN) >> np.uint64(11)) * 2.0**-53
    return np.searchsorted(np.cumsum(fractions)[:-1], uniform, side="right")
