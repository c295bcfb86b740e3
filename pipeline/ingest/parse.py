"""Lines of ndjson in, columns of stroke-3 sketches out; a bad line ends as a reject, alone.

JSON is decoded line by line, so that nothing a line holds can touch its neighbours; the points of
a chunk are then converted together. Every check of the conversion is one over the whole chunk;
only when one fails are the drawings looked at one by one.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from itertools import chain
from reprlib import repr as shorten
from typing import Any, NoReturn

import numpy as np
import orjson
from numpy.typing import NDArray

from pipeline.ingest.split import hash_strokes

MAX_LINE_BYTES = 1 << 20
"""The longest simplified drawings take some tens of kilobytes."""
MAX_COORDINATE = np.iinfo(np.int16).max
"""Bound on the size of coordinates and of the offsets between them, in drawing units."""


class Reason(StrEnum):
    """Why a line is not a drawing."""

    oversize = f"line longer than {MAX_LINE_BYTES} bytes"
    not_json = "not valid JSON"
    not_object = "not a JSON object"
    other_word = "word of another category"
    no_drawing = "drawing missing, empty or not a list of strokes"
    bad_stroke = "stroke that is not two equally long, non-empty lists"
    not_integer = "coordinate that is not an integer"
    out_of_range = f"coordinate or offset outside +-{MAX_COORDINATE}"
    bad_metadata = "key_id, countrycode, timestamp or recognized of another type"


@dataclass(frozen=True)
class Reject:
    """A line that could not be read; `line` counts from 1."""

    line: int
    reason: Reason
    detail: str


@dataclass(frozen=True)
class Drawings:
    """Columns of n sketches.

    Attributes:
        points: stroke-3 rows of all sketches, one after another, int16 [P, 3].
        lengths: rows of each sketch, int64 [n].
        hashes: of each sketch's strokes, uint64 [n].
        ids: key_id, or the hash of a drawing without one, uint64 [n].
        countrycode: str or None, object [n].
        timestamp: UTC, NaT if unknown, datetime64[us] [n].
        recognized: bool or None, object [n].
    """

    points: NDArray[np.int16]
    lengths: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    ids: NDArray[np.uint64]
    countrycode: NDArray[np.object_]
    timestamp: NDArray[np.datetime64]
    recognized: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.lengths)

    def select(self, mask: NDArray[np.bool_]) -> Drawings:
        """The sketches where `mask` [n] is true, in their order."""
        columns = {f.name: getattr(self, f.name)[mask] for f in fields(self) if f.name != "points"}
        return Drawings(points=self.points[np.repeat(mask, self.lengths)], **columns)

    @classmethod
    def concatenate(cls, parts: Sequence[Drawings]) -> Drawings:
        """All sketches of at least one part."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))


@dataclass(frozen=True, slots=True)
class _Record:
    line: int
    drawing: list[Any]
    key_id: int | None
    countrycode: str | None
    timestamp: datetime | None
    recognized: bool | None


class _BadLineError(Exception):
    """Carries a reason and a detail to where the line number is known."""


def split_lines(blocks: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Whole lines, a list per block, without their line ends; the last may lack one.

    Of a line that is too long only the beginning is kept, enough for its length to show.
    """
    tail = b""
    for block in blocks:
        lines = (tail + block).split(b"\n")
        tail = lines.pop()[: MAX_LINE_BYTES + 1]
        yield lines
    if tail:
        yield [tail]


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Decoded JSON has no cycles: to walk it for garbage again and again halves the speed."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_collector_paused()
def parse_lines(
    lines: Sequence[bytes], *, first_line: int, word: str
) -> tuple[Drawings, list[Reject]]:
    """Converts lines in the simplified schema of Quick, Draw!.

    Fields other than `drawing` may be missing or null. Strokes become stroke-3 as in Google's npz
    files: the first point is the origin and not stored, unless it is a stroke of its own.

    Args:
        lines: consecutive lines of a file.
        first_line: number of the first of them.
        word: what the file holds; a line that says another word is a reject.
    """
    rejects: list[Reject] = []
    records = []
    for number, line in enumerate(lines, first_line):
        try:
            records.append(_decode(line, number, word))
        except _BadLineError as bad:
            rejects.append(Reject(number, *bad.args))
    try:
        points, lengths = _to_stroke3([record.drawing for record in records])
    except (TypeError, ValueError, OverflowError):
        records, bad_drawings = _sort_out(records)
        rejects = sorted(rejects + bad_drawings, key=lambda reject: reject.line)
        points, lengths = _to_stroke3([record.drawing for record in records])
    return _to_columns(records, points, lengths), rejects


def _decode(line: bytes, number: int, word: str) -> _Record:
    if len(line) > MAX_LINE_BYTES:
        _reject(Reason.oversize, f"at least {len(line)} bytes")
    try:
        content = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        _reject(Reason.not_json, str(error) if line else "empty line")
    if type(content) is not dict:
        _reject(Reason.not_object, shorten(content))
    if content.get("word", word) != word:
        _reject(Reason.other_word, shorten(content["word"]))
    drawing = content.get("drawing")
    if type(drawing) is not list or not drawing:
        _reject(Reason.no_drawing, shorten(drawing))
    return _Record(
        number,
        drawing,
        _key_id(content.get("key_id")),
        _typed(str, content, "countrycode"),
        _timestamp(content.get("timestamp")),
        _typed(bool, content, "recognized"),
    )


def _key_id(value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is str and value.isascii() and value.isdecimal() and len(value) <= 20:
        value = int(value)
    if type(value) is not int or not 0 <= value < 1 << 64:
        _reject(Reason.bad_metadata, f"key_id {shorten(value)} must be an unsigned 64-bit integer")
    return value


def _timestamp(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        timestamp = datetime.fromisoformat(value.removesuffix(" UTC"))
    except (AttributeError, ValueError):
        timestamp = None
    if timestamp is None or timestamp.tzinfo is not None:
        _reject(Reason.bad_metadata, f"timestamp {shorten(value)} must be a date and a time in UTC")
    return timestamp


def _typed(kind: type, content: dict[str, Any], name: str) -> Any:
    value = content.get(name)
    if value is not None and type(value) is not kind:
        _reject(Reason.bad_metadata, f"{name} {shorten(value)} must be a {kind.__name__}")
    return value


def _to_stroke3(drawings: list[list[Any]]) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """Stroke-3 rows [P, 3] of all drawings and the rows of each, [n].

    Raises:
        TypeError, ValueError or OverflowError: unless every drawing passes `_check_strokes`.
    """
    strokes = list(chain.from_iterable(drawings))
    num_strokes = np.fromiter(map(len, drawings), dtype=np.int64, count=len(drawings))
    all_x = [x for x, _ in strokes]
    all_y = [y for _, y in strokes]
    num_points = np.fromiter(map(len, all_x), dtype=np.int64, count=len(strokes))
    if list(map(len, all_y)) != num_points.tolist() or not (num_points.all() and num_strokes.all()):
        raise ValueError("an empty or uneven stroke")
    x, y = list(chain.from_iterable(all_x)), list(chain.from_iterable(all_y))
    if not set(map(type, chain(x, y))) <= {int}:
        raise TypeError("a coordinate that is not an integer")

    stroke_ends = np.cumsum(num_points)
    origins = (stroke_ends - num_points)[np.cumsum(num_strokes) - num_strokes]
    xy = np.stack([np.array(x, dtype=np.int32), np.array(y, dtype=np.int32)], axis=1)
    offsets = np.diff(xy, axis=0, prepend=xy[:1])
    offsets[origins] = 0
    if max(np.abs(xy).max(initial=0), np.abs(offsets).max(initial=0)) > MAX_COORDINATE:
        raise ValueError("a coordinate out of range")
    points = np.zeros((len(xy), 3), dtype=np.int16)
    points[:, :2] = offsets
    points[stroke_ends - 1, 2] = 1
    stored = np.ones(len(xy), dtype=bool)
    stored[origins] = points[origins, 2] == 1  # its pen lift would be lost otherwise
    lengths = np.diff(origins, append=len(xy)) - ~stored[origins]
    return points[stored], lengths


def _sort_out(records: list[_Record]) -> tuple[list[_Record], list[Reject]]:
    good, rejects = [], []
    for record in records:
        try:
            _check_strokes(record.drawing)
            good.append(record)
        except _BadLineError as bad:
            rejects.append(Reject(record.line, *bad.args))
    return good, rejects


def _check_strokes(drawing: list[Any]) -> None:
    previous = None
    for stroke in drawing:
        if type(stroke) is not list or [type(axis) for axis in stroke] != [list, list]:
            _reject(Reason.bad_stroke, shorten(stroke))
        x, y = stroke
        if not len(x) == len(y) > 0:
            _reject(Reason.bad_stroke, f"{len(x)} x and {len(y)} y")
        for point in zip(x, y, strict=True):
            for value in point:
                if type(value) is not int:
                    _reject(Reason.not_integer, shorten(value))
            origin = previous or point
            steps = [value - before for value, before in zip(point, origin, strict=True)]
            for value in (*point, *steps):
                if abs(value) > MAX_COORDINATE:
                    _reject(Reason.out_of_range, shorten(value))
            previous = point


def _to_columns(
    records: list[_Record], points: NDArray[np.int16], lengths: NDArray[np.int64]
) -> Drawings:
    hashes = hash_strokes(points, lengths)
    has_key = np.array([record.key_id is not None for record in records], dtype=bool)
    keys = np.array([record.key_id or 0 for record in records], dtype=np.uint64)
    return Drawings(
        points=points,
        lengths=lengths,
        hashes=hashes,
        ids=np.where(has_key, keys, hashes),
        countrycode=np.array([record.countrycode for record in records], dtype=np.object_),
        timestamp=np.array([record.timestamp for record in records], dtype="datetime64[us]"),
        recognized=np.array([record.recognized for record in records], dtype=np.object_),
    )


def _reject(reason: Reason, detail: str) -> NoReturn:
    raise _BadLineError(reason, detail)
