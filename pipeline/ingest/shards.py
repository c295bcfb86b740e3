"""Arrow IPC files of sketches, uncompressed, with a checksum for every byte.

The bytes depend on the sketches and their order alone, not on how they arrive.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.ingest.records import Drawings
from pipeline.manifest import Shard

SCHEMA = pa.schema(
    [
        pa.field("points", pa.list_(pa.list_(pa.int16(), 3)), nullable=False),
        pa.field("id", pa.uint64(), nullable=False),
        pa.field("countrycode", pa.string()),
        pa.field("timestamp", pa.timestamp("us", tz="UTC")),
        pa.field("recognized", pa.bool_()),
    ]
)
"""Training touches `points` alone: stroke-3 rows in one flat buffer per record batch."""


class ShardWriter:
    """Writes the sketches of one split of a category as `<split>-00000.arrow`, `-00001`, ...

    Every record batch but a split's last holds `recordbatch_rows` sketches, every shard but the
    last as many whole record batches as `shard_rows` has room for.
    """

    def __init__(
        self, folder: Path, category: str, split: str, *, recordbatch_rows: int, shard_rows: int
    ) -> None:
        self._folder = folder
        self._category = category
        self._split = split
        self._recordbatch_rows = recordbatch_rows
        self._recordbatches_per_shard = shard_rows // recordbatch_rows
        self._pending: list[Drawings] = []
        self._num_pending = 0
        self._file: _ShardFile | None = None
        self._shards: list[Shard] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.abandon()

    def append(self, drawings: Drawings) -> None:
        """Adds sketches; whole record batches go to disk at once."""
        self._pending.append(drawings)
        self._num_pending += len(drawings)
        if self._num_pending < self._recordbatch_rows:
            return
        for batch in Drawings.concatenate(self._pending).slices(self._recordbatch_rows):
            if len(batch) == self._recordbatch_rows:
                self._write(batch)
                self._num_pending -= len(batch)
        self._pending = [batch] if self._num_pending else []

    def finish(self) -> list[Shard]:
        """Writes what is left and describes all shards, which then are safely on disk."""
        if self._num_pending:
            self._write(Drawings.concatenate(self._pending))
        self._close_file()
        return self._shards

    def _write(self, drawings: Drawings) -> None:
        if self._file is None:
            name = f"{self._split}-{len(self._shards):05d}.arrow"
            self._file = _ShardFile(self._folder / name)
        self._file.write(drawings)
        if len(self._file.ends) == self._recordbatches_per_shard:
            self._close_file()

    def _close_file(self) -> None:
        if self._file is None:
            return
        self._file.close()
        self._shards.append(
            Shard(
                path=self._file.path.name,
                category=self._category,
                split=self._split,
                num_sketches=self._file.num_sketches,
                num_points=self._file.num_points,
                recordbatch_rows=self._recordbatch_rows,
                size_bytes=self._file.sink.size_bytes,
                sha256=self._file.sink.sha256.hexdigest(),
                ends=self._file.ends,
                crc32=self._file.crc32,
                footer_crc32=self._file.sink.take_crc32(),
            )
        )
        self._file = None


class _ShardFile:
    """One open shard, and where its record batches end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.num_sketches = 0
        self.num_points = 0
        self.ends: list[int] = []
        self.crc32: list[int] = []
        self.sink = _ChecksummedFile(path)
        self._writer = pa.ipc.new_file(pa.PythonFile(self.sink, "wb"), SCHEMA)

    def write(self, drawings: Drawings) -> None:
        self._writer.write_batch(_to_record_batch(drawings))
        self.num_sketches += len(drawings)
        self.num_points += len(drawings.points)
        self.ends.append(self.sink.size_bytes)
        self.crc32.append(self.sink.take_crc32())

    def close(self) -> None:
        self._writer.close()
        self.sink.close()

    def abandon(self) -> None:
        self.sink.file.close()


class _ChecksummedFile:
    """A file that knows the checksums of what was written to it."""

    def __init__(self, path: Path) -> None:
        # Unbuffered, so that a full disk shows in the write that it refuses.
        self.file: BinaryIO = path.open("wb", buffering=0)
        self.size_bytes = 0
        self.sha256 = hashlib.sha256()
        self._crc32 = 0

    @property
    def closed(self) -> bool:
        return self.file.closed

    def write(self, data: bytes) -> int:
        view = memoryview(data).cast("B")
        self.sha256.update(view)
        self._crc32 = zlib.crc32(view, self._crc32)
        self.size_bytes += len(view)
        while view:
            view = view[self.file.write(view) :]
        return len(data)

    def tell(self) -> int:
        return self.size_bytes

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        if not self.file.closed:
            os.fsync(self.file.fileno())
            self.file.close()

    def take_crc32(self) -> int:
        """CRC-32 of what was written since the last call."""
        crc32, self._crc32 = self._crc32, 0
        return crc32


def _to_record_batch(drawings: Drawings) -> pa.RecordBatch:
    num = len(drawings)
    offsets = np.zeros(num + 1, dtype=np.int32)
    np.cumsum(drawings.lengths, out=offsets[1:])
    rows = pa.FixedSizeListArray.from_arrays(pa.array(drawings.points.ravel()), 3)
    columns = [
        pa.ListArray.from_arrays(pa.array(offsets), rows),
        pa.array(drawings.ids),
        _to_strings(drawings.countrycode),
        pa.array(drawings.timestamp, type=pa.timestamp("us", tz="UTC")),
        pa.array(drawings.recognized == 1, mask=drawings.recognized < 0),
    ]
    return pa.record_batch(columns, schema=SCHEMA)


def _to_strings(codes: NDArray[np.uint8]) -> pa.StringArray:
    """Two-letter codes [n, 2], null where they are zeros."""
    known = codes[:, 0] != 0
    offsets = np.zeros(len(codes) + 1, dtype=np.int32)
    np.cumsum(2 * known, out=offsets[1:])
    return pa.StringArray.from_buffers(
        len(codes),
        pa.py_buffer(offsets),
        pa.py_buffer(codes[known].tobytes()),
        None if known.all() else pa.py_buffer(np.packbits(known, bitorder="little")),
        int(len(codes) - known.sum()),
    )
