"""Single drawings with all that their shards say of them, found by row or by id.

For looking, not for training: a record batch is read for each drawing, from a disk or a bucket.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import storage
from pipeline.config import UserError
from pipeline.data.recordbatch import RecordBatch, remedy
from pipeline.manifest import SPLITS, Manifest

SCHEMA = pa.schema(
    [
        pa.field("points", pa.list_(pa.list_(pa.int16(), 3)), nullable=False),
        pa.field("id", pa.uint64(), nullable=False),
        pa.field("countrycode", pa.string()),
        pa.field("timestamp", pa.timestamp("us", tz="UTC")),
        pa.field("recognized", pa.bool_()),
    ]
)
"""Of every shard; a record batch alone does not say."""
_MAGIC_BYTES = 8
"""Before the schema, with which a file begins."""


@dataclass(frozen=True)
class Place:
    """Where a drawing lies.

    Attributes:
        row: in its split, as `ShardedSketches` counts.
        recordbatch: the record batch of its shard.
        row_of_recordbatch: in that record batch.
    """

    row: int
    recordbatch: RecordBatch
    row_of_recordbatch: int


@dataclass(frozen=True, kw_only=True)
class StoredDrawing:
    """One drawing.

    Attributes:
        points: stroke-3 rows, int16 [L, 3].
        id: key_id, or the hash of a drawing without one.
        countrycode: two letters; None if unknown.
        timestamp: when it was drawn, UTC; None if unknown.
        recognized: whether the game recognized it; None if unknown.
    """

    points: NDArray[np.int16]
    id: int
    countrycode: str | None
    timestamp: datetime | None
    recognized: bool | None


def locate(manifest: Manifest, root: str, split: str, row: int) -> Place:
    """Where the drawing of this row of a split lies; see `find` for `root`.

    Raises:
        IndexError: if the split has no such row.
    """
    for first, batch in _recordbatches(manifest, root, split):
        if 0 <= row - first < batch.num_sketches:
            return Place(row, batch, row - first)
    raise IndexError(f"row must lie in [0, {manifest.num_drawings(split)}), got {row}")


def find(manifest: Manifest, root: str, drawing_id: int) -> Iterator[Place]:
    """Where the drawings with an id lie, in any split.

    Of local shards the ids alone are read, without verifying checksums; `read` verifies what is
    found. Of remote ones, record batches are fetched whole, one at a time.

    Args:
        manifest: of the shards.
        root: location of the folder of all shards.
        drawing_id: key_id, or the hash of a drawing without one.

    Raises:
        UserError: if a shard is missing or cannot be read.
    """
    for split in SPLITS:
        for first, batch in _recordbatches(manifest, root, split):
            ids = _decode(batch, _fetch(batch)).column("id").to_numpy()
            for row in np.flatnonzero(ids == np.uint64(drawing_id)).tolist():
                yield Place(first + row, batch, row)


def read(place: Place) -> StoredDrawing:
    """The drawing at a place, after verifying the checksum of its record batch.

    Raises:
        UserError: if the shard is missing or damaged.
    """
    content = _fetch(place.recordbatch)
    place.recordbatch.verify(content)
    row = _decode(place.recordbatch, content).slice(place.row_of_recordbatch, 1)
    points = row.column("points").flatten().flatten().to_numpy().reshape(-1, 3)
    others = {name: row.column(name)[0].as_py() for name in SCHEMA.names[1:]}
    return StoredDrawing(points=points, **others)


def _recordbatches(manifest: Manifest, root: str, split: str) -> Iterator[tuple[int, RecordBatch]]:
    """Every record batch of a split, after the row of its first drawing."""
    first = 0
    for shard in manifest.shards:
        if shard.split == split:
            location = storage.join(root, shard.path)
            for index in range(len(shard.ends)):
                batch = RecordBatch(shard, location, index)
                yield first, batch
                first += batch.num_sketches


def _fetch(batch: RecordBatch) -> pa.Buffer:
    """Its bytes; of a local file, those that are not looked at are not read."""
    location = batch.location
    try:
        if storage.is_remote(location):
            return pa.py_buffer(storage.read_range(location, batch.start, batch.stop))
        with pa.memory_map(location) as file:
            file.seek(batch.start)
            return file.read_buffer(batch.stop - batch.start)
    except FileNotFoundError as error:
        raise UserError(f"{location} does not exist; {remedy(location)}") from error
    except OSError as error:
        raise UserError(f"{location} cannot be read ({error}); {remedy(location)}") from error


def _decode(batch: RecordBatch, content: pa.Buffer) -> pa.RecordBatch:
    file = pa.BufferReader(content)
    try:
        if batch.index == 0:
            file.seek(_MAGIC_BYTES)
            pa.ipc.read_message(file)  # the schema
        columns = pa.ipc.read_record_batch(pa.ipc.read_message(file), SCHEMA)
        columns.validate()
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{batch.location}, record batch {batch.index} is damaged ({error});"
            f" {remedy(batch.location)}"
        ) from error
    return columns
