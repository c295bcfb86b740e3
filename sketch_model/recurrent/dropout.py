"""Masks of recurrent dropout, for all steps in one go."""

from __future__ import annotations

import functools
import importlib.util
import math
from typing import Final

import torch

from sketch_model.annotations import Float, Tensor

_LEVELS: Final = 1 << 16
_LANES: Final = 4  # 16-bit numbers in a 64-bit one


def dropout_masks(
    shape: tuple[int, ...],
    probability: float,
    *,
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*shape"] | None:
    """Inverted dropout: 0 with `probability`, else 1 / (1 - probability); None if it is 0.

    Cuts 64-bit random numbers into four of 16 bits. The probability is therefore rounded to a
    multiple of 2**-16, and the scale fits the rounded one. On a CPU the 64-bit numbers are hashes
    of a counter and of a key that the generator gives, 40 times as fast as `bernoulli_`, which
    would take a fifth of a training step's products in bf16.

    Args:
        shape: of the masks.
        probability: of dropping, in [0, 1).
        device: of the masks, and of `generator`.
        generator: source of the bits; torch's default one if None.
    """
    num_kept = max(1, round((1.0 - probability) * _LEVELS))
    if num_kept >= _LEVELS:
        return None
    count, scale = math.prod(shape), _LEVELS / num_kept
    if torch.device(device).type == "cpu" and _has_numba():
        from sketch_model.recurrent.compiled_dropout import draw_masks

        key = int(torch.randint(1 << 62, (), generator=generator))
        return draw_masks(count, key, num_kept, scale).view(shape)
    words = torch.empty(-(-count // _LANES), dtype=torch.int64, device=device)
    words.random_(-(1 << 63), None, generator=generator)
    lanes = words.view(torch.int16)[:count].view(shape)
    masks = torch.empty(shape, dtype=torch.float32, device=device)
    torch.lt(lanes, num_kept - _LEVELS // 2, out=masks)
    return masks.mul_(scale)


@functools.cache
def _has_numba() -> bool:
    return importlib.util.find_spec("numba") is not None
