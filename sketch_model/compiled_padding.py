"""`sketch_model.padding` compiled for the CPU, to the bit: the same numbers in the same order.

Needs numba, so it is imported where it is used and only if numba is there. Kernels are marked
`no_type_check`: a type checker would wrap, at run time, functions that numba has to compile.

Shapes: B sketches, P points of all of them together, T rows after the start row.
"""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from sketch_model.annotations import Float, Int, Tensor
from sketch_model.compiled_randomness import mix_key, uniform
from sketch_model.config import MAX_OFFSET, Augmentation
from sketch_model.randomness import DROP, SCALE, _stream_offset

_U64, _F32 = np.uint64, np.float32


def pad(
    points: Int[Tensor, "points 3"],
    offsets: Int[Tensor, " batch_plus_1"],
    positions: Int[Tensor, " batch"],
    *,
    offset_scale: float,
    width: int | None,
    augmentation: Augmentation | None,
    seed: int,
) -> tuple[Float[Tensor, "batch rows 5"], Int[Tensor, " batch"]]:
    """As `sketch_model.padding.pad`."""
    keys = np.ascontiguousarray(positions.numpy())
    firsts = np.ascontiguousarray(offsets.numpy())
    if augmentation is None:
        augmentation = Augmentation(scale_factor=0.0, drop_probability=0.0)
    scale = np.empty((len(keys), 2), dtype=np.float32)
    _draw_scale(
        keys,
        _U64(_stream_offset(seed, SCALE)),
        _F32(1.0 / offset_scale),
        _F32(augmentation.scale_factor),
        scale,
    )
    kept = np.empty((len(points), 3), dtype=np.int32)
    lengths = np.empty(len(keys), dtype=np.int64)
    _merge_dropped(
        np.ascontiguousarray(points.numpy()),
        firsts,
        keys,
        _U64(_stream_offset(seed, DROP)),
        _F32(augmentation.drop_probability),
        kept,
        lengths,
    )
    if width is None:
        width = int(lengths.max()) + 1
    stroke5 = torch.empty(len(keys), width + 1, 5)
    _spell_out(kept, firsts, lengths, scale, stroke5.numpy())
    return stroke5, torch.from_numpy(lengths)


@numba.njit("void(int64[::1], uint64, float32, float32, float32[:, ::1])", cache=True, nogil=True)
@no_type_check
def _draw_scale(
    keys: NDArray[np.int64],
    stream: np.uint64,
    unit: np.float32,
    factor: np.float32,
    scale: NDArray[np.float32],
) -> None:
    """Fills in what the axes of each sketch are multiplied by, [B, 2]."""
    for b in range(len(keys)):
        mixed_key = mix_key(stream, keys[b])
        for axis in range(2):
            centred = _F32(2.0) * uniform(mixed_key, axis) - _F32(1.0)
            scale[b, axis] = unit * (_F32(1.0) + factor * centred)


@numba.njit(
    "void(int16[:, ::1], int32[::1], int64[::1], uint64, float32, int32[:, ::1], int64[::1])",
    cache=True,
    nogil=True,
)
@no_type_check
def _merge_dropped(
    points: NDArray[np.int16],
    offsets: NDArray[np.int32],
    keys: NDArray[np.int64],
    stream: np.uint64,
    probability: np.float32,
    kept: NDArray[np.int32],
    lengths: NDArray[np.int64],
) -> None:
    """Fills in the clipped points of each sketch that are left, from its offset on, and how many.

    A point is droppable if it and the three before it have the pen down.
    """
    uniforms = np.ones(np.max(np.diff(offsets)), dtype=np.float32)  # as if nothing were dropped
    for b in range(len(keys)):
        first, num = np.int64(offsets[b]), np.int64(offsets[b + 1] - offsets[b])
        if probability > 0:
            mixed_key = mix_key(stream, keys[b])
            for index in range(num):  # apart from the walk, so that it vectorises
                uniforms[index] = uniform(mixed_key, index)
        row, num_down = first - 1, 0
        for index in range(num):
            point = points[first + index]
            num_down = num_down + 1 if point[2] == 0 else 0
            dx = min(max(np.int32(point[0]), np.int32(-MAX_OFFSET)), np.int32(MAX_OFFSET))
            dy = min(max(np.int32(point[1]), np.int32(-MAX_OFFSET)), np.int32(MAX_OFFSET))
            if num_down > 3 and uniforms[index] < probability:
                kept[row, 0] += dx
                kept[row, 1] += dy
            else:
                row += 1
                kept[row, 0], kept[row, 1], kept[row, 2] = dx, dy, point[2]
        lengths[b] = row + 1 - first


@numba.njit(
    "void(int32[:, ::1], int32[::1], int64[::1], float32[:, ::1], float32[:, :, ::1])",
    cache=True,
    nogil=True,
)
@no_type_check
def _spell_out(
    kept: NDArray[np.int32],
    offsets: NDArray[np.int32],
    lengths: NDArray[np.int64],
    scale: NDArray[np.float32],
    stroke5: NDArray[np.float32],
) -> None:
    """Fills in start, scaled points and end tokens of each sketch, [B, T + 1, 5]."""
    for b in range(len(lengths)):
        rows, end = stroke5[b], lengths[b] + 1
        x, y = scale[b, 0], scale[b, 1]
        rows[0, 0], rows[0, 1], rows[0, 2], rows[0, 3], rows[0, 4] = 0, 0, 1, 0, 0
        before = np.int64(offsets[b]) - 1
        for t in range(1, end):
            pen = _F32(kept[before + t, 2])
            rows[t, 0] = _F32(kept[before + t, 0]) * x
            rows[t, 1] = _F32(kept[before + t, 1]) * y
            rows[t, 2], rows[t, 3], rows[t, 4] = _F32(1.0) - pen, pen, 0
        for t in range(end, len(rows)):
            rows[t, 0], rows[t, 1], rows[t, 2], rows[t, 3], rows[t, 4] = 0, 0, 0, 0, 1
