"""SVG files, a drawing each, in the simplified form of Quick, Draw!."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.config import UserError
from pipeline.ingest.files import File, read_blocks
from pipeline.ingest.records import Parsed, Reason, Reject, from_strokes
from pipeline.simplification import LARGER_SIDE_PIXELS, Drawings, simplify

MAX_FILE_BYTES = 4 << 20
TOLERANCE_PIXELS = 0.1
"""Between a curve and its points. Simplification takes away 2 pixels."""
MAX_LENGTH_PIXELS = 1 << 18
"""Of all strokes of a drawing together: a thousand lines across it."""
CHUNK_FILES = 512

_Stroke = NDArray[np.complex128]
"""Points as x + iy, [P]."""


class _BadDrawingError(Exception):
    """Goes to where the file is known."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason, self.detail = reason, detail


def read_svg(files: Sequence[File]) -> Iterator[Parsed]:
    """Reads every file as a drawing whose strokes are its visible sub-paths, in document order.

    As Quick, Draw! does, a drawing is aligned and scaled uniformly, so that its coordinates are
    whole numbers from 0 to 255, and simplified. A file that is no SVG document, larger than
    `MAX_FILE_BYTES`, without anything to see or out of all proportion is a reject with its path.

    Raises:
        UserError: if a file cannot be read; if svgelements is not installed.
    """
    read_strokes = _find_reader()
    chunk = _Chunk()
    for file in files:
        chunk.add(file, read_strokes)
        if chunk.is_full:
            yield chunk.convert()
            chunk = _Chunk()
    if chunk.num_files:
        yield chunk.convert()


def _find_reader() -> Callable[[File], list[_Stroke]]:
    try:
        from pipeline.ingest.formats.svg_curves import TooComplexError, flatten
        from pipeline.ingest.formats.svg_document import read_strokes
    except ImportError as error:
        raise UserError(
            f"source.format=svg takes a package that is not installed ({error}):"
            " pip install -e '.[svg]'"
        ) from error

    def read(file: File) -> list[_Stroke]:
        try:
            curves = read_strokes(_read_content(file))
            if not curves:
                raise _BadDrawingError(Reason.no_drawing, "nothing to see")
            tolerance = TOLERANCE_PIXELS / LARGER_SIDE_PIXELS
            return _normalize([flatten(each, tolerance) for each in _normalize(curves)])
        except TooComplexError as error:
            raise _BadDrawingError(Reason.too_complex, str(error)) from error
        except ValueError as error:
            raise _BadDrawingError(Reason.not_svg, str(error)) from error

    return read


def _read_content(file: File) -> bytes:
    if file.size_bytes > MAX_FILE_BYTES:
        raise _BadDrawingError(Reason.oversize_file, f"{file.size_bytes} bytes")
    return b"".join(read_blocks(file))


def _normalize(strokes: list[_Stroke]) -> list[_Stroke]:
    """Aligned, and scaled so that the larger side of the box around all points is 1."""
    points = np.concatenate([stroke.ravel() for stroke in strokes])
    least = complex(points.real.min(), points.imag.min())
    side = max(np.ptp(points.real), np.ptp(points.imag))
    if not np.isfinite(points).all() or not np.isfinite(side):
        raise _BadDrawingError(Reason.not_finite, f"coordinates from {least} on, over {side}")
    return [(stroke - least) / (side or 1.0) for stroke in strokes]


@dataclass
class _Chunk:
    """Drawings that are simplified together, and rejects."""

    strokes: list[_Stroke] = field(default_factory=list)
    strokes_per_drawing: list[int] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    num_files: int = 0
    length_pixels: float = 0.0

    @property
    def is_full(self) -> bool:
        return self.num_files >= CHUNK_FILES or self.length_pixels >= MAX_LENGTH_PIXELS

    def add(self, file: File, read: Callable[[File], list[_Stroke]]) -> None:
        self.num_files += 1
        try:
            strokes = read(file)
            length = LARGER_SIDE_PIXELS * sum(np.abs(np.diff(each)).sum() for each in strokes)
            if length > MAX_LENGTH_PIXELS:
                raise _BadDrawingError(
                    Reason.too_complex, f"lines of {length:.0f} pixels, at most {MAX_LENGTH_PIXELS}"
                )
        except _BadDrawingError as bad:
            self.rejects.append(Reject(1, bad.reason, bad.detail, file.path))
            return
        self.length_pixels += length
        self.strokes += strokes
        self.strokes_per_drawing.append(len(strokes))

    def convert(self) -> Parsed:
        drawings = Drawings(np.empty((2, 0)), *[np.empty(0, dtype=np.int64)] * 2)
        if self.strokes:
            points = np.concatenate(self.strokes)
            drawings = simplify(
                Drawings(
                    np.stack([points.real, points.imag]),
                    np.array([len(stroke) for stroke in self.strokes], dtype=np.int64),
                    np.array(self.strokes_per_drawing, dtype=np.int64),
                )
            )
        columns, _ = from_strokes(
            drawings.points.T.astype(np.int32),
            drawings.points_per_stroke,
            drawings.strokes_per_drawing,
        )
        return Parsed(columns, self.rejects, self.num_files)
