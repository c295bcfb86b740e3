"""Ingest of one category: all of its drawings become shards, or nothing does.

The shards are built in a hidden folder beside the category's, which takes its place once
everything in it is on disk.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np

from pipeline.atomic import replacing_folder
from pipeline.config import (
    IngestConfig,
    SourceConfig,
    UserError,
    check_category,
    fingerprint,
    to_dict,
)
from pipeline.ingest.parse import Drawings, Reject, parse_lines, split_lines
from pipeline.ingest.shards import ShardWriter
from pipeline.ingest.source import Input, open_category
from pipeline.ingest.split import assign_splits
from pipeline.manifest import (
    SCHEMA_VERSION,
    SPLITS,
    CategoryManifest,
    Counts,
    Shard,
    Statistics,
    write,
)

MANIFEST_NAME = "category.json"
REJECTS_NAME = "rejects.jsonl"
TOO_LONG = "longer_than_N_max"
NUM_REJECTS_SHOWN = 5


@dataclass(frozen=True)
class Ingested:
    """A category that is now on disk, and whether it already was."""

    manifest: CategoryManifest
    unchanged: bool


def ingest_category(
    category: str, source: SourceConfig, config: IngestConfig, shards_dir: Path
) -> Ingested:
    """Makes `<shards_dir>/<category>/` with its shards, rejects.jsonl and category.json.

    Does nothing if the folder was made from the same input files with the same config. An older
    folder stays as it is until the new one is complete.

    Raises:
        UserError: if the source has no such category or no usable drawing of it, if more than
            `max_reject_share` of its lines cannot be read, or if the disk is full.
    """
    folder = shards_dir / check_category(category)
    inputs = open_category(source, category)
    identities = [each.identity for each in inputs]
    settings = to_dict(config)
    expected = fingerprint([SCHEMA_VERSION, category, identities, settings])
    finished = _read_finished(folder, expected)
    if finished is not None:
        return Ingested(finished, unchanged=True)
    with replacing_folder(folder) as building:
        tally, shards = _build(inputs, category, config, building)
        manifest = CategoryManifest(
            category=category,
            generated=any(identity.get("generated", False) for identity in identities),
            source=to_dict(source),
            files=identities,
            ingest=settings,
            fingerprint=expected,
            counts=tally.counts(),
            longest=tally.longest,
            statistics=tally.statistics,
            shards=shards,
        )
        write(manifest, building / MANIFEST_NAME)
    return Ingested(manifest, unchanged=False)


@dataclass
class _Tally:
    """What became of the lines so far."""

    lines: int = 0
    filtered: int = 0
    longest: int = 0
    drawings: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    first_rejects: list[str] = field(default_factory=list)
    statistics: dict[str, Statistics] = field(
        default_factory=lambda: {split: Statistics() for split in SPLITS}
    )

    def add_drawings(self, split: str, drawings: Drawings) -> None:
        self.drawings[split] += len(drawings)
        self.longest = max(self.longest, int(drawings.lengths.max(initial=0)))
        self.statistics[split] += Statistics.of(drawings.points)

    def add_reject(self, path: str, reject: Reject) -> None:
        self.rejected[reject.reason] += 1
        if len(self.first_rejects) < NUM_REJECTS_SHOWN:
            self.first_rejects.append(
                f"{path} line {reject.line}: {reject.reason} ({reject.detail})"
            )

    def counts(self) -> Counts:
        return Counts(
            lines=self.lines,
            drawings={split: self.drawings[split] for split in SPLITS},
            filtered={TOO_LONG: self.filtered},
            rejected=dict(sorted(self.rejected.items())),
        )


def _build(
    inputs: list[Input], category: str, config: IngestConfig, folder: Path
) -> tuple[_Tally, list[Shard]]:
    tally = _Tally()
    sizes = {"recordbatch_rows": config.recordbatch_rows, "shard_rows": config.shard_rows}
    with ExitStack() as stack:
        rejects_file = stack.enter_context((folder / REJECTS_NAME).open("w", encoding="utf-8"))
        writers = {
            split: stack.enter_context(ShardWriter(folder, category, split, **sizes))
            for split in SPLITS
        }
        for each in inputs:
            for drawings in _read_drawings(each, category, tally, rejects_file):
                _distribute(drawings, config, writers, tally)
        _check(category, config, tally)
        rejects_file.flush()
        os.fsync(rejects_file.fileno())
        shards = [shard for writer in writers.values() for shard in writer.finish()]
    return tally, shards


def _read_drawings(
    source: Input, category: str, tally: _Tally, rejects_file: TextIO
) -> Iterator[Drawings]:
    line = 1
    for lines in split_lines(source.read_blocks()):
        drawings, rejects = parse_lines(lines, first_line=line, word=category)
        line += len(lines)
        tally.lines += len(lines)
        for reject in rejects:
            tally.add_reject(source.path, reject)
            entry = {"file": source.path, "line": reject.line, "reason": reject.reason}
            rejects_file.write(json.dumps(entry | {"detail": reject.detail}) + "\n")
        yield drawings


def _distribute(
    drawings: Drawings, config: IngestConfig, writers: dict[str, ShardWriter], tally: _Tally
) -> None:
    fits = drawings.lengths < config.N_max  # leaves room for an end token
    tally.filtered += len(drawings) - int(np.count_nonzero(fits))
    split_of = assign_splits(drawings.hashes, config.split_seed, config.fractions)
    for index, split in enumerate(SPLITS):
        chosen = drawings.select(fits & (split_of == index))
        writers[split].append(chosen)
        tally.add_drawings(split, chosen)


def _check(category: str, config: IngestConfig, tally: _Tally) -> None:
    num_rejects = tally.rejected.total()
    if tally.lines == 0:
        raise UserError(f"category {category!r} is empty: its file has no lines")
    if num_rejects > config.max_reject_share * tally.lines:
        raise UserError(
            f"{num_rejects} of {tally.lines} lines of category {category!r} cannot be read, more"
            f" than ingest.max_reject_share={config.max_reject_share} allows: mend the source or"
            " raise the share. The first are:\n  " + "\n  ".join(tally.first_rejects)
        )
    if tally.drawings.total() == 0:
        raise UserError(
            f"no drawing of category {category!r} is left: of {tally.lines} lines"
            f" {tally.filtered} have ingest.N_max={config.N_max} points or more and {num_rejects}"
            " cannot be read"
        )


def _read_finished(folder: Path, expected_fingerprint: str) -> CategoryManifest | None:
    """The category's manifest, if its shards are there and made from the same things."""
    path = folder / MANIFEST_NAME
    if not path.exists():
        return None
    try:
        manifest = CategoryManifest.read(path)
        sizes = [(folder / shard.path).stat().st_size for shard in manifest.shards]
    except (UserError, FileNotFoundError):  # damaged or of another version: made anew
        return None
    if sizes != [shard.size_bytes for shard in manifest.shards]:
        return None
    return manifest if manifest.fingerprint == expected_fingerprint else None
