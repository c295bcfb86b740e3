"""Lines of the usual kind straight to columns: a strict reader of flat JSON objects, compiled.

A usual line is an object of the known keys, each at most once and in any order, with strings of
plain ASCII and numbers in plain notation. Every other line, be it good or bad, is *unusual*: it is
left out, and `ndjson_lines` has to say what it is. What is read here is read as that would read it.

Cursors are as in `ndjson_tokens`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from pipeline.ingest.formats.ndjson_tokens import (
    BACKSLASH,
    COLON,
    COMMA,
    CURSOR,
    FLAG,
    FLOAT,
    INTEGER,
    LAST_PRINTABLE,
    LINE_END,
    NO_TIMESTAMP,
    ONE,
    QUOTE,
    SPACE,
    TEXT,
    UNUSUAL,
    Cursor,
    Text,
    bytes_of,
    compiled,
    match,
    read_integer,
    read_natural,
    read_number,
    read_timestamp,
    skip_blanks,
)

MAX_INTEGER = np.iinfo(np.int32).max
MAX_RAW_COORDINATE = 1_000_000.0
"""Bound on the size of raw coordinates, in pixels of the screen that was drawn on."""
MAX_TRAVEL = 4096.0
"""Bound on the way of a raw drawing's pen, in larger sides of the drawing: it bounds the memory
that simplification takes. Real drawings stay below 200."""


class Columns(NamedTuple):
    """n drawings as they were read: P points in S strokes."""

    xy: NDArray[np.int32]
    """[P, 2], of simplified drawings; otherwise empty."""
    raw: NDArray[np.float64]
    """[3, P]: x, y and time in ms, of raw drawings; otherwise empty."""
    points_per_stroke: NDArray[np.int64]
    """[S]."""
    strokes_per_drawing: NDArray[np.int64]
    """[n]."""
    ids: NDArray[np.uint64]
    """[n]: key_id, 0 if unknown."""
    has_id: NDArray[np.bool_]
    """[n]."""
    countrycode: NDArray[np.uint8]
    """[n, 2], zeros if unknown."""
    timestamp: NDArray[np.int64]
    """[n]: microseconds since 1970, `NO_TIMESTAMP` if unknown."""
    recognized: NDArray[np.int8]
    """[n]: 1 or 0, -1 if unknown."""
    line: NDArray[np.int64]
    """[n]: number of the drawing's line."""
    start: NDArray[np.int64]
    """[n]: index of the line's first byte."""

    def trim(self, num_drawings: int, num_strokes: int, num_points: int) -> Columns:
        """The columns of so many; they share memory with these."""
        points = self.xy[:num_points], self.raw[:, :num_points]
        strokes = self.points_per_stroke[:num_strokes]
        drawings: Iterator[Any] = (column[:num_drawings] for column in self[3:])
        return Columns(*points, strokes, *drawings)


def make_columns(num_drawings: int, num_strokes: int, num_points: int, *, is_raw: bool) -> Columns:
    """Columns to be filled in; of the two kinds of points, one is left out."""
    return Columns(
        xy=np.empty((0 if is_raw else num_points, 2), dtype=np.int32),
        raw=np.empty((3, num_points if is_raw else 0), dtype=np.float64),
        points_per_stroke=np.empty(num_strokes, dtype=np.int64),
        strokes_per_drawing=np.empty(num_drawings, dtype=np.int64),
        ids=np.empty(num_drawings, dtype=np.uint64),
        has_id=np.empty(num_drawings, dtype=np.bool_),
        countrycode=np.empty((num_drawings, 2), dtype=np.uint8),
        timestamp=np.empty(num_drawings, dtype=np.int64),
        recognized=np.empty(num_drawings, dtype=np.int8),
        line=np.empty(num_drawings, dtype=np.int64),
        start=np.empty(num_drawings, dtype=np.int64),
    )


_COLUMNS = types.NamedTuple(  # type: ignore[no-untyped-call]
    (
        types.int32[:, ::1],
        types.float64[:, ::1],
        types.int64[::1],
        types.int64[::1],
        types.uint64[::1],
        types.boolean[::1],
        types.uint8[:, ::1],
        types.int64[::1],
        types.int8[::1],
        types.int64[::1],
        types.int64[::1],
    ),
    Columns,
)
_STROKES, _LIST = (CURSOR, INTEGER, INTEGER), (CURSOR, INTEGER)
_OPEN_LIST, _CLOSE_LIST, _OPEN_OBJECT, _CLOSE_OBJECT = ord("["), ord("]"), ord("{"), ord("}")
_ZERO, _NINE, _TEN = np.uint64(ord("0")), np.uint64(9), np.uint64(10)
_TWO, _THREE = np.uint64(2), np.uint64(3)
_WORD, _COUNTRYCODE, _TIMESTAMP, _RECOGNIZED, _KEY_ID, _DRAWING = range(6)
_WORD_KEY, _COUNTRYCODE_KEY = bytes_of('"word"'), bytes_of('"countrycode"')
_TIMESTAMP_KEY, _RECOGNIZED_KEY = bytes_of('"timestamp"'), bytes_of('"recognized"')
_KEY_ID_KEY, _DRAWING_KEY = bytes_of('"key_id"'), bytes_of('"drawing"')
_TRUE, _FALSE, _NULL = bytes_of("true"), bytes_of("false"), bytes_of("null")


@compiled(_LIST, TEXT, CURSOR, types.int32[:, ::1], INTEGER, INTEGER, INTEGER)
def _read_integers(
    text: Text, at: Cursor, xy: NDArray[np.int32], axis: int, first: int, most: int
) -> tuple[Cursor, int]:
    """A list of one to `most` integers, to a column of `xy`; also their number."""
    row = first
    while text[at] != _CLOSE_LIST:
        at += ONE
        # One to three digits are read without a branch: nobody could predict how many.
        digit = np.uint64(text[at]) - _ZERO
        second, third = np.uint64(text[at + ONE]) - _ZERO, np.uint64(text[at + _TWO]) - _ZERO
        has_two = np.uint64(second <= _NINE)
        has_three = has_two & np.uint64(third <= _NINE)
        value = digit * _TEN + second if has_two else digit
        value = value * _TEN + third if has_three else value
        end = at + ONE + has_two + has_three
        is_short = digit <= _NINE and (digit > 0 or has_two == 0)
        if is_short and (text[end] == COMMA or text[end] == _CLOSE_LIST):
            number = np.int64(value)
        else:
            end, number = read_integer(text, skip_blanks(text, at))
            if end == UNUSUAL or abs(number) > MAX_INTEGER:
                return UNUSUAL, 0
            end = skip_blanks(text, end)
            if text[end] != COMMA and text[end] != _CLOSE_LIST:
                return UNUSUAL, 0
        if row - first == most:
            return UNUSUAL, 0
        xy[row, axis] = number
        row, at = row + 1, end
    return at + ONE, row - first


@compiled(_LIST, TEXT, CURSOR, FLOAT[:, ::1], INTEGER, INTEGER, INTEGER)
def _read_numbers(
    text: Text, at: Cursor, raw: NDArray[np.float64], axis: int, first: int, most: int
) -> tuple[Cursor, int]:
    """A list of one to `most` numbers, to a row of `raw`; also how many."""
    place = first
    while text[at] != _CLOSE_LIST:
        at, value = read_number(text, skip_blanks(text, at + ONE))
        is_time = axis == 2
        if at == UNUSUAL or place - first == most:
            return UNUSUAL, 0
        if abs(value) > MAX_RAW_COORDINATE and not is_time:
            return UNUSUAL, 0
        raw[axis, place] = value
        place += 1
        at = skip_blanks(text, at)
        if text[at] != COMMA and text[at] != _CLOSE_LIST:
            return UNUSUAL, 0
    return at + ONE, place - first


@compiled(FLAG, FLOAT[:, ::1], INTEGER, INTEGER)
def travels_far(raw: NDArray[np.float64], first: int, last: int) -> bool:
    """Whether a raw drawing's pen goes further than `MAX_TRAVEL`, between strokes too.

    Points `first` to before `last` are the drawing's; steps count as in Manhattan.
    """
    side, travel = 0.0, 0.0
    for axis in range(2):
        least = greatest = before = raw[axis, first]
        for place in range(first, last):
            value = raw[axis, place]
            least, greatest = min(least, value), max(greatest, value)
            travel += abs(value - before)
            before = value
        side = max(side, greatest - least)
    return travel > MAX_TRAVEL * side


@compiled(_LIST, TEXT, CURSOR, FLAG, _COLUMNS, INTEGER)
def _read_stroke(
    text: Text, at: Cursor, is_raw: bool, columns: Columns, point: int
) -> tuple[Cursor, int]:
    """A list of two lists of integers, or three of numbers, of one length, not empty."""
    num_axes, num_points = 3 if is_raw else 2, len(text)
    if text[at] != _OPEN_LIST:
        return UNUSUAL, 0
    for axis in range(num_axes):
        at = skip_blanks(text, at + ONE)
        if text[at] != _OPEN_LIST:
            return UNUSUAL, 0
        # So no axis takes more rows than the first one.
        most = num_points
        if is_raw:
            at, num_points = _read_numbers(text, at, columns.raw, axis, point, most)
        else:
            at, num_points = _read_integers(text, at, columns.xy, axis, point, most)
        if at == UNUSUAL or (axis > 0 and num_points != most):
            return UNUSUAL, 0
        at = skip_blanks(text, at)
        if text[at] != (COMMA if axis < num_axes - 1 else _CLOSE_LIST):
            return UNUSUAL, 0
    return at + ONE, num_points


@compiled(_STROKES, TEXT, CURSOR, FLAG, _COLUMNS, INTEGER, INTEGER)
def _read_strokes(
    text: Text, at: Cursor, is_raw: bool, columns: Columns, stroke: int, point: int
) -> tuple[Cursor, int, int]:
    """A list of strokes, at least one; also the strokes and points."""
    first_stroke, first_point = stroke, point
    if text[at] != _OPEN_LIST:
        return UNUSUAL, 0, 0
    while text[at] != _CLOSE_LIST:
        at, num_points = _read_stroke(text, skip_blanks(text, at + ONE), is_raw, columns, point)
        if at == UNUSUAL:
            return UNUSUAL, 0, 0
        columns.points_per_stroke[stroke] = num_points
        stroke, point = stroke + 1, point + num_points
        at = skip_blanks(text, at)
        if text[at] != COMMA and text[at] != _CLOSE_LIST:
            return UNUSUAL, 0, 0
    if is_raw and travels_far(columns.raw, first_point, point):
        return UNUSUAL, 0, 0
    return at + ONE, stroke - first_stroke, point - first_point


@compiled(CURSOR, TEXT, CURSOR, types.uint8[:, ::1], INTEGER)
def _read_countrycode(
    text: Text, at: Cursor, countrycode: NDArray[np.uint8], drawing: int
) -> Cursor:
    """A string of two characters, or none, without escapes."""
    if text[at] != QUOTE:
        return UNUSUAL
    if text[at + ONE] == QUOTE:
        return at + _TWO
    for i in range(2):
        at += ONE
        character = text[at]
        if not SPACE <= character <= LAST_PRINTABLE or character in (QUOTE, BACKSLASH):
            return UNUSUAL
        countrycode[drawing, i] = character
    return at + _TWO if text[at + ONE] == QUOTE else UNUSUAL


@compiled((CURSOR, CURSOR), TEXT, CURSOR)
def _read_key_id(text: Text, at: Cursor) -> tuple[Cursor, np.uint64]:
    """An integer, or a string of its digits."""
    if text[at] != QUOTE:
        return read_natural(text, at)
    at, value = read_natural(text, at + ONE)
    return (at + ONE if at != UNUSUAL and text[at] == QUOTE else UNUSUAL), value


@compiled(_LIST, TEXT, CURSOR)
def _read_key(text: Text, at: Cursor) -> tuple[Cursor, int]:
    """A known key and the colon; also which it is."""
    first = text[at + ONE]
    if first == ord("d"):
        field, end = _DRAWING, match(text, at, _DRAWING_KEY)
    elif first == ord("w"):
        field, end = _WORD, match(text, at, _WORD_KEY)
    elif first == ord("c"):
        field, end = _COUNTRYCODE, match(text, at, _COUNTRYCODE_KEY)
    elif first == ord("t"):
        field, end = _TIMESTAMP, match(text, at, _TIMESTAMP_KEY)
    elif first == ord("r"):
        field, end = _RECOGNIZED, match(text, at, _RECOGNIZED_KEY)
    else:
        field, end = _KEY_ID, match(text, at, _KEY_ID_KEY)
    if end == UNUSUAL:
        return UNUSUAL, field
    end = skip_blanks(text, end)
    return (end + ONE if text[end] == COLON else UNUSUAL), field


@compiled(CURSOR, TEXT, CURSOR, INTEGER, TEXT, _COLUMNS, INTEGER)
def _read_metadata(
    text: Text, at: Cursor, field: int, word: Text, columns: Columns, drawing: int
) -> Cursor:
    """The value of any key but `drawing`."""
    if field == _WORD:
        return match(text, at, word)
    if text[at] == ord("n"):
        return match(text, at, _NULL)
    if field == _COUNTRYCODE:
        return _read_countrycode(text, at, columns.countrycode, drawing)
    if field == _TIMESTAMP:
        at, columns.timestamp[drawing] = read_timestamp(text, at)
        return at
    if field == _RECOGNIZED:
        is_true = text[at] == ord("t")
        columns.recognized[drawing] = is_true
        return match(text, at, _TRUE) if is_true else match(text, at, _FALSE)
    columns.has_id[drawing] = True
    at, columns.ids[drawing] = _read_key_id(text, at)
    return at


@compiled(_STROKES, TEXT, CURSOR, TEXT, FLAG, _COLUMNS, INTEGER, INTEGER, INTEGER)
def _read_line(
    text: Text,
    at: Cursor,
    word: Text,
    is_raw: bool,
    columns: Columns,
    drawing: int,
    stroke: int,
    point: int,
) -> tuple[Cursor, int, int]:
    """An object, to before the line end; also its strokes and points."""
    columns.ids[drawing] = 0
    columns.has_id[drawing] = False
    columns.countrycode[drawing, 0] = columns.countrycode[drawing, 1] = 0
    columns.timestamp[drawing] = NO_TIMESTAMP
    columns.recognized[drawing] = -1
    num_strokes, num_points, seen = 0, 0, 0
    at = skip_blanks(text, at)
    if text[at] != _OPEN_OBJECT:
        return UNUSUAL, 0, 0
    while text[at] != _CLOSE_OBJECT:
        at, field = _read_key(text, skip_blanks(text, at + ONE))
        if at == UNUSUAL or (seen >> field) & 1:
            return UNUSUAL, 0, 0
        seen |= 1 << field
        at = skip_blanks(text, at)
        if field == _DRAWING:
            at, num_strokes, num_points = _read_strokes(text, at, is_raw, columns, stroke, point)
        else:
            at = _read_metadata(text, at, field, word, columns, drawing)
        if at == UNUSUAL:
            return UNUSUAL, 0, 0
        at = skip_blanks(text, at)
        if text[at] != COMMA and text[at] != _CLOSE_OBJECT:
            return UNUSUAL, 0, 0
    at = skip_blanks(text, at + ONE)
    if text[at] != LINE_END or num_strokes == 0:
        return UNUSUAL, 0, 0
    return at, num_strokes, num_points


@compiled(
    (INTEGER, INTEGER, INTEGER, INTEGER),
    TEXT,
    INTEGER,
    TEXT,
    INTEGER,
    FLAG,
    _COLUMNS,
    INTEGER[:, ::1],
)
def scan(
    text: Text,
    size: int,
    word: Text,
    max_line_bytes: int,
    is_raw: bool,
    columns: Columns,
    unusual: NDArray[np.int64],
) -> tuple[int, int, int, int]:
    """Reads lines, numbered from 0, into columns.

    Args:
        text: whole lines, and `PADDING_BYTES` of line ends behind them.
        size: bytes of the lines, the last one's end included.
        word: what the lines may say as their word, in quotes.
        max_line_bytes: without the line end; longer lines are unusual.
        is_raw: whether strokes are x, y and time, or x and y.
        columns: room for a drawing per line, a stroke per 8 bytes, a point per 2 bytes.
        unusual: filled with number and first byte of each line that is not read, [lines, 2].

    Returns:
        How many drawings, strokes, points and unusual lines there are.
    """
    drawing, stroke, point, num_unusual, line = 0, 0, 0, 0, 0
    start, end_of_text = np.uint64(0), np.uint64(size)
    while start < end_of_text:
        end, num_strokes, num_points = _read_line(
            text, start, word, is_raw, columns, drawing, stroke, point
        )
        if end != UNUSUAL and end - start <= np.uint64(max_line_bytes):
            columns.line[drawing] = line
            columns.start[drawing] = start
            columns.strokes_per_drawing[drawing] = num_strokes
            drawing, stroke, point = drawing + 1, stroke + num_strokes, point + num_points
        else:
            unusual[num_unusual, 0] = line
            unusual[num_unusual, 1] = start
            num_unusual += 1
            end = start
            while text[end] != LINE_END:
                end += ONE
        start = end + ONE
        line += 1
    return drawing, stroke, point, num_unusual
