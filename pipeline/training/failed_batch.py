"""A batch whose loss was not finite, kept for whoever looks for the cause (G15)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.atomic import replacing_file
from sketch_model.batch import PackedBatch


def keep(folder: Path, step: int, rank: int, batch: PackedBatch, rows: NDArray[np.int64]) -> Path:
    """Writes a process's share of a batch as an npz file; its path.

    It holds the drawings' rows of the train split, which `pipeline.inspect inspect.row=` shows, and
    the batch as it was before scaling and augmentation, which are keyed by its positions.
    """
    path = folder / f"failed-step-{step}-rank-{rank}.npz"
    with replacing_file(path) as writing, writing.open("wb") as file:
        np.savez(
            file,
            rows=rows,
            positions=batch.positions.cpu().numpy(),
            categories=batch.categories.cpu().numpy(),
            offsets=batch.offsets.cpu().numpy(),
            points=batch.points.cpu().numpy(),
        )
    return path
