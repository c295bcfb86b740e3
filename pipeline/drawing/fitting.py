"""Given drawings cut, resized and thinned to what a model can read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import UserError
from pipeline.drawing.inputs import Given, larger_side
from pipeline.simplification import LARGER_SIDE_PIXELS
from sketch_model.strokes import polylines_to_stroke3, stroke3_to_polylines

Polyline = NDArray[Any]
_BISECTIONS = 12
"""Halvings of the largest epsilon: down to a sixteenth of a pixel."""


def resize(given: Given, size: float) -> Given:
    """The drawing with this many pixels on its larger side."""
    side = larger_side(given.sketch)
    factor = size / side if side else 1.0
    remark = f"resized from {side:.0f} to {size:g} pixels"
    sketch = given.sketch * np.array([factor, factor, 1.0])
    return replace(given, sketch=sketch, remarks=[*given.remarks, remark])


def begin(given: Given, *, num_points: int | None, num_strokes: int | None) -> Given:
    """The first points or strokes of a drawing; all of it if neither is said.

    Raises:
        UserError: if it has not as many.
    """
    num = len(given.sketch)
    if num_strokes is not None:
        ends = np.flatnonzero(given.sketch[:, 2]) + 1
        if num_strokes > len(ends):
            raise UserError(f"--strokes {num_strokes}: {given.name} has {len(ends)}")
        num = int(ends[num_strokes - 1])
    if num_points is not None:
        if num_points > num:
            raise UserError(f"--points {num_points}: {given.name} has {num}")
        num = num_points
    return replace(given, sketch=given.sketch[:num])


def fit(given: Given, max_points: int, *, may_simplify: bool) -> Given:
    """The drawing with no more points than a model can read.

    Raises:
        UserError: if it has more and must not be simplified, or not even its strokes' ends fit.
    """
    num = len(given.sketch)
    if num <= max_points:
        return given
    if not may_simplify:
        raise UserError(
            f"{given.name} has {num} points, and there is room for {max_points} (N_max): add"
            " --simplify to leave out those that matter least, or give another drawing"
        )
    strokes = stroke3_to_polylines(given.sketch)
    sketch, epsilon = _thin(strokes, max_points)
    if len(sketch) > max_points:
        raise UserError(
            f"{given.name} has {len(strokes)} strokes, which take {len(sketch)} points at least,"
            f" and there is room for {max_points} (N_max): give another drawing"
        )
    remark = (
        f"simplified from {num} to {len(sketch)} points, none farther than {epsilon:.1f} pixels"
    )
    return replace(given, sketch=sketch, remarks=[*given.remarks, remark])


def _thin(strokes: Sequence[Polyline], max_points: int) -> tuple[Polyline, float]:
    """Stroke-3 rows by the least epsilon that leaves so few, and that epsilon."""
    low, high = 0.0, LARGER_SIDE_PIXELS
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        fits = len(_simplify(strokes, middle)) <= max_points
        low, high = (low, middle) if fits else (middle, high)
    return _simplify(strokes, high), high


def _simplify(strokes: Sequence[Polyline], epsilon: float) -> Polyline:
    return polylines_to_stroke3([stroke[_kept(stroke, epsilon)] for stroke in strokes])


def _kept(points: Polyline, epsilon: float) -> NDArray[np.bool_]:
    """Which points of a stroke [K, 2] Ramer-Douglas-Peucker keeps, bool [K]."""
    kept = np.zeros(len(points), dtype=np.bool_)
    kept[[0, -1]] = True
    pending = [(0, len(points) - 1)]
    while pending:
        first, last = pending.pop()
        inner, (x, y) = points[first + 1 : last] - points[first], points[last] - points[first]
        length = np.hypot(x, y)
        distances = np.abs(inner @ (y, -x)) / length if length else np.hypot(*inner.T)
        if len(inner) and distances.max() > epsilon:
            middle = first + 1 + int(distances.argmax())
            kept[middle] = True
            pending += [(first, middle), (middle, last)]
    return kept
