"""Random numbers as a pure function of (seed, stream, key, counter).

A generator with state gives a sketch other random numbers when its batch is cut differently. Here a
sketch's numbers follow from the seed and its own key alone, so they do not depend on which batch,
rank or device it lands on, and a resumed run needs no saved generator.

The bits are two rounds of the splitmix64 finaliser (Steele, Lea & Flood 2014, variant 13 of
Stafford's constants) in 64-bit integer arithmetic, which wraps in the same way on every device.
"""

from __future__ import annotations

import math
from typing import Final

import torch

from sketch_model.annotations import Float, Int, Tensor

# Streams: two uses with the same seed and key must not see the same numbers.
SCALE: Final = 1
DROP: Final = 2
LATENT: Final = 3
SAMPLE: Final = 4

_GOLDEN: Final = 0x9E3779B97F4A7C15
_MULTIPLIERS: Final = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_SHIFTS: Final = (30, 27, 31)


def keyed_uniform(
    seed: int, stream: int, keys: Int[Tensor, "*#shape"], counters: Int[Tensor, "*#shape"]
) -> Float[Tensor, "*shape"]:
    """Uniform float32 numbers in [0, 1), multiples of 2**-24, one per (key, counter) pair.

    Args:
        seed: any integer; only its lowest 64 bits count.
        stream: which use the numbers serve (a constant of this module).
        keys: int64, which sketch; mixed before broadcasting, so [batch, 1] costs only batch.
        counters: int64, which number of that sketch; broadcast against `keys`.
    """
    mixed_keys = _mix(keys * _signed(_GOLDEN) + _signed(_stream_offset(seed, stream)))
    bits = _mix(mixed_keys + counters * _signed(_GOLDEN))
    return _logical_shift(bits, 40).to(torch.float32) * 2.0**-24


def keyed_normal(
    seed: int, stream: int, keys: Int[Tensor, " batch"], num: int
) -> Float[Tensor, "batch num"]:
    """`num` standard normal float32 numbers per key (Box & Muller 1958).

    Computed in float64 and rounded once: devices that disagree in the last bit of a logarithm or a
    cosine still agree on almost every float32 result.
    """
    counters = torch.arange(2 * num, dtype=torch.int64, device=keys.device)
    uniform = keyed_uniform(seed, stream, keys[:, None], counters).to(torch.float64)
    radius = torch.sqrt(-2.0 * torch.log1p(-uniform[:, :num]))  # 1 - u is never 0, unlike u
    return (radius * torch.cos(2.0 * math.pi * uniform[:, num:])).to(torch.float32)


def _stream_offset(seed: int, stream: int) -> int:
    """Mixes seed and stream into 64 bits, in Python integers."""
    mask = 2**64 - 1
    bits = 0
    for word in (seed, stream):
        bits = (bits + word + _GOLDEN) & mask
        for shift, multiplier in zip(_SHIFTS, (*_MULTIPLIERS, 1), strict=True):
            bits = ((bits ^ (bits >> shift)) * multiplier) & mask
    return bits


def _mix(bits: Tensor) -> Tensor:
    """The splitmix64 finaliser, a bijection of int64 in which every bit depends on every other."""
    for shift, multiplier in zip(_SHIFTS, _MULTIPLIERS, strict=False):
        bits = (bits ^ _logical_shift(bits, shift)) * _signed(multiplier)
    return bits ^ _logical_shift(bits, _SHIFTS[-1])


def _logical_shift(bits: Tensor, shift: int) -> Tensor:
    """Shifts zeros in from the left; `>>` on int64 would copy the sign bit."""
    return torch.bitwise_right_shift(bits, shift) & ((1 << (64 - shift)) - 1)


def _signed(unsigned: int) -> int:
    """The int64 with the same 64 bits, since torch has no uint64 arithmetic."""
    return unsigned - 2**64 if unsigned >= 2**63 else unsigned
