"""Lines to columns: against a slow conversion written here, and with every kind of bad line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.ingest import parse
from pipeline.ingest.parse import Drawings, Reason, parse_lines, split_lines

GOOD = b'{"word":"cat","drawing":[[[0,3,5],[1,1,9]],[[7],[8]]]}'


def convert_slowly(strokes: list[list[list[int]]]) -> list[list[int]]:
    """The official rule, point by point."""
    rows = []
    before = None
    for stroke in strokes:
        points = list(zip(stroke[0], stroke[1], strict=True))
        for index, (x, y) in enumerate(points):
            lifted = int(index == len(points) - 1)
            if before is not None:
                rows.append([x - before[0], y - before[1], lifted])
            elif lifted:
                rows.append([0, 0, 1])
            before = (x, y)
    return rows


def sketches(drawings: Drawings) -> list[list[list[int]]]:
    ends = np.cumsum(drawings.lengths)[:-1]
    return [part.tolist() for part in np.split(drawings.points, ends)] if len(drawings) else []


def test_agrees_with_the_slow_conversion(make_lines: Callable[[str, int], list[bytes]]) -> None:
    lines = make_lines("cat", 500)
    drawings, rejects = parse_lines(lines, first_line=1, word="cat")
    assert rejects == []
    assert sketches(drawings) == [convert_slowly(json.loads(line)["drawing"]) for line in lines]
    assert drawings.points.dtype == np.int16
    assert drawings.ids.tolist() == [4503626191994880 + i for i in range(500)]
    assert drawings.countrycode.tolist() == [json.loads(line)["countrycode"] for line in lines]
    assert drawings.recognized.tolist() == [json.loads(line)["recognized"] for line in lines]
    assert str(drawings.timestamp[1]) == "2017-03-02T12:17:06.127570"


def test_a_first_stroke_of_one_point_keeps_its_pen_lift() -> None:
    line = b'{"drawing":[[[4],[4]],[[6,7],[4,4]]]}'
    drawings, _ = parse_lines([line, GOOD], first_line=1, word="cat")
    assert sketches(drawings) == [
        [[0, 0, 1], [2, 0, 0], [1, 0, 1]],
        [[3, 0, 0], [2, 8, 1], [2, -1, 1]],
    ]


def test_what_a_line_lacks_is_null_and_its_id_the_hash_of_its_strokes() -> None:
    moved = b'{"drawing":[[[10,13,15],[11,11,19]],[[17],[18]]]}'
    other = b'{"drawing":[[[10,13,15],[11,11,19],[17],[18]]],"key_id":null}'
    drawings, rejects = parse_lines([GOOD, moved, other], first_line=1, word="cat")
    assert [reject.line for reject in rejects] == [3]
    assert drawings.ids[0] == drawings.ids[1] == drawings.hashes[0] != 0
    assert drawings.countrycode.tolist() == drawings.recognized.tolist() == [None, None]
    assert np.isnat(drawings.timestamp).all()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", Reason.not_json),
        (b"{", Reason.not_json),
        (GOOD[:-9], Reason.not_json),
        (b'{"drawing":[[[NaN],[1]]]}', Reason.not_json),
        (b'{"drawing":[[[1e999],[1]]]}', Reason.not_json),
        (b'{"word":"\xff","drawing":[[[1],[1]]]}', Reason.not_json),
        (b"[" * 100_000, Reason.not_json),
        (b"[" * 1000 + b"]" * 1000, Reason.not_object),
        (b"[1]", Reason.not_object),
        (b"null", Reason.not_object),
        (b'{"word":"dog","drawing":[[[1],[1]]]}', Reason.other_word),
        (b'{"word":["cat"],"drawing":[[[1],[1]]]}', Reason.other_word),
        (b"{}", Reason.no_drawing),
        (b'{"drawing":null}', Reason.no_drawing),
        (b'{"drawing":[]}', Reason.no_drawing),
        (b'{"drawing":{"0":[[1],[1]]}}', Reason.no_drawing),
        (b'{"drawing":"ab"}', Reason.no_drawing),
        (b'{"drawing":["ab"]}', Reason.bad_stroke),
        (b'{"drawing":[{"a":1,"b":2}]}', Reason.bad_stroke),
        (b'{"drawing":[7]}', Reason.bad_stroke),
        (b'{"drawing":[[]]}', Reason.bad_stroke),
        (b'{"drawing":[[[],[]]]}', Reason.bad_stroke),
        (b'{"drawing":[[[1,2],[1,2],[0,16]]]}', Reason.bad_stroke),
        (b'{"drawing":[[[1,2],[1]]]}', Reason.bad_stroke),
        (b'{"drawing":[[[1],"1"]]}', Reason.bad_stroke),
        (b'{"drawing":[[[1,2],[1,2]],[[1],[1,2]]]}', Reason.bad_stroke),
        (b'{"drawing":[[[1.0],[1]]]}', Reason.not_integer),
        (b'{"drawing":[[[true],[1]]]}', Reason.not_integer),
        (b'{"drawing":[[[null],[1]]]}', Reason.not_integer),
        (b'{"drawing":[[["1"],[1]]]}', Reason.not_integer),
        (b'{"drawing":[[[[1]],[1]]]}', Reason.not_integer),
        (b'{"drawing":[[[1e30],[1]]]}', Reason.not_integer),
        (b'{"drawing":[[[123456789012345678901234567890],[1]]]}', Reason.not_integer),
        (b'{"drawing":[[[18446744073709551615],[1]]]}', Reason.out_of_range),
        (b'{"drawing":[[[32768],[1]]]}', Reason.out_of_range),
        (b'{"drawing":[[[1,2],[1,-32768]]]}', Reason.out_of_range),
        (b'{"drawing":[[[-20000,20000],[1,1]]]}', Reason.out_of_range),
        (b'{"drawing":[[[-20000],[1]],[[20000],[1]]]}', Reason.out_of_range),
        (b'{"drawing":[[[1],[1]]],"key_id":"abc"}', Reason.bad_metadata),
        (b'{"drawing":[[[1],[1]]],"key_id":"-1"}', Reason.bad_metadata),
        (b'{"drawing":[[[1],[1]]],"key_id":"1_0"}', Reason.bad_metadata),
        (b'{"drawing":[[[1],[1]]],"key_id":"18446744073709551616"}', Reason.bad_metadata),
        (b'{"drawing":[[[1],[1]]],"key_id":true}', Reason.bad_metadata),
        (b'{"drawing":[[[1],[1]]],"countrycode":7}', Reason.bad_metadata),
        (b'{"drawing":[[[1],[1]]],"recognized":1}', Reason.bad_metadata),
        (b'{"drawing":[[[1],[1]]],"timestamp":"now"}', Reason.bad_metadata),
        (b'{"drawing":[[[1],[1]]],"timestamp":"2017-13-01 00:00:00 UTC"}', Reason.bad_metadata),
        (b'{"drawing":[[[1],[1]]],"timestamp":"2017-03-01 00:00:00+01:00"}', Reason.bad_metadata),
        (b'{"drawing":[[[1],[1]]],"timestamp":1488326400}', Reason.bad_metadata),
        (b'{"drawing":[[[1],[1]]]}' + b" " * (1 << 20), Reason.oversize),
    ],
)
def test_a_bad_line_is_a_reject_and_leaves_its_neighbours_alone(
    line: bytes, reason: Reason
) -> None:
    drawings, rejects = parse_lines([GOOD, line, GOOD], first_line=41, word="cat")
    assert [(reject.line, reject.reason) for reject in rejects] == [(42, reason)]
    assert 0 < len(rejects[0].detail) < 300
    assert sketches(drawings) == [[[3, 0, 0], [2, 8, 1], [2, -1, 1]]] * 2


def test_offsets_up_to_the_bound_are_kept() -> None:
    line = b'{"drawing":[[[-32767,0,32767],[0,0,0]]]}'
    drawings, rejects = parse_lines([line], first_line=1, word="cat")
    assert (sketches(drawings), rejects) == ([[[32767, 0, 0], [32767, 0, 1]]], [])


def test_no_line_and_no_good_line_give_no_drawing() -> None:
    assert len(parse_lines([], first_line=1, word="cat")[0]) == 0
    drawings, rejects = parse_lines([b"x", b'{"drawing":[7]}'], first_line=1, word="cat")
    assert (len(drawings), drawings.points.shape, len(rejects)) == (0, (0, 3), 2)


@pytest.mark.parametrize("block_bytes", [1, 7, 100, 10_000])
@pytest.mark.parametrize("ending", [b"", b"\n", b"\n\n"])
def test_lines_do_not_depend_on_blocks(block_bytes: int, ending: bytes) -> None:
    data = b"one\ntwo\r\n\n" + b"3" * 500 + ending
    blocks = [data[i : i + block_bytes] for i in range(0, len(data), block_bytes)]
    found = [line for lines in split_lines(blocks) for line in lines]
    assert found == [b"one", b"two\r", b"", b"3" * 500] + [b""] * (ending.count(b"\n") - 1)


def test_an_endless_line_is_not_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse, "MAX_LINE_BYTES", 1000)
    blocks = [GOOD + b"\n", *[b"x" * 400] * 50, b"\n" + GOOD]
    lines = [line for lines in split_lines(blocks) for line in lines]
    assert max(map(len, lines)) <= 1000 + 400 + 1
    drawings, rejects = parse_lines(lines, first_line=1, word="cat")
    assert len(drawings) == 2
    assert [(reject.line, reject.reason) for reject in rejects] == [(2, Reason.oversize)]


MUTATIONS = st.tuples(
    st.sampled_from(["replace", "insert", "delete", "truncate"]),
    st.integers(0, 10_000),
    st.sampled_from(b'0123456789-.,:[]{}"eEnul \\\x00\xff'),
)


def mutate(line: bytes, mutation: tuple[str, int, int]) -> bytes:
    kind, place, byte = mutation
    at = place % len(line)
    match kind:
        case "replace":
            return line[:at] + bytes([byte]) + line[at + 1 :]
        case "insert":
            return line[:at] + bytes([byte]) + line[at:]
        case "delete":
            return line[:at] + line[at + 1 :]
        case _:
            return line[:at]


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(mutations=st.lists(st.none() | MUTATIONS, min_size=1, max_size=12))
def test_mutated_lines_are_drawings_or_rejects(
    make_lines: Callable[[str, int], list[bytes]], mutations: list[tuple[str, int, int] | None]
) -> None:
    lines = make_lines("cat", len(mutations))
    lines = [mutate(line, m) if m else line for line, m in zip(lines, mutations, strict=True)]
    drawings, rejects = parse_lines(lines, first_line=1, word="cat")
    rejected = {reject.line for reject in rejects}
    assert len(drawings) + len(rejected) == len(lines)
    assert not rejected & {n for n, m in enumerate(mutations, 1) if m is None}
    kept = [json.loads(line) for n, line in enumerate(lines, 1) if n not in rejected]
    assert sketches(drawings) == [convert_slowly(each["drawing"]) for each in kept]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**15), 2**16) | st.floats() | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)
ALMOST_STROKES = st.lists(
    st.lists(st.lists(st.integers(-40_000, 40_000) | st.booleans(), max_size=2), max_size=3)
)


@settings(max_examples=300, deadline=None)
@given(value=JSON_VALUES | ALMOST_STROKES)
def test_the_check_of_a_chunk_finds_what_the_check_of_a_drawing_finds(value: Any) -> None:
    if not isinstance(value, list) or not value:
        return
    try:
        parse._check_strokes(value)
    except parse._BadLineError:
        with pytest.raises((TypeError, ValueError, OverflowError)):
            parse._to_stroke3([value])
    else:
        points, lengths = parse._to_stroke3([value, value])
        assert points.tolist() == convert_slowly(value) * 2
        assert lengths.tolist() == [len(convert_slowly(value))] * 2


@pytest.mark.real_data
@pytest.mark.parametrize("folder", ["full", "partial"])
def test_real_drawings_agree_with_the_slow_conversion(quickdraw_root: Path, folder: str) -> None:
    lines = (quickdraw_root / folder / "simplified" / "cat.ndjson").read_bytes().splitlines()
    drawings, rejects = parse_lines(lines, first_line=1, word="cat")
    assert rejects == []
    assert sketches(drawings) == [convert_slowly(json.loads(line)["drawing"]) for line in lines]
