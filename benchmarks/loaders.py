"""Loaders of drawings in wide use, each used as its documentation recommends; a server of figures.

    PYTHON benchmarks/loaders.py NAME FOLDER NUM_WORKERS

Runs under the Python that has the peer (benchmarks/requirements-loaders.txt, -streaming.txt) and
imports nothing of this project. Takes the drawings from FOLDER/drawings.npz, writes them in the
peer's own format below FOLDER, unless that has been done, and opens the loader. Then it reads a
number of seconds from each line of its input, serves shuffled batches for so long, and answers with
sketches per second, so that contenders in several processes can take turns.

LitData, datasets and streaming serve packed batches: one int16 array of all points, and lengths.
That is the least that they can be asked for: they need not pad. Magenta's loader scales and pads;
`npz_augmented` also distorts, as it does in training.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

BATCH_SIZE = 100
N_MAX = 250
SAMPLES_PER_INPUT = 1000
CHUNK_BYTES = 1 << 26
"""What LitData's documentation uses, and the default of streaming."""

Points = NDArray[np.int16]


def read_drawings(folder: Path) -> list[Points]:
    """Stroke-3 rows [L, 3] of each drawing."""
    with np.load(folder / "drawings.npz") as archive:
        points, lengths = archive["points"], archive["lengths"]
    return np.split(points, np.cumsum(lengths)[:-1])


def pack(points: Sequence[Any]) -> tuple[Any, Any]:
    """Joins flat int16 arrays: tensors of all points [P, 3], and of the lengths [B]."""
    import torch

    lengths = np.fromiter(map(len, points), dtype=np.int64) // 3
    return torch.from_numpy(np.concatenate(points).reshape(-1, 3)), torch.from_numpy(lengths)


class NpzLoader:
    """Magenta's sketch_rnn utils.DataLoader: float32 lists in memory, padded one by one."""

    def __init__(self, folder: Path, num_workers: int, *, augment: bool = False) -> None:
        if num_workers:
            raise ValueError(f"num_workers={num_workers} must be 0: this loader knows no workers")
        self._augments = augment
        path = folder / "sketches.npz"
        if not path.exists():
            drawings = read_drawings(folder)
            column = np.empty(len(drawings), dtype=object)
            column[:] = drawings
            np.savez(path, train=column)
        archive = np.load(path, allow_pickle=True, encoding="latin1")
        sketches = [np.array(sketch, dtype=np.float32) for sketch in archive["train"]]
        scale = np.std(np.concatenate([sketch[:, :2].ravel() for sketch in sketches]))
        for sketch in sketches:
            sketch[:, :2] /= scale
        self._strokes = sorted(sketches, key=len)
        self._rng = np.random.default_rng(0)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        while True:
            yield self._random_batch()

    def _random_batch(self) -> NDArray[np.float32]:
        """Stroke-5 [100, 251, 5], its first row the start token."""
        chosen = self._rng.permutation(len(self._strokes))[:BATCH_SIZE]
        padded = np.zeros((BATCH_SIZE, N_MAX + 1, 5), dtype=np.float32)
        for place, index in enumerate(chosen):
            sketch = self._strokes[index]
            if self._augments:
                sketch = self._augment(self._stretch(sketch))
            length = len(sketch)
            padded[place, 1 : length + 1, :2] = sketch[:, :2]
            padded[place, 1 : length + 1, 3] = sketch[:, 2]
            padded[place, 1 : length + 1, 2] = 1 - sketch[:, 2]
            padded[place, length + 1 :, 4] = 1
            padded[place, 0] = (0, 0, 1, 0, 0)
        return padded

    def _stretch(self, sketch: NDArray[np.float32]) -> NDArray[np.float32]:
        sketch = np.copy(sketch)
        sketch[:, 0] *= (self._rng.random() - 0.5) * 2 * 0.15 + 1
        sketch[:, 1] *= (self._rng.random() - 0.5) * 2 * 0.15 + 1
        return sketch

    def _augment(self, sketch: NDArray[np.float32], drop: float = 0.1) -> NDArray[np.float32]:
        kept: list[list[float]] = []
        previous, in_stroke = [0.0, 0.0, 1.0], 0
        for dx, dy, pen in sketch.tolist():
            in_stroke = 0 if pen == 1 or previous[2] == 1 else in_stroke + 1
            if pen == 0 and previous[2] == 0 and in_stroke > 2 and self._rng.random() < drop:
                previous[0] += dx
                previous[1] += dy
            else:
                previous = [dx, dy, pen]
                kept.append(previous)
        return np.array(kept, dtype=np.float32)


def _read_samples(part: tuple[Path, int]) -> Iterator[Points]:
    folder, first = part
    for sketch in read_drawings(folder)[first : first + SAMPLES_PER_INPUT]:
        yield sketch.ravel()


def open_litdata(folder: Path, num_workers: int) -> Iterable[Any]:
    """Flat arrays, of which its serializer keeps no header; 64 MB chunks, as in its examples."""
    import litdata

    target = folder / "litdata"
    if not target.exists():
        num = len(read_drawings(folder))
        litdata.optimize(
            fn=_read_samples,
            inputs=[(folder, first) for first in range(0, num, SAMPLES_PER_INPUT)],
            output_dir=str(target),
            chunk_bytes=CHUNK_BYTES,
            num_workers=1,
        )
    samples = litdata.StreamingDataset(str(target), shuffle=True, drop_last=True)
    loader: Iterable[Any] = litdata.StreamingDataLoader(
        samples, batch_size=BATCH_SIZE, num_workers=num_workers, collate_fn=pack
    )
    return loader


def open_datasets(folder: Path, num_workers: int) -> Iterable[Any]:
    """A memory-mapped table in a DataLoader; as "numpy" it is half as fast again as "torch"."""
    from torch.utils.data import DataLoader

    return DataLoader(
        _load_table(folder).with_format("numpy"),
        batch_size=BATCH_SIZE,
        shuffle=True,
        drop_last=True,
        num_workers=num_workers,
        collate_fn=_pack_columns,
    )


def open_datasets_arrow(folder: Path, num_workers: int) -> Iterable[Any]:
    """The fastest that was tried, beyond its documentation: Arrow's buffers, a batch at once."""
    from torch.utils.data import BatchSampler, DataLoader, RandomSampler

    rows = _load_table(folder).with_format("arrow")
    sampler = BatchSampler(RandomSampler(rows), BATCH_SIZE, drop_last=True)
    return DataLoader(
        rows, sampler=sampler, batch_size=None, num_workers=num_workers, collate_fn=_unpack_table
    )


def _load_table(folder: Path) -> Any:
    import datasets

    target = folder / "datasets"
    if not target.exists():
        table = {"points": [sketch.ravel() for sketch in read_drawings(folder)]}
        features = datasets.Features({"points": datasets.List(datasets.Value("int16"))})
        datasets.Dataset.from_dict(table, features=features).save_to_disk(target)
    return datasets.load_from_disk(target)


def _pack_columns(samples: list[dict[str, Any]]) -> tuple[Any, Any]:
    return pack([sample["points"] for sample in samples])


def _unpack_table(table: Any) -> tuple[Any, Any]:
    import torch

    column = table.column("points").combine_chunks()
    points = column.flatten().to_numpy().reshape(-1, 3).copy()  # Arrow's memory is read-only
    return torch.from_numpy(points), torch.from_numpy(np.diff(column.offsets.to_numpy()) // 3)


def open_streaming(folder: Path, num_workers: int) -> Iterable[Any]:
    """Shards without compression, which a local disk does not need."""
    from torch.utils.data import DataLoader

    # Its data sets of pictures import torchvision, which PyPI has for CUDA alone: beside torch's
    # build for the CPU that import fails.
    sys.modules["streaming.vision"] = ModuleType("streaming.vision")
    import streaming

    target = folder / "streaming"
    if not target.exists():
        with streaming.MDSWriter(out=str(target), columns={"points": "bytes"}) as writer:
            for sketch in read_drawings(folder):
                writer.write({"points": sketch.tobytes()})
    samples = streaming.StreamingDataset(local=str(target), shuffle=True, batch_size=BATCH_SIZE)
    return DataLoader(
        samples,
        batch_size=BATCH_SIZE,
        num_workers=num_workers,
        drop_last=True,
        collate_fn=_pack_bytes,
    )


def _pack_bytes(samples: list[dict[str, bytes]]) -> tuple[Any, Any]:
    return pack([np.frombuffer(sample["points"], dtype=np.int16) for sample in samples])


LOADERS: dict[str, Callable[[Path, int], Iterable[Any]]] = {
    "npz": NpzLoader,
    "npz_augmented": partial(NpzLoader, augment=True),
    "litdata": open_litdata,
    "datasets": open_datasets,
    "datasets_arrow": open_datasets_arrow,
    "streaming": open_streaming,
}


def repeat(loader: Iterable[Any]) -> Iterator[Any]:
    """Epoch after epoch."""
    while True:
        yield from loader


def rate(batches: Iterator[Any], duration_s: float) -> float:
    """Sketches per second over that time."""
    num, start_s = 0, time.perf_counter()
    while (passed_s := time.perf_counter() - start_s) < duration_s:
        next(batches)
        num += BATCH_SIZE
    return num / passed_s


def main(name: str, folder: str, num_workers: str) -> None:
    """Serves until its input ends. Without workers it keeps to one core."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a peer prints goes to stderr
    if num_workers == "0":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    batches = repeat(LOADERS[name](Path(folder), int(num_workers)))
    next(batches)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(rate(batches, float(line)), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
