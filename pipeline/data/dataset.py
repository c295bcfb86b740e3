"""Sketches of one split, gathered by index from memory-mapped shards.

Nothing is read before it is asked for. A record batch's checksum is verified when the first of
its sketches is gathered, so the first training batch does not wait for whole files, and a flipped
bit is found before it is served.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from pipeline.config import Source, UserError
from pipeline.manifest import SPLITS, Manifest, Shard
from sketch_model.batch import PackedBatch


class ShardedSketches:
    """The sketches of one split, numbered in the order of the manifest's categories.

    Attributes:
        manifest: what the shards hold.
        split: train, valid or test.
    """

    def __init__(self, manifest_path: Path, split: str) -> None:
        """Opens a split; fails at once if one of its shards is not there.

        Raises:
            UserError: if the manifest or a shard is missing, damaged or of another version.
        """
        if split not in SPLITS:
            raise ValueError(f"split {split!r} must be one of {', '.join(SPLITS)}")
        if not manifest_path.exists():
            raise UserError(_explain_missing(manifest_path))
        self.manifest = Manifest.read(manifest_path)
        self.split = split
        shards = [
            _MappedShard(manifest_path.parent / shard.path, shard)
            for shard in self.manifest.shards
            if shard.split == split
        ]
        self._recordbatches = [(shard, i) for shard in shards for i in range(shard.num_batches)]
        rows = [shard.count_rows(i) for shard, i in self._recordbatches]
        self._starts = np.cumsum([0, *rows])
        self._category_of_batch = np.array(
            [
                self.manifest.categories.index(s.description.category)
                for s, _ in self._recordbatches
            ],
            dtype=np.int16,
        )

    def __len__(self) -> int:
        return int(self._starts[-1])

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        """Points of each sketch, [len(self)].

        Read without verifying checksums, which would take reading every shard whole; `gather`
        verifies what it serves.
        """
        parts = [np.diff(shard.read(i, verify=False).offsets) for shard, i in self._recordbatches]
        return np.concatenate([np.empty(0, dtype=np.int32), *parts])

    @cached_property
    def categories(self) -> NDArray[np.int16]:
        """Index of each sketch's category in the manifest, [len(self)]."""
        return np.repeat(self._category_of_batch, np.diff(self._starts))

    def gather(
        self, indices: NDArray[np.int64], positions: NDArray[np.int64] | None = None
    ) -> PackedBatch:
        """The sketches at `indices` [B], in that order; an index may repeat.

        Shards are touched in the order of their addresses, whatever the order of `indices`.

        Args:
            indices: of sketches, each in [0, len(self)).
            positions: keys of the sketches' randomness [B]; the indices unless given.

        Raises:
            IndexError: if an index is out of bounds.
            UserError: if a shard is damaged.
        """
        indices = np.asarray(indices, dtype=np.int64)
        if indices.size and not 0 <= indices.min() <= indices.max() < len(self):
            raise IndexError(
                f"indices must lie in [0, {len(self)}), got {indices.min()} to {indices.max()}"
            )
        batches = np.searchsorted(self._starts, indices, side="right") - 1
        rows = (indices - self._starts[batches]).tolist()
        by_address = np.argsort(indices, kind="stable").tolist()
        sketches: list[NDArray[np.int16]] = [_NO_POINTS] * len(rows)
        for place in by_address:
            shard, i = self._recordbatches[batches[place]]
            sketches[place] = shard.read(i)[rows[place]]

        offsets = np.cumsum([0, *map(len, sketches)], dtype=np.int32)
        points = np.empty((offsets[-1], 3), dtype=np.int16)
        for place in by_address:
            points[offsets[place] : offsets[place + 1]] = sketches[place]
        return PackedBatch(
            points=torch.from_numpy(points),
            offsets=torch.from_numpy(offsets),
            categories=torch.from_numpy(self._category_of_batch[batches]),
            positions=torch.tensor(indices if positions is None else positions, dtype=torch.int64),
        )


_NO_POINTS = np.empty((0, 3), dtype=np.int16)


@dataclass(frozen=True)
class _Rows:
    """Views of a record batch's sketches: row r is `points[offsets[r]:offsets[r + 1]]`."""

    offsets: NDArray[np.int32]
    points: NDArray[np.int16]

    def __getitem__(self, row: int) -> NDArray[np.int16]:
        return self.points[self.offsets[row] : self.offsets[row + 1]]


class _MappedShard:
    """A shard that is mapped at the first touch, and verified record batch by record batch."""

    def __init__(self, path: Path, description: Shard) -> None:
        self.path = path
        self.description = description
        self.num_batches = len(description.ends)
        self._rows: list[_Rows | None] = [None] * self.num_batches
        self._verified = [False] * self.num_batches
        size_bytes = path.stat().st_size if path.exists() else None
        if size_bytes != description.size_bytes:
            found = "does not exist" if size_bytes is None else f"has {size_bytes} bytes"
            raise UserError(
                f"{path} {found}, the manifest has {description.size_bytes} bytes; {self._remedy}"
            )

    def count_rows(self, index: int) -> int:
        """Sketches of a record batch."""
        full = self.description.recordbatch_rows
        return min(full, self.description.num_sketches - index * full)

    def read(self, index: int, *, verify: bool = True) -> _Rows:
        """Views of a record batch, mapped and verified at most once."""
        if verify and not self._verified[index]:
            end = self.description.ends[index]
            start = self.description.ends[index - 1] if index else 0
            expected = self.description.crc32[index]
            self._compare(f"record batch {index}", self._bytes[start:end], expected)
            self._verified[index] = True
        rows = self._rows[index]
        if rows is None:
            rows = self._rows[index] = self._map(index)
        return rows

    def _map(self, index: int) -> _Rows:
        try:
            column = self._reader.get_batch(index).column("points")
            offsets = column.offsets.to_numpy()
            points = column.values.values.to_numpy().reshape(-1, 3)
            if len(offsets) != self.count_rows(index) + 1:
                raise ValueError(f"{len(offsets) - 1} rows instead of {self.count_rows(index)}")
        except (pa.ArrowException, KeyError, ValueError) as error:
            raise UserError(
                f"{self.path}, record batch {index} is damaged ({error}); {self._remedy}"
            ) from error
        return _Rows(offsets, points)

    @cached_property
    def _bytes(self) -> NDArray[np.uint8]:
        return np.memmap(self.path, dtype=np.uint8, mode="r")

    @cached_property
    def _reader(self) -> pa.ipc.RecordBatchFileReader:
        footer = self._bytes[self.description.ends[-1] :]
        self._compare("footer", footer, self.description.footer_crc32)
        return pa.ipc.open_file(pa.py_buffer(self._bytes))

    def _compare(self, part: str, content: NDArray[np.uint8], expected: int) -> None:
        crc32 = zlib.crc32(content.data)
        if crc32 != expected:
            raise UserError(
                f"{self.path}, {part} is damaged: its CRC-32 is {crc32:08x}, the manifest has"
                f" {expected:08x}; {self._remedy}"
            )

    @property
    def _remedy(self) -> str:
        return f"delete {self.path.parent}, then run ingest and prepare again"


def _explain_missing(manifest_path: Path) -> str:
    choice = f"+experiment={manifest_path.stem}"
    folder = manifest_path.absolute().parents[1].name
    if folder in list(Source):
        choice += f" source={folder}"
    return (
        f"there are no data yet: {manifest_path} does not exist. To make it, run"
        f" `python -m pipeline.ingest {choice}` and `python -m pipeline.prepare {choice}`"
    )
