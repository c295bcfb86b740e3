from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sketch_model.geometry import CANVAS, LINE_WIDTH, MARGIN
from sketch_model.raster import GIVEN_INK, INK, PAPER, draw, grid

SQUARE = np.array([[100, 0, 0], [0, 100, 0], [-100, 0, 0], [0, -100, 1]], np.int16)


def pixel(picture: Image.Image, x: float, y: float) -> tuple[int, ...]:
    """Colour at a point of the canvas."""
    per_unit = picture.width / CANVAS
    colour = picture.getpixel((int(x * per_unit), int(y * per_unit)))
    assert isinstance(colour, tuple)
    return colour


def test_a_square_is_inked_along_its_sides_and_nowhere_else():
    picture = draw(SQUARE, 500)
    assert picture.size == (500, 500)
    far = CANVAS - MARGIN
    for x, y in ((500, MARGIN), (far, 500), (500, far), (MARGIN, 500)):
        assert pixel(picture, x, y) == INK
    for x, y in ((500, 500), (500, MARGIN / 2), (far + MARGIN / 2, 500)):
        assert pixel(picture, x, y) == PAPER
    inked = (np.asarray(picture.convert("L")) < 128).mean() * CANVAS**2
    assert inked == pytest.approx(4 * (far - MARGIN) * LINE_WIDTH, rel=0.1)


def test_edges_are_anti_aliased():
    slanted = draw(np.array([[100, 37, 1]]), 100)
    assert len(np.unique(np.asarray(slanted.convert("L")))) > 10


def test_a_line_is_never_thinner_than_a_pixel():
    picture = np.asarray(draw(SQUARE, 20).convert("L"))
    assert picture[10].min() < 128


def test_what_was_given_has_a_colour_of_its_own():
    picture = draw(SQUARE, 500, split_after=2)
    assert pixel(picture, 500, MARGIN) == GIVEN_INK
    assert pixel(picture, 500, CANVAS - MARGIN) == INK


def test_a_dot_is_round_and_in_the_middle():
    picture = draw(np.array([[0, 0, 1]]), 1000)
    ys, xs = np.nonzero(np.asarray(picture.convert("L")) < 128)
    assert (xs.mean(), ys.mean()) == (pytest.approx(500, abs=1), pytest.approx(500, abs=1))
    assert len(xs) == pytest.approx(np.pi / 4 * LINE_WIDTH**2, rel=0.15)


def test_a_drawing_without_rows_is_blank():
    assert np.asarray(draw(np.zeros((0, 3)), 40)).min() == 255


def test_a_grid_shows_each_drawing_in_its_cell():
    dot = np.array([[0, 0, 1]])
    picture = grid([[SQUARE, dot], [dot]], row_captions=["a", "b"], cell_size=60)
    right, bottom = picture.width - 8, picture.height - 8
    cell_of_square = picture.crop((right - 120 + 1, bottom - 120 + 1, right - 60 - 1, bottom - 61))
    np.testing.assert_array_equal(np.asarray(cell_of_square), np.asarray(draw(SQUARE, 58)))
    empty_cell = picture.crop((right - 58, bottom - 58, right, bottom))
    assert np.asarray(empty_cell).min() == 255


def test_captions_and_title_take_room_and_ink():
    plain = grid([[SQUARE]], cell_size=60)
    full = grid(
        [[SQUARE]],
        row_captions=["cat"],
        column_captions=["0.5"],
        title="A long title",
        cell_size=60,
    )
    assert full.width > plain.width
    assert full.height > plain.height
    assert np.asarray(full.crop((0, 0, full.width, 30)).convert("L")).min() < 128


def test_grids_that_do_not_fit_their_captions_are_refused():
    with pytest.raises(ValueError, match="row_captions must be empty or 1 captions, got 2"):
        grid([[SQUARE]], row_captions=["a", "b"])


def test_a_grid_colours_what_was_given():
    picture = grid([[SQUARE, SQUARE]], split_after=[[0, 4]], cell_size=100)
    for left, ink in ((8, INK), (108, GIVEN_INK)):
        colours = picture.crop((left, 8, left + 100, 108)).getcolors(10_000)
        assert {INK, GIVEN_INK} & {colour for _, colour in colours} == {ink}
