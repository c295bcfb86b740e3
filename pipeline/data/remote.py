"""Record batches of shards in a remote store, fetched one by one into a bounded local cache.

A record batch's bytes are verified before they are kept, and again when they are mapped: the file
may be of an earlier run. What is in use is never removed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import storage
from pipeline.config import UserError
from pipeline.data.cache import PieceCache
from pipeline.data.fetcher import Fetcher
from pipeline.data.recordbatch import Bytes, RecordBatch, map_file, remedy

NUM_THREADS = 8
"""Record batches that are fetched at once: a store answers late, but many at a time."""
_NUM_TRIES = 3
"""To map what other processes may remove at any time."""


class CachedShards:
    """Record batches that are fetched when first held, or before.

    Attributes:
        addresses: of the offsets and points of those that are mapped, zeros for others, [R, 2].
    """

    def __init__(self, recordbatches: Sequence[RecordBatch], cache: PieceCache) -> None:
        self._recordbatches, self._cache = recordbatches, cache
        num = len(recordbatches)
        self.addresses = np.zeros((num, 2), dtype=np.int64)
        self._num_holds = np.zeros(num, dtype=np.int32)
        self._last_uses = np.zeros(num, dtype=np.float64)
        self._contents: dict[int, Bytes] = {}
        self._fetcher = Fetcher(self._fetch, NUM_THREADS)

    def hold(self, numbers: NDArray[np.int64]) -> None:
        """Fetches and maps record batches [B] that are not mapped; they stay until released.

        Raises:
            UserError: if one is damaged or cannot be had, or the cache has no room for all.
        """
        with self._cache.lock:
            np.add.at(self._num_holds, numbers, 1)
            self._last_uses[numbers] = time.time()
            is_mapped = self.addresses[numbers, 0] != 0
        if is_mapped.all():
            return
        try:
            self._map_all(np.unique(numbers[~is_mapped]).tolist())
        except BaseException:
            self.release(numbers)
            raise

    hold_unverified = hold

    def release(self, numbers: NDArray[np.int64]) -> None:
        """Lets record batches [B] go that were held once."""
        with self._cache.lock:
            np.subtract.at(self._num_holds, numbers, 1)

    def prefetch(self, numbers: NDArray[np.int64]) -> None:
        """Begins to fetch record batches that will be held soon, the first ones first."""
        self._fetcher.ask(self._absent(numbers[self.addresses[numbers, 0] == 0].tolist()))

    def last_use(self, number: int) -> float:
        """When a record batch was last held, in seconds since the epoch."""
        return float(self._last_uses[number])

    def give_up(self, number: int) -> bool:
        """Unmaps a record batch, unless it is held. The caller has the cache's lock."""
        if self._num_holds[number]:
            return False
        self.addresses[number] = 0
        self._contents.pop(number, None)
        return True

    def _map_all(self, numbers: list[int]) -> None:
        self._check_room(numbers)
        for _ in range(_NUM_TRIES):
            for future in self._fetcher.ask(self._absent(numbers), urgently=True):
                future.result()
            numbers = [each for each in numbers if not self._map(each)]
            if not numbers:
                return
        raise UserError(
            f"{self._path(numbers[0])} is removed or damaged as soon as it is fetched: set"
            f" cache.size_bytes={self._cache.size_bytes} higher, or choose another cache.dir"
        )

    def _check_room(self, numbers: list[int]) -> None:
        needed = sum(self._recordbatches[each].size_bytes for each in numbers)
        if needed > self._cache.size_bytes:
            raise UserError(
                f"cache.size_bytes={self._cache.size_bytes} has no room for the {needed} bytes of"
                f" {len(numbers)} record batches that are used at once: set it higher"
            )

    def _map(self, number: int) -> bool:
        """Maps a record batch that is in the cache; False if it has to be fetched again."""
        recordbatch, path = self._recordbatches[number], self._path(number)
        try:
            content = map_file(path)
            recordbatch.verify(content)
        except FileNotFoundError:
            return False
        except UserError:
            self._cache.remove(path.name)
            return False
        addresses = recordbatch.locate(content)
        with self._cache.lock:
            if number not in self._contents:  # or another thread was faster
                self._contents[number] = content
                self.addresses[number] = addresses
                self._cache.adopt(path.name, len(content), self, number)
        return True

    def _fetch(self, number: int) -> None:
        """Brings a record batch into the cache."""
        recordbatch = self._recordbatches[number]
        if not self._absent([number]):
            return
        content = self._read(recordbatch)
        try:
            recordbatch.verify(content)
        except UserError:  # on its way, perhaps
            content = self._read(recordbatch)
            recordbatch.verify(content)
        self._cache.add(self._path(number).name, content)

    def _read(self, recordbatch: RecordBatch) -> bytes:
        place = recordbatch.location
        try:
            return storage.read_range(place, recordbatch.start, recordbatch.stop)
        except FileNotFoundError as error:
            raise UserError(f"{place} does not exist; {remedy(place)}") from error

    def _absent(self, numbers: list[int]) -> list[int]:
        """Those that are not in the cache."""
        return [each for each in numbers if not self._is_there(each)]

    def _is_there(self, number: int) -> bool:
        try:
            num_bytes = self._path(number).stat().st_size
        except FileNotFoundError:
            return False
        return num_bytes == self._recordbatches[number].size_bytes

    def _path(self, number: int) -> Path:
        recordbatch = self._recordbatches[number]
        return self._cache.path(f"{recordbatch.shard.sha256}-{recordbatch.index}")
