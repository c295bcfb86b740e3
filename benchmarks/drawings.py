"""Doodles by the million, as the files of a bucket.

The package's generator draws some thousand doodles a second. Here some of each kind are moved a
little, point by point, and now and then one is left out, so that practically no two drawings are
equal. A drawing depends on its word, the seed and its number alone.

All kinds in equal shares have 44.5 points and 495 bytes of ndjson on average; Quick, Draw! has 44.5
and 490. The longest have a hundred points, where people go on to some hundreds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np
import orjson
from numpy.typing import NDArray

from pipeline.doodles import CATEGORIES, generate
from pipeline.ingest.kernels import absorb

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

BANK_DRAWINGS = 2048
"""Doodles that all drawings of a kind, or of mixed ones, are made from."""
BLOCK_DRAWINGS = 8192
DROPPED_OF = 64
"""One of so many points inside a stroke is left out."""
UNRECOGNIZED_OF = 20
FIRST_DAY = datetime(2017, 1, 22, tzinfo=UTC)
DAYS = 68
FIRST_KEY_ID = 10**15
NUM_KEY_IDS = 9 * 10**15


class Block(NamedTuple):
    """Some consecutive drawings of a word."""

    xy: Bytes
    """[P, 2], of all drawings, stroke after stroke."""
    points_per_stroke: Integers
    strokes_per_drawing: Integers
    seconds: Integers
    """Since FIRST_DAY."""
    recognized: NDArray[np.bool_]
    key_ids: Integers
    """16 digits; one word does not repeat itself."""


class _Bank(NamedTuple):
    """Doodles that others are made from."""

    xy: Bytes
    first_points: Integers
    """Of each stroke, and the number of all points, [S + 1]."""
    first_strokes: Integers
    """Of each doodle, and the number of all strokes, [n + 1]."""


def name_words(num: int) -> list[str]:
    """Names of so many categories: cat, pig, ..., or cat-00, ..., cat-01, ... beyond all kinds.

    Any other word, such as `mixed`, has drawings of all kinds.
    """
    kinds = len(CATEGORIES)
    if num <= kinds:
        return list(CATEGORIES[:num])
    return [f"{CATEGORIES[number % kinds]}-{number // kinds:02d}" for number in range(num)]


def write_simplified(root: Path, word: str, num: int, seed: int = 0) -> Path:
    """Writes `<root>/full/simplified/<word>.ndjson`."""
    return _write(root / "full" / "simplified" / f"{word}.ndjson", encode_lines, word, num, seed)


def write_binary(root: Path, word: str, num: int, seed: int = 0) -> Path:
    """Writes the same drawings as `<root>/full/binary/<word>.bin`."""
    return _write(root / "full" / "binary" / f"{word}.bin", encode_records, word, num, seed)


def _write(
    path: Path, encode: Callable[[str, Block], Bytes], word: str, num: int, seed: int
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for block in draw(word, num, seed):
            file.write(encode(word, block).data)
    return path


def draw(word: str, num: int, seed: int = 0, start: int = 0) -> Iterator[Block]:
    """Drawings `start` to `start + num - 1` of a word, some thousand at a time."""
    bank = _open_bank(word.partition("-")[0], seed)
    digest = hashlib.blake2b(f"{word}/{seed}".encode(), digest_size=16).digest()
    key, offset = np.frombuffer(digest, dtype=np.uint64)
    for first in range(start, start + num, BLOCK_DRAWINGS):
        numbers = np.arange(first, min(first + BLOCK_DRAWINGS, start + num))
        key_ids = FIRST_KEY_ID + (int(offset) % NUM_KEY_IDS + numbers) % NUM_KEY_IDS
        yield Block(*_move_points(*bank, key, numbers), key_ids)


@cache
def _open_bank(kind: str, seed: int) -> _Bank:
    kinds = [kind] if kind in CATEGORIES else CATEGORIES
    lines = [line for each in kinds for line in generate(each, BANK_DRAWINGS // len(kinds), seed)]
    doodles = [orjson.loads(line)["drawing"] for line in lines]
    strokes = [np.array(stroke, dtype=np.uint8).T for doodle in doodles for stroke in doodle]
    return _Bank(
        np.ascontiguousarray(np.concatenate(strokes)),
        np.cumsum([0, *map(len, strokes)]),
        np.cumsum([0, *map(len, doodles)]),
    )


@numba.njit(
    "Tuple((uint8[:, ::1], int64[::1], int64[::1], int64[::1], boolean[::1]))"
    "(uint8[:, ::1], int64[::1], int64[::1], uint64, int64[::1])",
    cache=True,
    nogil=True,
)
def _move_points(
    bank_xy: Bytes,
    first_points: Integers,
    first_strokes: Integers,
    key: np.uint64,
    numbers: Integers,
) -> tuple[Bytes, Integers, Integers, Integers, NDArray[np.bool_]]:
    """All of a `Block` but its key_ids.

    A coordinate is moved by -3 to 3, most often by 0, within 0 to 255. A point takes 16 random
    bits: 8 for its moves, 8 to tell whether it is left out.
    """
    num = len(numbers)
    most_points = np.max(first_points[first_strokes[1:]] - first_points[first_strokes[:-1]])
    xy = np.empty((num * most_points, 2), dtype=np.uint8)
    points_per_stroke = np.empty(num * np.max(np.diff(first_strokes)), dtype=np.int64)
    strokes_per_drawing = np.empty(num, dtype=np.int64)
    seconds, recognized = np.empty(num, dtype=np.int64), np.empty(num, dtype=np.bool_)
    row, s = 0, 0
    for i in range(num):
        state = absorb(key, np.uint64(numbers[i]))
        doodle = np.int64(state % np.uint64(len(first_strokes) - 1))
        state = absorb(state, np.uint64(0))
        seconds[i] = np.int64(state % np.uint64(DAYS * 86_400))
        recognized[i] = (state >> np.uint64(32)) % np.uint64(UNRECOGNIZED_OF) != 0
        strokes_per_drawing[i] = first_strokes[doodle + 1] - first_strokes[doodle]
        bits, num_left = np.int64(0), 0
        for stroke in range(first_strokes[doodle], first_strokes[doodle + 1]):
            begin, end, first_row = first_points[stroke], first_points[stroke + 1], row
            for j in range(begin, end):
                if num_left == 0:
                    state = absorb(state, np.uint64(0))
                    bits, num_left = np.int64(state), 4
                choice = bits & 0xFFFF
                bits, num_left = bits >> 16, num_left - 1
                if begin < j < end - 1 and choice >> 8 < 256 // DROPPED_OF:
                    continue
                x = bank_xy[j, 0] + (choice & 3) - (choice >> 2 & 3)
                y = bank_xy[j, 1] + (choice >> 4 & 3) - (choice >> 6 & 3)
                xy[row, 0], xy[row, 1] = min(max(x, 0), 255), min(max(y, 0), 255)
                row += 1
            points_per_stroke[s] = row - first_row
            s += 1
    return xy[:row], points_per_stroke[:s], strokes_per_drawing, seconds, recognized


def _ascii(text: str) -> Bytes:
    return np.frombuffer(bytearray(text.encode()), dtype=np.uint8)  # writable, as kernels want


_NUMBERS = _ascii("".join(f"{value},".ljust(4) for value in range(256))).reshape(256, 4)
_WIDTHS = np.array([len(f"{value},") for value in range(256)])
_DATES = _ascii("".join(f"{FIRST_DAY + timedelta(day):%Y-%m-%d} " for day in range(DAYS))).reshape(
    DAYS, 11
)
_AFTER_TIME = _ascii('.00000 UTC","recognized":')
_TRUE, _FALSE = _ascii("true"), _ascii("false")
_BEFORE_KEY, _BEFORE_DRAWING = _ascii(',"key_id":"'), _ascii('","drawing":[')
_FIELD_BYTES = 144
"""More than a line has without its word and its strokes."""
_BLOCK = "uint8[:, ::1], int64[::1], int64[::1], int64[::1], boolean[::1], int64[::1]"


def encode_lines(word: str, block: Block) -> Bytes:
    """The drawings as simplified ndjson."""
    before_time = _ascii(f'{{"word":"{word}","countrycode":"ZZ","timestamp":"')
    field_bytes = (len(before_time) + _FIELD_BYTES) * len(block.key_ids)
    stroke_bytes = 6 * len(block.points_per_stroke) + 8 * len(block.xy)
    text = np.empty(field_bytes + stroke_bytes, dtype=np.uint8)
    return text[: _write_lines(*block, before_time, text)]


def encode_records(word: str, block: Block) -> Bytes:
    """The drawings as records of the bucket's binary format, which does not name the word."""
    stroke_bytes = 2 * len(block.points_per_stroke) + 2 * len(block.xy)
    records = np.empty(17 * len(block.key_ids) + stroke_bytes, dtype=np.uint8)
    _write_records(*block, int(FIRST_DAY.timestamp()), records)
    return records


@numba.njit("int64(uint8[::1], int64, uint8[::1])", cache=True, nogil=True, inline="always")
def _put(text: Bytes, at: int, piece: Bytes) -> int:
    for k in range(len(piece)):
        text[at + k] = piece[k]
    return at + len(piece)


@numba.njit("int64(uint8[::1], int64, int64, int64)", cache=True, nogil=True, inline="always")
def _put_digits(text: Bytes, at: int, value: int, num: int) -> int:
    for k in range(at + num - 1, at - 1, -1):
        text[k] = 48 + value % 10
        value //= 10
    return at + num


@numba.njit("int64(uint8[::1], int64, int64)", cache=True, nogil=True, inline="always")
def _put_time(text: Bytes, at: int, seconds: int) -> int:
    at = _put(text, at, _DATES[seconds // 86_400])
    at = _put_digits(text, at, seconds // 3600 % 24, 2)
    text[at] = 58  # :
    at = _put_digits(text, at + 1, seconds // 60 % 60, 2)
    text[at] = 58
    return _put_digits(text, at + 1, seconds % 60, 2)


@numba.njit("int64(uint8[::1], int64, uint8[:])", cache=True, nogil=True, inline="always")
def _put_list(text: Bytes, at: int, values: Bytes) -> int:
    text[at] = 91  # [
    at += 1
    for value in values:
        for k in range(4):
            text[at + k] = _NUMBERS[value, k]
        at += _WIDTHS[value]
    text[at - 1] = 93  # ] in place of the last comma
    return at


@numba.njit(f"int64({_BLOCK}, uint8[::1], uint8[::1])", cache=True, nogil=True)
def _write_lines(
    xy: Bytes,
    points_per_stroke: Integers,
    strokes_per_drawing: Integers,
    seconds: Integers,
    recognized: NDArray[np.bool_],
    key_ids: Integers,
    before_time: Bytes,
    text: Bytes,
) -> int:
    """Returns the bytes written."""
    at, row, s = 0, 0, 0
    for i in range(len(key_ids)):
        at = _put_time(text, _put(text, at, before_time), seconds[i])
        at = _put(text, at, _AFTER_TIME)
        at = _put(text, at, _TRUE) if recognized[i] else _put(text, at, _FALSE)
        at = _put_digits(text, _put(text, at, _BEFORE_KEY), key_ids[i], 16)
        at = _put(text, at, _BEFORE_DRAWING)
        for stroke in range(s, s + strokes_per_drawing[i]):
            end = row + points_per_stroke[stroke]
            text[at] = 91  # [
            at = _put_list(text, at + 1, xy[row:end, 0])
            text[at] = 44  # ,
            at = _put_list(text, at + 1, xy[row:end, 1])
            text[at], text[at + 1] = 93, 44  # ],
            at, row = at + 2, end
        s += strokes_per_drawing[i]
        text[at - 1], text[at], text[at + 1] = 93, 125, 10  # ]} and a line end
        at += 2
    return at


@numba.njit("int64(uint8[::1], int64, int64, int64)", cache=True, nogil=True, inline="always")
def _put_little_endian(records: Bytes, at: int, value: int, num: int) -> int:
    for k in range(num):
        records[at + k] = value >> 8 * k & 0xFF
    return at + num


@numba.njit(f"void({_BLOCK}, int64, uint8[::1])", cache=True, nogil=True)
def _write_records(
    xy: Bytes,
    points_per_stroke: Integers,
    strokes_per_drawing: Integers,
    seconds: Integers,
    recognized: NDArray[np.bool_],
    key_ids: Integers,
    first_second: int,
    records: Bytes,
) -> None:
    at, row, s = 0, 0, 0
    for i in range(len(key_ids)):
        at = _put_little_endian(records, at, key_ids[i], 8)
        records[at], records[at + 1], records[at + 2] = 90, 90, recognized[i]  # ZZ
        at = _put_little_endian(records, at + 3, first_second + seconds[i], 4)
        at = _put_little_endian(records, at, strokes_per_drawing[i], 2)
        for stroke in range(s, s + strokes_per_drawing[i]):
            end = row + points_per_stroke[stroke]
            at = _put_little_endian(records, at, points_per_stroke[stroke], 2)
            for axis in range(2):
                for j in range(row, end):
                    records[at + j - row] = xy[j, axis]
                at += end - row
            row = end
        s += strokes_per_drawing[i]
