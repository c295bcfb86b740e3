"""The binary files of Quick, Draw!: records of bytes, one after another, without a separator.

A record is little-endian: key_id uint64, countrycode 2 bytes, recognized 1 byte, timestamp uint32
(seconds since 1970, UTC), number of strokes uint16; then per stroke its number of points uint16,
their x, a byte each, and their y, a byte each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from pipeline.ingest.records import (
    MAX_LINE_BYTES,
    Parsed,
    Reason,
    Reject,
    from_stroke3,
    from_strokes,
)

MAX_RECORD_BYTES = MAX_LINE_BYTES
"""Counts allow for 8 GB; the longest drawings take some thousands of bytes."""
HEADER = np.dtype(
    [
        ("key_id", "<u8"),
        ("countrycode", "u1", 2),
        ("recognized", "u1"),
        ("timestamp", "<u4"),
        ("num_strokes", "<u2"),
    ]
)
_HEADER_BYTES, _COUNT_BYTES = HEADER.itemsize, 2
_LEAST_STROKE_BYTES = _COUNT_BYTES + 2
_GOOD, _NO_STROKES, _EMPTY_STROKE, _BAD_RECOGNIZED, _BAD_COUNTRY = range(5)
_RECOGNIZED_BYTE, _COUNTRY_BYTES = 10, (8, 9)


def read_binary(blocks: Iterable[bytes]) -> Iterator[Parsed]:
    """Reads a file's records; a block may end anywhere.

    A record without strokes, with an empty stroke or with impossible metadata is a reject, and
    reading goes on behind it. Where a record is longer than `MAX_RECORD_BYTES` or runs past the end
    of the file, one of its counts is wrong, and nothing that follows can be trusted: it is one
    reject, and the last record.

    Raises:
        UserError: what reading the blocks raises, which are read to their end in any case.
    """
    scanner, iterator, num_records = _Scanner(), iter(blocks), 0
    for block in iterator:
        records = scanner.scan(block)
        if len(records.status):
            yield _convert(records, num_records)
            num_records += len(records.status)
        if len(scanner.rest) > MAX_RECORD_BYTES:
            yield _reject_rest(scanner.rest, num_records + 1, Reason.oversize_record)
            for _ in iterator:  # whose end says whether the file came in undamaged
                pass
            return
    if len(scanner.rest):
        yield _reject_rest(scanner.rest, num_records + 1, Reason.truncated)


def _convert(records: _Records, num_before: int) -> Parsed:
    good = records.status == _GOOD
    headers = records.headers[good]
    drawings, _ = from_strokes(
        records.xy,
        records.points_per_stroke,
        headers["num_strokes"].astype(np.int64),
        ids=headers["key_id"],
        countrycode=headers["countrycode"],
        timestamp=headers["timestamp"].astype("datetime64[s]").astype("datetime64[us]"),
        recognized=headers["recognized"].astype(np.int8),
    )
    rejects = [
        Reject(
            num_before + 1 + int(index), *_explain(records.status[index], records.headers[index])
        )
        for index in np.flatnonzero(~good)
    ]
    return Parsed(drawings, rejects, len(good))


def _explain(status: int, header: np.void) -> tuple[Reason, str]:
    key = f"key_id {header['key_id']}"
    if status == _NO_STROKES:
        return Reason.no_drawing, f"{key}: no strokes"
    if status == _EMPTY_STROKE:
        return Reason.bad_stroke, f"{key}: a stroke without points"
    if status == _BAD_RECOGNIZED:
        return Reason.bad_metadata, f"{key}: recognized {header['recognized']} must be 0 or 1"
    code = header["countrycode"].tobytes()
    return Reason.bad_metadata, f"{key}: countrycode {code!r} must be ASCII"


def _reject_rest(data: NDArray[np.uint8], line: int, reason: Reason) -> Parsed:
    nothing = from_stroke3(np.empty((0, 3), dtype=np.int16), np.empty(0, dtype=np.int64))
    return Parsed(
        nothing,
        [Reject(line, reason, f"a record that begins {data[:_HEADER_BYTES].tobytes().hex()}")],
        1,
    )


class _Records(NamedTuple):
    """The n whole records that some bytes begin with; points and strokes are of good ones only."""

    headers: NDArray[np.void]
    """HEADER [n]."""
    status: NDArray[np.uint8]
    """[n]."""
    points_per_stroke: NDArray[np.int64]
    """[S]."""
    xy: NDArray[np.int32]
    """[P, 2]."""


class _Scanner:
    """Finds records in blocks, in memory that it uses again and again: new memory is slow."""

    def __init__(self) -> None:
        self.rest = np.empty(0, dtype=np.uint8)
        """The beginning of a record that goes on in the next block."""
        self._allocate(0)

    def _allocate(self, num_bytes: int) -> None:
        num_records = num_bytes // _HEADER_BYTES
        self._data = np.empty(num_bytes, dtype=np.uint8)
        self._headers = np.empty((num_records, _HEADER_BYTES), dtype=np.uint8)
        self._status = np.empty(num_records, dtype=np.uint8)
        self._points_per_stroke = np.empty(num_bytes // _LEAST_STROKE_BYTES, dtype=np.int64)
        self._xy = np.empty((num_bytes // 2, 2), dtype=np.int32)

    def scan(self, block: bytes) -> _Records:
        """The whole records of the rest and the block; valid until the next call."""
        size = len(self.rest) + len(block)
        if size > len(self._data):
            self._allocate(size)
        data = self._data[:size]
        data[: len(self.rest)] = self.rest
        data[len(self.rest) :] = np.frombuffer(block, dtype=np.uint8)
        num_records, num_strokes, num_points, num_bytes = _scan_records(
            data, self._headers, self._status, self._points_per_stroke, self._xy
        )
        self.rest = data[num_bytes:].copy()
        return _Records(
            self._headers[:num_records].view(HEADER).ravel(),
            self._status[:num_records],
            self._points_per_stroke[:num_strokes],
            self._xy[:num_points],
        )


@numba.njit("int64(uint8[::1], int64)", cache=True, nogil=True, inline="always")
def _uint16(data: NDArray[np.uint8], at: int) -> int:
    return int(np.int64(data[at]) | (np.int64(data[at + 1]) << 8))


@numba.njit("int64(uint8[::1], int64, int64)", cache=True, nogil=True, inline="always")
def _judge(data: NDArray[np.uint8], start: int, num_strokes: int) -> int:
    if max(data[start + _COUNTRY_BYTES[0]], data[start + _COUNTRY_BYTES[1]]) > 127:
        return _BAD_COUNTRY
    if data[start + _RECOGNIZED_BYTE] > 1:
        return _BAD_RECOGNIZED
    return _GOOD if num_strokes else _NO_STROKES


@numba.njit(
    "UniTuple(int64, 4)(uint8[::1], uint8[:, ::1], uint8[::1], int64[::1], int32[:, ::1])",
    cache=True,
    nogil=True,
)
def _scan_records(
    data: NDArray[np.uint8],
    headers: NDArray[np.uint8],
    status: NDArray[np.uint8],
    points_per_stroke: NDArray[np.int64],
    xy: NDArray[np.int32],
) -> tuple[int, int, int, int]:
    """Fills in the records that are whole.

    Returns:
        The records, strokes and points that were filled, and the bytes that were used up.
    """
    record, stroke, point, start, size = 0, 0, 0, 0, len(data)
    while start + _HEADER_BYTES <= size:
        first_stroke, first_point = stroke, point
        at = start + _HEADER_BYTES
        num_strokes = _uint16(data, at - _COUNT_BYTES)
        verdict = _judge(data, start, num_strokes)
        for _ in range(num_strokes):
            num = _uint16(data, at) if at + _COUNT_BYTES <= size else size
            at += _COUNT_BYTES
            if at + 2 * num > min(size, start + MAX_RECORD_BYTES):
                return record, first_stroke, first_point, start
            if num == 0:
                verdict = _EMPTY_STROKE
                continue
            for i in range(num):
                xy[point + i, 0], xy[point + i, 1] = data[at + i], data[at + num + i]
            points_per_stroke[stroke] = num
            at, point, stroke = at + 2 * num, point + num, stroke + 1
        if verdict != _GOOD:
            stroke, point = first_stroke, first_point
        for i in range(_HEADER_BYTES):
            headers[record, i] = data[start + i]
        status[record] = verdict
        record, start = record + 1, at
    return record, stroke, point, start
