"""Pages and drawings as files; the ending of a name says which.

Pictures show the whole page. The forms of data hold what the model drew, so that it can be ingested
and measured, without empty drawings and what stands beside them for comparison.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.atomic import replacing_file
from pipeline.config import UserError
from pipeline.drawing.sheet import Sheet
from pipeline.manifest import SPLITS
from pipeline.simplification import LARGER_SIDE_PIXELS
from sketch_model.strokes import stroke3_to_polylines

MAX_PNG_PIXELS: Final = 100_000_000
_LETTER_PIXELS = 9
"""Of a row's caption in an SVG, at most."""


@dataclass(frozen=True)
class Look:
    """How pictures are drawn.

    Attributes:
        cell_size: side of a drawing, in pixels.
        draws_itself: whether an SVG does.
    """

    cell_size: int
    draws_itself: bool = False


def write_sheet(sheet: Sheet, path: Path, look: Look) -> None:
    """Writes a file whole or not at all, in the form that its ending says.

    Raises:
        UserError: if it cannot be written, or a PNG would have too many pixels.
    """
    with replacing_file(path) as writing:
        _WRITERS[path.suffix](sheet, writing, look)


def check_path(path: Path) -> None:
    """Raises UserError if `write_sheet` does not know the ending, or there is no such folder."""
    if path.suffix not in _WRITERS:
        raise UserError(f"--out {path} must end in one of {', '.join(_WRITERS)}")
    if not path.parent.is_dir():
        raise UserError(f"--out {path}: there is no folder {path.parent}; make it first")


def _write_svg(sheet: Sheet, path: Path, look: Look) -> None:
    from sketch_model.svg import grid_to_svg

    widest = max(map(len, sheet.row_captions), default=0)
    text = grid_to_svg(
        **_grid(sheet),
        draws_itself=look.draws_itself,
        cell_size=look.cell_size,
        row_caption_width=16 + _LETTER_PIXELS * widest,
    )
    path.write_text(text, encoding="utf-8")


def _write_png(sheet: Sheet, path: Path, look: Look) -> None:
    from PIL.PngImagePlugin import PngInfo

    from sketch_model.raster import grid

    num_pixels = len(sheet.rows) * max(map(len, sheet.rows)) * look.cell_size**2
    if num_pixels > MAX_PNG_PIXELS:
        raise UserError(
            f"a PNG of this page would have {num_pixels:,} pixels, and at most {MAX_PNG_PIXELS:,}"
            " are written: give a smaller --cell-size, or another form (.svg, .ndjson, .npz)"
        )
    about = PngInfo()
    about.add_itxt("Description", sheet.title)
    picture = grid(**_grid(sheet) | {"title": ""}, cell_size=look.cell_size)
    picture.save(path, format="PNG", pnginfo=about)


def _grid(sheet: Sheet) -> dict[str, Any]:
    """What both grids take."""
    return {
        "rows": [[tile.sketch for tile in row] for row in sheet.rows],
        "split_after": [[tile.num_given for tile in row] for row in sheet.rows],
        "row_captions": sheet.row_captions,
        "column_captions": sheet.column_captions,
        "title": sheet.title,
    }


def _write_ndjson(sheet: Sheet, path: Path, look: Look) -> None:
    """Lines of Quick, Draw!'s simplified form; one more field says how the drawing came about."""
    with path.open("w", encoding="utf-8") as file:
        for tile in sheet.drawn():
            if not len(tile.sketch):
                continue
            drawing = [stroke.T.tolist() for stroke in _fit_to_box(tile.sketch)]
            line = {"word": tile.word, "drawing": drawing, "made_by": sheet.title}
            file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")


def _write_npz(sheet: Sheet, path: Path, look: Look) -> None:
    """Stroke-3 rows in int16 as magenta's data sets have them: all in `train`, none in the others.

    They take an array of objects, so a reader allows pickles; `made_by` is plain text.
    """
    sketches = {"train": [_round(tile.sketch) for tile in sheet.drawn() if len(tile.sketch)]}
    splits = {split: np.fromiter(sketches.get(split, []), dtype=object) for split in SPLITS}
    with path.open("wb") as file:
        np.savez_compressed(file, **splits, made_by=np.array(sheet.title))  # type: ignore[arg-type]


def _fit_to_box(sketch: NDArray[Any]) -> list[NDArray[np.int64]]:
    """Strokes as the simplified form has them: from 0 on, the larger side 255, whole pixels."""
    strokes = stroke3_to_polylines(sketch)
    points = np.concatenate(strokes)
    low = points.min(axis=0)
    side = float((points.max(axis=0) - low).max()) or 1.0
    return [np.rint((each - low) * LARGER_SIDE_PIXELS / side).astype(np.int64) for each in strokes]


def _round(sketch: NDArray[Any]) -> NDArray[np.int16]:
    """Rows in whole pixels; positions are rounded, so that errors do not add up."""
    positions = np.rint(np.cumsum(sketch[:, :2], axis=0, dtype=np.float64))
    offsets = np.diff(positions, axis=0, prepend=0)
    return np.column_stack([offsets, sketch[:, 2]]).astype(np.int16)


_WRITERS: Final[dict[str, Callable[[Sheet, Path, Look], None]]] = {
    ".svg": _write_svg,
    ".png": _write_png,
    ".ndjson": _write_ndjson,
    ".npz": _write_npz,
}
