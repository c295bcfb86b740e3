"""How fast sketches are fed, beside loaders in wide use; prints one JSON line.

    python -m benchmarks.feed [--drawings 200000] [--rounds 5] [--folder /tmp] [--no-peers]

All contenders read the same jittered doodles (benchmarks/drawings.py) and take turns of a second in
every round, on the same one core. A peer (benchmarks/loaders.py) runs in a process of its own that
waits while others are measured; its better figure counts, of one without and, on all cores, one
with two DataLoader workers. The peers' Pythons are made by `make bench-env`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import peers, timing
from benchmarks.drawings import draw, name_words
from benchmarks.loaders import BATCH_SIZE, N_MAX, rate
from pipeline.config import Balance, IngestConfig, TrainOrder
from pipeline.data.dataset import ShardedSketches
from pipeline.data.loader import TrainingLoader
from pipeline.data.order import Order
from pipeline.data.stream import make_stream
from pipeline.ingest.records import from_strokes
from pipeline.ingest.shards import ShardWriter
from pipeline.manifest import CategoryManifest, Counts, Statistics, merge, write
from sketch_model.batch import PackedBatch, SketchBatch, to_stroke5
from sketch_model.config import Augmentation

NUM_CATEGORIES = 4
POOL = 20
TURN_S = 1.0
TARGETS = {
    "packed_per_s": 1e6,
    **{f"packed_over_{name}": 10.0 for name in ("npz", "litdata", "datasets", "streaming")},
    "padded_over_npz": 3.0,
}


def make_shards(folder: Path, num: int) -> Path:
    """Shards of `num` doodles, all to train on; the path of their manifest."""
    words = name_words(NUM_CATEGORIES)
    parts = [_write_category(folder, word, num // len(words)) for word in words]
    path = folder / "feed.json"
    write(merge("feed", parts, "."), path)
    return path


def _write_category(folder: Path, word: str, num: int) -> CategoryManifest:
    config = IngestConfig(N_max=N_MAX)
    statistics, longest = Statistics(), 0
    (folder / word).mkdir()
    with ShardWriter(
        folder / word,
        word,
        "train",
        recordbatch_rows=config.recordbatch_rows,
        shard_rows=config.shard_rows,
    ) as writer:
        for block in draw(word, num):
            xy = block.xy.astype(np.int32)
            drawings, _ = from_strokes(xy, block.points_per_stroke, block.strokes_per_drawing)
            offsets = drawings.points[:, :2].astype(np.int64)
            statistics += Statistics(offsets.size, int(offsets.sum()), int((offsets**2).sum()))
            longest = max(longest, int(drawings.lengths.max()))
            writer.append(drawings)
        shards = writer.finish()
    counts = Counts(
        lines=num, drawings={"train": num, "valid": 0, "test": 0}, filtered={}, rejected={}
    )
    return CategoryManifest(
        category=word,
        generated=True,
        source={"quantum": 0},
        files=[],
        ingest={"N_max": N_MAX},
        fingerprint="",
        counts=counts,
        longest=longest,
        statistics={"train": statistics},
        near_duplicates={},
        shards=shards,
    )


def write_drawings(folder: Path, train: ShardedSketches) -> None:
    """The same drawings in the same order, as the peers take them."""
    everything = train.gather(np.arange(len(train)))
    np.savez(
        folder / "drawings.npz",
        points=everything.points.numpy(),
        lengths=everything.lengths.numpy(),
    )


def serve_packed(
    train: ShardedSketches,
    *,
    order: TrainOrder = TrainOrder.full,
    balance: Balance = Balance.natural,
    pool: int = POOL,
) -> Iterator[PackedBatch]:
    """Batches as training takes them."""
    stream = make_stream(
        train.starts, train.category_of_recordbatch, order=order, balance=balance, seed=0
    )
    return iter(TrainingLoader(train, Order(stream, train.lengths_of, BATCH_SIZE, pool, 0)))


def serve_padded(train: ShardedSketches, *, pool: int, width: int | None) -> Iterator[SketchBatch]:
    """The same, padded, scaled and augmented; the last as in training."""
    scale, augmentation = train.manifest.offset_scale, Augmentation()
    for batch in serve_packed(train, pool=pool):
        yield to_stroke5(batch, offset_scale=scale, width=width, augmentation=augmentation)


def serve_gathered(train: ShardedSketches) -> Iterator[PackedBatch]:
    """Batches of random rows that are known before."""
    rows = np.random.default_rng(0).permutation(len(train))
    for chosen in cycle(np.resize(rows, (len(train) // BATCH_SIZE, BATCH_SIZE))):
        yield train.gather(chosen)


def open_feeds(train: ShardedSketches) -> dict[str, Iterator[Any]]:
    """This project's contenders."""
    packed = {
        f"packed_{order}_{balance}": serve_packed(train, order=order, balance=balance)
        for order in TrainOrder
        for balance in Balance
    }
    return packed | {
        "packed_unpooled": serve_packed(train, pool=1),
        "gathered": serve_gathered(train),
        "padded_pooled": serve_padded(train, pool=POOL, width=None),
        "padded_to_250": serve_padded(train, pool=1, width=N_MAX),
    }


def compare(rates: dict[str, float]) -> dict[str, Any]:
    """The ratios that are promised, beside what is promised."""
    packed = rates["packed_full_natural"]
    found = {"packed_per_s": packed, "padded_over_npz": rates["padded_to_250"] / rates["npz"]}
    for name in ("npz", *peers.ENVIRONMENTS):
        figures = [rates[key] for key in rates if key in (name, *peers.name_all(name))]
        if figures:
            found[f"packed_over_{name}"] = packed / max(figures)
    return {name: _judge(value, TARGETS.get(name)) for name, value in found.items()}


def _judge(value: float, target: float | None) -> dict[str, Any]:
    """`datasets_arrow`, which goes beyond what its documentation recommends, has no target."""
    judgement = {} if target is None else {"target": target, "met": value >= target}
    return {"value": round(value, 1), **judgement}


def measure(folder: Path, num: int, num_rounds: int, with_peers: bool) -> dict[str, Any]:
    """All figures."""
    torch.set_num_threads(1)
    train = ShardedSketches(make_shards(folder, num), "train")
    write_drawings(folder, train)
    contenders: dict[str, Callable[[], float]] = {
        name: partial(rate, batches, TURN_S) for name, batches in open_feeds(train).items()
    }
    with ExitStack() as stack:
        for name, peer in peers.open_all(folder, with_peers):
            contenders[name] = partial(stack.enter_context(peer).rate, TURN_S)
        timing.pin_to_one_core()
        timing.alternate(contenders, 1)  # to warm up: it maps, verifies and loads
        rates = timing.medians(timing.alternate(contenders, num_rounds))
    return {
        "benchmark": "feed",
        "machine": timing.describe_machine(),
        "num_drawings": len(train),
        "points_per_drawing": round(float(train.lengths.mean()), 1),
        "num_rounds": num_rounds,
        "left_out": [] if with_peers else list(peers.ENVIRONMENTS),
        "sketches_per_s": {name: round(figure) for name, figure in rates.items()},
        **compare(rates),
    }


def main() -> None:
    """Prints the figures as one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drawings", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where some 500 MB of data may lie for a while")
    parser.add_argument("--no-peers", action="store_true", help="beside the npz loader alone")
    options = parser.parse_args()
    if options.no_peers:
        timing.report(f"LEFT OUT, NOT MEASURED: {', '.join(peers.ENVIRONMENTS)}")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        figures = measure(Path(folder), options.drawings, options.rounds, not options.no_peers)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
