"""What a process that feeds from shards takes: time and memory; prints one JSON line.

    python -m benchmarks.serving MEASUREMENT MANIFEST [--group FOLDER]

Runs on one core, and imports what training imports to be fed, no more.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import torch

from benchmarks import memory, timing
from pipeline.config import Balance, TrainOrder
from pipeline.data.dataset import ShardedSketches
from pipeline.data.loader import TrainingLoader
from pipeline.data.order import Order
from pipeline.data.stream import make_stream
from sketch_model.batch import PackedBatch

BATCH_SIZE, POOL = 100, 20
MEMORY_BATCHES, WARM_BATCHES, WARM_ROUNDS = 2000, 5000, 5
COLD_SKETCHES, COLD_S = 8_000_000, 10.0


def open_feed(
    manifest_path: Path, order: TrainOrder
) -> tuple[ShardedSketches, Iterator[PackedBatch]]:
    """The train split and its batches, as training takes them."""
    train = ShardedSketches(manifest_path, "train")
    stream = make_stream(
        train.starts, train.category_of_recordbatch, order=order, balance=Balance.natural, seed=0
    )
    return train, iter(TrainingLoader(train, Order(stream, train.lengths_of, BATCH_SIZE, POOL, 0)))


def time_first_batch(manifest_path: Path) -> dict[str, float]:
    """Seconds from opening the manifest to the first batch, in a new process."""
    start_s = time.perf_counter()
    _, batches = open_feed(manifest_path, TrainOrder.full)
    next(batches)
    return {"duration_s": time.perf_counter() - start_s}


def weigh(manifest_path: Path) -> dict[str, float]:
    """Bytes of memory that are this process's own after some thousand batches."""
    _, batches = open_feed(manifest_path, TrainOrder.full)
    for _ in islice(batches, MEMORY_BATCHES):
        pass
    return {
        "private_bytes": memory.measure_private_bytes(),
        "unique_bytes": memory.measure_unique_bytes(".arrow"),
    }


def serve_warm(manifest_path: Path) -> dict[str, float]:
    """Sketches/s once every record batch has been verified; the median of some rounds."""
    train, batches = open_feed(manifest_path, TrainOrder.full)
    for first in range(0, len(train.starts) - 1, BATCH_SIZE):
        train.gather(train.starts[:-1][first : first + BATCH_SIZE])
    rates = {"warm": [serve(batches, WARM_BATCHES) for _ in range(WARM_ROUNDS)]}
    return {"sketches_per_s": timing.medians(rates)["warm"]}


def serve(batches: Iterator[PackedBatch], num: int) -> float:
    """Sketches per second over so many batches."""
    start_s = time.perf_counter()
    for _ in islice(batches, num):
        pass
    return num * BATCH_SIZE / (time.perf_counter() - start_s)


def serve_cold_blocks(manifest_path: Path) -> dict[str, float]:
    """Sketches/s of a fixed number of drawings, from the first on."""
    start_s = time.perf_counter()
    train, batches = open_feed(manifest_path, TrainOrder.blocks)
    num = min(COLD_SKETCHES, len(train)) // BATCH_SIZE
    for _ in islice(batches, num):
        pass
    return {"sketches_per_s": num * BATCH_SIZE / (time.perf_counter() - start_s)}


def serve_cold_full(manifest_path: Path) -> dict[str, float]:
    """Sketches/s of as many batches as come in some seconds, from the first on."""
    start_s, num = time.perf_counter(), 0
    _, batches = open_feed(manifest_path, TrainOrder.full)
    while time.perf_counter() - start_s < COLD_S:
        next(batches)
        num += 1
    return {"sketches_per_s": num * BATCH_SIZE / (time.perf_counter() - start_s)}


MEASUREMENTS: dict[str, Callable[[Path], dict[str, float]]] = {
    each.__name__: each
    for each in (time_first_batch, weigh, serve_warm, serve_cold_blocks, serve_cold_full)
}


def main() -> None:
    """Takes the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measurement", choices=MEASUREMENTS)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--group", type=Path, help="control group to join first")
    options = parser.parse_args()
    timing.pin_to_one_core()
    torch.set_num_threads(1)
    if options.group is not None:
        memory.join_group(options.group)
    print(json.dumps(MEASUREMENTS[options.measurement](options.manifest)))


if __name__ == "__main__":
    main()
