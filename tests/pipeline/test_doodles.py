"""The generated drawings: their schema, their determinism, and that they vary."""

from __future__ import annotations

import hashlib
import json
import re
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.doodles import CATEGORIES, generate, generate_raw
from pipeline.doodles.dice import keyed_uniforms
from pipeline.simplification import simplify
from tests.pipeline.raw_drawings import to_columns, to_lists

FIELDS = {
    "word": str,
    "countrycode": str,
    "timestamp": str,
    "recognized": bool,
    "key_id": str,
    "drawing": list,
}
# Of the first 20 lines of each category with seed 0. A change here is a change of VERSION.
GOLDEN_SHA256 = "8bf66a381339fcfccd555aaa504743efea510c7f602636ce0157b5a31a69a265"
COLUMNS_OF_FORMS = [("simplified", 2, int), ("raw", 3, float)]


def draw(category: str, num: int, seed: int = 0, start: int = 0) -> list[dict[str, Any]]:
    return [json.loads(line) for line in generate(category, num, seed, start)]


def check_schema(line: dict[str, Any], num_columns: int, coordinate: type) -> None:
    assert {name: type(value) for name, value in line.items()} == FIELDS
    assert list(line) == list(FIELDS)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{1,5} UTC", line["timestamp"])
    assert re.fullmatch(r"[1-9]\d{15}", line["key_id"])
    assert re.fullmatch(r"[A-Z]{2}", line["countrycode"])
    for stroke in line["drawing"]:
        assert len(stroke) == num_columns
        assert {len(column) for column in stroke} == {len(stroke[0])}
        assert {type(value) for column in stroke[:2] for value in column} <= {coordinate, int}
        assert {type(value) for column in stroke[2:] for value in column} <= {int}


@pytest.mark.parametrize("category", CATEGORIES)
def test_simplified_lines_have_the_official_schema_and_form(category: str) -> None:
    for line in draw(category, 100):
        check_schema(line, 2, int)
        assert line["word"] == category
        assert line["countrycode"] == "ZZ"
        points = np.concatenate([np.array(stroke) for stroke in line["drawing"]], axis=1)
        # Simplifying comes after scaling, and may take the outermost point: here as in real files.
        assert 0 <= points.min(axis=1).min() <= points.min(axis=1).max() <= 3
        assert 252 <= points.max() <= 255
        assert len(line["drawing"]) >= 2


@pytest.mark.parametrize("category", CATEGORIES)
def test_simplified_drawing_is_the_simplification_of_the_raw_one(category: str) -> None:
    raw = [json.loads(line) for line in generate_raw(category, 80, 3)]
    simplified = draw(category, 80, 3)
    for line in raw:
        check_schema(line, 3, float)
        times = [time for stroke in line["drawing"] for time in stroke[2]]
        assert times[0] == 0
        assert (np.diff(times) > 0).all()
    assert [line["key_id"] for line in raw] == [line["key_id"] for line in simplified]
    expected = to_lists(simplify(to_columns([line["drawing"] for line in raw])))
    assert list(expected) == [line["drawing"] for line in simplified]


def test_drawing_does_not_depend_on_where_the_stream_starts() -> None:
    lines = list(generate("garden", 150, 5))
    assert list(generate("garden", 77, 5, start=73)) == lines[73:]
    assert [next(generate("garden", 1, 5, start=i)) for i in range(10)] == lines[:10]


def test_drawings_are_the_same_everywhere() -> None:
    digest = hashlib.sha256()
    for category in CATEGORIES:
        digest.update(b"".join(generate(category, 20, 0)))
    assert digest.hexdigest() == GOLDEN_SHA256


def test_no_two_drawings_are_equal() -> None:
    lines = [line for category in CATEGORIES for line in draw(category, 200)]
    lines += draw("cat", 200, seed=1)
    assert len({str(line["drawing"]) for line in lines}) == len(lines)
    assert len({line["key_id"] for line in lines}) == len(lines)


@pytest.mark.parametrize("category", CATEGORIES)
def test_drawings_vary_in_length_order_and_proportions(category: str) -> None:
    drawings = [line["drawing"] for line in draw(category, 200)]
    num_points = [sum(len(stroke[0]) for stroke in drawing) for drawing in drawings]
    assert 20 <= np.mean(num_points) <= 60
    assert max(num_points) < 150
    assert np.std(num_points) > 2
    assert 3 <= np.mean([len(drawing) for drawing in drawings]) <= 12
    assert len({len(drawing) for drawing in drawings}) >= 2
    sides = [np.concatenate(drawing, axis=1).max(axis=1) for drawing in drawings]
    assert np.std([height / width for width, height in sides]) > 0.03
    # Where the first stroke lies says in which order, or which way, the drawing was begun.
    assert np.std([drawing[0][0][0] for drawing in drawings]) > 10


def test_about_a_twentieth_was_not_recognized() -> None:
    recognized = [line["recognized"] for line in draw("sun", 2000)]
    assert 0.03 < 1 - np.mean(recognized) < 0.07


def test_unknown_category_names_the_nearest_and_all() -> None:
    with pytest.raises(ValueError, match=r"'cats'.*'cat'.*backpack"):
        generate("cats", 1, 0)


@pytest.mark.parametrize(("num", "start"), [(-1, 0), (1, -1)])
def test_negative_numbers_are_refused(num: int, start: int) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        generate("cat", num, 0, start)


def test_uniforms_belong_to_their_drawing() -> None:
    uniforms = keyed_uniforms("name", 0, 100, 8)
    np.testing.assert_array_equal(keyed_uniforms("name", 40, 20, 8), uniforms[40:60])
    assert len(np.unique(uniforms)) == uniforms.size
    assert abs(keyed_uniforms("name", 0, 20_000, 4).mean() - 0.5) < 0.005
    assert (keyed_uniforms("other", 0, 100, 8) != uniforms).all()


@pytest.mark.real_data
@pytest.mark.parametrize(("form", "num_columns", "coordinate"), COLUMNS_OF_FORMS)
def test_schema_is_that_of_real_lines(
    quickdraw_root: Path, form: str, num_columns: int, coordinate: type
) -> None:
    with (quickdraw_root / "full" / form / "cat.ndjson").open() as lines:
        for line in islice(lines, 200):
            check_schema(json.loads(line), num_columns, coordinate)
