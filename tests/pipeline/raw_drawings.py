"""Drawings as nested lists, like the lines of ndjson files have them, and as columns."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from pipeline.simplification import Drawings


def to_columns(drawings: list[list[list[list[float]]]]) -> Drawings:
    strokes = [stroke for drawing in drawings for stroke in drawing]
    return Drawings(
        np.concatenate([np.asarray(stroke[:2], dtype=np.float64) for stroke in strokes], axis=1),
        np.array([len(stroke[0]) for stroke in strokes]),
        np.array([len(drawing) for drawing in drawings]),
    )


def to_lists(drawings: Drawings) -> Iterator[list[list[list[int]]]]:
    ends = np.cumsum(drawings.points_per_stroke)[:-1]
    strokes = iter(np.split(drawings.points.astype(int), ends, axis=1))
    for num_strokes in drawings.strokes_per_drawing.tolist():
        yield [stroke.tolist() for stroke in islice(strokes, num_strokes)]
