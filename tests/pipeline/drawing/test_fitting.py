from __future__ import annotations

import numpy as np
import pytest

from pipeline.config import UserError
from pipeline.drawing.fitting import begin, fit, resize
from pipeline.drawing.inputs import Given, larger_side
from sketch_model.strokes import polylines_to_stroke3, stroke3_to_polylines

CIRCLE = 100 * np.stack([f(np.linspace(0, 2 * np.pi, 200)) for f in (np.cos, np.sin)], axis=1)
WAVE = np.stack([np.arange(100.0), 20 * np.sin(np.arange(100.0))], axis=1)
GIVEN = Given(polylines_to_stroke3([CIRCLE, WAVE]), "circle and wave")


def distance_to_lines(point: np.ndarray, line: np.ndarray) -> float:
    """To the nearest segment of a polyline."""
    begins, ways = line[:-1], np.diff(line, axis=0)
    shares = ((point - begins) * ways).sum(1) / np.maximum((ways**2).sum(1), 1e-12)
    nearest = begins + np.clip(shares, 0, 1)[:, None] * ways
    return float(np.hypot(*(nearest - point).T).min())


def test_a_long_drawing_is_refused_with_the_way_out() -> None:
    with pytest.raises(UserError, match=r"has 299 points.*room for 60 .*--simplify"):
        fit(GIVEN, 60, may_simplify=False)
    assert fit(GIVEN, 299, may_simplify=False) is GIVEN


def test_a_simplified_drawing_is_as_near_as_it_says_and_nearly_as_long_as_it_may_be() -> None:
    fitted = fit(GIVEN, 60, may_simplify=True)
    assert 50 <= len(fitted.sketch) <= 60
    (remark,) = fitted.remarks
    epsilon = float(remark.split("farther than ")[1].split()[0])
    before, after = stroke3_to_polylines(GIVEN.sketch), stroke3_to_polylines(fitted.sketch)
    assert len(after) == 2
    for original, simple in zip(before, after, strict=True):
        np.testing.assert_allclose(simple[[0, -1]], original[[0, -1]], atol=1e-3)
        assert max(distance_to_lines(point, simple) for point in original) <= epsilon + 0.1


def test_more_strokes_than_points_are_refused() -> None:
    dashes = [np.array([[n, 0], [n, 9]]) for n in range(20)]
    given = Given(polylines_to_stroke3(dashes), "dashes")
    with pytest.raises(UserError, match=r"20 strokes, which take 39 points.*room for 30"):
        fit(given, 30, may_simplify=True)


def test_a_beginning_is_cut_at_a_point_or_after_a_stroke() -> None:
    assert len(begin(GIVEN, num_points=7, num_strokes=None).sketch) == 7
    first = begin(GIVEN, num_points=None, num_strokes=1).sketch
    assert len(stroke3_to_polylines(first)) == 1
    assert first[-1, 2] == 1
    assert len(begin(GIVEN, num_points=None, num_strokes=None).sketch) == 299
    with pytest.raises(UserError, match="--strokes 3: circle and wave has 2"):
        begin(GIVEN, num_points=None, num_strokes=3)
    with pytest.raises(UserError, match="--points 300: circle and wave has 299"):
        begin(GIVEN, num_points=300, num_strokes=None)


def test_resizing_changes_lengths_and_nothing_else() -> None:
    resized = resize(GIVEN, 51)
    assert larger_side(resized.sketch) == pytest.approx(51)
    assert np.array_equal(resized.sketch[:, 2], GIVEN.sketch[:, 2])
    dot = Given(np.array([[0.0, 0.0, 1.0]]), "dot")
    assert resize(dot, 51).sketch.tolist() == [[0, 0, 1]]
