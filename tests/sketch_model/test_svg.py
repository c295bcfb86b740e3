from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from sketch_model.svg import grid_to_svg, sketch_to_svg

NAMESPACE = "{http://www.w3.org/2000/svg}"
SQUARE = np.array([[100, 0, 0], [0, 100, 0], [-100, 0, 0], [0, -100, 1]], np.int16)


def path_points(path: ElementTree.Element) -> list[tuple[int, int]]:
    numbers = [int(number) for number in re.findall(r"-?\d+", path.attrib["d"].replace("h0", ""))]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def test_a_square_is_drawn_where_it_belongs():
    svg = ElementTree.fromstring(sketch_to_svg(SQUARE))
    (path,) = svg.findall(f"{NAMESPACE}path")
    assert svg.attrib["viewBox"] == "0 0 1000 1000"
    assert path_points(path) == [(70, 70), (930, 70), (930, 930), (70, 930), (70, 70)]
    assert path.attrib["stroke"] == "currentColor"
    assert path.attrib["fill"] == "none"
    assert path.attrib["stroke-linecap"] == path.attrib["stroke-linejoin"] == "round"


def test_what_was_given_is_a_path_of_its_own():
    svg = ElementTree.fromstring(sketch_to_svg(SQUARE, split_after=2))
    rest, given = svg.findall(f"{NAMESPACE}path")
    assert given.attrib["class"] == "given"
    assert given.attrib["stroke"] != rest.attrib["stroke"]
    assert path_points(given) == [(70, 70), (930, 70), (930, 930)]
    assert path_points(rest) == [(930, 930), (70, 930), (70, 70)]


def test_a_stroke_of_one_point_is_a_dot():
    stroke3 = np.array([[100, 0, 1], [0, 100, 1]], np.int16)
    svg = ElementTree.fromstring(sketch_to_svg(stroke3))
    (path,) = svg.findall(f"{NAMESPACE}path")
    assert path.attrib["d"] == "M70 70L930 70M930 930h0"


def test_a_drawing_without_rows_is_an_empty_square():
    assert len(ElementTree.fromstring(sketch_to_svg(np.zeros((0, 3))))) == 0


def test_titles_are_escaped():
    title = """<script>alert("x")</script> & 'y'"""
    svg = ElementTree.fromstring(sketch_to_svg(SQUARE, title=title))
    assert svg.attrib["role"] == "img"
    assert svg.findtext(f"{NAMESPACE}title") == title


def test_coordinates_that_are_not_numbers_are_refused():
    with pytest.raises(ValueError, match="finite"):
        sketch_to_svg(np.array([[np.nan, 0, 1]]))


def test_a_grid_holds_every_drawing_in_its_cell_and_escapes_captions():
    text = grid_to_svg(
        [[SQUARE, SQUARE], [SQUARE]],
        row_captions=["a<b", "c&d"],
        column_captions=["<1>", "2"],
        cell_size=50,
        row_caption_width=30,
    )
    svg = ElementTree.fromstring(text)
    cells = svg.findall(f"{NAMESPACE}svg")
    assert [(cell.attrib["x"], cell.attrib["y"]) for cell in cells] == [
        ("30", "40"),
        ("80", "40"),
        ("30", "90"),
    ]
    assert [text.text for text in svg.findall(f"{NAMESPACE}text")] == ["<1>", "2", "a<b", "c&d"]
    assert (svg.attrib["width"], svg.attrib["height"]) == ("130", "140")


def test_grids_that_do_not_fit_their_captions_are_refused():
    with pytest.raises(ValueError, match="at least one drawing"):
        grid_to_svg([[]])
    with pytest.raises(ValueError, match="column_captions must be empty or 2 captions, got 1"):
        grid_to_svg([[SQUARE, SQUARE]], column_captions=["only one"])


def test_a_grid_says_what_it_is_and_what_was_given():
    title = "</title><script>alert(1)</script>"
    text = grid_to_svg([[SQUARE, SQUARE]], title=title, split_after=[[0, 2]])
    svg = ElementTree.fromstring(text)
    assert svg.findtext(f"{NAMESPACE}title") == title
    first, second = svg.findall(f"{NAMESPACE}svg")
    assert [path.get("class") for path in first] == [None]
    assert [path.get("class") for path in second] == [None, "given"]


def test_strokes_that_draw_themselves_follow_each_other_at_one_speed():
    # A corner whose first side is given, a dot, and a line as long as the second side.
    strokes = np.array([[100, 0, 0], [0, 50, 1], [-50, 0, 1], [-50, 0, 0], [50, 0, 1]])
    text = grid_to_svg([[strokes]], split_after=[[1]], draws_itself=True)
    group, given = ElementTree.fromstring(text).find(f"{NAMESPACE}svg")
    assert given.attrib["class"] == "given"
    times = [dict(part.split(":") for part in path.attrib["style"].split(";")) for path in group]
    assert [path.attrib["class"] for path in group] == ["line", "dot", "line"]
    assert all(path.attrib["pathLength"] == "1" for path in group)
    begins = [float(time["animation-delay"].removesuffix("s")) for time in times]
    first = float(times[0]["animation-duration"].removesuffix("s"))
    last = float(times[2]["animation-duration"].removesuffix("s"))
    assert last == pytest.approx(first, abs=0.02)
    assert begins[1] - begins[0] == pytest.approx(first + 0.1, abs=0.02)
    assert begins[2] - begins[1] == pytest.approx(0.1, abs=0.02)
