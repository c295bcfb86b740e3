"""Drawings as SVG text, without any dependency.

Lines take `currentColor`, so a page decides about light and dark. What was given to a model to
complete has the class `given` and a colour of its own, which a style sheet may replace.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from numpy.typing import NDArray

from sketch_model.geometry import (
    CANVAS,
    LINE_WIDTH,
    Polylines,
    check_grid,
    fit_to_canvas,
    split_given,
)

GIVEN_COLOUR = "#d9622b"

_CAPTION_HEIGHT = 40
# The paper is painted: a viewer may prefer dark and still show pictures on a white page.
_GRID_STYLE = (
    "svg{color:#1d1d1f}.paper{fill:#fffefb}"
    "text{font:15px system-ui,sans-serif;fill:currentColor}"
    "@media(prefers-color-scheme:dark){svg{color:#ece9e2}.paper{fill:#1d1d20}}"
)


def sketch_to_svg(stroke3: NDArray[Any], *, split_after: int | None = None, title: str = "") -> str:
    """One drawing as a square `<svg>` element that fills the box it is put in.

    Args:
        stroke3: [L, 3], any unit; L = 0 gives an empty square.
        split_after: rows that were given; they get the class `given`.
        title: what a screen reader says; without one the drawing counts as decoration.

    Raises:
        ValueError: if `stroke3` is malformed, or `split_after` exceeds its rows.
    """
    label = f' role="img"><title>{escape(title)}</title>' if title else ' aria-hidden="true">'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {CANVAS} {CANVAS}"{label}'
        f"{_paths(stroke3, split_after)}</svg>"
    )


def grid_to_svg(
    rows: Sequence[Sequence[NDArray[Any]]],
    *,
    row_captions: Sequence[str] = (),
    column_captions: Sequence[str] = (),
    cell_size: int = 120,
    row_caption_width: int = 120,
) -> str:
    """Drawings in rows and columns as one SVG file that is readable on light and dark.

    Args:
        rows: stroke-3 drawings; rows may be of different lengths.
        row_captions: left of each row, or empty for none.
        column_captions: above each column, or empty for none.
        cell_size: side of a cell, in pixels.
        row_caption_width: in pixels.

    Raises:
        ValueError: if there is no drawing, captions do not match, or a drawing is malformed.
    """
    num_columns = check_grid(rows, row_captions, column_captions)
    left = row_caption_width if row_captions else 0
    top = _CAPTION_HEIGHT if column_captions else 0
    width, height = left + num_columns * cell_size, top + len(rows) * cell_size
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}"><style>{_GRID_STYLE}</style>'
        '<rect class="paper" width="100%" height="100%" rx="8"/>'
    ]
    for index, caption in enumerate(column_captions):
        x = left + (index + 0.5) * cell_size
        parts.append(f'<text x="{x:g}" y="26" text-anchor="middle">{escape(caption)}</text>')
    for index, caption in enumerate(row_captions):
        y = top + (index + 0.5) * cell_size + 5
        parts.append(f'<text x="8" y="{y:g}">{escape(caption)}</text>')
    for row_index, row in enumerate(rows):
        for column, sketch in enumerate(row):
            parts.append(
                f'<svg x="{left + column * cell_size}" y="{top + row_index * cell_size}"'
                f' width="{cell_size}" height="{cell_size}" viewBox="0 0 {CANVAS} {CANVAS}">'
                f"{_paths(sketch, None)}</svg>"
            )
    return "\n".join([*parts, "</svg>\n"])


def _paths(stroke3: NDArray[Any], split_after: int | None) -> str:
    given, rest = split_given(fit_to_canvas(stroke3), len(stroke3), split_after or 0)
    pen = f'fill="none" stroke-width="{LINE_WIDTH}" stroke-linecap="round" stroke-linejoin="round"'
    given_path = f'<path class="given" stroke="{GIVEN_COLOUR}" {pen} d="{_path_data(given)}"/>'
    rest_path = f'<path stroke="currentColor" {pen} d="{_path_data(rest)}"/>'
    return (rest_path if rest else "") + (given_path if given else "")


def _path_data(polylines: Polylines) -> str:
    """Path commands in whole canvas units; a stroke of one point is a dot of the line's width."""
    strokes = []
    for line in polylines:
        first, *others = (f"{x:.0f} {y:.0f}" for x, y in line)
        # A line of no length is drawn as its round caps alone.
        strokes.append(f"M{first}" + (f"L{' '.join(others)}" if others else "h0"))
    return "".join(strokes)
