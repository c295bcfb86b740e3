"""Google's steps from raw to simplified: by hand, by a slow program, and by Google's own files."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.doodles import generate_raw
from pipeline.simplification import Drawings, simplify
from tests.pipeline.raw_drawings import to_columns, to_lists

Point = tuple[float, float]
Drawing = list[list[list[float]]]

# Whole numbers in a small range make points that coincide, lie in a row, and are equally far away.
COORDINATES = st.one_of(
    st.integers(0, 8).map(float),
    st.integers(-2000, 2000).map(lambda value: value / 4),
    st.floats(-1e4, 1e4, width=32),
)
STROKES = st.integers(1, 8).flatmap(
    lambda num: st.lists(st.lists(COORDINATES, min_size=num, max_size=num), min_size=2, max_size=2)
)
DRAWINGS = st.lists(STROKES, min_size=1, max_size=3)


def simplify_one(drawing: Drawing) -> list[list[list[int]]]:
    return next(to_lists(simplify(to_columns([drawing]))))


def norm(dx: float, dy: float) -> float:
    """The first product is not rounded."""
    return math.sqrt(Fraction(dx) ** 2 + Fraction(dy * dy))


def resample(points: list[Point]) -> list[Point]:
    samples, pixel, travel = [points[0]], 1, 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        length = math.sqrt((x1 - x0) * (x1 - x0) + (y1 - y0) * (y1 - y0))
        while pixel < travel + length:
            t = (pixel - travel) / length
            samples.append(((1 - t) * x0 + t * x1, (1 - t) * y0 + t * y1))
            pixel += 1
        travel += length
    return [*samples, points[-1]]


def reduce(points: list[Point]) -> list[Point]:
    """Ramer-Douglas-Peucker as it is written in books."""
    (x0, y0), (x1, y1) = points[0], points[-1]
    chord = norm(x1 - x0, y1 - y0)

    def distance(point: Point) -> float:
        dx, dy = point[0] - x0, point[1] - y0
        return abs(dx * (y1 - y0) - dy * (x1 - x0)) / chord if chord else norm(dx, dy)

    distances = [distance(point) for point in points]
    farthest = distances.index(max(distances))
    if distances[farthest] <= 2.0:
        return [points[0], points[-1]]
    return reduce(points[: farthest + 1])[:-1] + reduce(points[farthest:])


def simplify_slowly(drawing: Drawing) -> list[list[list[int]]]:
    low = [min(value for stroke in drawing for value in stroke[axis]) for axis in (0, 1)]
    high = [max(value for stroke in drawing for value in stroke[axis]) for axis in (0, 1)]
    side = max(high[0] - low[0], high[1] - low[1]) or 1.0
    simplified = []
    for stroke in drawing:
        x, y = ([(value - low[axis]) * 255 / side for value in stroke[axis]] for axis in (0, 1))
        points = reduce(resample(list(zip(x, y, strict=True))))
        simplified.append([[round(point[axis]) for point in points] for axis in (0, 1)])
    return simplified


def test_by_hand() -> None:
    """A right angle, a stroke on one spot and a single point, from a side of 51 to one of 255."""
    raw = [[[10, 61, 61], [20, 20, 41]], [[30, 30, 30], [40, 40, 40]], [[20], [21]]]
    assert simplify_one(raw) == [
        [[0, 255, 255], [0, 0, 105]],
        [[100, 100], [100, 100]],
        [[50, 50], [5, 5]],
    ]


def test_drawing_on_one_spot_is_two_points() -> None:
    assert simplify_one([[[7.5], [-3.0]]]) == [[[0, 0], [0, 0]]]


def test_what_lies_within_two_pixels_of_the_line_is_dropped() -> None:
    near = [[0, 100, 255], [0, 1.9, 0]]
    far = [[0, 100, 255], [10, 12.1, 10]]
    assert simplify_one([near, far]) == [[[0, 255], [0, 0]], [[0, 100, 255], [10, 12, 10]]]
    assert simplify_one([[[0, 0, 255, 255], [0, 2, 2, 0]]]) == [[[0, 255], [0, 0]]]


def test_closed_stroke_keeps_its_corners() -> None:
    closed = [[0, 255, 255, 0, 0], [0, 0, 255, 255, 0]]
    assert simplify_one([closed]) == [closed]


def test_distance_is_to_the_line_and_not_to_the_chord() -> None:
    """The pen overshoots the end by 50 pixels and comes back."""
    assert simplify_one([[[0, 255, 205], [0, 0, 0]]]) == [[[0, 205], [0, 0]]]


@pytest.mark.parametrize(("value", "rounded"), [(0.5, 0), (1.5, 2), (126.5, 126), (127.5, 128)])
def test_halves_are_rounded_to_even(value: float, rounded: int) -> None:
    assert simplify_one([[[0, 255], [0, 0]], [[value], [0]]])[1] == [[rounded] * 2, [0, 0]]


def walk(rng: Random) -> Drawing:
    """Whole numbers, as most raw drawings have them, and a pen that turns slowly."""
    drawing = []
    for _ in range(rng.randint(1, 3)):
        x, y, dx, dy = [rng.randint(0, 60)], [rng.randint(0, 60)], 0, 0
        for _ in range(rng.randint(3, 40)):
            dx = max(-12, min(12, dx + rng.randint(-3, 3)))
            dy = max(-12, min(12, dy + rng.randint(-3, 3)))
            x.append(x[-1] + dx)
            y.append(y[-1] + dy)
        drawing.append(maybe_close(rng, x, y))
    return drawing


def jump(rng: Random) -> Drawing:
    """Few points on a coarse grid."""
    drawing = []
    for _ in range(rng.randint(1, 3)):
        num = rng.randint(2, 9)
        x, y = ([rng.randint(0, 6) for _ in range(num)] for _ in range(2))
        drawing.append(maybe_close(rng, x, y))
    return drawing


def maybe_close(rng: Random, x: list[float], y: list[float]) -> list[list[float]]:
    return [[*x, x[0]], [*y, y[0]]] if rng.random() < 0.3 else [x, y]


# Among the latter seeds are drawings that tell which product is left unrounded, what the order
# of the operations is, which of equally distant samples is kept, and what is surely near.
WALKS = [(walk, seed) for seed in [*range(80), 286, 366, 813, 1213, 2998]]
JUMPS = [(jump, seed) for seed in [*range(80), 855, 944, 2781, 3832]]


@pytest.mark.parametrize("seeds", [WALKS, JUMPS], ids=["walk", "jump"])
def test_equals_the_slow_program_to_the_last_bit(
    seeds: list[tuple[Callable[[Random], Drawing], int]],
) -> None:
    drawings = [draw(Random(seed)) for draw, seed in seeds]
    expected = [simplify_slowly(drawing) for drawing in drawings]
    assert list(to_lists(simplify(to_columns(drawings)))) == expected


@settings(max_examples=150)
@given(DRAWINGS)
def test_equals_the_slow_program(drawing: Drawing) -> None:
    assert simplify_one(drawing) == simplify_slowly(drawing)


def test_equals_the_slow_program_on_what_a_hand_draws() -> None:
    drawings = [orjson.loads(line)["drawing"] for line in generate_raw("cat", 40, 0)]
    expected = [simplify_slowly(drawing) for drawing in drawings]
    assert list(to_lists(simplify(to_columns(drawings)))) == expected


def test_result_does_not_depend_on_the_neighbours() -> None:
    drawings = [orjson.loads(line)["drawing"] for line in generate_raw("face", 300, 0)]
    alone = [simplify_one(drawing) for drawing in drawings]
    assert list(to_lists(simplify(to_columns(drawings)))) == alone
    assert list(to_lists(simplify(to_columns(drawings[::-1])))) == alone[::-1]


def test_columns_may_be_a_part_of_larger_ones() -> None:
    raw = to_columns([[[[0, 3, 9], [0, 8, 1]]], [[[5, 6], [2, 2]]]])
    rows = np.asfortranarray(np.vstack([raw.points, np.arange(5.0)]))
    part = Drawings(rows[:2], raw.points_per_stroke, raw.strokes_per_drawing)
    assert list(to_lists(simplify(part))) == list(to_lists(simplify(raw)))


def test_no_drawings() -> None:
    none = np.zeros(0, dtype=np.int64)
    assert simplify(Drawings(np.zeros((2, 0)), none, none)).points.shape == (2, 0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2e300])
def test_coordinates_that_overflow_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"within \+-1e\+300"):
        simplify_one([[[0.0, value, 1.0], [0.0, 1.0, 2.0]]])


def test_largest_and_smallest_coordinates() -> None:
    assert simplify_one([[[-1e300, 1e300], [0, 0]]]) == [[[0, 255], [0, 0]]]
    assert simplify_one([[[0, 5e-324], [0, 0]]]) == [[[0, 255], [0, 0]]]


def test_stroke_of_100_000_points() -> None:
    """Twenty times round a circle, in steps of a sixth of a pixel."""
    angle = np.arange(100_000) * (2 * np.pi / 5000)
    simplified = simplify_one([[np.cos(angle).tolist(), np.sin(angle).tolist()]])[0]
    radius = np.hypot(*(np.array(simplified) - 127.5))
    np.testing.assert_allclose(radius, 127.5, atol=0.75)
    # A chord over 20 degrees is 2 pixels away from its arc; halving makes arcs of 10 and more.
    assert 20 * 18 <= len(radius) <= 20 * 36


@pytest.mark.parametrize("direction", [1, -1])
def test_cuts_may_nest_deeper_than_calls(direction: int) -> None:
    """The teeth of a saw get shorter, so that a cut takes no more than a tooth off its end."""
    num = 3000
    tooth = np.arange(num)
    x = np.repeat(tooth * 255 / num, 2)[::direction]
    y = np.stack([np.zeros(num), 255 - tooth * 200 / num], axis=1).ravel()[::direction]
    simplified = simplify_one([[x.tolist(), y.tolist()]])[0]
    assert len(simplified[0]) > 2 * sys.getrecursionlimit()


PEAK_MEMORY = """
import resource
import numpy as np
from pipeline.simplification import Drawings, simplify
def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
def zigzags(num):
    points = np.tile(np.arange(40.0) % 2, (2, num))
    return Drawings(points, np.full(num, 40), np.full(num, 1))
simplify(zigzags(1))
before = peak_mb()
simplify(zigzags(2000))
print(peak_mb() - before)
"""


def test_memory_is_that_of_one_stroke() -> None:
    """The samples of all strokes, 28 million, would take 450 MB and more."""
    command = [sys.executable, "-c", PEAK_MEMORY]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 50


def read_pairs(root: Path) -> Iterator[tuple[Drawing, Drawing]]:
    """Raw and simplified drawings of the same key_id."""
    for path in sorted((root / "full" / "raw").glob("*.ndjson")):
        simplified = {}
        with (root / "full" / "simplified" / path.name).open("rb") as lines:
            for line in map(orjson.loads, lines):
                simplified[line["key_id"]] = line["drawing"]
        with path.open("rb") as lines:
            for line in map(orjson.loads, lines):
                if line["key_id"] in simplified:
                    yield line["drawing"], simplified[line["key_id"]]


@pytest.mark.real_data
def test_real_raw_drawings_become_the_official_ones(quickdraw_root: Path) -> None:
    raw, official = zip(*read_pairs(quickdraw_root), strict=True)
    assert len(raw) > 7000
    ours = to_lists(simplify(to_columns(list(raw))))
    differing = sum(one != other for one, other in zip(ours, official, strict=True))
    assert differing == 0, f"{differing} of {len(raw)} differ"
