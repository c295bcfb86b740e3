"""Raw pen traces to the simplified form of Quick, Draw!, for many drawings at once.

Google documents the simplified files as made from the raw ones in these steps
(https://github.com/googlecreativelab/quickdraw-dataset, "Simplified Drawing files"):

1. align the drawing to the top-left corner, so that its least x and y are 0;
2. scale it uniformly, so that its greatest value is 255;
3. resample all strokes with a spacing of 1 pixel;
4. simplify all strokes with the Ramer-Douglas-Peucker algorithm, epsilon 2.0;

and the files hold the result rounded to integers. Many points of a resampled stroke lie equally
far from a chord, but for the last bit, and that bit decides which one is kept. So the order of the
operations below is part of the format; it was found by comparing pairs of real files, and gives
every one of 7,626 drawings as Google has it:

- A coordinate is `value * 255 / side`.
- Samples lie at whole arc lengths, summed along the stroke, and are `(1 - t) * p + t * q`; the
  stroke's last point follows, whatever its distance.
- Distances are those to the line through a chord's ends, not to the chord; the first of equally
  distant samples is kept. A chord's length is the root of `dx * dx + dy * dy` with the first
  product left unrounded, as a dot product in BLAS does it.
- A stroke that stays on one spot, or is a single point, becomes two equal points.
- Halves are rounded to even numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numba.extending import intrinsic
from numpy.typing import NDArray

EPSILON_PIXELS = 2.0
LARGER_SIDE_PIXELS = 255.0
MAX_COORDINATE = 1e300
"""Bound on the size of raw coordinates: beyond it, scaling overflows."""
_SURELY_NEAR = 15.9
"""A little less than the square of twice `EPSILON_PIXELS`."""
_LANES = 4
_FIRST_CAPACITY = 4096

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Drawings:
    """A block of drawings as columns. P points in S strokes in D drawings; none is empty."""

    points: Floats
    """[2, P]: x and y, y growing downwards."""
    points_per_stroke: Integers
    """[S]."""
    strokes_per_drawing: Integers
    """[D]."""

    @property
    def first_points(self) -> Integers:
        """[S]: index of each stroke's first point."""
        return starts(self.points_per_stroke)

    @property
    def points_per_drawing(self) -> Integers:
        """[D]."""
        return np.add.reduceat(self.points_per_stroke, starts(self.strokes_per_drawing))


def starts(counts: Integers) -> Integers:
    """Index of each group's first member, where groups of these sizes lie one after another."""
    return np.cumsum(counts) - counts


@intrinsic
def _multiply_add(context: Any, a: Any, b: Any, c: Any) -> Any:
    """`a * b + c`, rounded once: exact wherever it runs, in hardware or not."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.fma(*values)

    return numba.float64(numba.float64, numba.float64, numba.float64), generate


@numba.njit("float64(float64, float64)", cache=True, nogil=True)
def _norm(dx: float, dy: float) -> float:
    return math.sqrt(_multiply_add(dx, dx, dy * dy))  # type: ignore[call-arg]


@numba.njit("int64(float64[::1], float64[::1])", cache=True, nogil=True)
def _find_farthest(x: Floats, y: Floats) -> int:
    """Like `_find_cut`, but by the distance to the first sample: the last one is the same point."""
    farthest, greatest = 0, EPSILON_PIXELS
    for i in range(1, len(x) - 1):
        distance = _norm(x[i] - x[0], y[i] - y[0])
        if distance > greatest:
            farthest, greatest = i, distance
    return farthest


@numba.njit(
    "int64(float64[::1], float64[::1], float64[::1])", cache=True, nogil=True, error_model="numpy"
)
def _find_cut(x: Floats, y: Floats, scratch: Floats) -> int:
    """The first of the samples farthest from the line through the first and last one; 0 if near.

    `scratch` is longer than `x` and `y`.
    """
    begin_x, begin_y = x[0], y[0]
    chord_x, chord_y = x[-1] - begin_x, y[-1] - begin_y
    # From a chord c, a way of w pixels strays by at most the root of w^2 - c^2, halved. This
    # settles most of the chords that are not cut.
    way = np.float64(len(x) - 1)
    if way * way - (chord_x * chord_x + chord_y * chord_y) < _SURELY_NEAR:
        return 0
    chord = _norm(chord_x, chord_y)
    if chord == 0:
        return _find_farthest(x, y)
    # Numbers that are not negative are ordered like their bits, and for the greatest of integers
    # there are vector instructions.
    bits, greatest = scratch.view(np.int64), np.int64(0)
    for i in range(len(x)):
        scratch[i] = abs((x[i] - begin_x) * chord_y - (y[i] - begin_y) * chord_x)
        greatest = max(greatest, bits[i])
    bits[-1] = greatest
    distance = scratch[-1] / chord
    if distance > EPSILON_PIXELS:
        for i in range(1, len(x) - 1):
            # What differs by a bit or two before dividing can be equal after it.
            if bits[i] >= greatest - 4 and scratch[i] / chord == distance:
                return i
    return 0


@numba.njit("int64(float64[:, ::1], int64, int64[::1], int64[::1])", cache=True, nogil=True)
def _keep_by_rdp(samples: Floats, last: int, kept: Integers, pending: Integers) -> int:
    """Fills `kept` with the indices of the samples that Ramer-Douglas-Peucker keeps, in order.

    `pending` is a stack of samples that are to be kept and lie after the last one in `kept`.

    Returns:
        How many are kept, at least 2.
    """
    x, y, scratch = samples[0], samples[1], samples[2]
    kept[0], pending[0] = 0, last
    num_kept, num_pending = 1, 1
    while num_pending:
        begin, end = kept[num_kept - 1], pending[num_pending - 1]
        middle = _find_cut(x[begin : end + 1], y[begin : end + 1], scratch)
        if middle:
            pending[num_pending] = begin + middle
            num_pending += 1
        else:
            kept[num_kept] = end
            num_kept += 1
            num_pending -= 1
    return num_kept


@numba.njit("int64(float64[::1], float64[::1])", cache=True, nogil=True)
def _capacity(x: Floats, y: Floats) -> int:
    """What `_resample` and `_find_cut` need for a stroke: room for its samples, and some more."""
    travel = 0.0
    for i in range(len(x) - 1):
        dx, dy = x[i + 1] - x[i], y[i + 1] - y[i]
        travel += math.sqrt(dx * dx + dy * dy)
    return int(travel) + 3 + _LANES


@numba.njit(
    "int64(float64[::1], float64[::1], float64[::1], float64[::1])",
    cache=True,
    nogil=True,
    error_model="numpy",
)
def _resample(x: Floats, y: Floats, sample_x: Floats, sample_y: Floats) -> int:
    """Fills in a stroke's samples: its first point, one per whole pixel of its way, its last point.

    Returns:
        The index of the last one, at least 1.
    """
    sample_x[0], sample_y[0] = x[0], y[0]
    sample, travel = 1, 0.0
    for i in range(len(x) - 1):
        begin_x, begin_y, end_x, end_y = x[i], y[i], x[i + 1], y[i + 1]
        dx, dy = end_x - begin_x, end_y - begin_y
        length = math.sqrt(dx * dx + dy * dy)
        end = max(sample, math.ceil(travel + length))
        # In fours, for vector instructions; those too many are overwritten.
        for first in range(sample, end, _LANES):
            for pixel in range(first, first + _LANES):
                t = (pixel - travel) / length
                sample_x[pixel] = (1.0 - t) * begin_x + t * end_x
                sample_y[pixel] = (1.0 - t) * begin_y + t * end_y
        sample = end
        travel += length
    sample_x[sample], sample_y[sample] = x[-1], y[-1]
    return sample


@numba.njit("float64[:, ::1](float64[:, ::1], int64)", cache=True, nogil=True)
def _with_room(columns: Floats, capacity: int) -> Floats:
    if capacity <= columns.shape[1]:
        return columns
    larger = np.empty((len(columns), 2 * capacity))
    larger[:, : columns.shape[1]] = columns
    return larger


@numba.njit(
    "Tuple((float64[:, ::1], int64[::1]))(float64[:, ::1], int64[::1])", cache=True, nogil=True
)
def _simplify_strokes(points: Floats, points_per_stroke: Integers) -> tuple[Floats, Integers]:
    """Steps 3 and 4, and rounding: points [2, K] and how many of them each stroke has, [S]."""
    result = np.empty((2, _FIRST_CAPACITY))
    num_per_stroke = np.empty_like(points_per_stroke)
    samples = np.empty((3, _FIRST_CAPACITY))
    indices = np.empty((2, _FIRST_CAPACITY), dtype=np.int64)
    first, row = 0, 0
    for stroke in range(len(points_per_stroke)):
        end = first + points_per_stroke[stroke]
        x, y = points[0, first:end], points[1, first:end]
        first = end
        capacity = _capacity(x, y)
        if capacity > samples.shape[1]:
            samples = np.empty((3, capacity))
            indices = np.empty((2, capacity), dtype=np.int64)
        last = _resample(x, y, samples[0], samples[1])
        num = _keep_by_rdp(samples, last, indices[0], indices[1])
        num_per_stroke[stroke] = num
        result = _with_room(result, row + num)
        for i in indices[0, :num]:
            result[0, row], result[1, row] = np.rint(samples[0, i]), np.rint(samples[1, i])
            row += 1
    return result[:, :row].copy(), num_per_stroke


@numba.njit(
    "float64[:, ::1](float64[:, ::1], int64[::1])", cache=True, nogil=True, error_model="numpy"
)
def _align_and_scale(points: Floats, points_per_drawing: Integers) -> Floats:
    scaled = np.empty_like(points)
    first = 0
    for num in points_per_drawing:
        end = first + num
        low_x, low_y = points[0, first], points[1, first]
        high_x, high_y = low_x, low_y
        for i in range(first, end):
            low_x, high_x = min(low_x, points[0, i]), max(high_x, points[0, i])
            low_y, high_y = min(low_y, points[1, i]), max(high_y, points[1, i])
        side = max(high_x - low_x, high_y - low_y)
        if side == 0:
            side = 1.0
        for i in range(first, end):
            scaled[0, i] = (points[0, i] - low_x) * LARGER_SIDE_PIXELS / side
            scaled[1, i] = (points[1, i] - low_y) * LARGER_SIDE_PIXELS / side
        first = end
    return scaled


def simplify(raw: Drawings) -> Drawings:
    """Applies Google's steps; coordinates are whole numbers from 0 to 255.

    The result for a drawing does not depend on the others in its block. Takes memory for the
    samples of one stroke at a time: 40 bytes for every pixel of the longest stroke's way.

    Raises:
        ValueError: if a coordinate is not finite, or larger than `MAX_COORDINATE`.
    """
    if not raw.points.size:
        return raw
    if not -MAX_COORDINATE <= raw.points.min() <= raw.points.max() <= MAX_COORDINATE:
        raise ValueError(
            f"raw coordinates from {raw.points.min()} to {raw.points.max()} must be within"
            f" +-{MAX_COORDINATE:g}: leave such drawings out"
        )
    points = _align_and_scale(
        np.ascontiguousarray(raw.points, dtype=np.float64),
        np.ascontiguousarray(raw.points_per_drawing, dtype=np.int64),
    )
    simplified, points_per_stroke = _simplify_strokes(
        points, np.ascontiguousarray(raw.points_per_stroke, dtype=np.int64)
    )
    return Drawings(simplified, points_per_stroke, raw.strokes_per_drawing)
