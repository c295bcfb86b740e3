"""Generated files are what the bucket's are: the same fields, any number, none twice."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from benchmarks.drawings import (
    BLOCK_DRAWINGS,
    Block,
    draw,
    encode_lines,
    name_words,
    write_binary,
    write_simplified,
)
from pipeline.doodles import CATEGORIES, generate
from pipeline.ingest.formats.ndjson import read_simplified

NUM = 3000


def lines_of(word: str, num: int, **kwargs: int) -> list[bytes]:
    text = b"".join(encode_lines(word, block).tobytes() for block in draw(word, num, **kwargs))
    return text.splitlines()


def test_lines_have_the_fields_of_the_official_ones_and_nothing_else() -> None:
    official = next(iter(generate("cat", 1, 0))).rstrip()
    for line in lines_of("cat-07", NUM):
        row = orjson.loads(line)
        assert orjson.dumps(row) == line
        assert list(row) == list(orjson.loads(official))
        assert row["word"] == "cat-07"
        assert isinstance(row["recognized"], bool)
        assert len(row["key_id"]) == 16
        datetime.strptime(row["timestamp"], "%Y-%m-%d %H:%M:%S.%f UTC")
        for xs, ys in row["drawing"]:
            assert 0 < len(xs) == len(ys)
            assert 0 <= min(xs + ys) <= max(xs + ys) <= 255


def test_the_ingest_reads_every_line(tmp_path: Path) -> None:
    path = write_simplified(tmp_path, "mixed", NUM)
    parsed = list(read_simplified(iter([path.read_bytes()]), "mixed"))
    assert sum(each.num_records for each in parsed) == NUM
    assert not any(each.rejects for each in parsed)


def test_binary_records_are_the_same_drawings(tmp_path: Path) -> None:
    lines = write_simplified(tmp_path, "sun", NUM).read_bytes().splitlines()
    records = write_binary(tmp_path, "sun", NUM).read_bytes()
    at = 0
    for line in lines:
        at = assert_same(orjson.loads(line), records, at)
    assert at == len(records)


def assert_same(row: dict[str, Any], records: bytes, at: int) -> int:
    key_id, country, recognized, timestamp, num_strokes = struct.unpack_from("<Q2sBIH", records, at)
    at += 17
    assert (str(key_id), country.decode(), bool(recognized), num_strokes) == (
        row["key_id"],
        row["countrycode"],
        row["recognized"],
        len(row["drawing"]),
    )
    moment = datetime.strptime(row["timestamp"], "%Y-%m-%d %H:%M:%S.%f UTC").replace(tzinfo=UTC)
    assert moment.timestamp() == timestamp
    for xs, ys in row["drawing"]:
        (num,) = struct.unpack_from("<H", records, at)
        at += 2
        assert list(records[at : at + num]) == xs
        assert list(records[at + num : at + 2 * num]) == ys
        at += 2 * num
    return at


def test_a_drawing_depends_on_word_seed_and_number_alone() -> None:
    whole = lines_of("cat", BLOCK_DRAWINGS + 200)
    assert lines_of("cat", 300, start=BLOCK_DRAWINGS - 100) == whole[BLOCK_DRAWINGS - 100 :]
    assert not set(lines_of("cat-01", NUM)) & set(whole)
    assert not set(drawings_of(lines_of("cat", NUM, seed=1))) & set(drawings_of(whole))


def drawings_of(lines: list[bytes]) -> list[bytes]:
    return [line[line.index(b'"drawing"') :] for line in lines]


def test_no_two_drawings_are_equal_and_no_two_have_one_key_id() -> None:
    lines = [line for word in ("cat-00", "cat-01") for line in lines_of(word, 20_000)]
    assert len(set(drawings_of(lines))) == len(lines)
    assert len({orjson.loads(line)["key_id"] for line in lines}) == len(lines)


def test_points_move_little() -> None:
    (block,) = draw("house", 500)
    doodles = [orjson.loads(line)["drawing"] for line in generate("house", 2048, 0)]
    shapes: dict[tuple[int, ...], list[Any]] = {}
    for doodle in doodles:
        shapes.setdefault(tuple(len(xs) for xs, _ in doodle), []).append(np.hstack(doodle).T)
    num_found = 0
    for drawing, lengths in split(block):
        candidates = shapes.get(tuple(lengths), [])
        num_found += any(np.abs(drawing.astype(int) - other).max() <= 3 for other in candidates)
    assert num_found > 350  # the others lack a point


def split(block: Block) -> list[tuple[Any, list[int]]]:
    strokes = iter(block.points_per_stroke.tolist())
    lengths = [list(islice(strokes, num)) for num in block.strokes_per_drawing.tolist()]
    ends = np.cumsum([sum(each) for each in lengths])
    return list(zip(np.split(block.xy, ends[:-1]), lengths, strict=True))


def test_drawings_are_as_long_as_people_s_on_average(tmp_path: Path) -> None:
    num = 20_000
    num_points = sum(len(block.xy) for block in draw("mixed", num))
    assert num_points / num == pytest.approx(44.5, abs=1)
    size_bytes = write_simplified(tmp_path, "mixed", num).stat().st_size
    assert size_bytes / num == pytest.approx(490, abs=12)


def test_words_name_any_number_of_categories() -> None:
    assert name_words(2) == list(CATEGORIES[:2])
    words = name_words(345)
    assert len(set(words)) == 345
    assert words[:2] == ["cat-00", "pig-00"]
    assert words[14] == "cat-01"
