"""Bits of shards, flipped one by one, and what is served of the drawings then."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np

from pipeline.config import UserError
from pipeline.data.dataset import ShardedSketches
from pipeline.manifest import Shard
from sketch_model.batch import PackedBatch


def path_of(manifest_path: Path, shard: Shard) -> Path:
    """Where a local shard is, from the manifest's place."""
    root = ShardedSketches(manifest_path, shard.split).manifest.shards_root
    return Path(os.path.normpath(manifest_path.parent / root / shard.path))


def flip_and_serve(manifest_path: Path, num_flips: int, seed: int, batch_size: int = 10) -> int:
    """Flips a random bit of the train split's shards, serves all of them, and puts it right again.

    Every time, a split that was opened anew serves an epoch in random order, lengths first, as
    training does. Of `num_flips` times, returns in how many the damage was found, after none but
    right batches. What a process has mapped before, it keeps: a new file takes the damaged one's
    place.
    """
    rng = random.Random(seed)
    intact = ShardedSketches(manifest_path, "train")
    shards = [shard for shard in intact.manifest.shards if shard.split == "train"]
    sizes = [shard.size_bytes for shard in shards]
    order = np.random.default_rng(seed).permutation(len(intact))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    expected = [intact.gather(batch) for batch in batches]
    num_found = 0
    for shard in rng.choices(shards, sizes, k=num_flips):
        path = path_of(manifest_path, shard)
        content = path.read_bytes()
        flipped = bytearray(content)
        flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        _replace(path, flipped)
        num_found += _finds_damage(ShardedSketches(manifest_path, "train"), batches, expected)
        _replace(path, content)
    return num_found


def _replace(path: Path, content: bytes | bytearray) -> None:
    path.unlink()
    path.write_bytes(content)


def _finds_damage(
    train: ShardedSketches, batches: list[np.ndarray], expected: list[PackedBatch]
) -> bool:
    try:
        for batch, wanted in zip(batches, expected, strict=True):
            train.lengths_of(batch)
            served = train.gather(batch)
            if not (served.points.equal(wanted.points) and served.offsets.equal(wanted.offsets)):
                return False
    except UserError as error:
        return "is damaged" in str(error)
    return False
