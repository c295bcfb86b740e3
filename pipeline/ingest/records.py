"""What every format of drawings is read into: columns of stroke-3 sketches, and rejects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.ingest.kernels import FITS, convert_strokes, copy_sketches, hash_sketches
from sketch_model.config import MAX_OFFSET

MAX_LINE_BYTES = 1 << 20
"""The longest simplified drawings take some tens of kilobytes."""
MAX_COORDINATE = np.iinfo(np.int16).max
"""Bound on the size of coordinates and of the offsets between them, in drawing units."""


class Reason(StrEnum):
    """Why a record is not a drawing."""

    oversize = f"line longer than {MAX_LINE_BYTES} bytes"
    not_json = "not valid JSON"
    not_object = "not a JSON object"
    other_word = "word of another category"
    no_drawing = "drawing missing, empty or not a list of strokes"
    bad_stroke = "stroke that is not two equally long, non-empty lists"
    not_integer = "coordinate that is not an integer"
    out_of_range = f"coordinate or offset outside +-{MAX_COORDINATE}"
    bad_metadata = "key_id, countrycode, timestamp or recognized of another type"
    oversize_record = f"record longer than {MAX_LINE_BYTES} bytes"
    truncated = "record that runs past the end of the file"
    not_stroke3 = "not an array of numbers in rows of dx, dy and pen lifted"
    bad_pen = "pen lifted that is neither 0 nor 1"
    not_finite = "number that is not finite"
    oversize_file = "file of a drawing larger than 4 MiB"
    not_svg = "not a valid SVG document"
    too_complex = "drawing of too many elements, curves or pixels"
    raw_oversize = f"raw line longer than {4 * MAX_LINE_BYTES} bytes"
    raw_stroke = "raw stroke that is not three equally long, non-empty lists"
    not_number = "raw coordinate or time that is not a number"
    raw_out_of_range = "raw coordinate outside +-1000000"
    raw_travel = "raw drawing whose pen goes more than 4096 times as far as the drawing is large"
    many_quanta = f"offset of more than {MAX_OFFSET} times source.quantum, where training clips"


@dataclass(frozen=True)
class Reject:
    """A record that could not be read; `line` counts the records of its part from 1."""

    line: int
    reason: Reason
    detail: str
    path: str = ""
    """Of the record's file, where a part is many files; empty for the part's own file."""


@dataclass(frozen=True)
class Drawings:
    """Columns of n sketches.

    Attributes:
        points: stroke-3 rows of all sketches, one after another, int16 [P, 3].
        lengths: rows of each sketch, int64 [n].
        hashes: of each sketch's strokes, uint64 [n].
        shapes: hash of a coarse picture of each sketch, equal for near duplicates, uint64 [n].
        ids: key_id, or the hash of a drawing without one, uint64 [n].
        countrycode: two ASCII bytes, zeros if unknown, uint8 [n, 2].
        timestamp: UTC, NaT if unknown, datetime64[us] [n].
        recognized: 1 or 0, -1 if unknown, int8 [n].
        split: index of the split that the file itself names, -1 if it names none, int8 [n].
    """

    points: NDArray[np.int16]
    lengths: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    shapes: NDArray[np.uint64]
    ids: NDArray[np.uint64]
    countrycode: NDArray[np.uint8]
    timestamp: NDArray[np.datetime64]
    recognized: NDArray[np.int8]
    split: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def num_strokes(self) -> NDArray[np.int64]:
        """Strokes of each sketch, [n]."""
        if not len(self):
            return np.empty(0, dtype=np.int64)
        first = np.cumsum(self.lengths) - self.lengths
        return np.add.reduceat(self.points[:, 2], first, dtype=np.int64)

    def take(self, indices: NDArray[np.int64]) -> Drawings:
        """The sketches at these places, in this order."""
        columns = {f.name: getattr(self, f.name)[indices] for f in fields(self)[1:]}
        points = np.empty((int(columns["lengths"].sum()), 3), dtype=np.int16)
        starts = np.cumsum(self.lengths) - self.lengths
        copy_sketches(self.points, starts[indices], columns["lengths"], points)
        return Drawings(points=points, **columns)

    def slices(self, num: int) -> Iterator[Drawings]:
        """Views of every `num` sketches, one after another; the last may have fewer."""
        ends = np.append(0, np.cumsum(self.lengths))
        for first in range(0, len(self), num):
            last = min(first + num, len(self))
            columns = {f.name: getattr(self, f.name)[first:last] for f in fields(self)[1:]}
            yield Drawings(points=self.points[ends[first] : ends[last]], **columns)

    @classmethod
    def concatenate(cls, parts: Sequence[Drawings]) -> Drawings:
        """All sketches of at least one part."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))


class Parsed(NamedTuple):
    """Some consecutive records of a part."""

    drawings: Drawings
    rejects: list[Reject]
    num_records: int
    """Drawings and rejects together."""


def from_strokes(
    xy: NDArray[np.int32],
    points_per_stroke: NDArray[np.int64],
    strokes_per_drawing: NDArray[np.int64],
    *,
    ids: NDArray[np.uint64] | None = None,
    has_id: NDArray[np.bool_] | None = None,
    countrycode: NDArray[np.uint8] | None = None,
    timestamp: NDArray[np.datetime64] | None = None,
    recognized: NDArray[np.int8] | None = None,
    split: NDArray[np.int8] | None = None,
) -> tuple[Drawings, NDArray[np.bool_]]:
    """Columns of drawings given as absolute coordinates [P, 2], stroke after stroke.

    The first point of a drawing is the origin and is not stored, as in Google's npz files, unless
    it is a stroke of its own: its pen lift would be lost otherwise. Without `ids`, or where
    `has_id` is false, a drawing's id is the hash of its strokes.

    Returns:
        The drawings that can be stored, and which of the given ones they are, bool [n]: a
        coordinate, or an offset between two points of a drawing, must be within `MAX_COORDINATE`,
        and no drawing or stroke empty.
    """
    num = len(strokes_per_drawing)
    points = np.empty((len(xy), 3), dtype=np.int16)
    lengths = np.empty(num, dtype=np.int64)
    hashes, shapes = np.empty(num, dtype=np.uint64), np.empty(num, dtype=np.uint64)
    status = np.empty(num, dtype=np.uint8)
    num_points = convert_strokes(
        np.ascontiguousarray(xy, dtype=np.int32),
        np.ascontiguousarray(points_per_stroke, dtype=np.int64),
        np.ascontiguousarray(strokes_per_drawing, dtype=np.int64),
        points,
        lengths,
        hashes,
        shapes,
        status,
    )
    if ids is None:
        ids = hashes
    elif has_id is not None:
        ids = np.where(has_id, ids, hashes)
    drawings = Drawings(
        points=points[:num_points],
        lengths=lengths,
        hashes=hashes,
        shapes=shapes,
        ids=ids,
        countrycode=np.zeros((num, 2), dtype=np.uint8) if countrycode is None else countrycode,
        timestamp=np.full(num, "NaT", dtype="datetime64[us]") if timestamp is None else timestamp,
        recognized=np.full(num, -1, dtype=np.int8) if recognized is None else recognized,
        split=np.full(num, -1, dtype=np.int8) if split is None else split,
    )
    fits = status == FITS
    if not fits.all():
        # Of a drawing that does not fit no point was stored, and its length is zero.
        kept = np.flatnonzero(fits)
        columns = {f.name: getattr(drawings, f.name)[kept] for f in fields(drawings)[1:]}
        drawings = replace(drawings, **columns)
    return drawings, fits


def from_stroke3(
    points: NDArray[np.int16], lengths: NDArray[np.int64], *, split: NDArray[np.int8] | None = None
) -> Drawings:
    """Columns of drawings given as stroke-3 rows [P, 3], kept as they are; none is empty.

    A drawing that `from_strokes` turns into the same rows has the same hashes.
    """
    num = len(lengths)
    hashes, shapes = np.empty(num, dtype=np.uint64), np.empty(num, dtype=np.uint64)
    hash_sketches(points, lengths, hashes, shapes)
    return Drawings(
        points=points,
        lengths=lengths,
        hashes=hashes,
        shapes=shapes,
        ids=hashes,
        countrycode=np.zeros((num, 2), dtype=np.uint8),
        timestamp=np.full(num, "NaT", dtype="datetime64[us]"),
        recognized=np.full(num, -1, dtype=np.int8),
        split=np.full(num, -1, dtype=np.int8) if split is None else split,
    )
