"""Strokes to columns, against a conversion written here point by point."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ingest.records import MAX_COORDINATE, Drawings, from_strokes

Points = list[tuple[int, int]]
STROKES = st.lists(
    st.lists(st.tuples(st.integers(-300, 300), st.integers(-300, 300)), min_size=1, max_size=6),
    min_size=1,
    max_size=4,
)


def convert(drawings: list[list[Points]], **columns: Any) -> tuple[Drawings, list[bool]]:
    strokes = [stroke for drawing in drawings for stroke in drawing]
    points = [point for stroke in strokes for point in stroke]
    found, fits = from_strokes(
        np.array(points, dtype=np.int32).reshape(-1, 2),
        np.array([len(stroke) for stroke in strokes], dtype=np.int64),
        np.array([len(drawing) for drawing in drawings], dtype=np.int64),
        **columns,
    )
    return found, fits.tolist()


def convert_slowly(drawing: list[Points]) -> list[list[int]]:
    rows, before = [], None
    for stroke in drawing:
        for index, (x, y) in enumerate(stroke):
            lifted = int(index == len(stroke) - 1)
            if before is not None or lifted:
                origin = before or (x, y)
                rows.append([x - origin[0], y - origin[1], lifted])
            before = (x, y)
    return rows


def sketches(drawings: Drawings) -> list[list[list[int]]]:
    return [part.points.tolist() for part in drawings.slices(1)]


@settings(max_examples=100)
@given(st.lists(STROKES, max_size=5))
def test_agrees_with_the_slow_conversion(drawings: list[list[Points]]) -> None:
    found, fits = convert(drawings)
    assert all(fits)
    assert sketches(found) == [convert_slowly(drawing) for drawing in drawings]
    assert found.num_strokes.tolist() == [len(drawing) for drawing in drawings]
    assert found.ids.tolist() == found.hashes.tolist()
    for place, drawing in enumerate(drawings):
        alone, _ = convert([drawing])
        assert (alone.hashes[0], alone.shapes[0]) == (found.hashes[place], found.shapes[place])


def test_what_does_not_fit_is_left_out_and_named() -> None:
    far = MAX_COORDINATE
    good: list[Points] = [[(1, 2), (3, 4)]]
    bad: list[list[Points]] = [
        [],
        [[(0, 0)], []],
        [[(far + 1, 0)]],
        [[(0, 0), (0, -far - 1)]],
        [[(-20_000, 0)], [(20_000, 0)]],
        [[(2**31 - 1, 0), (-(2**31), 0)]],
    ]
    mixed = [good]
    for drawing in bad:
        mixed += [drawing, good]
    ids = np.arange(len(mixed), dtype=np.uint64)
    found, fits = convert(mixed, ids=ids)
    assert fits == [place % 2 == 0 for place in range(len(mixed))]
    assert sketches(found) == [[[2, 2, 1]]] * (len(bad) + 1)
    assert found.ids.tolist() == list(range(0, len(mixed), 2))
    kept, _ = convert([[[(-far, 0), (0, far), (0, 0)]]])
    assert sketches(kept) == [[[far, far, 0], [0, -far, 1]]]


def test_equal_strokes_have_equal_hashes_wherever_they_are() -> None:
    drawings: list[list[Points]] = [
        [[(1, 1), (5, 9)], [(7, 7)]],
        [[(11, 21), (15, 29)], [(17, 27)]],  # moved
        [[(1, 1), (5, 9), (7, 7)]],  # another pen
        [[(1, 1), (5, 9)], [(7, 8)]],
        [[(1, 1), (9, 5)], [(7, 7)]],
    ]
    hashes = convert(drawings)[0].hashes.tolist()
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 4


def test_an_id_of_its_own_goes_before_the_hash() -> None:
    drawings: list[list[Points]] = [[[(1, 1)]], [[(1, 1), (2, 2)]]]
    found, _ = convert(
        drawings, ids=np.array([5, 0], dtype=np.uint64), has_id=np.array([True, False])
    )
    assert found.ids.tolist() == [5, found.hashes[1]]


def test_near_duplicates_have_one_shape() -> None:
    rng = np.random.default_rng(0)
    corners = np.array([[20, 20], [230, 24], [236, 240], [18, 236]])
    shapes = []
    for _ in range(50):
        moved = (corners + rng.integers(-3, 4, corners.shape)) * rng.uniform(0.5, 1.0)
        shapes.append(convert([[[tuple(point) for point in moved.astype(int).tolist()]]])[0].shapes)
    assert len(np.unique(shapes)) < 5
    other, _ = convert([[[(20, 20), (230, 24), (128, 128), (18, 236)]]])
    two_strokes, _ = convert([[[(20, 20), (230, 24)], [(236, 240), (18, 236)]]])
    assert not {*other.shapes.tolist(), *two_strokes.shapes.tolist()} & set(np.ravel(shapes))


def test_taking_and_slicing() -> None:
    rng = np.random.default_rng(0)
    drawings = [[[tuple(p) for p in rng.integers(0, 9, (n, 2)).tolist()]] for n in range(1, 30)]
    found, _ = convert(drawings, recognized=np.arange(29).astype(np.int8))
    order = rng.permutation(29)
    assert sketches(found.take(order)) == [convert_slowly(drawings[place]) for place in order]
    assert found.take(order).recognized.tolist() == order.tolist()
    parts = list(found.slices(7))
    assert [len(part) for part in parts] == [7, 7, 7, 7, 1]
    assert sketches(Drawings.concatenate(parts)) == sketches(found)
    assert len(found.take(np.array([], dtype=np.int64))) == 0


@pytest.mark.parametrize("num", [0, 1])
def test_few_drawings(num: int) -> None:
    found, fits = convert([[[(3, 4)]]] * num)
    assert sketches(found) == [[[0, 0, 1]]] * num
    assert fits == [True] * num
    assert (found.points.dtype, found.points.shape[1]) == (np.int16, 3)
