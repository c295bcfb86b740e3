"""Elementary functions for numba kernels, in forms that a compiler vectorizes.

numba calls the C library for each exp and tanh, one number at a time. Here float32 has polynomials
that become vector instructions, some ten times as fast, to about 3e-7 of the value; float64 keeps
the C library's. NaN comes out where NaN goes in.

Call these from functions compiled with `compiled`. Needs numba, so import it where it is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, no_type_check

import numba
import numpy as np
from numba import types
from numba.extending import overload

_F32, _I32, _U32, _U16 = np.float32, np.int32, np.uint32, np.uint16

# Eigen's rational approximation of tanh (odd of degree 13 over even of degree 6), in y = x^2.
_TANH_LIMIT = _F32(7.90531110763549805)
_P0, _P1, _P2, _P3, _P4, _P5, _P6 = map(
    _F32,
    (
        4.89352455891786e-03,
        6.37261928875436e-04,
        1.48572235717979e-05,
        5.12229709037114e-08,
        -8.60467152213735e-11,
        2.00018790482477e-13,
        -2.76076847742355e-16,
    ),
)
_Q0, _Q1, _Q2, _Q3 = map(
    _F32, (4.89352518554385e-03, 2.26843463243900e-03, 1.18534705686654e-04, 1.19825839466702e-06)
)

# Cephes' exp: x = k log 2 + r, and a polynomial in r.
_EXP_LOW, _EXP_HIGH = _F32(-87.33654), _F32(88.37626)
_LOG2_E, _LOG_2_HIGH, _LOG_2_LOW = map(_F32, (1.44269504088896341, 0.693359375, -2.12194440e-4))
_E0, _E1, _E2, _E3, _E4, _E5 = map(
    _F32,
    (
        5.0000001201e-1,
        1.6666665459e-1,
        4.1665795894e-2,
        8.3334519073e-3,
        1.3981999507e-3,
        1.9875691500e-4,
    ),
)
_ONE, _HALF = _F32(1.0), _F32(0.5)


def compiled(function: Callable[..., Any]) -> Any:
    """numba's `njit` for a kernel: cached on disk, fused multiply-adds, IEEE division.

    Sums may be reordered, so that they vectorize. NaN and infinity are not assumed away.
    """
    return numba.njit(
        cache=True, fastmath={"contract", "reassoc", "nsz", "arcp"}, error_model="numpy"
    )(function)


def tanh(x: Any) -> Any:
    """Hyperbolic tangent."""
    raise NotImplementedError("for compiled functions only")


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    raise NotImplementedError("for compiled functions only")


def exp(x: Any) -> Any:
    """Exponential; of float32, at most about 2e38 rather than infinity."""
    raise NotImplementedError("for compiled functions only")


def load_bfloat16(bits: Any) -> Any:
    """Float32 of a bfloat16 that is held as uint16."""
    raise NotImplementedError("for compiled functions only")


def store_bfloat16(x: Any) -> Any:
    """Bits of the bfloat16 nearest to a float32, ties to even, as torch rounds. NaN stays NaN."""
    raise NotImplementedError("for compiled functions only")


def load(number: Any) -> Any:
    """The number, or what it stands for where it is the bits of a bfloat16 (uint16)."""
    raise NotImplementedError("for compiled functions only")


def narrow(x: Any, array: Any) -> Any:
    """What `array` has to hold for `load` to give x: bits of a bfloat16 if it is of uint16."""
    raise NotImplementedError("for compiled functions only")


@overload(tanh)
@no_type_check
def _tanh(x):
    if x == types.float32:

        def of_float32(x):
            y = -_TANH_LIMIT if x < -_TANH_LIMIT else x
            y = _TANH_LIMIT if y > _TANH_LIMIT else y
            s = y * y
            p = _P6 * s + _P5
            p = p * s + _P4
            p = p * s + _P3
            p = p * s + _P2
            p = p * s + _P1
            p = p * s + _P0
            q = _Q3 * s + _Q2
            q = q * s + _Q1
            q = q * s + _Q0
            return y * p / q

        return of_float32
    return lambda x: math.tanh(x)  # noqa: PLW0108 - numba takes Python functions only


@overload(sigmoid)
@no_type_check
def _sigmoid(x):
    if x == types.float32:
        return lambda x: _HALF + _HALF * tanh(_HALF * x)
    return lambda x: 0.5 + 0.5 * math.tanh(0.5 * x)


@overload(exp)
@no_type_check
def _exp(x):
    if x == types.float32:

        def of_float32(x):
            y = _EXP_LOW if x < _EXP_LOW else x
            y = _EXP_HIGH if y > _EXP_HIGH else y
            k = _F32(math.floor(y * _LOG2_E + _HALF))
            r = y - k * _LOG_2_HIGH
            r = r - k * _LOG_2_LOW
            p = _E5 * r + _E4
            p = p * r + _E3
            p = p * r + _E2
            p = p * r + _E1
            p = p * r + _E0
            p = p * (r * r) + r + _ONE
            bits = (_I32(k) + _I32(127)) << _I32(23)
            return p * _I32(bits).view(_F32)

        return of_float32
    return lambda x: math.exp(x)  # noqa: PLW0108 - likewise


@overload(load_bfloat16)
@no_type_check
def _load_bfloat16(bits):
    return lambda bits: _U32(_U32(bits) << _U32(16)).view(_F32)


@overload(store_bfloat16)
@no_type_check
def _store_bfloat16(x):
    def of_float32(x):
        bits = _F32(x).view(_U32)
        rounded = (bits + _U32(0x7FFF) + ((bits >> _U32(16)) & _U32(1))) >> _U32(16)
        return _U16(rounded if x == x else _U32(0x7FC0))

    return of_float32


@overload(load)
@no_type_check
def _load(number):
    if number == types.uint16:
        return lambda number: load_bfloat16(number)  # noqa: PLW0108 - numba takes Python functions
    return lambda number: number


@overload(narrow)
@no_type_check
def _narrow(x, array):
    if array.dtype == types.uint16:
        return lambda x, array: store_bfloat16(x)
    return lambda x, array: x
