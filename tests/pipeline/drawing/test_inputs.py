"""Drawings of every form come in as the simplified data have them; bad ones say what is wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import UserError
from pipeline.drawing.inputs import larger_side, read_drawing
from sketch_model.strokes import stroke3_to_polylines

SIMPLE = [[[0, 255, 255], [0, 0, 100]], [[10, 20], [50, 60]]]
RAW = [[[1.5, 401.5, 401.5], [7.0, 7.0, 167.0], [0, 10, 20]], [[20.0, 36.0], [90.0, 106.0], [3, 4]]]


def write_lines(path: Path, *drawings: Any) -> None:
    lines = [json.dumps({"word": "cat", "drawing": drawing}) for drawing in drawings]
    path.write_text("\n".join(lines) + "\n")


def corners(name: str) -> list[list[list[float]]]:
    """Absolute strokes, the first point at the origin."""
    return [stroke.tolist() for stroke in stroke3_to_polylines(read_drawing(name, None).sketch)]


def test_both_forms_of_quick_draw_are_told_apart(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.ndjson", RAW, SIMPLE)
    simple = read_drawing(f"{tmp_path}/a.ndjson:2", None)
    assert corners(f"{tmp_path}/a.ndjson:2") == [np.array(s).T.tolist() for s in SIMPLE]
    assert (simple.word, simple.remarks) == ("cat", [])
    raw = read_drawing(f"{tmp_path}/a.ndjson", None)
    assert larger_side(raw.sketch) == 255
    assert "raw drawing simplified to 4 points" in raw.remarks
    with gzip.open(tmp_path / "b.ndjson.gz", "wb") as file:
        file.write((tmp_path / "a.ndjson").read_bytes())
    assert corners(f"{tmp_path}/b.ndjson.gz:2") == corners(f"{tmp_path}/a.ndjson:2")


def test_a_larger_drawing_of_another_program_is_brought_to_scale(tmp_path: Path) -> None:
    larger = [[[4 * value for value in axis] for axis in stroke] for stroke in SIMPLE]
    write_lines(tmp_path / "a.ndjson", larger)
    given = read_drawing(f"{tmp_path}/a.ndjson", None)
    assert larger_side(given.sketch) == 255
    assert given.remarks == ["brought from 1020 to 255 pixels and simplified"]


def test_a_small_drawing_is_kept_and_said_to_be_small(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.ndjson", [[[0, 28], [0, 10]]])
    given = read_drawing(f"{tmp_path}/a.ndjson", None)
    assert larger_side(given.sketch) == 28
    assert "--size" in given.remarks[0]


def test_an_svg_file_is_simplified_too(tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    path.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" fill="none" stroke="black">'
        '<path d="M0 0H1000V500"/></svg>'
    )
    assert corners(str(path)) == [[[0, 0], [255, 0], [255, 128]]]


def test_arrays_are_numbered_through(tmp_path: Path) -> None:
    sketches = [np.array([[n, 0, 0], [0, 255, 1]], np.int16) for n in range(5)]
    splits = {"train": sketches[:2], "valid": sketches[2:3], "test": sketches[3:]}
    arrays = {name: np.fromiter(values, dtype=object) for name, values in splits.items()}
    np.savez(tmp_path / "a.npz", **arrays)
    for number in range(1, 6):
        given = read_drawing(f"{tmp_path}/a.npz:{number}", None)
        assert given.sketch.tolist() == sketches[number - 1].tolist()
    with pytest.raises(UserError, match="there are 5 drawings"):
        read_drawing(f"{tmp_path}/a.npz:6", None)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.svg",
            "<svg xmlns='http://www.w3.org/2000/svg'><title>x</title></svg>",
            "no line and no",
        ),
        ("a.svg", "no svg", "not a valid SVG"),
        ("a.svg:2", "<svg/>", "an SVG file is one drawing"),
        ("a.ndjson", '{"word": "cat", "drawing": []}', "drawing missing, empty"),
        ("a.ndjson", '{"word": "cat"}', "drawing missing, empty"),
        ("a.ndjson", '{"word": 1, "drawing": [[[1], [2]]]}', "word of another"),
        ("a.ndjson", "[1, 2]", "not a JSON object"),
        ("a.ndjson", "{", "not valid JSON"),
        ("a.ndjson", '{"drawing": [[[1, 2], [1]]]}', "not two equally long"),
        ("a.ndjson:2", '{"drawing": [[[1], [2]]]}', "fewer lines"),
        ("a.ndjson:0", "", "counted from 1"),
        ("a.ndjson.gz", "no gzip", "cannot be read"),
        ("a.npz", "no zip", "not an npz file"),
    ],
)
def test_what_is_no_drawing_is_said(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name.partition(":")[0]).write_text(content)
    with pytest.raises(UserError, match=message):
        read_drawing(f"{tmp_path}/{name}", None)


def test_points_of_an_npz_file_between_pixels_are_rounded_and_their_errors_do_not_add_up(
    tmp_path: Path,
) -> None:
    rows = np.array([[100.4, 0.0, 0], [100.4, 0.0, 0], [3.4, 0.25, 1]])
    np.savez(tmp_path / "a.npz", x=np.stack([rows, rows * [2, 2, 1]]))
    given = read_drawing(f"{tmp_path}/a.npz", None)
    assert given.sketch.tolist() == [[100, 0, 0], [101, 0, 0], [3, 0, 1]]
    assert given.remarks == ["its points, which lie between pixels, were rounded to whole ones"]
    larger = read_drawing(f"{tmp_path}/a.npz:2", None)
    assert larger_side(larger.sketch) == 255
    assert len(larger.remarks) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.gif", r"does not say a drawing: give FILE\.svg"),
        ("nowhere.svg", "there is no file nowhere.svg"),
        ("id:5", "add --data MANIFEST"),
        ("test:5", "add --data MANIFEST"),
    ],
)
def test_names_that_mean_nothing_say_which_do(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_drawing(name, None)
