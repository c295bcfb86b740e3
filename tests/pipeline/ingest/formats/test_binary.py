"""Binary files give the drawings that the simplified files give."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import UserError
from pipeline.ingest.formats.binary import MAX_RECORD_BYTES, read_binary
from pipeline.ingest.formats.ndjson import read_simplified
from pipeline.ingest.records import Drawings, Parsed, Reason
from tests.pipeline.ingest.formats.binary_files import encode_binary

Make = Callable[[str, int], list[bytes]]


def cut(data: bytes, size: int) -> Iterator[bytes]:
    for first in range(0, len(data), size):
        yield data[first : first + size]


def read(blocks: Iterable[bytes]) -> tuple[Drawings, list[Any], int]:
    parsed = list(read_binary(blocks))
    drawings = Drawings.concatenate([each.drawings for each in parsed])
    rejects = [reject for each in parsed for reject in each.rejects]
    return drawings, rejects, sum(each.num_records for each in parsed)


def record(
    *strokes: bytes, recognized: int = 1, country: bytes = b"DE", num_strokes: int | None = None
) -> bytes:
    num = len(strokes) if num_strokes is None else num_strokes
    return struct.pack("<Q2sBIH", 7, country, recognized, 1_488_370_626, num) + b"".join(strokes)


def stroke(*xy: int) -> bytes:
    return struct.pack("<H", len(xy) // 2) + bytes(xy[::2]) + bytes(xy[1::2])


GOOD = record(stroke(0, 0, 10, 0, 10, 255), stroke(3, 4))
ROWS = [[10, 0, 0], [0, 255, 1], [-7, -251, 1]]


def assert_equal(got: Drawings, expected: Iterable[Parsed]) -> None:
    simplified = Drawings.concatenate([each.drawings for each in expected])
    for name in (
        "points",
        "lengths",
        "hashes",
        "shapes",
        "ids",
        "countrycode",
        "recognized",
        "split",
    ):
        np.testing.assert_array_equal(getattr(got, name), getattr(simplified, name), name)
    seconds = simplified.timestamp.astype("datetime64[s]")
    np.testing.assert_array_equal(got.timestamp, seconds.astype("datetime64[us]"))


def test_a_record_is_what_its_bytes_say() -> None:
    drawings, rejects, num = read([GOOD])
    assert (drawings.points.tolist(), rejects, num) == (ROWS, [], 1)
    assert drawings.ids.tolist() == [7]
    assert drawings.countrycode.tobytes() == b"DE"
    assert drawings.timestamp.tolist() == [np.datetime64("2017-03-01T12:17:06").item()]
    assert drawings.recognized.tolist() == [1]
    assert drawings.split.tolist() == [-1]


@pytest.mark.parametrize("size", [1, 2, 17, 100, 4096, 1 << 20])
def test_the_same_as_from_simplified_lines(size: int, make_lines: Make) -> None:
    lines = make_lines("cat", 300)
    drawings, rejects, num = read(cut(encode_binary(lines), size))
    assert (rejects, num) == ([], 300)
    assert_equal(drawings, read_simplified([b"\n".join(lines)], "cat"))


@pytest.mark.real_data
@pytest.mark.parametrize("word", ["cat", "monkey", "The Eiffel Tower"])
def test_the_same_as_from_real_lines(word: str, quickdraw_root: Path) -> None:
    content = (quickdraw_root / f"full/simplified/{word}.ndjson").read_bytes()
    data = encode_binary(content.splitlines())
    drawings, rejects, _ = read(cut(data, 10_007))
    assert not rejects
    assert len(drawings) == content.count(b"\n")
    assert_equal(drawings, read_simplified([content], word))


@pytest.mark.parametrize("size", [5, 1 << 18])
def test_bad_records_are_rejects_and_reading_goes_on(size: int) -> None:
    bad = [
        (record(), Reason.no_drawing),
        (record(stroke(1, 2), stroke(), stroke(3, 4)), Reason.bad_stroke),
        (record(stroke(1, 2, 3, 4), recognized=2), Reason.bad_metadata),
        (record(stroke(1, 2, 3, 4), country=b"\xc3\xa4"), Reason.bad_metadata),
        (record(stroke(), recognized=255), Reason.bad_stroke),
    ]
    data = GOOD + b"".join(content + GOOD for content, _ in bad)
    drawings, rejects, num = read(cut(data, size))
    assert num == 11
    assert [(each.line, each.reason) for each in rejects] == [
        (2 * index + 2, reason) for index, (_, reason) in enumerate(bad)
    ]
    assert rejects[2].detail == "key_id 7: recognized 2 must be 0 or 1"
    assert drawings.points.tolist() == ROWS * 6


def test_a_record_that_runs_past_the_end_is_the_last() -> None:
    for cut_off in range(1, len(GOOD)):
        drawings, rejects, num = read([GOOD + GOOD[:-cut_off]])
        assert num == 2
        assert [(each.line, each.reason) for each in rejects] == [(2, Reason.truncated)]
        assert drawings.points.tolist() == ROWS
    too_many = record(stroke(1, 2), num_strokes=4000) + GOOD * 100
    drawings, rejects, num = read(cut(GOOD + too_many, 1000))
    assert (num, rejects[0].reason) == (2, Reason.truncated)
    assert drawings.points.tolist() == ROWS
    assert list(read_binary([b""])) == []


def test_memory_is_bounded_and_damage_on_the_way_still_noticed() -> None:
    asked: list[int] = []

    def endless() -> Iterator[bytes]:
        yield GOOD + record(num_strokes=65_535)
        for number in range(2000):
            asked.append(number)
            yield struct.pack("<H", 100) * 10_000
        raise UserError("arrived damaged")

    reading = read_binary(endless())
    (first, last) = islice(reading, 2)
    assert first.drawings.points.tolist() == ROWS
    assert [(each.line, each.reason) for each in last.rejects] == [(2, Reason.oversize_record)]
    assert len(asked) <= MAX_RECORD_BYTES // 20_000 + 2
    with pytest.raises(UserError, match="arrived damaged"):
        next(reading)


def test_the_longest_record() -> None:
    long = record(*[stroke(*range(200))] * 5000)
    assert len(long) < MAX_RECORD_BYTES
    drawings, rejects, _ = read(cut(long + GOOD, 1 << 18))
    assert (drawings.lengths.tolist(), rejects) == ([5000 * 100 - 1, 3], [])
    over = record(*[stroke(*range(200))] * 5200)
    for blocks in ([over + GOOD], cut(over + GOOD, 1 << 18)):
        _, rejects, num = read(blocks)
        assert (num, rejects[0].reason) == (1, Reason.oversize_record)


def test_random_bytes_are_accounted_for() -> None:
    rng = np.random.default_rng(0)
    data = bytearray(GOOD * 200)
    for _ in range(300):
        changed = bytearray(data)
        for place in rng.integers(len(data), size=3):
            changed[place] = rng.integers(256)
        drawings, rejects, num = read(cut(bytes(changed), 997))
        assert len(drawings) + len(rejects) == num
        assert drawings.points.shape == (drawings.lengths.sum(), 3)
        assert [each.line for each in rejects] == sorted({each.line for each in rejects})
