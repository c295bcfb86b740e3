"""Sketches of one split, gathered by index from memory-mapped shards.

Nothing is read before it is asked for. A record batch's checksum is verified when the first of
its sketches is gathered, so the first training batch does not wait for whole files, and a flipped
bit is found before it is served.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline import storage
from pipeline.config import CacheConfig, Config, TrainOrder, UserError
from pipeline.data.cache import open_cache
from pipeline.data.kernels import copy_rows, find_rows, measure_rows
from pipeline.data.local import MappedShards
from pipeline.data.recordbatch import RecordBatch
from pipeline.data.remote import CachedShards
from pipeline.data.stream import Stream
from pipeline.manifest import SPLITS, Manifest
from sketch_model.batch import PackedBatch


class ShardedSketches:
    """The sketches of one split, numbered in the order of the manifest's categories.

    Attributes:
        manifest: what the shards hold.
        split: train, valid or test.
        starts: first sketch of each record batch, and the number of all, int64 [R + 1].
        category_of_recordbatch: index of its category in the manifest, ascending, int16 [R].
        is_remote: whether record batches are fetched into a cache.
    """

    def __init__(self, manifest_path: Path, split: str, cache: CacheConfig | None = None) -> None:
        """Opens a split; fails at once if one of its shards is not there.

        Shards in a remote store, however, are not asked for before their sketches are.

        Args:
            manifest_path: what prepare wrote.
            split: train, valid or test.
            cache: where record batches of remote shards are kept.

        Raises:
            UserError: if the manifest or a shard is missing, damaged or of another version.
        """
        if split not in SPLITS:
            raise ValueError(f"split {split!r} must be one of {', '.join(SPLITS)}")
        self.manifest = Manifest.read(manifest_path)
        self.split = split
        recordbatches = _read_recordbatches(manifest_path, self.manifest, split)
        self.starts = np.cumsum([0, *(each.num_sketches for each in recordbatches)], dtype=np.int64)
        numbers = {name: number for number, name in enumerate(self.manifest.categories)}
        self.category_of_recordbatch = np.array(
            [numbers[each.shard.category] for each in recordbatches], dtype=np.int16
        )
        self._sizes_bytes = np.array([each.size_bytes for each in recordbatches], dtype=np.int64)
        self.is_remote = storage.is_remote(self.manifest.shards_root)
        self._shards: MappedShards | CachedShards
        if self.is_remote:
            cache = cache or CacheConfig()
            folder = os.path.abspath(cache.dir)
            self._shards = CachedShards(recordbatches, open_cache(folder, cache.size_bytes))
        else:
            self._shards = MappedShards(recordbatches)

    def __len__(self) -> int:
        return int(self.starts[-1])

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        """Points of each sketch, [len(self)]; see `lengths_of`."""
        return self.lengths_of(np.arange(len(self)))

    def lengths_of(self, indices: NDArray[np.int64]) -> NDArray[np.int32]:
        """Points of the sketches at `indices` [B].

        Read without verifying checksums of local shards, which would take reading every record
        batch whole; `gather` verifies what it serves.

        Raises:
            IndexError: if an index is out of bounds.
            UserError: if a shard is damaged beyond reading.
        """
        batches, rows, by_address = self._locate(indices)
        lengths = np.empty(len(rows), dtype=np.int32)
        self._shards.hold_unverified(batches)
        try:
            measure_rows(self._shards.addresses, batches, rows, by_address, lengths)
        finally:
            self._shards.release(batches)
        return lengths

    @cached_property
    def categories(self) -> NDArray[np.int16]:
        """Index of each sketch's category in the manifest, [len(self)]."""
        return np.repeat(self.category_of_recordbatch, np.diff(self.starts))

    def gather(
        self, indices: NDArray[np.int64], positions: NDArray[np.int64] | None = None
    ) -> PackedBatch:
        """The sketches at `indices` [B], in that order; an index may repeat.

        Shards are touched in the order of their addresses, whatever the order of `indices`. Several
        threads may gather at once.

        Args:
            indices: of sketches, each in [0, len(self)).
            positions: keys of the sketches' randomness [B]; the indices unless given.

        Raises:
            IndexError: if an index is out of bounds.
            UserError: if a shard is damaged.
        """
        batches, rows, by_address = self._locate(indices)
        self._shards.hold(batches)
        try:
            offsets, points = self._copy(batches, rows, by_address)
        finally:
            self._shards.release(batches)
        return PackedBatch(
            points=torch.from_numpy(points),
            offsets=torch.from_numpy(offsets),
            categories=torch.from_numpy(self.category_of_recordbatch[batches]),
            positions=torch.from_numpy(
                np.array(indices if positions is None else positions, dtype=np.int64)
            ),
        )

    def prefetch(self, rows: NDArray[np.int64]) -> None:
        """Begins to fetch the record batches of some rows, if they are remote, in this order.

        Raises:
            IndexError: if a row is out of bounds.
        """
        if self.is_remote:
            self._shards.prefetch(self._locate(rows)[0])

    def most_bytes(self, num_recordbatches: int) -> int:
        """What as many record batches take up at most."""
        return int(np.sort(self._sizes_bytes)[::-1][:num_recordbatches].sum())

    def _copy(
        self, batches: NDArray[np.int64], rows: NDArray[np.int64], by_address: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int16]]:
        """Offsets [B + 1] and points of the sketches at some rows of record batches."""
        addresses = self._shards.addresses
        lengths = np.empty(len(rows), dtype=np.int32)
        measure_rows(addresses, batches, rows, by_address, lengths)
        offsets = np.zeros(len(rows) + 1, dtype=np.int32)
        np.cumsum(lengths, out=offsets[1:])
        points = np.empty((offsets[-1], 3), dtype=np.int16)
        copy_rows(addresses, batches, rows, by_address, offsets, points)
        return offsets, points

    def _locate(
        self, indices: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Record batch and row there of each index, and their places by address; checked."""
        indices = np.ascontiguousarray(indices, dtype=np.int64)
        by_address = np.argsort(indices)
        if len(indices):
            least, greatest = indices[by_address[0]], indices[by_address[-1]]
            if not 0 <= least <= greatest < len(self):
                raise IndexError(f"indices must lie in [0, {len(self)}), got {least} to {greatest}")
        batches, rows = np.empty_like(indices), np.empty_like(indices)
        find_rows(self.starts, indices, by_address, batches, rows)
        return batches, rows, by_address


def check_cache(
    train: ShardedSketches, valid: ShardedSketches, stream: Stream, config: Config
) -> None:
    """Refuses a cache that what is used for a while does not fit in: every batch would fetch it.

    Raises:
        UserError: if the shards are remote and the cache is too small.
    """
    if not train.is_remote:
        return
    num = 0 if config.trainer.resident else len(np.unique(stream.upcoming(0)))
    needed = train.most_bytes(num) + valid.most_bytes(len(valid.starts))
    if needed > config.cache.size_bytes:
        choice = ""
        if config.train.order is TrainOrder.full:
            choice = ", or use train.order=blocks, which reads some hundred at a time"
        raise UserError(
            f"cache.size_bytes={config.cache.size_bytes} must be at least {needed}: with"
            f" train.order={config.train.order}, {num} record batches in"
            f" {train.manifest.shards_root} are read in turn, and those of the valid split. Set it"
            f" higher{choice}"
        )


def _read_recordbatches(manifest_path: Path, manifest: Manifest, split: str) -> list[RecordBatch]:
    root = manifest.locate_shards(manifest_path)
    return [
        RecordBatch(shard, storage.join(root, shard.path), index)
        for shard in manifest.shards
        if shard.split == split
        for index in range(len(shard.ends))
    ]
