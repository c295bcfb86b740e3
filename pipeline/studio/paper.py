"""The paper of the page, and what a model reads on it and draws on it.

Lengths on the page are in units of which the paper's side has `SIDE`. A drawing of Quick, Draw! is
255 pixels large because it has been scaled to that when it was finished. One that is begun cannot
be: how large it will be is not known. So the paper decides, for a person leaves a margin on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.drawing.fitting import fit
from pipeline.drawing.inputs import Given
from pipeline.simplification import LARGER_SIDE_PIXELS, Drawings, simplify
from sketch_model.geometry import CANVAS, fit_to_canvas, split_given
from sketch_model.strokes import polylines_to_stroke3, stroke3_to_polylines

SIDE: Final = CANVAS
PAPER_PIXELS: Final = 320.0
"""A drawing of 255 pixels leaves a margin of a tenth of the side all around."""
NAME: Final = "your drawing"

Strokes = Sequence[Sequence[tuple[float, float]]]
Lines = list[list[list[int]]]
"""Strokes in units of the page, each a list of points [x, y]."""


@dataclass(frozen=True)
class Begun:
    """A drawing that is begun.

    Attributes:
        given: what the model reads of it.
        origin: of its first point, in units of the page, float32 [2].
    """

    given: Given
    origin: NDArray[Any]


def read_begun(strokes: Strokes, max_points: int, *, is_pen_down: bool) -> Begun:
    """Simplified as Quick, Draw! is, where it lies on the paper and as large as it is there.

    Args:
        strokes: in units of the page.
        max_points: beyond so many it is thinned further, which its remarks say.
        is_pen_down: whether the last stroke is still being drawn.

    Raises:
        UserError: if not even the ends of its strokes are so few.
    """
    points = np.concatenate([np.asarray(stroke, np.float64) for stroke in strokes])
    # A stroke from corner to corner of the paper settles the scale, and is taken away again.
    corners = np.stack([points.min(axis=0).clip(max=0), points.max(axis=0).clip(min=SIDE)])
    side = float(np.ptp(corners, axis=0).max())
    pieces = _simplify([*strokes, corners.tolist()])[:-1]
    origin = pieces[0][0] * side / LARGER_SIDE_PIXELS + corners[0]
    factor = side / LARGER_SIDE_PIXELS * PAPER_PIXELS / SIDE
    sketch = polylines_to_stroke3([piece * factor for piece in pieces])
    given = fit(Given(sketch, NAME), max_points, may_simplify=True)
    if is_pen_down:
        given.sketch[-1, 2] = 0
    return Begun(given, origin.astype(np.float32))


def read_whole(strokes: Strokes, max_points: int, name: str) -> Given:
    """A finished drawing exactly as Quick, Draw! has it; arguments and errors as `read_begun`."""
    sketch = polylines_to_stroke3([piece.astype(np.int32) for piece in _simplify(strokes)])
    return fit(Given(sketch, name), max_points, may_simplify=True)


def place(begun: Begun, sketch: NDArray[Any]) -> tuple[Lines, Lines]:
    """What was given and what the model has added, on the paper."""
    lines = [line * (SIDE / PAPER_PIXELS) + begun.origin for line in stroke3_to_polylines(sketch)]
    given, added = split_given(lines, len(sketch), len(begun.given.sketch))
    return _round(given), _round(added)


def fill(sketch: NDArray[Any]) -> Lines:
    """A drawing of the model's own, as large as the paper."""
    return _round(fit_to_canvas(sketch))


def _simplify(strokes: Strokes) -> list[NDArray[np.float64]]:
    """Google's steps, on all strokes together: [K, 2] each, whole pixels from 0 to 255."""
    counts = np.array([len(stroke) for stroke in strokes])
    points = np.array([point for stroke in strokes for point in stroke], np.float64)
    simple = simplify(Drawings(points.T, counts, np.array([len(strokes)])))
    return np.split(simple.points.T, np.cumsum(simple.points_per_stroke)[:-1])


def _round(lines: Sequence[NDArray[Any]]) -> Lines:
    return [np.rint(line).astype(int).tolist() for line in lines]
