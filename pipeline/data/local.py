"""Record batches of shards on local disks, memory-mapped where they lie.

The system is told that they are read here and there: by itself it reads megabytes around each page
that is touched, which from a cold disk is most of all there is to read.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config import UserError
from pipeline.data.recordbatch import Bytes, RecordBatch, compare_crc32, map_file, remedy
from pipeline.manifest import Shard

_METADATA_BYTES = 2048
"""More than what a record batch says of its columns; the offsets of its sketches come next."""


class MappedShards:
    """Record batches that are verified when first held.

    Attributes:
        addresses: of the offsets and points of those that are mapped, [R, 2].
    """

    def __init__(self, recordbatches: Sequence[RecordBatch]) -> None:
        """Looks whether all shards are there, and no further.

        Raises:
            UserError: if one is missing or of another size.
        """
        shards = {each.location: each.shard for each in recordbatches}
        self._shards = {place: _MappedShard(place, shard) for place, shard in shards.items()}
        self._recordbatches = recordbatches
        self.addresses = np.zeros((len(recordbatches), 2), dtype=np.int64)
        self._is_mapped = np.zeros(len(recordbatches), dtype=np.bool_)
        self._is_verified = np.zeros(len(recordbatches), dtype=np.bool_)

    def hold(self, numbers: NDArray[np.int64]) -> None:
        """Maps and verifies record batches [B] that have not been, in the order of addresses.

        Raises:
            UserError: if one is damaged.
        """
        if self._is_verified[numbers].all():
            return
        missing = np.unique(numbers[~self._is_verified[numbers]]).tolist()
        for number in missing:  # all of them first: a disk is faster at many than at one by one
            recordbatch = self._recordbatches[number]
            self._shards[recordbatch.location].expect(recordbatch, recordbatch.size_bytes)
        for number in missing:
            recordbatch = self._recordbatches[number]
            self._shards[recordbatch.location].verify(recordbatch)
            self._map(number)
            self._is_verified[number] = True

    def hold_unverified(self, numbers: NDArray[np.int64]) -> None:
        """Maps record batches [B], reading no more of them than where their sketches begin."""
        if self._is_mapped[numbers].all():
            return
        missing = np.unique(numbers[~self._is_mapped[numbers]]).tolist()
        for number in missing:
            recordbatch = self._recordbatches[number]
            head_bytes = _METADATA_BYTES + 4 * recordbatch.num_sketches
            self._shards[recordbatch.location].expect(recordbatch, head_bytes)
        for number in missing:
            self._map(number)

    def release(self, numbers: NDArray[np.int64]) -> None:
        """What is mapped stays so."""

    def prefetch(self, numbers: NDArray[np.int64]) -> None:
        """The disk is near enough."""

    def _map(self, number: int) -> None:
        recordbatch = self._recordbatches[number]
        self.addresses[number] = self._shards[recordbatch.location].locate(recordbatch)
        self._is_mapped[number] = True


class _MappedShard:
    """A shard that is mapped at the first touch."""

    def __init__(self, location: str, description: Shard) -> None:
        self.location, self.description = location, description
        path = Path(location)
        size_bytes = path.stat().st_size if path.exists() else None
        if size_bytes != description.size_bytes:
            found = "does not exist" if size_bytes is None else f"has {size_bytes} bytes"
            raise UserError(
                f"{location} {found}, the manifest has {description.size_bytes} bytes;"
                f" {remedy(location)}"
            )

    def expect(self, recordbatch: RecordBatch, num_bytes: int) -> None:
        """Has the system read the beginning of a record batch, without waiting for it."""
        stop = min(recordbatch.start + num_bytes, recordbatch.stop)
        _advise(self._content[recordbatch.start : stop], mmap.MADV_WILLNEED)

    def verify(self, recordbatch: RecordBatch) -> None:
        """Raises UserError if a record batch is not what was written."""
        recordbatch.verify(self._content[recordbatch.start : recordbatch.stop])

    def locate(self, recordbatch: RecordBatch) -> tuple[int, int]:
        """Addresses of a record batch's offsets and points, as long as this object lives."""
        return recordbatch.locate(self._content[recordbatch.start : recordbatch.stop])

    @cached_property
    def _content(self) -> Bytes:
        content = map_file(Path(self.location))
        _advise(content, mmap.MADV_RANDOM)
        footer = content[self.description.ends[-1] :]
        compare_crc32(footer, self.description.footer_crc32, self.location, "footer")
        return content


_madvise = ctypes.CDLL(None).madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def _advise(content: Bytes, advice: int) -> None:
    """Says how mapped pages will be read. It changes no result, so failing does not matter."""
    start = content.ctypes.data
    skipped = start % mmap.PAGESIZE
    _madvise(start - skipped, content.nbytes + skipped, advice)
