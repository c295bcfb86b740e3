"""`python -m pipeline.ingest`: the drawings of the config's categories become shards."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tqdm import tqdm

from pipeline.config import Config
from pipeline.entry import command
from pipeline.importing import importing
from pipeline.manifest import SPLITS, CategoryManifest

if TYPE_CHECKING:
    from pipeline.ingest.driver import Advance, Ingested


@command
def main(config: Config) -> None:
    """Ingests every category of the config that is not already there, and says what came of it."""
    with importing():  # pyarrow and numba: not needed to print --help
        from pipeline.ingest.driver import ingest

    start_s = time.perf_counter()
    with Progress() as progress:
        done = list(ingest(config, progress.advance))
    print("\n".join(summarize(done, progress.num_records, time.perf_counter() - start_s)))


class Progress:
    """A bar of bytes read, with drawings per second; nothing where there is no terminal."""

    def __init__(self) -> None:
        self.num_records = 0
        self._start_s = time.perf_counter()
        self._bar = tqdm(disable=None, unit="B", unit_scale=True, desc="ingest", leave=False)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def advance(self, advance: Advance) -> None:
        """Counts a finished part."""
        self.num_records += advance.num_records
        pace = self.num_records / (time.perf_counter() - self._start_s)
        self._bar.total = advance.total_bytes
        self._bar.set_postfix_str(f"{pace:,.0f} drawings/s", refresh=False)
        self._bar.update(advance.size_bytes)


def summarize(done: list[Ingested], num_records: int, duration_s: float) -> Iterator[str]:
    """Lines of a table: what became of the drawings of each category, and of all.

    Args:
        done: the categories.
        num_records: read by this command; the rest was there already.
        duration_s: of this command.
    """
    header = ("category", *SPLITS, "filtered", "rejected", "points", "MB", "near-dup.", "")
    rows = sorted((each.manifest.category, *_row(each.manifest), _note(each)) for each in done)
    total = ("all", *(sum(column) for column in list(zip(*rows, strict=True))[1:-1]), "")
    width = max(len(row[0]) for row in (*rows, total, header))
    table = [*rows, total] if len(rows) > 1 else rows
    for name, *numbers, note in (header, *table):
        cells = [f"{cell:,.0f}" if not isinstance(cell, str) else cell for cell in numbers]
        yield f"{name:{width}} " + " ".join(f"{cell:>11}" for cell in cells) + f" {note}".rstrip()
    for group in ("filtered", "rejected"):
        counts: Counter[str] = Counter()
        for each in done:
            counts.update(getattr(each.manifest.counts, group))
        yield from (f"{group} {num:,}: {rule}" for rule, num in counts.most_common())
    if num_records:
        yield f"{num_records:,} in {duration_s:.1f} s, {num_records / duration_s:,.0f} drawings/s"


def _row(manifest: CategoryManifest) -> tuple[float, ...]:
    counts = manifest.counts
    return (
        *(counts.drawings[split] for split in SPLITS),
        sum(counts.filtered.values()),
        sum(counts.rejected.values()),
        sum(shard.num_points for shard in manifest.shards),
        sum(shard.size_bytes for shard in manifest.shards) / 1e6,
        sum(manifest.near_duplicates.values()),
    )


def _note(done: Ingested) -> str:
    notes = ["generated"] if done.manifest.generated else []
    return ", ".join([*notes, "unchanged"] if done.unchanged else notes)


if __name__ == "__main__":
    main()
