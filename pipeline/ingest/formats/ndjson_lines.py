"""Lines of ndjson one by one, with care: what each says, or why it is not a drawing.

The reference for `ndjson_scan`, which reads the lines of the usual kind many times faster.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, pairwise
from reprlib import repr as shorten
from typing import Any, NoReturn

import numpy as np
import orjson
from numpy.typing import NDArray

from pipeline.ingest.formats.ndjson_scan import MAX_RAW_COORDINATE, MAX_TRAVEL, Columns, travels_far
from pipeline.ingest.records import MAX_COORDINATE, MAX_LINE_BYTES, Reason, Reject

MAX_RAW_LINE_BYTES = 4 * MAX_LINE_BYTES


@dataclass(frozen=True, slots=True)
class _Record:
    line: int
    drawing: list[list[list[float]]]
    key_id: int | None
    countrycode: bytes
    timestamp: datetime | None
    recognized: bool | None


class _BadLineError(Exception):
    """Carries a reason and a detail to where the line number is known."""


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
def decode_lines(
    lines: Iterable[tuple[int, bytes]], word: str, *, is_raw: bool
) -> tuple[Columns, list[Reject]]:
    """Reads lines in the schema of Quick, Draw!; all fields but `drawing` may be missing or null.

    Every drawing that is given fits into `Drawings`.

    Args:
        lines: with their numbers, without their line ends.
        word: what the file holds; a line that says another word is a reject.
        is_raw: whether strokes are x, y and time, or x and y.
    """
    records, rejects = [], []
    for number, line in lines:
        try:
            records.append(_decode(number, line, word, is_raw))
        except _BadLineError as bad:
            rejects.append(Reject(number, *bad.args))
    return _to_columns(records, is_raw), rejects


def _decode(number: int, line: bytes, word: str, is_raw: bool) -> _Record:
    if len(line) > (MAX_RAW_LINE_BYTES if is_raw else MAX_LINE_BYTES):
        # How long it is nobody knows: its end was not kept.
        _reject(Reason.raw_oversize if is_raw else Reason.oversize, f"begins with {line[:40]!r}")
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
    record = _Record(
        number,
        drawing,
        _key_id(content.get("key_id")),
        _countrycode(content.get("countrycode")),
        _timestamp(content.get("timestamp")),
        _recognized(content.get("recognized")),
    )
    if is_raw:
        _check_raw(drawing)
    else:
        _check_simplified(drawing)
    return record


def _key_id(value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is str and value.isascii() and value.isdecimal() and len(value) <= 20:
        value = int(value)
    if type(value) is not int or not 0 <= value < 1 << 64:
        _reject(Reason.bad_metadata, f"key_id {shorten(value)} must be an unsigned 64-bit integer")
    return value


def _countrycode(value: Any) -> bytes:
    if value is None or value == "":
        return bytes(2)
    if type(value) is not str or len(value) != 2 or not (value.isascii() and value.isprintable()):
        _reject(
            Reason.bad_metadata,
            f"countrycode {shorten(value)} must be two ASCII characters or none",
        )
    return value.encode()


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


def _recognized(value: Any) -> bool | None:
    if value is not None and type(value) is not bool:
        _reject(Reason.bad_metadata, f"recognized {shorten(value)} must be true or false")
    return value


def _check_simplified(drawing: list[Any]) -> None:
    _check_strokes(drawing, 2, Reason.bad_stroke)
    _check_types(drawing, {int}, Reason.not_integer)
    for axis in range(2):
        values = list(chain.from_iterable(stroke[axis] for stroke in drawing))
        least, greatest = min(values), max(values)
        if max(-least, greatest, greatest - least) <= MAX_COORDINATE:
            continue
        offsets = (after - before for before, after in pairwise(values))
        for value in chain(values, offsets):
            if abs(value) > MAX_COORDINATE:
                _reject(Reason.out_of_range, shorten(value))


def _check_raw(drawing: list[Any]) -> None:
    _check_strokes(drawing, 3, Reason.raw_stroke)
    # What JSON calls a number is finite here: orjson takes a greater one for an error.
    _check_types(drawing, {int, float}, Reason.not_number)
    for axis in chain.from_iterable((x, y) for x, y, _ in drawing):
        largest = max(axis, key=abs)
        if abs(largest) > MAX_RAW_COORDINATE:
            _reject(Reason.raw_out_of_range, f"{largest!r} is beyond +-{MAX_RAW_COORDINATE:.0f}")
    points = np.array([list(chain.from_iterable(axis)) for axis in zip(*drawing, strict=True)])
    if travels_far(points.astype(np.float64), 0, points.shape[1]):
        _reject(Reason.raw_travel, f"more than {MAX_TRAVEL:.0f} times its larger side")


def _check_strokes(drawing: list[Any], num_axes: int, reason: Reason) -> None:
    for stroke in drawing:
        if type(stroke) is not list or [type(axis) for axis in stroke] != [list] * num_axes:
            _reject(reason, shorten(stroke))
        lengths = [len(axis) for axis in stroke]
        if min(lengths) != max(lengths) or not min(lengths):
            _reject(reason, f"lists of {lengths} numbers")


def _check_types(drawing: list[Any], kinds: set[type], reason: Reason) -> None:
    for axis in chain.from_iterable(drawing):
        if not set(map(type, axis)) <= kinds:
            _reject(reason, shorten(next(value for value in axis if type(value) not in kinds)))


def _to_columns(records: list[_Record], is_raw: bool) -> Columns:
    strokes = [stroke for record in records for stroke in record.drawing]
    points: NDArray[Any] = np.array(
        [list(chain.from_iterable(s[axis] for s in strokes)) for axis in range(3 if is_raw else 2)],
        dtype=np.float64 if is_raw else np.int32,
    )
    timestamps = np.array([record.timestamp for record in records], dtype="datetime64[us]")
    flags = [-1 if record.recognized is None else record.recognized for record in records]
    return Columns(
        xy=np.empty((0, 2), dtype=np.int32) if is_raw else points.T,
        raw=points if is_raw else np.empty((3, 0)),
        points_per_stroke=np.array([len(stroke[0]) for stroke in strokes], dtype=np.int64),
        strokes_per_drawing=np.array([len(each.drawing) for each in records], dtype=np.int64),
        ids=np.array([record.key_id or 0 for record in records], dtype=np.uint64),
        has_id=np.array([record.key_id is not None for record in records], dtype=np.bool_),
        countrycode=np.frombuffer(
            b"".join(record.countrycode for record in records), dtype=np.uint8
        ).reshape(-1, 2),
        timestamp=timestamps.view(np.int64),
        recognized=np.array(flags, dtype=np.int8),
        line=np.array([record.line for record in records], dtype=np.int64),
        start=np.zeros(len(records), dtype=np.int64),
    )


def _reject(reason: Reason, detail: str) -> NoReturn:
    raise _BadLineError(reason, detail)
