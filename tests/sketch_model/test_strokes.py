from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sketch_model.strokes import (
    polylines_to_stroke3,
    stroke3_to_polylines,
    stroke5_to_stroke3,
    validate_stroke3,
)


def test_the_first_point_is_the_origin_and_not_stored():
    strokes = [np.array([[10, 20], [13, 24], [13, 20]]), np.array([[0, 0], [1, 1]])]
    stroke3 = polylines_to_stroke3(strokes)
    assert stroke3.tolist() == [[3, 4, 0], [0, -4, 1], [-13, -20, 0], [1, 1, 1]]
    assert stroke3.dtype == np.int16


def test_a_first_stroke_of_one_point_keeps_its_pen_lift():
    stroke3 = polylines_to_stroke3([np.array([[5, 5]]), np.array([[8, 9], [9, 9]])])
    assert stroke3.tolist() == [[0, 0, 1], [3, 4, 0], [1, 0, 1]]


def test_a_later_stroke_of_one_point_is_one_row():
    stroke3 = polylines_to_stroke3([np.array([[0, 0], [1, 0]]), np.array([[7, 7]])])
    assert stroke3.tolist() == [[1, 0, 1], [6, 7, 1]]


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.float32, np.float64])
def test_polylines_survive_the_round_trip_up_to_where_they_begin(dtype: type):
    generator = np.random.default_rng(0)
    for _ in range(300):
        num_points = generator.integers(1, 8, size=generator.integers(1, 6))
        strokes = [generator.integers(0, 256, (num, 2)).astype(dtype) for num in num_points]
        stroke3 = polylines_to_stroke3(strokes)
        assert stroke3.dtype == (np.int16 if np.issubdtype(dtype, np.integer) else np.float32)
        back = stroke3_to_polylines(stroke3)
        origin = strokes[0][0].astype(float)
        assert len(back) == len(strokes)
        for got, expected in zip(back, strokes, strict=True):
            np.testing.assert_array_equal(got, expected - origin)


def test_an_unfinished_last_stroke_is_kept():
    polylines = stroke3_to_polylines(np.array([[1, 0, 1], [1, 0, 0], [1, 0, 0]]))
    assert [stroke.tolist() for stroke in polylines] == [[[0, 0], [1, 0]], [[2, 0], [3, 0]]]
    assert polylines[0].dtype == np.float32


def test_stroke5_ends_at_its_first_end_token():
    stroke5 = np.array([[1, 2, 1, 0, 0], [3, 4, 0, 1, 0], [0, 0, 0, 0, 1], [9, 9, 1, 0, 0]])
    assert stroke5_to_stroke3(stroke5).tolist() == [[1, 2, 0], [3, 4, 1]]
    assert stroke5_to_stroke3(stroke5).dtype == np.float32


def test_stroke5_without_an_end_token_is_kept_whole():
    assert len(stroke5_to_stroke3(np.array([[1, 2, 1, 0, 0]] * 4))) == 4


def test_stroke5_that_ends_at_once_is_empty():
    """The reference takes an end in row 0 for no end at all and keeps everything."""
    assert stroke5_to_stroke3(np.array([[0, 0, 0, 0, 1], [1, 1, 1, 0, 0]])).shape == (0, 3)


@pytest.mark.parametrize(
    ("strokes", "message"),
    [
        ([], "at least one stroke"),
        ([np.zeros((2, 2)), np.zeros((0, 2))], r"stroke 1 must be \[K, 2\] with K >= 1"),
        ([np.zeros((2, 3))], r"stroke 0 must be \[K, 2\].*got \[2, 3\]"),
        ([np.array([[0, 0], [40_000, 0]])], "within int16, got 40000; scale"),
    ],
)
def test_bad_polylines_are_refused(strokes: list[NDArray[np.generic]], message: str):
    with pytest.raises(ValueError, match=message):
        polylines_to_stroke3(strokes)


@pytest.mark.parametrize(
    ("stroke3", "message"),
    [
        (np.zeros((4, 2)), r"\[L, 3\], got \[4, 2\]"),
        (np.zeros(3), r"\[L, 3\], got \[3\]"),
        (np.zeros((0, 3)), "at least one row"),
        (np.array([[0.0, np.nan, 1.0]]), "finite"),
        (np.array([[0.0, np.inf, 1.0]]), "finite"),
        (np.array([[0, 0, 1], [0, 0, 3]]), "must be 0 or 1, got 3"),
    ],
)
def test_bad_stroke3_is_refused(stroke3: NDArray[np.generic], message: str):
    with pytest.raises(ValueError, match=message):
        validate_stroke3(stroke3)


def test_bad_stroke5_is_refused():
    with pytest.raises(ValueError, match=r"\[T, 5\], got \[2, 3\]"):
        stroke5_to_stroke3(np.zeros((2, 3)))
