"""Loops over the points of many drawings, compiled and without the interpreter's lock."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

FITS, EMPTY, OUT_OF_RANGE = 0, 1, 2
"""What `convert_strokes` says of a drawing."""
_MAX_COORDINATE = 32767
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
GRID = 8
"""Cells along the larger side of a drawing in the coarse picture that near duplicates share."""
_NO_CELL = np.uint64(GRID * GRID)


@numba.njit("uint64(uint64, uint64)", cache=True, nogil=True, inline="always")
def absorb(state: np.uint64, word: np.uint64) -> np.uint64:
    """The next state of a hash: SplitMix64's finaliser, a bijection of word and state."""
    mixed = (state ^ word) + _GOLDEN
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


@numba.njit("uint64(uint64, uint64, boolean)", cache=True, nogil=True, inline="always")
def _absorb_if(state: np.uint64, word: np.uint64, condition: bool) -> np.uint64:
    # Without a branch, which a processor would guess wrong at every other point.
    return state ^ ((absorb(state, word) ^ state) & -np.uint64(condition))


@numba.njit("uint64(int64, int64, int64)", cache=True, nogil=True, inline="always")
def _pack(dx: np.int64, dy: np.int64, lifted: np.int64) -> np.uint64:
    return (
        np.uint64(dx & 0xFFFF)
        | (np.uint64(dy & 0xFFFF) << np.uint64(16))
        | (np.uint64(lifted) << np.uint64(32))
    )


@numba.njit(
    "UniTuple(int64, 4)(int32[:, ::1], int64, int64)", cache=True, nogil=True, inline="always"
)
def _find_bounds(
    xy: NDArray[np.int32], first: int, last: int
) -> tuple[np.int64, np.int64, np.int64, np.int64]:
    """Least and greatest x, least and greatest y, of at least one point."""
    low_x, low_y = xy[first, 0], xy[first, 1]
    high_x, high_y = low_x, low_y
    for i in range(first + 1, last):
        x, y = xy[i, 0], xy[i, 1]
        low_x, high_x = min(low_x, x), max(high_x, x)
        low_y, high_y = min(low_y, y), max(high_y, y)
    return np.int64(low_x), np.int64(high_x), np.int64(low_y), np.int64(high_y)


@numba.njit("uint8(int32[:, ::1], int64, int64, int64, int64)", cache=True, nogil=True)
def _check(
    xy: NDArray[np.int32], first: int, last: int, least: np.int64, greatest: np.int64
) -> int:
    if least < -_MAX_COORDINATE or greatest > _MAX_COORDINATE:
        return OUT_OF_RANGE
    if greatest - least <= _MAX_COORDINATE:
        return FITS
    for i in range(first + 1, last):
        for axis in range(2):
            if abs(np.int64(xy[i, axis]) - xy[i - 1, axis]) > _MAX_COORDINATE:
                return OUT_OF_RANGE
    return FITS


@numba.njit("uint64(int64, int64, float64)", cache=True, nogil=True, inline="always")
def _find_cell(x: np.int64, y: np.int64, cells_per_unit: float) -> np.uint64:
    """Of a point at (x, y) from the corner of a drawing, on a grid laid over its larger side."""
    # x * GRID // side, without a division: that half keeps products with the inverse from whole
    # numbers.
    column = np.int64((x * GRID + 0.5) * cells_per_unit)
    row = np.int64((y * GRID + 0.5) * cells_per_unit)
    return np.uint64(column * GRID + row)


@numba.njit(
    "int64(int32[:, ::1], int64[::1], int64[::1], int16[:, ::1], int64[::1], uint64[::1],"
    " uint64[::1], uint8[::1])",
    cache=True,
    nogil=True,
)
def convert_strokes(
    xy: NDArray[np.int32],
    points_per_stroke: NDArray[np.int64],
    strokes_per_drawing: NDArray[np.int64],
    points: NDArray[np.int16],
    lengths: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    shapes: NDArray[np.uint64],
    status: NDArray[np.uint8],
) -> int:
    """Absolute coordinates [P, 2] to stroke-3 rows, one drawing after another.

    Fills in every column of a drawing, and its `status`; one that is not FITS has length 0. The
    shape is a hash of the cells of a grid that the pen visits, stroke by stroke.

    Returns:
        The rows of `points` [P, 3] that were filled.
    """
    i, row, stroke = 0, 0, 0
    for drawing in range(len(strokes_per_drawing)):
        first, end = i, stroke + strokes_per_drawing[drawing]
        status[drawing] = EMPTY if stroke == end else FITS
        for s in range(stroke, end):
            if points_per_stroke[s] <= 0:
                status[drawing] = EMPTY
            i += points_per_stroke[s]
        lengths[drawing] = 0
        if status[drawing] == FITS:
            low_x, high_x, low_y, high_y = _find_bounds(xy, first, i)
            status[drawing] = _check(xy, first, i, min(low_x, low_y), max(high_x, high_y))
        if status[drawing] != FITS:
            stroke = end
            continue
        cells_per_unit = 1.0 / (max(high_x - low_x, high_y - low_y) + 1)
        # Both hashes in one loop: each waits for its own last step, and a processor does both.
        state, shape, first_row, j = np.uint64(0), np.uint64(0), row, first
        before_x, before_y = np.int64(xy[first, 0]), np.int64(xy[first, 1])
        for s in range(stroke, end):
            before = _NO_CELL
            for k in range(points_per_stroke[s]):
                x, y = np.int64(xy[j, 0]), np.int64(xy[j, 1])
                lifted = np.int64(k == points_per_stroke[s] - 1)
                if j > first or lifted:
                    dx, dy = x - before_x, y - before_y
                    points[row, 0], points[row, 1], points[row, 2] = dx, dy, lifted
                    state = absorb(state, _pack(dx, dy, lifted))
                    row += 1
                cell = _find_cell(x - low_x, y - low_y, cells_per_unit)
                shape = _absorb_if(shape, cell, cell != before)
                before, before_x, before_y = cell, x, y
                j += 1
            shape = absorb(shape, _NO_CELL)
        lengths[drawing] = row - first_row
        hashes[drawing], shapes[drawing] = state, shape
        stroke = end
    return row


@numba.njit("void(int16[:, ::1], int64[::1], uint64[::1], uint64[::1])", cache=True, nogil=True)
def hash_sketches(
    points: NDArray[np.int16],
    lengths: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    shapes: NDArray[np.uint64],
) -> None:
    """Hashes stroke-3 rows [P, 3] as `convert_strokes` hashes the rows that it makes.

    No drawing is empty. Rows after the last pen lift are a stroke like any other.
    """
    row = 0
    for drawing in range(len(lengths)):
        end = row + lengths[drawing]
        x = y = low_x = high_x = low_y = high_y = np.int64(0)
        for i in range(row, end):
            x, y = x + points[i, 0], y + points[i, 1]
            low_x, high_x, low_y, high_y = (
                min(low_x, x),
                max(high_x, x),
                min(low_y, y),
                max(high_y, y),
            )
        cells_per_unit = 1.0 / (max(high_x - low_x, high_y - low_y) + 1)
        x = y = np.int64(0)
        before = _find_cell(-low_x, -low_y, cells_per_unit)  # the origin, which is no row
        state, shape = np.uint64(0), absorb(np.uint64(0), before)
        for i in range(row, end):
            dx, dy, lifted = np.int64(points[i, 0]), np.int64(points[i, 1]), np.int64(points[i, 2])
            state = absorb(state, _pack(dx, dy, lifted))
            x, y = x + dx, y + dy
            cell = _find_cell(x - low_x, y - low_y, cells_per_unit)
            shape = _absorb_if(shape, cell, cell != before)
            before = cell
            if lifted or i == end - 1:
                shape, before = absorb(shape, _NO_CELL), _NO_CELL
        hashes[drawing], shapes[drawing] = state, shape
        row = end


@numba.njit("void(int16[:, ::1], int64[::1], int64[::1], int16[:, ::1])", cache=True, nogil=True)
def copy_sketches(
    source: NDArray[np.int16],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    target: NDArray[np.int16],
) -> None:
    """Copies sketches, each from its start in `source`, one after another to `target`."""
    row = 0
    for sketch in range(len(starts)):
        start = starts[sketch]
        for step in range(lengths[sketch]):
            for column in range(3):
                target[row, column] = source[start + step, column]
            row += 1


@numba.njit("UniTuple(int64, 2)(int16[:, ::1], int64)", cache=True, nogil=True)
def sum_offsets(points: NDArray[np.int16], bound: int) -> tuple[int, int]:
    """Sum and sum of squares of all dx and dy of stroke-3 rows, clipped to +-`bound`."""
    total, squares = 0, 0
    for row in range(len(points)):
        for column in range(2):
            value = min(max(int(points[row, column]), -bound), bound)
            total += value
            squares += value * value
    return total, squares
