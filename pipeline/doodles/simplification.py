"""Raw pen traces to the simplified form of Quick, Draw!, for many drawings at once.

Google documents the simplified files as made from the raw ones in these steps
(https://github.com/googlecreativelab/quickdraw-dataset, "Simplified Drawing files"):

1. align the drawing to the top-left corner, so that its least x and y are 0;
2. scale it uniformly, so that its greatest value is 255;
3. resample all strokes with a spacing of 1 pixel;
4. simplify all strokes with the Ramer-Douglas-Peucker algorithm, epsilon 2.0;

and the files hold the result rounded to integers. Two details are not documented and were found by
comparing pairs of real files: step 3 keeps a stroke's last point, which makes the last spacing
shorter than a pixel, and step 4 measures the distance to the line through a chord's ends, not to
the chord.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EPSILON_PIXELS = 2.0
LARGER_SIDE_PIXELS = 255.0
ARC_UNITS_PER_PIXEL = 1 << 32

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


def simplify(raw: Drawings) -> Drawings:
    """Applies Google's steps; coordinates are whole numbers from 0 to 255.

    The result for a drawing does not depend on the others in its block. A stroke that stays on one
    spot becomes a single point.
    """
    resampled = _resample(_align_and_scale(raw))
    kept = _keep_by_rdp(resampled)
    return Drawings(
        np.rint(resampled.points[:, kept]),
        np.add.reduceat(kept, resampled.first_points, dtype=np.int64),
        raw.strokes_per_drawing,
    )


def _align_and_scale(raw: Drawings) -> Drawings:
    num_points = raw.points_per_drawing
    first = starts(num_points)
    least = np.minimum.reduceat(raw.points, first, axis=1)
    larger_side = (np.maximum.reduceat(raw.points, first, axis=1) - least).max(axis=0)
    factor = LARGER_SIDE_PIXELS / np.where(larger_side > 0, larger_side, 1.0)
    points = (raw.points - np.repeat(least, num_points, axis=1)) * np.repeat(factor, num_points)
    return Drawings(points, raw.points_per_stroke, raw.strokes_per_drawing)


def _resample(drawings: Drawings) -> Drawings:
    """Points at every whole pixel of a stroke's arc length, and its last point.

    Arc lengths are integers (2^-32 pixel), so that sums over a block are exact and a drawing comes
    out the same whatever lies before it.
    """
    first = drawings.first_points
    last = first + drawings.points_per_stroke - 1
    step = np.diff(drawings.points, axis=1, append=drawings.points[:, -1:])
    step[:, last] = 0.0
    length = np.rint(np.hypot(*step) * ARC_UNITS_PER_PIXEL).astype(np.int64)
    begin = starts(length)
    begin -= np.repeat(begin[first], drawings.points_per_stroke)
    # The whole pixels in [begin, begin + length) lie on the segment that leaves this point.
    first_pixel = -(-begin // ARC_UNITS_PER_PIXEL)
    num_samples = -(-(begin + length) // ARC_UNITS_PER_PIXEL) - first_pixel
    num_samples[last] = 1
    pixel = np.arange(num_samples.sum()) + np.repeat(first_pixel - starts(num_samples), num_samples)
    along = pixel * ARC_UNITS_PER_PIXEL - np.repeat(begin, num_samples)
    share = along / np.repeat(np.maximum(length, 1), num_samples)
    # A last point's step is zero, so its share does not matter.
    points = np.repeat(drawings.points, num_samples, axis=1)
    points += np.repeat(step, num_samples, axis=1) * share
    per_stroke = np.add.reduceat(num_samples, first)
    return Drawings(points, per_stroke, drawings.strokes_per_drawing)


def _keep_by_rdp(drawings: Drawings) -> NDArray[np.bool_]:
    """Which points Ramer-Douglas-Peucker keeps: [P].

    All chords of a level of the recursion are cut together, in all strokes of all drawings.
    """
    x, y = drawings.points
    begin = drawings.first_points
    end = begin + drawings.points_per_stroke - 1
    kept = np.zeros(len(x), dtype=np.bool_)
    kept[begin] = kept[end] = True
    while True:
        has_interior = end - begin > 1
        begin, end = begin[has_interior], end[has_interior]
        if not len(begin):
            return kept
        distance, farthest = _farthest_from_chord(x, y, begin, end)
        cut = distance > EPSILON_PIXELS
        begin, middle, end = begin[cut], farthest[cut], end[cut]
        kept[middle] = True
        begin, end = np.concatenate([begin, middle]), np.concatenate([middle, end])


def _farthest_from_chord(
    x: Floats, y: Floats, begin: Integers, end: Integers
) -> tuple[Floats, Integers]:
    """Per chord, the greatest distance of a point between its ends, and the first such point."""
    num = end - begin - 1
    first = starts(num)
    index = np.arange(num.sum()) + np.repeat(begin + 1 - first, num)
    chord_x, chord_y = x[end] - x[begin], y[end] - y[begin]
    chord = np.hypot(chord_x, chord_y)
    offset_x, offset_y = x[index] - np.repeat(x[begin], num), y[index] - np.repeat(y[begin], num)
    distance = np.abs(offset_x * np.repeat(chord_y, num) - offset_y * np.repeat(chord_x, num))
    if not chord.all():
        # Where both ends are the same point, the distance is that to the point.
        is_closed = np.repeat(chord == 0, num)
        distance[is_closed] = np.hypot(offset_x[is_closed], offset_y[is_closed])
        chord[chord == 0] = 1.0
    greatest = np.maximum.reduceat(distance, first)
    candidates = np.flatnonzero(distance == np.repeat(greatest, num))
    farthest = candidates[np.searchsorted(candidates, first)]
    return greatest / chord, index[farthest]
