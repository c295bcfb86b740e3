"""The compiled reader: it reads what is usual, and never otherwise than the careful one."""

from __future__ import annotations

import json
import random
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.ingest.formats import ndjson
from pipeline.ingest.formats.ndjson import convert, read_raw, read_simplified
from pipeline.ingest.formats.ndjson_lines import decode_lines
from pipeline.ingest.formats.ndjson_tokens import (
    PADDING_BYTES,
    UNUSUAL,
    bytes_of,
    read_integer,
    read_number,
    read_timestamp,
)
from pipeline.ingest.records import Drawings, Reject
from tests.pipeline.ingest.formats.mutations import WORD, join_fields, mutated_lines, usual_fields

END = "\n" * PADDING_BYTES
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_fast(lines: list[bytes], word: str, is_raw: bool) -> tuple[Drawings, list[Reject]]:
    reader = read_raw if is_raw else read_simplified
    parsed = list(reader([b"".join(line + b"\n" for line in lines)], word))
    assert sum(part.num_records for part in parsed) == len(lines)
    rejects = [reject for part in parsed for reject in part.rejects]
    return Drawings.concatenate([part.drawings for part in parsed]), rejects


def read_carefully(lines: list[bytes], word: str, is_raw: bool) -> tuple[Drawings, list[Reject]]:
    columns, rejects = decode_lines(enumerate(lines, 1), word, is_raw=is_raw)
    drawings, fits = convert(columns, is_raw=is_raw)
    assert fits.all()
    return drawings, rejects


def assert_same(lines: list[bytes], word: str = WORD, is_raw: bool = False) -> int:
    """Compares both readers; returns the number of drawings."""
    fast, fast_rejects = read_fast(lines, word, is_raw)
    careful, careful_rejects = read_carefully(lines, word, is_raw)
    assert fast_rejects == careful_rejects
    assert len(fast) + len(fast_rejects) == len(lines)
    for field in fields(Drawings):
        one, other = getattr(fast, field.name), getattr(careful, field.name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other, err_msg=field.name)
    return len(fast)


@pytest.fixture
def careful_lines(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The lines that the compiled reader left to the careful one, as they come."""
    seen: list[bytes] = []

    def spy(lines, word, *, is_raw):  # type: ignore[no-untyped-def]
        kept = list(lines)
        seen.extend(line for _, line in kept)
        return decode_lines(kept, word, is_raw=is_raw)

    monkeypatch.setattr(ndjson, "decode_lines", spy)
    return seen


@pytest.mark.parametrize("is_raw", [False, True])
def test_usual_lines_are_read_by_the_compiled_reader(
    careful_lines: list[bytes], is_raw: bool
) -> None:
    rng = random.Random(7)
    lines = []
    for _ in range(300):
        content = usual_fields(rng, is_raw)
        rng.shuffle(content)
        lines.append(join_fields(content) + rng.choice([b"", b"\r", b" "]))
    assert assert_same(lines, is_raw=is_raw) == 300
    assert careful_lines == []


@pytest.mark.parametrize(
    "line",
    [
        b'{"drawing":[[[0,-1,999999],[1,0,-30000]]]}',
        b' { "drawing" : [ [ [ 0 , 1 ] , [ 12 , 123 ] ] ] }\t',
        b'{"drawing":[[[1],[1]]],"key_id":12,"countrycode":"","recognized":null}',
        b'{"key_id":null,"countrycode":null,"timestamp":null,"drawing":[[[1],[1]]]}',
    ],
)
def test_less_common_lines_are_read_by_it_too(careful_lines: list[bytes], line: bytes) -> None:
    num_drawings = assert_same([line])
    # Only what it has read, and then does not fit, is looked at again.
    assert careful_lines == [line] * (1 - num_drawings)


@pytest.mark.parametrize(
    "line",
    [
        b'{"word":"c\\u0061t","drawing":[[[1],[1]]]}',
        b'{"drawing":[[[1],[1]]],"extra":{"a":[1]}}',
        b'{"drawing":[[[9],[9]]],"drawing":[[[1],[1]],[[2],[2]]]}',
        b'{"drawing":[[[1],[1]]],"timestamp":"2017-03-02T23:25:10"}',
        b'{"drawing":[[[1],[1]]],"key_id":"18446744073709551615"}',
        b'{"drawing":[[[-0],[1]]]}',
    ],
)
def test_unusual_lines_are_left_to_the_careful_reader(
    careful_lines: list[bytes], line: bytes
) -> None:
    good = b'{"drawing":[[[1,2],[1,3]]]}'
    assert assert_same([good, line, good]) == 3
    assert careful_lines == [line]


@pytest.mark.parametrize("is_raw", [False, True])
def test_mutated_lines_end_as_the_careful_reader_says(is_raw: bool) -> None:
    """Guarantees G3 and G6."""
    num = 10_000
    num_drawings = assert_same(mutated_lines(num, seed=11, is_raw=is_raw), is_raw=is_raw)
    assert 0.05 * num < num_drawings < 0.95 * num


@settings(max_examples=300)
@given(seed=st.integers(0, 2**32), num=st.integers(1, 5), is_raw=st.booleans())
def test_other_mutated_lines_too(seed: int, num: int, is_raw: bool) -> None:
    assert_same(mutated_lines(num, seed, is_raw=is_raw), is_raw=is_raw)


@pytest.mark.parametrize("first", [b"", b'"', b'"}', b",", b"]", b"]]]}", b"}", b":", b"1", b"n"])
@pytest.mark.parametrize("is_raw", [False, True])
def test_no_token_that_fails_goes_on_at_the_first_byte(first: bytes, is_raw: bool) -> None:
    # The cursor that stands for "unusual" is also that of the first byte.
    stroke = "[[1],[1],[1]]" if is_raw else "[[1],[1]]"
    bad = [
        join_fields([("key", "x"), ('"drawing"', f"[{stroke}]")]),
        join_fields([('"drawing"', f"[{stroke}]"), ('"key_id"', '"x"')]),
        join_fields([('"drawing"', f"[{stroke}]"), ('"key_id"', "x")]),
        join_fields([('"drawing"', f"[{stroke}]"), ('"countrycode"', "x")]),
        join_fields([('"drawing"', f"[{stroke}]"), ('"timestamp"', '"x"')]),
        join_fields([('"drawing"', f"[{stroke}]"), ('"recognized"', "x")]),
        join_fields([('"drawing"', f"[{stroke}]"), ('"word"', '"x"')]),
        join_fields([('"drawing"', f"[{stroke[:-3]}x]]]")]),
        join_fields([('"drawing"', "[[[x],[1],[1]]]")]),
        join_fields([('"drawing"', "x")]),
    ]
    assert assert_same([first, *bad], is_raw=is_raw) == 0


@pytest.mark.parametrize("word", ["caf\u00e9", 'a"b', "back\\slash", "", "t\u00fcr\n"])
def test_words_of_any_kind(word: str) -> None:
    drawing = {"drawing": [[[1, 2], [3, 4]]]}
    lines = [
        json.dumps({"word": word} | drawing).encode(),
        json.dumps({"word": word} | drawing, ensure_ascii=False).encode(),
        json.dumps({"word": word + "x"} | drawing).encode(),
        f'{{"word":"{word}","drawing":[[[1],[1]]]}}'.replace("\n", " ").encode(),
    ]
    assert assert_same(lines, word) >= 2


@settings(max_examples=500)
@given(
    digits=st.integers(0, 10**19 - 1),
    num_decimals=st.integers(0, 19),
    is_negative=st.booleans(),
)
@example(digits=2**53 + 1, num_decimals=0, is_negative=False)
@example(digits=10**19 - 1, num_decimals=19, is_negative=True)
def test_numbers_are_rounded_to_the_nearest_float(
    digits: int, num_decimals: int, is_negative: bool
) -> None:
    text = str(digits).zfill(num_decimals + 1)
    if num_decimals:
        text = f"{text[:-num_decimals]}.{text[-num_decimals:]}"
    text = "-" * is_negative + text
    end, value = read_number(bytes_of(text + END), np.uint64(0))
    if end != UNUSUAL:
        assert (end, value) == (len(text), float(text))
    elif len(text) <= 19:
        # Half way between two floats, as 2**53 + 1 is, or -0.
        assert digits > 2**53 or (is_negative and not digits)


@pytest.mark.parametrize("seed", range(3))
def test_coordinates_of_full_precision_are_numbers_of_the_usual_kind(seed: int) -> None:
    rng = random.Random(seed)
    for value in (rng.uniform(0.001, 2000.0) for _ in range(500)):
        text = repr(value)
        if len(text) <= 20:
            assert read_number(bytes_of(text + END), np.uint64(0)) == (len(text), value)


@pytest.mark.parametrize(
    "text", ["", "-", "01", "-0", "+1", "--1", ".5", "a", "1" * 20, "1.", "-0.0", "1.e"]
)
def test_what_is_no_plain_number(text: str) -> None:
    assert read_number(bytes_of(text + END), np.uint64(0))[0] == UNUSUAL
    if "." not in text[1:]:
        assert read_integer(bytes_of(text + END), np.uint64(0))[0] == UNUSUAL


@settings(max_examples=500)
@given(
    year=st.integers(0, 9999),
    month=st.integers(0, 13),
    day=st.integers(0, 32),
    clock=st.tuples(st.integers(0, 25), st.integers(0, 61), st.integers(0, 61)),
    fraction=st.from_regex(r"\A(\.[0-9]{1,6})?\Z"),
)
@example(year=1900, month=2, day=29, clock=(0, 0, 0), fraction="")
@example(year=2000, month=2, day=29, clock=(23, 59, 59), fraction=".999999")
def test_timestamps_are_those_of_the_calendar(
    year: int, month: int, day: int, clock: tuple[int, int, int], fraction: str
) -> None:
    time = ":".join(f"{part:02d}" for part in clock)
    text = f"{year:04d}-{month:02d}-{day:02d} {time}{fraction}"
    end, microseconds = read_timestamp(bytes_of(f'"{text} UTC"{END}'), np.uint64(0))
    try:
        expected = datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        assert end == UNUSUAL
    else:
        assert end == len(text) + 6
        assert microseconds == (expected - EPOCH) // timedelta(microseconds=1)


@pytest.mark.real_data
@pytest.mark.parametrize("folder", ["full/simplified", "partial/simplified", "full/raw"])
def test_real_lines_are_usual(
    quickdraw_root: Path, careful_lines: list[bytes], folder: str
) -> None:
    for word in ("cat", "sun", "backpack"):
        lines = (quickdraw_root / folder / f"{word}.ndjson").read_bytes().splitlines()[:500]
        assert assert_same(lines, word, is_raw=folder == "full/raw") == len(lines)
    assert careful_lines == []
