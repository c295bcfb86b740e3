"""A whole split in the memory of the device that trains on it: batches are gathered there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from sketch_model.batch import PackedBatch

if TYPE_CHECKING:  # torch is enough to hold sketches, where the configuration's libraries are not
    from pipeline.data.dataset import ShardedSketches

_NUM_REPORTS = 10
_NUM_AHEAD = 16
"""Record batches that are fetched while others are loaded."""


class ResidentSketches:
    """The sketches of one split on a device, which serves what `ShardedSketches` serves, there.

    Lengths are kept on the host as well, so that a batch is gathered without waiting for the
    device.

    Attributes:
        manifest, starts, category_of_recordbatch: as `ShardedSketches` has them.
        lengths: points of each sketch, int32 [N].
        device: where the sketches are.
    """

    def __init__(
        self,
        sketches: ShardedSketches,
        device: torch.device,
        report: Callable[[str], None] = print,
    ) -> None:
        """Loads every sketch once, and verifies every record batch of it.

        Args:
            sketches: of the split.
            device: where to.
            report: is told of the progress, in lines.

        Raises:
            UserError: if the device has not enough memory, or a shard is damaged.
        """
        self.manifest, self.device = sketches.manifest, device
        self.starts = sketches.starts
        self.category_of_recordbatch = sketches.category_of_recordbatch
        self._num_points = sum(
            shard.num_points for shard in sketches.manifest.shards if shard.split == sketches.split
        )
        self._check_memory()
        self.lengths = np.empty(len(self), dtype=np.int32)
        self._points = torch.empty((self._num_points, 3), dtype=torch.int16, device=device)
        self._load(sketches, report)
        offsets = torch.zeros(len(self) + 1, dtype=torch.int64)
        torch.cumsum(torch.from_numpy(self.lengths), 0, out=offsets[1:])
        self._offsets = offsets.to(device)
        categories = np.repeat(self.category_of_recordbatch, np.diff(self.starts))
        self._categories = torch.from_numpy(categories).to(device)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def lengths_of(self, indices: NDArray[np.int64]) -> NDArray[np.int32]:
        """Points of the sketches at `indices` [B].

        Raises:
            IndexError: if an index is out of bounds.
        """
        return self.lengths[self._check(indices)]

    def prefetch(self, rows: NDArray[np.int64]) -> None:
        """Everything is there."""

    def gather(
        self, indices: NDArray[np.int64], positions: NDArray[np.int64] | None = None
    ) -> PackedBatch:
        """The sketches at `indices` [B], in that order, on the device; an index may repeat.

        Args:
            indices: of sketches, each in [0, len(self)).
            positions: keys of the sketches' randomness [B]; the indices unless given.

        Raises:
            IndexError: if an index is out of bounds.
        """
        indices = self._check(indices)
        num = len(indices)
        ends = np.cumsum(self.lengths[indices], dtype=np.int64)
        keys = indices if positions is None else np.asarray(positions, dtype=np.int64)
        sent = np.concatenate([indices, keys, [0], ends])  # one copy to the device, not three
        received = torch.from_numpy(sent).to(self.device, non_blocking=True)
        rows, offsets = received[:num], received[2 * num :]
        places = torch.arange(int(sent[-1]), device=self.device)
        # Without the size, the device would be asked for it, and waited for.
        places += torch.repeat_interleave(
            self._offsets[rows] - offsets[:-1], offsets.diff(), output_size=len(places)
        )
        return PackedBatch(
            points=self._points.index_select(0, places),
            offsets=offsets.to(torch.int32),
            categories=self._categories[rows],
            positions=received[num : 2 * num],
        )

    def _check(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        indices = np.asarray(indices, dtype=np.int64)
        if indices.size and not 0 <= indices.min() <= indices.max() < len(self):
            raise IndexError(
                f"indices must lie in [0, {len(self)}), got {indices.min()} to {indices.max()}"
            )
        return indices

    def _check_memory(self) -> None:
        needed = 6 * self._num_points + 10 * (len(self) + 1)
        if self.device.type == "cuda":
            free = torch.cuda.mem_get_info(self.device)[0]
        else:
            import psutil  # type: ignore[import-untyped]

            free = psutil.virtual_memory().available
        if needed > free:
            from pipeline.config import UserError

            raise UserError(
                f"trainer.resident=true takes {needed} bytes for {len(self)} drawings, and"
                f" {self.device} has {free} bytes left: use fewer drawings, or"
                " trainer.resident=false"
            )

    def _load(self, sketches: ShardedSketches, report: Callable[[str], None]) -> None:
        num_batches = len(self.starts) - 1
        reported = {num_batches * part // _NUM_REPORTS for part in range(1, _NUM_REPORTS + 1)}
        first_point = 0
        for number in range(num_batches):
            if number % _NUM_AHEAD == 0:
                sketches.prefetch(self.starts[number : min(number + 2 * _NUM_AHEAD, num_batches)])
            start, stop = self.starts[number], self.starts[number + 1]
            batch = sketches.gather(np.arange(start, stop))
            self._points[first_point : first_point + len(batch.points)] = batch.points
            first_point += len(batch.points)
            self.lengths[start:stop] = batch.offsets.diff().numpy()
            if number + 1 in reported:
                report(f"{stop:,} of {len(self):,} drawings are in the memory of {self.device}")
