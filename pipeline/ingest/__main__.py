"""`python -m pipeline.ingest`: the drawings of the config's categories become shards."""

from __future__ import annotations

import time

from pipeline.config import Config
from pipeline.entry import command
from pipeline.ingest.category import Ingested, ingest_category


@command
def main(config: Config) -> None:
    """Ingests every category of the config that is not already on disk."""
    for category in config.categories:
        start_s = time.perf_counter()
        done = ingest_category(category, config.source, config.ingest, config.shards_dir)
        print(_summarize(done, time.perf_counter() - start_s), flush=True)


def _summarize(done: Ingested, duration_s: float) -> str:
    manifest = done.manifest
    counts = manifest.counts
    num_drawings = sum(counts.drawings.values())
    splits = ", ".join(f"{split} {num}" for split, num in counts.drawings.items())
    size_mb = sum(shard.size_bytes for shard in manifest.shards) / 1e6
    pace = "unchanged" if done.unchanged else f"{num_drawings / duration_s:,.0f} drawings/s"
    return (
        f"{manifest.category}: {num_drawings} drawings ({splits}),"
        f" {sum(counts.filtered.values())} filtered, {sum(counts.rejected.values())} rejected,"
        f" {size_mb:.1f} MB, {pace}" + (" (generated)" if manifest.generated else "")
    )


if __name__ == "__main__":
    main()
