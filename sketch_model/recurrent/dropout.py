"""Masks of recurrent dropout, for all steps in one go."""

from __future__ import annotations

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

    Cuts 64-bit random numbers into four of 16 bits, five times as fast as `bernoulli_` on a CPU,
    where the masks would otherwise cost a fifth of a training step's products in bf16. The
    probability is therefore rounded to a multiple of 2**-16, and the scale fits the rounded one.

    Args:
        shape: of the masks.
        probability: of dropping, in [0, 1).
        device: of the masks, and of `generator`.
        generator: source of the bits; torch's default one if None.
    """
    num_kept = max(1, round((1.0 - probability) * _LEVELS))
    if num_kept >= _LEVELS:
        return None
    count = math.prod(shape)
    words = torch.empty(-(-count // _LANES), dtype=torch.int64, device=device)
    words.random_(-(1 << 63), None, generator=generator)
    lanes = words.view(torch.int16)[:count].view(shape)
    masks = torch.empty(shape, dtype=torch.float32, device=device)
    torch.lt(lanes, num_kept - _LEVELS // 2, out=masks)
    return masks.mul_(_LEVELS / num_kept)
