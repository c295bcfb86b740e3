"""Masks of recurrent dropout for the CPU, compiled by numba."""

from __future__ import annotations

from typing import Final, no_type_check

import numpy as np
import torch

from sketch_model.annotations import Float, Tensor
from sketch_model.compiled_math import compiled
from sketch_model.compiled_randomness import mix_key

_LANES: Final = 4  # 16-bit numbers in a 64-bit one


def draw_masks(count: int, key: int, num_kept: int, scale: float) -> Float[Tensor, " count"]:
    """`scale` with a chance of num_kept / 2**16, else 0; a pure function of the key."""
    masks = torch.empty(_LANES, -(-count // _LANES))
    _fill(np.uint64(key), np.uint64(num_kept), np.float32(scale), *masks.numpy())
    return masks.flatten()[:count]


@compiled
@no_type_check
def _fill(key, num_kept, scale, first, second, third, fourth):
    nothing, bits_kept = np.float32(0.0), np.uint64(0xFFFF)
    for n in range(len(first)):
        bits = mix_key(key, n)
        first[n] = scale if bits & bits_kept < num_kept else nothing
        second[n] = scale if (bits >> np.uint64(16)) & bits_kept < num_kept else nothing
        third[n] = scale if (bits >> np.uint64(32)) & bits_kept < num_kept else nothing
        fourth[n] = scale if bits >> np.uint64(48) < num_kept else nothing
