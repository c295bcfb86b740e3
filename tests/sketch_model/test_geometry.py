from __future__ import annotations

import numpy as np
import pytest

from sketch_model.geometry import CANVAS, MARGIN, fit_to_canvas, split_given


def rows(*values: tuple[int, int, int]) -> np.ndarray:
    return np.array(values, np.int16)


@pytest.mark.parametrize("scale", [0.001, 1.0, 1e4])
def test_a_drawing_fills_the_canvas_up_to_its_margin_and_keeps_its_proportions(scale: float):
    stroke3 = np.array([[200.0, 0, 0], [0, 100, 0], [-200, -20, 1]]) * [scale, scale, 1]
    points = np.concatenate(fit_to_canvas(stroke3))
    width, height = points.max(0) - points.min(0)
    assert width == pytest.approx(CANVAS - 2 * MARGIN, rel=1e-5)
    assert height == pytest.approx(width / 2, rel=1e-5)
    np.testing.assert_allclose((points.max(0) + points.min(0)) / 2, CANVAS / 2, rtol=1e-4)


def test_a_drawing_without_extent_is_a_dot_in_the_middle():
    (stroke,) = fit_to_canvas(rows((0, 0, 1)))
    assert stroke.tolist() == [[CANVAS / 2, CANVAS / 2]]


def test_a_drawing_without_rows_has_no_strokes():
    assert fit_to_canvas(np.zeros((0, 3))) == []


STROKE3 = rows((1, 0, 0), (1, 0, 1), (0, 5, 0), (1, 0, 0), (1, 0, 1))


@pytest.mark.parametrize(
    ("split_after", "given_lengths", "rest_lengths"),
    [
        (0, [], [3, 3]),
        (1, [2], [2, 3]),  # cut inside the first stroke: both parts share a point
        (2, [3], [3]),  # cut at a pen lift: they share none
        (3, [3, 1], [3]),
        (4, [3, 2], [2]),
        (5, [3, 3], []),
    ],
)
def test_given_and_rest_meet_where_the_split_is(
    split_after: int, given_lengths: list[int], rest_lengths: list[int]
):
    given, rest = split_given(fit_to_canvas(STROKE3), len(STROKE3), split_after)
    assert [len(line) for line in given] == given_lengths
    assert [len(line) for line in rest] == rest_lengths
    if 0 < split_after < 5 and split_after != 2:
        np.testing.assert_array_equal(given[-1][-1], rest[0][0])


def test_split_of_a_drawing_that_starts_with_a_dot():
    stroke3 = rows((0, 0, 1), (4, 4, 0), (1, 0, 1))
    given, rest = split_given(fit_to_canvas(stroke3), 3, 1)
    assert [len(line) for line in given] == [1]
    assert [len(line) for line in rest] == [2]


@pytest.mark.parametrize("split_after", [-1, 6])
def test_a_split_outside_the_drawing_is_refused(split_after: int):
    with pytest.raises(ValueError, match=rf"split_after must be in \[0, 5\], got {split_after}"):
        split_given(fit_to_canvas(STROKE3), 5, split_after)
