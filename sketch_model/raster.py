"""Drawings as pixels, with the geometry of the SVG renderer; needs Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sketch_model.geometry import CANVAS, LINE_WIDTH, check_grid, fit_to_canvas, split_given

INK = (29, 29, 31)
PAPER = (255, 255, 255)
GIVEN_INK = (217, 98, 43)
RULE = (228, 226, 221)

_SUPERSAMPLING = 4
_PADDING = 8
_TITLE_SIZE = 18
_CAPTION_SIZE = 14


def draw(stroke3: NDArray[Any], size: int = 128, *, split_after: int | None = None) -> Image.Image:
    """One drawing, anti-aliased, dark on white.

    Args:
        stroke3: [L, 3], any unit; L = 0 gives an empty square.
        size: side of the picture, in pixels.
        split_after: rows that were given to a model; they get a colour of their own.

    Raises:
        ValueError: if `stroke3` is malformed, or `split_after` exceeds its rows.
    """
    given, rest = split_given(fit_to_canvas(stroke3), len(stroke3), split_after or 0)
    picture = Image.new("RGB", (size * _SUPERSAMPLING, size * _SUPERSAMPLING), PAPER)
    pen = ImageDraw.Draw(picture)
    pixels_per_unit = size * _SUPERSAMPLING / CANVAS
    width = max(LINE_WIDTH * pixels_per_unit, float(_SUPERSAMPLING))  # never thinner than one pixel
    for polylines, colour in ((rest, INK), (given, GIVEN_INK)):
        for line in polylines:
            _draw_stroke(pen, line * pixels_per_unit, width, colour)
    return picture.reduce(_SUPERSAMPLING)


def grid(
    rows: Sequence[Sequence[NDArray[Any]]],
    *,
    row_captions: Sequence[str] = (),
    column_captions: Sequence[str] = (),
    title: str = "",
    split_after: Sequence[Sequence[int]] = (),
    cell_size: int = 112,
) -> Image.Image:
    """Drawings in rows and columns, with captions in the letters of Pillow's own font (Latin).

    Args:
        rows: stroke-3 drawings; rows may be of different lengths.
        row_captions: left of each row, or empty for none.
        column_captions: above each column, or empty for none.
        title: above everything.
        split_after: for each drawing, the rows of it that were given; empty if none were.
        cell_size: side of a cell, in pixels.

    Raises:
        ValueError: if there is no drawing, captions do not match, or a drawing is malformed.
    """
    num_columns = check_grid(rows, row_captions, column_captions)
    title_font = ImageFont.load_default(_TITLE_SIZE)
    font = ImageFont.load_default(_CAPTION_SIZE)
    left = _PADDING + max((_text_width(font, caption) for caption in row_captions), default=0)
    column_top = _PADDING + (2 * _TITLE_SIZE if title else 0)
    top = column_top + (2 * _CAPTION_SIZE if column_captions else 0)
    width = max(left + num_columns * cell_size, _text_width(title_font, title)) + _PADDING
    picture = Image.new("RGB", (width, top + len(rows) * cell_size + _PADDING), PAPER)
    pen = ImageDraw.Draw(picture)
    pen.text((_PADDING, _PADDING), title, INK, title_font)
    for index, caption in enumerate(column_captions):
        x = left + (index + 0.5) * cell_size
        pen.text((x, column_top + _CAPTION_SIZE), caption, INK, font, anchor="mm")
    for row_index, row in enumerate(rows):
        y = top + row_index * cell_size
        pen.line((_PADDING, y, width - _PADDING, y), RULE)
        if row_captions:
            pen.text((_PADDING, y + cell_size / 2), row_captions[row_index], INK, font, anchor="lm")
        for column, sketch in enumerate(row):
            num_given = split_after[row_index][column] if split_after else 0
            tile = draw(sketch, cell_size - 2, split_after=num_given)
            picture.paste(tile, (left + column * cell_size + 1, y + 1))
    return picture


def _draw_stroke(
    pen: ImageDraw.ImageDraw, line: NDArray[np.float32], width: float, colour: tuple[int, int, int]
) -> None:
    """Segments with a disc on every point: round caps and joins, and a dot for a single point."""
    if len(line) > 1:
        pen.line(line.flatten().tolist(), colour, round(width))
    for x, y in line.tolist():
        pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), colour)


def _text_width(font: ImageFont.FreeTypeFont | ImageFont.ImageFont, text: str) -> int:
    return round(font.getlength(text)) + 2 * _PADDING
