"""ndjson to columns: against a slow conversion written here, and with every kind of bad line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from pipeline.ingest.formats import ndjson, ndjson_lines
from pipeline.ingest.formats.ndjson import join_lines, read_raw, read_simplified
from pipeline.ingest.formats.ndjson_lines import MAX_RAW_LINE_BYTES
from pipeline.ingest.formats.ndjson_scan import MAX_RAW_COORDINATE, MAX_TRAVEL
from pipeline.ingest.records import MAX_LINE_BYTES, Drawings, Parsed, Reason, Reject

GOOD = b'{"word":"cat","drawing":[[[0,3,5],[1,1,9]],[[7],[8]]]}'
GOOD_ROWS = [[3, 0, 0], [2, 8, 1], [2, -1, 1]]
GOOD_RAW = b'{"drawing":[[[10.5,265.5],[7,7],[0,16]],[[138],[134.5],[40]]]}'
GOOD_RAW_ROWS = [[255, 0, 1], [-127, 128, 0], [0, 0, 1]]


def gather(parsed: Iterable[Parsed]) -> tuple[Drawings, list[Reject]]:
    parts = list(parsed)
    assert all(len(part.drawings) + len(part.rejects) == part.num_records for part in parts)
    rejects = [reject for part in parts for reject in part.rejects]
    return Drawings.concatenate([part.drawings for part in parts]), rejects


def read(lines: list[bytes]) -> tuple[Drawings, list[Reject]]:
    return gather(read_simplified([b"".join(line + b"\n" for line in lines)], "cat"))


def read_raws(lines: list[bytes]) -> tuple[Drawings, list[Reject]]:
    return gather(read_raw([b"".join(line + b"\n" for line in lines)], "cat"))


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
    drawings, rejects = read(lines)
    assert rejects == []
    assert sketches(drawings) == [convert_slowly(json.loads(line)["drawing"]) for line in lines]
    assert drawings.points.dtype == np.int16
    assert drawings.ids.tolist() == [4503626191994880 + i for i in range(500)]
    codes = [json.loads(line)["countrycode"] for line in lines]
    assert drawings.countrycode.tobytes() == "".join(codes).encode()
    assert drawings.recognized.tolist() == [json.loads(line)["recognized"] for line in lines]
    assert (drawings.recognized.dtype, drawings.split.tolist()) == (np.int8, [-1] * 500)
    assert str(drawings.timestamp[1]) == "2017-03-02T12:17:06.127570"


def test_a_first_stroke_of_one_point_keeps_its_pen_lift() -> None:
    line = b'{"drawing":[[[4],[4]],[[6,7],[4,4]]]}'
    drawings, _ = read([line, GOOD])
    assert sketches(drawings) == [
        [[0, 0, 1], [2, 0, 0], [1, 0, 1]],
        [[3, 0, 0], [2, 8, 1], [2, -1, 1]],
    ]


def test_what_a_line_lacks_is_null_and_its_id_the_hash_of_its_strokes() -> None:
    moved = b'{"drawing":[[[10,13,15],[11,11,19]],[[17],[18]]]}'
    other = b'{"drawing":[[[10,13,15],[11,11,19],[17],[18]]],"key_id":null}'
    drawings, rejects = read([GOOD, moved, other])
    assert [reject.line for reject in rejects] == [3]
    assert drawings.ids[0] == drawings.ids[1] == drawings.hashes[0] != 0
    assert drawings.countrycode.tolist() == [[0, 0], [0, 0]]
    assert drawings.recognized.tolist() == [-1, -1]
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
        (b'{"drawing":[[[1],[1]]],"countrycode":"D"}', Reason.bad_metadata),
        (b'{"drawing":[[[1],[1]]],"countrycode":"DEU"}', Reason.bad_metadata),
        ('{"drawing":[[[1],[1]]],"countrycode":"\u00e4\u00e4"}'.encode(), Reason.bad_metadata),
        (b'{"drawing":[[[1],[1]]],"countrycode":"\\u0000D"}', Reason.bad_metadata),
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
    drawings, rejects = read([GOOD, line, GOOD])
    assert [(reject.line, reject.reason) for reject in rejects] == [(2, reason)]
    assert 0 < len(rejects[0].detail) < 300
    assert sketches(drawings) == [GOOD_ROWS] * 2


def test_offsets_up_to_the_bound_are_kept() -> None:
    line = b'{"drawing":[[[-32767,0,32767],[0,0,0]]]}'
    drawings, rejects = read([line])
    assert (sketches(drawings), rejects) == ([[[32767, 0, 0], [32767, 0, 1]]], [])


def test_no_line_and_no_good_line_give_no_drawing() -> None:
    assert list(read_simplified([], "cat")) == list(read_simplified([b""], "cat")) == []
    drawings, rejects = read([b"x", b'{"drawing":[7]}'])
    assert (len(drawings), drawings.points.shape, len(rejects)) == (0, (0, 3), 2)


@pytest.mark.parametrize("scan_bytes", [1, 1000])
@pytest.mark.parametrize("block_bytes", [1, 7, 100, 10_000])
@pytest.mark.parametrize("ending", [b"", b"\n", b"\n\n"])
def test_lines_do_not_depend_on_blocks(
    monkeypatch: pytest.MonkeyPatch, scan_bytes: int, block_bytes: int, ending: bytes
) -> None:
    monkeypatch.setattr(ndjson, "SCAN_BYTES", scan_bytes)
    data = b"\n".join([GOOD, b"x", GOOD + b"\r", b"", b"3" * 500, b"\r", GOOD]) + ending
    blocks = [data[i : i + block_bytes] for i in range(0, len(data), block_bytes)]
    drawings, rejects = gather(read_simplified(blocks, "cat"))
    assert sketches(drawings) == [GOOD_ROWS] * 3
    bad = [2, 4, 5, 6] + [8] * (ending == b"\n\n")
    assert [reject.line for reject in rejects] == bad
    assert rejects[1].detail == "empty line"


def test_drawings_keep_the_order_of_their_lines_whoever_reads_them() -> None:
    lines = [b'{"key_id":%d,"drawing":[[[%d,0],[1,1]]]}' % (i, i) for i in range(50)]
    for i in range(0, 50, 3):
        lines[i] = lines[i].replace(b"drawing", b"dr\\u0061wing")
    lines[20:20] = [b"{}", b"[]"]
    drawings, rejects = read(lines)
    assert drawings.ids.tolist() == list(range(50))
    assert sketches(drawings) == [[[-i, 0, 1]] for i in range(50)]
    assert [reject.line for reject in rejects] == [21, 22]


def test_a_drawing_stays_as_it_is_when_the_next_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ndjson, "SCAN_BYTES", 100)
    meta = b'"countrycode":"%s","timestamp":"%d-01-01 00:00:00 UTC","recognized":%s'
    lines = [
        b"{%s,%s\n" % (meta % (b"DE", 2016, b"true"), GOOD[1:]),
        b"{%s,%s\n" % (meta % (b"BR", 2017, b"false"), GOOD[1:]),
    ]
    first, second = read_simplified(lines, "cat")
    assert [bytes(part.drawings.countrycode) for part in (first, second)] == [b"DE", b"BR"]
    assert [str(part.drawings.timestamp[0])[:4] for part in (first, second)] == ["2016", "2017"]
    assert [part.drawings.recognized.tolist() for part in (first, second)] == [[1], [0]]


def test_an_endless_line_is_not_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ndjson, "SCAN_BYTES", 2000)
    monkeypatch.setattr(ndjson, "MAX_LINE_BYTES", 1000)
    monkeypatch.setattr(ndjson_lines, "MAX_LINE_BYTES", 1000)
    blocks = [GOOD + b"\n", *[b"x" * 400] * 50, b"\n" + GOOD]
    assert max(len(buffer.text) for buffer in join_lines(blocks, 1000)) < 3000
    drawings, rejects = gather(read_simplified(blocks, "cat"))
    assert sketches(drawings) == [GOOD_ROWS] * 2
    assert [(reject.line, reject.reason) for reject in rejects] == [(2, Reason.oversize)]


def test_a_line_may_be_as_long_as_the_bound() -> None:
    drawings, rejects = read([GOOD.ljust(MAX_LINE_BYTES), GOOD.ljust(MAX_LINE_BYTES + 1), GOOD])
    assert len(drawings) == 2
    assert [(reject.line, reject.reason) for reject in rejects] == [(2, Reason.oversize)]


def test_raw_strokes_are_simplified() -> None:
    exponent = GOOD_RAW.replace(b"265.5", b"2.655e2").replace(b"134.5", b"1345e-1")
    drawings, rejects = read_raws([GOOD_RAW, exponent])
    assert (sketches(drawings), rejects) == ([GOOD_RAW_ROWS] * 2, [])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", Reason.not_json),
        (b'{"drawing":[[[NaN],[1],[1]]]}', Reason.not_json),
        (b'{"drawing":[[[1],[1],[1e999]]]}', Reason.not_json),
        (b'{"drawing":[]}', Reason.no_drawing),
        (b'{"word":"dog","drawing":[[[1],[1],[1]]]}', Reason.other_word),
        (b'{"drawing":[[[1],[1]]]}', Reason.raw_stroke),
        (b'{"drawing":[[[1],[1],[1],[1]]]}', Reason.raw_stroke),
        (b'{"drawing":[[[],[],[]]]}', Reason.raw_stroke),
        (b'{"drawing":[[[1,2],[1,2],[1]]]}', Reason.raw_stroke),
        (b'{"drawing":[[[1],[1],null]]}', Reason.raw_stroke),
        (b'{"drawing":[[[1],["1"],[1]]]}', Reason.not_number),
        (b'{"drawing":[[[1],[1],[null]]]}', Reason.not_number),
        (b'{"drawing":[[[true],[1],[1]]]}', Reason.not_number),
        (b'{"drawing":[[[1000001],[1],[1]]]}', Reason.raw_out_of_range),
        (b'{"drawing":[[[1],[-1000000.1],[1]]]}', Reason.raw_out_of_range),
        (b'{"drawing":[[[1],[1e300],[1]]]}', Reason.raw_out_of_range),
        (b'{"drawing":[[[1],[1],[1]]],"recognized":0}', Reason.bad_metadata),
        (b'{"drawing":[[[1],[1],[1]]]}' + b" " * MAX_RAW_LINE_BYTES, Reason.raw_oversize),
        (
            b'{"drawing":[[[%s],[%s],[%s]]]}'
            % (b"0,1," * 2999 + b"0,1", *[b"0," * 5999 + b"0"] * 2),
            Reason.raw_travel,
        ),
    ],
)
def test_a_bad_raw_line_is_a_reject_and_leaves_its_neighbours_alone(
    line: bytes, reason: Reason
) -> None:
    drawings, rejects = read_raws([GOOD_RAW, line, GOOD_RAW])
    assert [(reject.line, reject.reason) for reject in rejects] == [(2, reason)]
    assert 0 < len(rejects[0].detail) < 300
    assert sketches(drawings) == [GOOD_RAW_ROWS] * 2


def test_reasons_state_the_bounds() -> None:
    assert str(MAX_RAW_LINE_BYTES) in Reason.raw_oversize
    assert f"{MAX_RAW_COORDINATE:.0f}" in Reason.raw_out_of_range
    assert f"{MAX_TRAVEL:.0f}" in Reason.raw_travel


@pytest.mark.real_data
@pytest.mark.parametrize("folder", ["full", "partial"])
def test_real_drawings_agree_with_the_slow_conversion(quickdraw_root: Path, folder: str) -> None:
    lines = (quickdraw_root / folder / "simplified" / "cat.ndjson").read_bytes().splitlines()
    drawings, rejects = read(lines)
    assert rejects == []
    assert sketches(drawings) == [convert_slowly(json.loads(line)["drawing"]) for line in lines]


@pytest.mark.real_data
def test_real_raw_drawings_become_their_simplified_ones(quickdraw_root: Path) -> None:
    pairs = []
    for folder, reader in (("simplified", read_simplified), ("raw", read_raw)):
        data = (quickdraw_root / "full" / folder / "cat.ndjson").read_bytes()
        drawings, rejects = gather(reader([data], "cat"))
        assert rejects == []
        pairs.append(dict(zip(drawings.ids.tolist(), sketches(drawings), strict=True)))
    simplified, raw = pairs
    common = simplified.keys() & raw.keys()
    assert len(common) >= 20
    assert [key for key in common if simplified[key] != raw[key]] == []
