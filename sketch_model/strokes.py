"""Conversion between the forms of a drawing, and validation.

* polylines: a list of strokes, each [K, 2] of absolute x, y, with y growing downwards;
* stroke-3: [L, 3] rows (dx, dy, pen_lifted), each point an offset from the one before;
* stroke-5: [T, 5] rows (dx, dy, p1, p2, p3) with the pen down, lifted, or the drawing ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def polylines_to_stroke3(strokes: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Offsets between points, as the official npz files of Quick, Draw! hold them.

    The very first point is the origin and is not stored. A first stroke of a single point keeps a
    row (0, 0, 1), or its pen lift would be lost.

    Args:
        strokes: absolute points, each [K, 2] with K >= 1.

    Returns:
        int16 [L, 3] if all points are integers, else float32.

    Raises:
        ValueError: if there is no stroke, a stroke is not [K, 2] with K >= 1, or offsets between
            integer points leave int16.
    """
    arrays = [np.asarray(stroke) for stroke in strokes]
    if not arrays:
        raise ValueError("a drawing needs at least one stroke, got none")
    for index, array in enumerate(arrays):
        if array.ndim != 2 or array.shape[1] != 2 or len(array) == 0:
            raise ValueError(f"stroke {index} must be [K, 2] with K >= 1, got {list(array.shape)}")
    points = np.concatenate(arrays)
    integers = np.issubdtype(points.dtype, np.integer)
    points = points.astype(np.int64 if integers else np.float64)
    rows = np.zeros((len(points), 3), points.dtype)
    rows[1:, :2] = np.diff(points, axis=0)
    rows[np.cumsum([len(array) for array in arrays]) - 1, 2] = 1
    if len(arrays[0]) > 1:
        rows = rows[1:]
    if integers and np.abs(rows).max() > np.iinfo(np.int16).max:
        raise ValueError(
            f"offsets must lie within int16, got {np.abs(rows).max()}; scale the drawing down"
        )
    return rows.astype(np.int16 if integers else np.float32)


def stroke3_to_polylines(stroke3: NDArray[Any]) -> list[NDArray[np.float32]]:
    """Absolute strokes, float32 [K, 2] each; the first point of the drawing is (0, 0).

    A last stroke without a pen lift is kept, so that unfinished drawings can be shown.

    Raises:
        ValueError: as `validate_stroke3`.
    """
    validate_stroke3(stroke3)
    points = np.zeros((len(stroke3) + 1, 2))
    np.cumsum(stroke3[:, :2], axis=0, dtype=np.float64, out=points[1:])
    ends = np.flatnonzero(stroke3[:, 2]) + 2
    if _starts_with_dot(stroke3):  # the row (0, 0, 1) stands for the origin itself
        points, ends = points[1:], ends - 1
    strokes = np.split(points.astype(np.float32), ends)
    return [stroke for stroke in strokes if len(stroke)]


def stroke5_to_stroke3(stroke5: NDArray[Any]) -> NDArray[np.float32]:
    """Rows before the first end token, float32 [L, 3]; the whole if there is none.

    Args:
        stroke5: [T, 5] without the start row, pens one-hot.

    Raises:
        ValueError: if the shape is another.
    """
    stroke5 = np.asarray(stroke5)
    if stroke5.ndim != 2 or stroke5.shape[1] != 5:
        raise ValueError(f"stroke-5 must be [T, 5], got {list(stroke5.shape)}")
    ends = np.flatnonzero(stroke5[:, 4])
    length = ends[0] if len(ends) else len(stroke5)
    return stroke5[:length, [0, 1, 3]].astype(np.float32)


def validate_stroke3(stroke3: NDArray[Any]) -> None:
    """Checks the form of a drawing.

    Raises:
        ValueError: unless it is [L, 3] with L >= 1, all finite, and pens 0 or 1.
    """
    if stroke3.ndim != 2 or stroke3.shape[1] != 3:
        raise ValueError(f"stroke-3 must be [L, 3], got {list(stroke3.shape)}")
    if len(stroke3) == 0:
        raise ValueError("a drawing needs at least one row, got none")
    if not np.isfinite(stroke3).all():
        raise ValueError("a drawing must be finite, got NaN or infinity")
    pens = stroke3[:, 2]
    wrong = pens[(pens != 0) & (pens != 1)]
    if len(wrong):
        raise ValueError(f"the third column (pen_lifted) must be 0 or 1, got {wrong[0]}")


def _starts_with_dot(stroke3: NDArray[Any]) -> bool:
    return bool((stroke3[0] == (0, 0, 1)).all())
