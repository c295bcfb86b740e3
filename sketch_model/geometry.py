"""Where the lines of a drawing go: what the SVG and the raster renderer share.

Every drawing is fitted into the same square canvas, so that lines are equally thick and cells
equally large whatever a drawing's own units are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sketch_model.strokes import stroke3_to_polylines

Polylines = list[NDArray[np.float32]]

CANVAS = 1000
"""Side of the square that a drawing is fitted into, in canvas units."""
MARGIN = 70
LINE_WIDTH = 18


def fit_to_canvas(stroke3: NDArray[Any]) -> Polylines:
    """Absolute strokes, float32 [K, 2], centred in the canvas and as large as its margin allows.

    A drawing without any rows, which a model may well sample, has no strokes. One without any
    extent is a dot in the middle.

    Raises:
        ValueError: as `validate_stroke3`, save for a drawing without rows.
    """
    if len(stroke3) == 0:
        return []
    polylines = stroke3_to_polylines(stroke3)
    points = np.concatenate(polylines)
    low, high = points.min(axis=0), points.max(axis=0)
    extent = float((high - low).max())
    scale = (CANVAS - 2 * MARGIN) / extent if extent > 0 else 1.0
    return [(line - (low + high) / 2) * scale + CANVAS / 2 for line in polylines]


def split_given(
    polylines: Polylines, num_rows: int, split_after: int
) -> tuple[Polylines, Polylines]:
    """Divides a drawing of `num_rows` rows into what its first rows draw, and the rest.

    A stroke that goes on beyond the split is cut in two that share a point.

    Raises:
        ValueError: if `split_after` is not between 0 and `num_rows`.
    """
    if not 0 <= split_after <= num_rows:
        raise ValueError(f"split_after must be in [0, {num_rows}], got {split_after}")
    if split_after == 0:
        return [], polylines
    num_given = sum(map(len, polylines)) - (num_rows - split_after)
    given, rest = [], []
    for line in polylines:
        if num_given > 0:
            given.append(line[:num_given])
        if num_given < len(line):
            rest.append(line[max(num_given - 1, 0) :])
        num_given -= len(line)
    return given, rest


def check_grid(
    rows: Sequence[Sequence[Any]], row_captions: Sequence[str], column_captions: Sequence[str]
) -> int:
    """Number of columns of a grid whose rows may be short.

    Raises:
        ValueError: if there is no drawing, or captions are given but not one per row or column.
    """
    num_columns = max(map(len, rows), default=0)
    if num_columns == 0:
        raise ValueError("a grid needs at least one drawing, got none")
    for name, captions, num in (
        ("row_captions", row_captions, len(rows)),
        ("column_captions", column_captions, num_columns),
    ):
        if captions and len(captions) != num:
            raise ValueError(f"{name} must be empty or {num} captions, got {len(captions)}")
    return num_columns
