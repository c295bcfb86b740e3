"""Shards: what pyarrow reads back, where their checksums lie, and what their bytes depend on."""

from __future__ import annotations

import hashlib
import itertools
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.ingest.formats.ndjson import read_simplified
from pipeline.ingest.records import Drawings
from pipeline.ingest.shards import SCHEMA, ShardWriter
from pipeline.manifest import Shard

ROWS = 10


@pytest.fixture(scope="module")
def drawings(make_lines: Callable[[str, int], list[bytes]]) -> Drawings:
    lines = [*make_lines("cat", 90), *[b'{"drawing":[[[%d,9],[2,3]]]}' % i for i in range(5)]]
    return Drawings.concatenate(
        [each.drawings for each in read_simplified([b"\n".join(lines)], "cat")]
    )


def write(folder: Path, drawings: Drawings, piece: int = 1000) -> list[Shard]:
    sizes = {"recordbatch_rows": ROWS, "shard_rows": 4 * ROWS + 3}
    with ShardWriter(folder, "cat", "train", **sizes) as writer:
        for start in range(0, len(drawings), piece):
            stop = min(start + piece, len(drawings))
            writer.append(drawings.take(np.arange(start, stop)))
        return writer.finish()


def test_pyarrow_reads_back_what_was_written(tmp_path: Path, drawings: Drawings) -> None:
    shards = write(tmp_path, drawings)
    assert [shard.path for shard in shards] == [f"train-0000{i}.arrow" for i in range(3)]
    assert [shard.num_sketches for shard in shards] == [40, 40, 15]
    assert sum(shard.num_points for shard in shards) == len(drawings.points)
    tables = [pa.ipc.open_file(tmp_path / shard.path).read_all() for shard in shards]
    table = pa.concat_tables(tables)
    assert table.schema == SCHEMA
    table.validate(full=True)
    ends = np.cumsum(drawings.lengths)[:-1]
    expected = [part.tolist() for part in np.split(drawings.points, ends)]
    assert table["points"].to_pylist() == expected
    assert table["id"].to_pylist() == drawings.ids.tolist()
    codes = [code.decode() or None for code in drawings.countrycode.view("S2").ravel().tolist()]
    assert table["countrycode"].to_pylist() == codes
    assert codes[-5:] == [None] * 5
    recognized = [{1: True, 0: False, -1: None}[each] for each in drawings.recognized.tolist()]
    assert table["recognized"].to_pylist() == recognized
    assert table["timestamp"].null_count == 5
    known = table["timestamp"].drop_null().cast(pa.int64()).to_numpy()
    assert np.array_equal(known, drawings.timestamp[:90].astype(np.int64))


def test_every_byte_belongs_to_one_checksum(tmp_path: Path, drawings: Drawings) -> None:
    for shard in write(tmp_path, drawings):
        content = (tmp_path / shard.path).read_bytes()
        assert len(content) == shard.size_bytes
        assert hashlib.sha256(content).hexdigest() == shard.sha256
        edges = [0, *shard.ends, shard.size_bytes]
        parts = [content[a:b] for a, b in itertools.pairwise(edges)]
        assert [zlib.crc32(part) for part in parts] == [*shard.crc32, shard.footer_crc32]
        reader = pa.ipc.open_file(content)
        rows = [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)]
        assert len(rows) == len(shard.ends)
        assert set(rows[:-1]) <= {ROWS}


@pytest.mark.parametrize("piece", [1, 7, 10, 33])
def test_bytes_do_not_depend_on_how_sketches_arrive(
    tmp_path: Path, drawings: Drawings, piece: int
) -> None:
    (tmp_path / "pieces").mkdir()
    whole = write(tmp_path, drawings)
    assert write(tmp_path / "pieces", drawings, piece) == whole
    for shard in whole:
        pieces = (tmp_path / "pieces" / shard.path).read_bytes()
        assert pieces == (tmp_path / shard.path).read_bytes()


def test_no_sketch_gives_no_shard(tmp_path: Path, drawings: Drawings) -> None:
    assert write(tmp_path, drawings.take(np.array([], dtype=np.int64))) == []
    assert list(tmp_path.iterdir()) == []
