"""Drawings as SVG text, without any dependency.

Lines take `currentColor`, so a page decides about light and dark. What was given to a model to
complete has the class `given` and a colour of its own, which a style sheet may replace.

A grid can draw itself: a style sheet lets each stroke grow where its predecessor has ended. There
is no script in it, so it does so in an `<img>` too; who prefers reduced motion sees it finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
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
_PEN = f'fill="none" stroke-width="{LINE_WIDTH}" stroke-linecap="round" stroke-linejoin="round"'
_PEN_SPEED = 1500
"""Canvas units per second of a drawing that draws itself."""
_LEAST_LINE = 2
"""Canvas units: a shorter stroke is a dot, for its points may be one in whole units."""
_LIFT_S = 0.1
"""Between two of its strokes."""
# A stroke counts as 1 long. At first its dash has just left it at the beginning, caps included.
_MOTION_STYLE = (
    "@media(prefers-reduced-motion:no-preference){.line{animation:line linear backwards}"
    ".dot{animation:dot 1ms backwards}}@keyframes line{from{stroke-dasharray:1 1.1;"
    "stroke-dashoffset:1.05}to{stroke-dasharray:1 1.1;stroke-dashoffset:0}}"
    "@keyframes dot{from{opacity:0}}"
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
    title: str = "",
    split_after: Sequence[Sequence[int]] = (),
    draws_itself: bool = False,
    cell_size: int = 120,
    row_caption_width: int = 120,
) -> str:
    """Drawings in rows and columns as one SVG file that is readable on light and dark.

    Args:
        rows: stroke-3 drawings; rows may be of different lengths.
        row_captions: left of each row, or empty for none.
        column_captions: above each column, or empty for none.
        title: what the file says of itself; a browser shows it beside the pointer.
        split_after: for each drawing, the rows of it that were given; empty if none were.
        draws_itself: whether what was not given grows, stroke by stroke, in all cells at once.
        cell_size: side of a cell, in pixels.
        row_caption_width: in pixels.

    Raises:
        ValueError: if there is no drawing, captions do not match, or a drawing is malformed.
    """
    num_columns = check_grid(rows, row_captions, column_captions)
    left = row_caption_width if row_captions else 0
    top = _CAPTION_HEIGHT if column_captions else 0
    width, height = left + num_columns * cell_size, top + len(rows) * cell_size
    paths = _growing_paths if draws_itself else _paths
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}">{f"<title>{escape(title)}</title>" if title else ""}'
        f"<style>{_GRID_STYLE}{_MOTION_STYLE if draws_itself else ''}</style>"
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
            num_given = split_after[row_index][column] if split_after else 0
            parts.append(
                f'<svg x="{left + column * cell_size}" y="{top + row_index * cell_size}"'
                f' width="{cell_size}" height="{cell_size}" viewBox="0 0 {CANVAS} {CANVAS}">'
                f"{paths(sketch, num_given)}</svg>"
            )
    return "\n".join([*parts, "</svg>\n"])


def _paths(stroke3: NDArray[Any], split_after: int | None) -> str:
    given, rest = split_given(fit_to_canvas(stroke3), len(stroke3), split_after or 0)
    rest_path = f'<path stroke="currentColor" {_PEN} d="{_path_data(rest)}"/>' if rest else ""
    return rest_path + _given_path(given)


def _growing_paths(stroke3: NDArray[Any], split_after: int) -> str:
    """As `_paths`, with a path for each stroke that grows, and when it does."""
    given, rest = split_given(fit_to_canvas(stroke3), len(stroke3), split_after)
    paths, begin_s = [], _LIFT_S
    for line in rest:
        length = float(np.hypot(*np.diff(line, axis=0).T).sum())
        duration_s = length / _PEN_SPEED
        motion = f"animation-delay:{begin_s:.2f}s"
        kind = "dot"
        if length >= _LEAST_LINE:
            kind, motion = "line", f"{motion};animation-duration:{duration_s:.2f}s"
        paths.append(
            f'<path class="{kind}" style="{motion}" pathLength="1" d="{_path_data([line])}"/>'
        )
        begin_s += duration_s + _LIFT_S
    return f'<g stroke="currentColor" {_PEN}>{"".join(paths)}</g>{_given_path(given)}'


def _given_path(given: Polylines) -> str:
    if not given:
        return ""
    return f'<path class="given" stroke="{GIVEN_COLOUR}" {_PEN} d="{_path_data(given)}"/>'


def _path_data(polylines: Polylines) -> str:
    """Path commands in whole canvas units; a stroke of one point is a dot of the line's width."""
    strokes = []
    for line in polylines:
        first, *others = (f"{x:.0f} {y:.0f}" for x, y in line)
        # A line of no length is drawn as its round caps alone.
        strokes.append(f"M{first}" + (f"L{' '.join(others)}" if others else "h0"))
    return "".join(strokes)
