"""What ingest and feed cost from a million drawings to all of them; prints one JSON line.

    python -m benchmarks.scale [--sizes 1e6 1e7 5e7] [--folder /tmp] [--text-folder /dev/shm]

Makes that many drawings (benchmarks/drawings.py), some categories at a time, so that at most 1 GB
of text exist at once; ingests them with two workers; and feeds from the shards, each measurement in
a process of its own on one core. Deletes everything at the end: 14 GB of shards for 50 million.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import memory, timing
from benchmarks.drawings import name_words, write_simplified
from pipeline.config import Config, IngestConfig, Source, SourceConfig
from pipeline.doodles import CATEGORIES
from pipeline.ingest.driver import ingest
from pipeline.prepare import prepare

CATEGORY_DRAWINGS = 145_000
"""Quick, Draw! has 50 million in 345 categories."""
GROUP_CATEGORIES = len(CATEGORIES)
"""Written, ingested and deleted together: all kinds once, so that groups are alike. More text would
reach the disk before it is deleted, and shards would wait for it."""
NUM_WORKERS = 2
WARM_UP_DRAWINGS = 14_000
LIMIT_BYTES = 1 << 30
"""Of the processes that feed from shards larger than their memory."""
TARGETS = {
    "first_batch_s": 1.0,
    "private_mb": 300.0,
    "warm_over_smallest": 0.4,
    "cold_blocks_per_s": 300_000.0,
}
FLAT = 1.25
"""What differs by less from size to size is called flat."""


def make_shards(
    num: int, folder: Path, text: Path | None = None
) -> tuple[Config, dict[str, float]]:
    """Ingests about `num` drawings; the config of their manifest, and what it cost.

    The drawings are written as text to a folder `bucket` in `text`, or in `folder`.
    """
    bucket = (text or folder) / "bucket"
    words = name_words(max(len(CATEGORIES), round(num / CATEGORY_DRAWINGS)))
    writing_s = ingest_s = 0.0
    for first in range(0, len(words), GROUP_CATEGORIES):
        group = words[first : first + GROUP_CATEGORIES]
        start_s = time.perf_counter()
        for word in group:
            write_simplified(bucket, word, num // len(words))
        written_s = time.perf_counter()
        list(ingest(configure(folder, group, bucket)))
        ingest_s += time.perf_counter() - written_s
        writing_s += written_s - start_s
        shutil.rmtree(bucket)
        timing.report(f"{first + len(group)} of {len(words)} categories: {ingest_s:.1f} s")
    config = configure(folder, words, bucket)
    start_s = time.perf_counter()
    manifest = prepare(config)
    return config, {
        "num_drawings": num // len(words) * len(words),
        "num_categories": len(words),
        "num_ingests": -(-len(words) // GROUP_CATEGORIES),
        "writing_s": round(writing_s, 1),
        "ingest_s": round(ingest_s, 1),
        "prepare_s": round(time.perf_counter() - start_s, 2),
        "shards_gb": round(sum(shard.size_bytes for shard in manifest.shards) / 1e9, 2),
    }


def warm_up(parent: str | None) -> float:
    """Seconds that an ingest of next to nothing takes: those in which the workers start.

    What is compiled is kept on disk, so the first of two compiles for all that follow.
    """
    for _ in range(2):
        with tempfile.TemporaryDirectory(dir=parent) as folder:
            config, cost = make_shards(WARM_UP_DRAWINGS, Path(folder))
            measure_alone("time_first_batch", config.manifest_path)
    return cost["ingest_s"]


def configure(folder: Path, words: list[str], bucket: Path) -> Config:
    """Nearly all drawings are in the train split."""
    return Config(
        name="scale",
        categories=words,
        source=SourceConfig(name=Source.local, root=str(bucket)),
        ingest=IngestConfig(fractions=[0.98, 0.01, 0.01]),
        data_dir=str(folder / "data"),
        results_dir=str(folder / "results"),
        num_workers=NUM_WORKERS,
    )


def measure_alone(what: str, manifest_path: Path, group: Path | None = None) -> dict[str, float]:
    """What a measurement of `serving` gives, in a process of its own."""
    arguments = ["-m", "benchmarks.serving", what, str(manifest_path)]
    if group is not None:
        arguments += ["--group", str(group)]
    found = timing.run_child(arguments)
    timing.report(f"{what}: {found}")
    return found


def feed_from(config: Config) -> dict[str, Any]:
    """All figures of a feed: first from a cold cache, then from a warm one."""
    shards = sorted(Path(config.data_dir).rglob("*.arrow"))
    cold = _feed_cold(config.manifest_path, shards)
    memory.read_through(shards)
    first, own, warm = (
        measure_alone(what, config.manifest_path)
        for what in ("time_first_batch", "weigh", "serve_warm")
    )
    return {
        "first_batch_s": round(first["duration_s"], 3),
        "private_mb": round(own["private_bytes"] / 1e6),
        "unique_mb": round(own["unique_bytes"] / 1e6),
        "warm_per_s": round(warm["sketches_per_s"]),
        **cold,
    }


def _feed_cold(manifest_path: Path, shards: list[Path]) -> dict[str, Any]:
    memory.evict(shards)
    first = measure_alone("time_first_batch", manifest_path)
    found = {}
    with memory.limited_group(LIMIT_BYTES) as group:
        for what in ("serve_cold_blocks", "serve_cold_full"):
            memory.evict(shards)
            found[what] = measure_alone(what, manifest_path, group)
    size_bytes = sum(shard.stat().st_size for shard in shards)
    return {
        "first_batch_cold_s": round(first["duration_s"], 3),
        "cold_blocks_per_s": round(found["serve_cold_blocks"]["sketches_per_s"]),
        "cold_full_per_s": round(found["serve_cold_full"]["sketches_per_s"]),
        "cold_memory_limit_mb": round(LIMIT_BYTES / 1e6) if group else None,
        "cold_shards_exceed_limit": group is not None and size_bytes > LIMIT_BYTES,
    }


def measure_size(
    num: int, start_s: float, parent: str | None, text_parent: str | None
) -> dict[str, Any]:
    """The figures of one size; its data are gone afterwards.

    The speed of ingest is that of its workers once they run: `start_s` is taken off each ingest,
    of which there would be but one if the text were all there at once.
    """
    timing.report(f"{num:,} drawings")
    with (
        tempfile.TemporaryDirectory(dir=parent) as folder,
        tempfile.TemporaryDirectory(dir=text_parent or parent) as text,
    ):
        config, cost = make_shards(num, Path(folder), Path(text))
        running_s = cost["ingest_s"] - cost["num_ingests"] * start_s
        speed = {"ingest_per_s": round(cost["num_drawings"] / running_s)}
        return {**cost, **speed, **feed_from(config)}


def compare(sizes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What is promised, over all sizes."""

    def spread(name: str) -> float:
        values: list[float] = [size[name] for size in sizes]
        return round(max(values) / min(values), 2)

    first, last = sizes[0], sizes[-1]
    ratio = round(last["warm_per_s"] / first["warm_per_s"], 2)
    worst = {name: max(size[name] for size in sizes) for name in ("first_batch_s", "private_mb")}
    return {
        "targets": TARGETS,
        "spread": {n: spread(n) for n in ("ingest_per_s", "private_mb", "first_batch_s")},
        "warm_over_smallest": ratio,
        "met": {
            "ingest_flat": spread("ingest_per_s") <= FLAT,
            "first_batch_s": worst["first_batch_s"] <= TARGETS["first_batch_s"],
            "private_mb": worst["private_mb"] <= TARGETS["private_mb"],
            "private_mb_flat": spread("private_mb") <= FLAT,
            "warm_over_smallest": ratio >= TARGETS["warm_over_smallest"],
            "cold_blocks_per_s": last["cold_blocks_per_s"] >= TARGETS["cold_blocks_per_s"],
        },
    }


def main() -> None:
    """Prints the figures as one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=float, nargs="+", default=[1e6, 1e7, 5e7])
    parser.add_argument("--folder", help="where the data may lie for a while")
    parser.add_argument(
        "--text-folder", help="where 1.1 GB of text may, such as a disk in memory; --folder"
    )
    options = parser.parse_args()
    start_s = warm_up(options.folder)
    sizes = [
        measure_size(round(num), start_s, options.folder, options.text_folder)
        for num in options.sizes
    ]
    figures = {
        "benchmark": "scale",
        "machine": timing.describe_machine(),
        "num_workers": NUM_WORKERS,
        "ingest_start_s": start_s,
        "sizes": sizes,
        **compare(sizes),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
