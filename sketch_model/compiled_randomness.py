"""`sketch_model.randomness` for numba kernels, to the bit.

Needs numba, so import it where it is used. Kernels are marked `no_type_check`: a type checker would
wrap, at run time, functions that numba has to compile.
"""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np

from sketch_model.randomness import _GOLDEN, _MULTIPLIERS, _SHIFTS

_U64, _F32 = np.uint64, np.float32
_STEP = _U64(_GOLDEN)
_MULTIPLIER_1, _MULTIPLIER_2 = map(_U64, _MULTIPLIERS)
_SHIFT_1, _SHIFT_2, _SHIFT_3 = map(_U64, _SHIFTS)


@numba.njit("uint64(uint64)", cache=True, nogil=True, inline="always")
@no_type_check
def _mix(bits):
    """The splitmix64 finaliser."""
    bits = (bits ^ (bits >> _SHIFT_1)) * _MULTIPLIER_1
    bits = (bits ^ (bits >> _SHIFT_2)) * _MULTIPLIER_2
    return bits ^ (bits >> _SHIFT_3)


@numba.njit("uint64(uint64, int64)", cache=True, nogil=True, inline="always")
@no_type_check
def mix_key(stream, key):
    """What `uniform` takes, for a stream that `randomness._stream_offset` has made of a seed."""
    return _mix(_U64(key) * _STEP + stream)


@numba.njit("float32(uint64, int64)", cache=True, nogil=True, inline="always")
@no_type_check
def uniform(mixed_key, counter):
    """One of a key's numbers in [0, 1)."""
    bits = _mix(mixed_key + _U64(counter) * _STEP) >> _U64(40)
    return _F32(np.int64(bits)) * _F32(2.0**-24)
