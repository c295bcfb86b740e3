"""From knots to what a hand's pen would have recorded: block-wise, in raw screen coordinates.

Everything random about the hand comes in as uniforms in [0, 1), a row of them per stroke and one
per drawing, so that a drawing does not depend on its block.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.doodles.pen import Stroke
from pipeline.simplification import Drawings, Floats, Integers, starts

UNIFORMS_PER_ROW = 12
SAMPLES_PER_SPAN = 2

# How far strokes and drawings depart from their plan at most, at a sloppiness of 1.
STROKE_TURN = 0.06  # radians
STROKE_SCALE = 0.06
STROKE_WOBBLE = 0.014  # of the stroke's size
STROKE_SHIFT = 0.012  # of the drawing's size
DRAWING_TURN = 0.07  # radians; three times that for the few that lean
DRAWING_SHEAR = 0.10
DRAWING_ASPECT = 0.14
MIRRORED_SHARE = 0.3

WOBBLE_CYCLES = (0.45, 1.1, 1.9)
WOBBLE_AMPLITUDES = (1.0, 0.6, 0.3)

SHORTEST_INTERVAL_MS = 8


def trace(
    drawings: Sequence[Sequence[Stroke]],
    stroke_uniforms: Floats,
    drawing_uniforms: Floats,
    sloppiness: Floats,
) -> Drawings:
    """Draws a block of drawings by hand.

    Args:
        drawings: D drawings of S strokes in all.
        stroke_uniforms: [S, UNIFORMS_PER_ROW].
        drawing_uniforms: [D, UNIFORMS_PER_ROW].
        sloppiness: [D]; scales everything in which strokes depart from their knots.

    Returns:
        Points in pixels of a screen, to two decimals.
    """
    strokes_per_drawing = np.array([len(strokes) for strokes in drawings])
    curves, points_per_curve = _interpolate([stroke for strokes in drawings for stroke in strokes])
    smooth = Drawings(curves, points_per_curve, strokes_per_drawing)
    size = np.repeat(_sizes(smooth.points, smooth.points_per_drawing), strokes_per_drawing)
    unsteady = _unsteady(smooth, stroke_uniforms, np.repeat(sloppiness, strokes_per_drawing), size)
    points = _place(unsteady, smooth.points_per_drawing, drawing_uniforms)
    return Drawings(np.round(points, 2), smooth.points_per_stroke, strokes_per_drawing)


def times_ms(raw: Drawings, stroke_uniforms: Floats, drawing_uniforms: Floats) -> Integers:
    """When each point was passed, in ms since the drawing's first point: [P].

    Arguments are those of `trace`, and what it returned.
    """
    counts = raw.points_per_drawing
    pixels_per_ms = np.repeat(0.25 + 0.9 * drawing_uniforms[:, 7], counts)
    step = np.hypot(*np.diff(raw.points, axis=1, prepend=raw.points[:, :1])) / pixels_per_ms
    interval = np.maximum(np.rint(step), SHORTEST_INTERVAL_MS).astype(np.int64)
    interval[raw.first_points] = np.rint(150 + 900 * stroke_uniforms[:, 11])
    time: Integers = np.cumsum(interval)
    return time - np.repeat(time[starts(counts)], counts)


def _interpolate(strokes: Sequence[Stroke]) -> tuple[Floats, Integers]:
    """Points of Catmull-Rom curves through the knots, [2, P], and how many each stroke has, [S]."""
    num_knots = np.array([len(stroke) for stroke in strokes])
    knots = np.array([knot for stroke in strokes for knot in stroke]).T
    first, last = starts(num_knots), np.cumsum(num_knots) - 1
    # A span of no length makes a corner: it is skipped, and keeps its neighbours' ends straight.
    has_span = np.ones(knots.shape[1], dtype=np.bool_)
    has_span[:-1] = (knots[:, 1:] != knots[:, :-1]).any(axis=0)
    has_span[last] = False
    begin = np.flatnonzero(has_span)
    begin_knots, end_knots = knots[:, begin], knots[:, begin + 1]
    before, after = knots[:, begin - 1], knots[:, np.minimum(begin + 2, knots.shape[1] - 1)]
    # Beyond its ends a curve is thought to bend on as it does there.
    is_first, is_last = np.isin(begin, first), np.isin(begin + 1, last)
    before[:, is_first] = (after + 3 * (begin_knots - end_knots))[:, is_first]
    after[:, is_last] = (before + 3 * (end_knots - begin_knots))[:, is_last]
    t = np.arange(SAMPLES_PER_SPAN) / SAMPLES_PER_SPAN
    # Added term by term: a matrix product may round differently in blocks of another size.
    curve = (
        before[:, :, None] * ((-t + 2 * t**2 - t**3) / 2)
        + begin_knots[:, :, None] * ((2 - 5 * t**2 + 3 * t**3) / 2)
        + end_knots[:, :, None] * ((t + 4 * t**2 - 3 * t**3) / 2)
        + after[:, :, None] * ((t**3 - t**2) / 2)
    )
    num_spans = np.add.reduceat(has_span, first, dtype=np.int64)
    ends = np.cumsum(num_spans) * SAMPLES_PER_SPAN
    points = np.insert(curve.reshape(2, -1), ends, knots[:, last], axis=1)
    return points, num_spans * SAMPLES_PER_SPAN + 1


def _sizes(points: Floats, counts: Integers) -> Floats:
    """The larger side of each group's bounding box."""
    first = starts(counts)
    sides = np.maximum.reduceat(points, first, axis=1) - np.minimum.reduceat(points, first, axis=1)
    larger: Floats = sides.max(axis=0)
    return larger


def _unsteady(
    smooth: Drawings, uniforms: Floats, sloppiness: Floats, drawing_size: Floats
) -> Floats:
    """Shifts, turns and scales each stroke about its middle, and lets the pen drift along it."""
    counts = smooth.points_per_stroke
    first = smooth.first_points
    signed = ((2 * uniforms - 1) * sloppiness[:, None]).T
    low = np.minimum.reduceat(smooth.points, first, axis=1)
    middle = (low + np.maximum.reduceat(smooth.points, first, axis=1)) / 2
    size = _sizes(smooth.points, counts)
    turn, scale = signed[0] * STROKE_TURN, 1 + signed[1] * STROKE_SCALE
    shift = signed[2:4] * STROKE_SHIFT * drawing_size
    amplitude = STROKE_WOBBLE * size * sloppiness * (0.4 + 1.2 * uniforms[:, 4])

    x, y = smooth.points - np.repeat(middle, counts, axis=1)
    cosine, sine = np.repeat(scale * np.cos(turn), counts), np.repeat(scale * np.sin(turn), counts)
    turned = np.stack([x * cosine - y * sine, x * sine + y * cosine])
    along = (np.arange(len(x)) - np.repeat(first, counts)) / np.repeat(counts - 1, counts)
    drift = np.zeros_like(turned)
    for axis in range(2):
        for i, (cycles, share) in enumerate(zip(WOBBLE_CYCLES, WOBBLE_AMPLITUDES, strict=True)):
            phase = np.repeat(uniforms[:, 5 + 3 * axis + i], counts)
            drift[axis] += share * np.sin(2 * np.pi * (cycles * along + phase))
    drift *= np.repeat(amplitude, counts)
    unsteady: Floats = turned + drift + np.repeat(middle + shift, counts, axis=1)
    return unsteady


def _place(points: Floats, counts: Integers, uniforms: Floats) -> Floats:
    """Turns, shears, stretches and mirrors whole drawings and puts them on a screen."""
    signed = 2 * uniforms - 1
    low = np.minimum.reduceat(points, starts(counts), axis=1)
    # The third power keeps most drawings upright and lets a few lean.
    turn = DRAWING_TURN * (signed[:, 0] + 2 * signed[:, 0] ** 3)
    shear = DRAWING_SHEAR * signed[:, 1] ** 3
    pixels = (180 + 260 * uniforms[:, 2]) / _sizes(points, counts)
    aspect = 1 + DRAWING_ASPECT * signed[:, 3]
    sign = np.where(uniforms[:, 4] < MIRRORED_SHARE, -1, 1)
    corner = np.stack([560 + 400 * uniforms[:, 5], 80 + 200 * uniforms[:, 6]])
    x, y = points - np.repeat(low, counts, axis=1)
    cosine, sine = np.cos(turn), np.sin(turn)
    matrix = np.stack([cosine * aspect * sign, shear - sine, sine * aspect * sign, cosine])
    xx, xy, yx, yy = np.repeat(matrix * pixels, counts, axis=1)
    return np.stack([xx * x + xy * y, yx * x + yy * y]) + np.repeat(corner, counts, axis=1)
