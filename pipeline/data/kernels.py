"""Copying of sketches out of mapped record batches, compiled and without the interpreter's lock.

`addresses` [R, 2] holds where the offsets and the points of each record batch lie in memory.
The caller answers for them: nothing is checked here.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray


def _make_pointer(typing_context: Any, address: Any, like: Any) -> Any:
    """The address as a pointer to elements of the type of `like`."""
    pointer: Any = types.CPointer(like)  # type: ignore[no-untyped-call]

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.inttoptr(values[0], context.get_value_type(signature.return_type))

    return pointer(types.int64, like), generate


def _make_prefetch(typing_context: Any, address: Any) -> Any:
    """A hint to the processor to read what lies around an address, which need not be one."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        prefetch: Any = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module, kind, "llvm.prefetch.p0"
        )
        for_reading, keep, data = number(0), number(3), number(1)
        builder.call(prefetch, [builder.inttoptr(values[0], pointer), for_reading, keep, data])
        return context.get_dummy_value()

    return types.void(types.int64), generate


def _make_copy(typing_context: Any, target: Any, source: Any, num_bytes: Any) -> Any:
    """C's memcpy between addresses: quicker than a loop over integers that may not alias."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        to, start = (builder.inttoptr(value, cgutils.voidptr_t) for value in values[:2])
        cgutils.raw_memcpy(builder, to, start, values[2], 1)  # type: ignore[no-untyped-call]
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


_pointer_to: Any = intrinsic(_make_pointer)
_prefetch: Any = intrinsic(_make_prefetch)
_copy_bytes: Any = intrinsic(_make_copy)

_POINT_BYTES = 6

_AHEAD = 8
"""Sketches whose points are on their way from memory while one is copied: a third of the time."""
_LINE_BITS = 6
"""Memory comes in lines of 64 bytes."""


@numba.njit(
    "void(int64[::1], int64[::1], int64[::1], int64[::1], int64[::1])", cache=True, nogil=True
)
def find_rows(
    starts: NDArray[np.int64],
    indices: NDArray[np.int64],
    by_address: NDArray[np.int64],
    batches: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> None:
    """Fills in the record batch and the row there of each sketch [B].

    Args:
        starts: first sketch of each record batch, and the number of all, [R + 1].
        indices: of sketches, within bounds.
        by_address: their places in ascending order of the indices.
        batches: filled in.
        rows: filled in.
    """
    batch = -1
    for place in by_address:
        index = indices[place]
        if batch < 0 or index >= starts[batch + 1]:
            batch = np.searchsorted(starts, index, side="right") - 1
        batches[place], rows[place] = batch, index - starts[batch]


@numba.njit(
    "void(int64[:, ::1], int64[::1], int64[::1], int64[::1], int32[::1])", cache=True, nogil=True
)
def measure_rows(
    addresses: NDArray[np.int64],
    batches: NDArray[np.int64],
    rows: NDArray[np.int64],
    by_address: NDArray[np.int64],
    lengths: NDArray[np.int32],
) -> None:
    """Fills in the points of each sketch [B], given its record batch and its row there."""
    for place in by_address:
        offsets = _pointer_to(addresses[batches[place], 0], np.int32(0))
        lengths[place] = offsets[rows[place] + 1] - offsets[rows[place]]


@numba.njit(
    "void(int64[:, ::1], int64[::1], int64[::1], int64[::1], int32[::1], int16[:, ::1])",
    cache=True,
    nogil=True,
)
def copy_rows(
    addresses: NDArray[np.int64],
    batches: NDArray[np.int64],
    rows: NDArray[np.int64],
    by_address: NDArray[np.int64],
    offsets: NDArray[np.int32],
    points: NDArray[np.int16],
) -> None:
    """Copies each sketch to `points[offsets[b]:offsets[b + 1]]`."""
    target = np.int64(points.ctypes.data)
    for turn in range(-_AHEAD, len(by_address)):
        if turn + _AHEAD < len(by_address):
            place = by_address[turn + _AHEAD]
            starts = _pointer_to(addresses[batches[place], 0], np.int32(0))
            first = addresses[batches[place], 1] + _POINT_BYTES * np.int64(starts[rows[place]])
            last = first + _POINT_BYTES * np.int64(offsets[place + 1] - offsets[place]) - 1
            for line in range(first >> _LINE_BITS, (last >> _LINE_BITS) + 1):
                _prefetch(line << _LINE_BITS)
        if turn >= 0:
            place = by_address[turn]
            starts = _pointer_to(addresses[batches[place], 0], np.int32(0))
            source = addresses[batches[place], 1] + _POINT_BYTES * np.int64(starts[rows[place]])
            start, stop = np.int64(offsets[place]), np.int64(offsets[place + 1])
            _copy_bytes(target + _POINT_BYTES * start, source, _POINT_BYTES * (stop - start))
