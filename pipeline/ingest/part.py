"""Ingest of one part of a category: all of its drawings become shards, or nothing does."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from pipeline import storage
from pipeline.atomic import replacing_folder
from pipeline.config import IngestConfig, SplitRule, UserError
from pipeline.ingest.kernels import sum_offsets
from pipeline.ingest.records import Drawings, Parsed
from pipeline.ingest.shards import ShardWriter
from pipeline.ingest.source import Part
from pipeline.ingest.split import NOWHERE, Cuts, assign_splits, is_within_limit
from pipeline.manifest import SPLITS, Counts, PartManifest, Shard, Statistics, to_json
from sketch_model.config import MAX_OFFSET

PART_NAME = "part.json"
REJECTS_NAME = "rejects.jsonl"
SHAPES_NAME = "shapes.npy"

TOO_LONG = "longer_than_N_max"
FEW_STROKES = "fewer_than_min_strokes"
UNRECOGNIZED = "not_recognized"
ELSEWHERE = "of_another_country"
BEYOND_LIMIT = "beyond_limit"
SURPLUS = "more_than_the_paper_uses"


@dataclass(frozen=True)
class PartTask:
    """A part, and all that decides what becomes of it."""

    part: Part
    category: str
    config: IngestConfig
    cuts: Cuts
    folder: str
    """Location of the folder that the part is to become."""
    fingerprint: str


def survey_part(task: PartTask) -> NDArray[np.uint64]:
    """Hashes of the drawings that pass the filters, in the order of the part.

    Raises:
        UserError: if the part cannot be read.
    """
    passing = []
    for parsed in task.part.read():
        drawings = parsed.drawings
        failed = _filter(drawings, task.config)
        passing.append(drawings.hashes[~np.logical_or.reduce(list(failed.values()))])
    return np.concatenate([np.empty(0, dtype=np.uint64), *passing])


def ingest_part(task: PartTask) -> PartManifest:
    """Makes a folder of the part's shards, its rejects, the shapes of its drawings and part.json.

    Raises:
        UserError: if the part cannot be read or its folder not be written.
    """
    with _new_folder(task.folder) as folder:
        tally, shards = _build(task, folder)
        manifest = PartManifest(
            fingerprint=task.fingerprint,
            counts=tally.counts(),
            longest=tally.longest,
            statistics=tally.statistics,
            shards=shards,
        )
        (folder / PART_NAME).write_bytes(to_json(manifest))
    return manifest


@contextmanager
def _new_folder(location: str) -> Iterator[Path]:
    """A folder to fill that takes its place as a whole: what part.json is in is complete."""
    if not storage.is_remote(location):
        with replacing_folder(Path(location)) as folder:
            yield folder
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield folder
        storage.remove(location)
        names = sorted(path.name for path in folder.iterdir() if path.name != PART_NAME)
        for each in (*names, PART_NAME):
            storage.put(folder / each, storage.join(location, each))


@dataclass
class _Tally:
    """What became of the records so far."""

    lines: int = 0
    longest: int = 0
    drawings: Counter[str] = field(default_factory=Counter)
    filtered: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    statistics: dict[str, Statistics] = field(
        default_factory=lambda: {split: Statistics() for split in SPLITS}
    )
    shapes: dict[str, list[NDArray[np.uint64]]] = field(
        default_factory=lambda: {split: [] for split in SPLITS}
    )

    def add_drawings(self, split: str, drawings: Drawings) -> None:
        self.drawings[split] += len(drawings)
        self.longest = max(self.longest, int(drawings.lengths.max(initial=0)))
        self.statistics[split] += Statistics(
            2 * len(drawings.points), *sum_offsets(drawings.points, MAX_OFFSET)
        )
        self.shapes[split].append(drawings.shapes)

    def counts(self) -> Counts:
        return Counts(
            lines=self.lines,
            drawings={split: self.drawings[split] for split in SPLITS},
            filtered={rule: num for rule, num in sorted(self.filtered.items()) if num},
            rejected=dict(sorted(self.rejected.items())),
        )


def _build(task: PartTask, folder: Path) -> tuple[_Tally, list[Shard]]:
    tally, config = _Tally(), task.config
    sizes = {"recordbatch_rows": config.recordbatch_rows, "shard_rows": config.shard_rows}
    with ExitStack() as stack:
        rejects = stack.enter_context((folder / REJECTS_NAME).open("w", encoding="utf-8"))
        writers = [
            stack.enter_context(ShardWriter(folder, task.category, split, **sizes))
            for split in SPLITS
        ]
        for parsed in task.part.read():
            _note_rejects(parsed, task.part.path, tally, rejects)
            _distribute(parsed.drawings, task, writers, tally)
            tally.lines += parsed.num_records
        rejects.flush()
        os.fsync(rejects.fileno())
        shards = [shard for writer in writers for shard in writer.finish()]
    shapes = [np.concatenate([np.empty(0, np.uint64), *tally.shapes[split]]) for split in SPLITS]
    np.save(folder / SHAPES_NAME, np.concatenate(shapes))
    return tally, shards


def _note_rejects(parsed: Parsed, path: str, tally: _Tally, file: TextIO) -> None:
    for reject in parsed.rejects:
        tally.rejected[reject.reason] += 1
        entry = {
            "file": reject.path or path,
            "line": reject.line,
            "reason": reject.reason,
            "detail": reject.detail,
        }
        file.write(json.dumps(entry) + "\n")


def _distribute(
    drawings: Drawings, task: PartTask, writers: list[ShardWriter], tally: _Tally
) -> None:
    splits = _split(drawings, task)
    for rule, failed in _first_rule(drawings, splits, task).items():
        tally.filtered[rule] += int(np.count_nonzero(failed))
        splits[failed] = NOWHERE
    for index, (split, writer) in enumerate(zip(SPLITS, writers, strict=True)):
        chosen = drawings.take(np.flatnonzero(splits == index))
        writer.append(chosen)
        tally.add_drawings(split, chosen)


def _split(drawings: Drawings, task: PartTask) -> NDArray[np.int64]:
    if task.config.splits != SplitRule.own:
        return assign_splits(drawings.hashes, task.config, task.cuts)
    if (drawings.split < 0).any():
        raise UserError(
            f"{task.part.path} does not say to which split its drawings belong, and"
            " ingest.splits=own: use ingest.splits=fractions"
        )
    return drawings.split.astype(np.int64)


def _first_rule(
    drawings: Drawings, splits: NDArray[np.int64], task: PartTask
) -> dict[str, NDArray[np.bool_]]:
    """Of each rule, the drawings that it is the first to filter, bool [n]."""
    rules = _filter(drawings, task.config)
    rules[BEYOND_LIMIT] = ~is_within_limit(drawings.hashes, task.config, task.cuts)
    rules[SURPLUS] = splits == NOWHERE
    seen = np.zeros(len(drawings), dtype=np.bool_)
    first = {}
    for rule, failed in rules.items():
        first[rule] = failed & ~seen
        seen |= failed
    return first


def _filter(drawings: Drawings, config: IngestConfig) -> dict[str, NDArray[np.bool_]]:
    """Of each rule of the config, the drawings that fail it, bool [n]."""
    rules = {TOO_LONG: drawings.lengths >= config.N_max}  # leaves room for an end token
    if config.min_strokes > 1:
        rules[FEW_STROKES] = drawings.num_strokes < config.min_strokes
    if config.recognized_only:
        rules[UNRECOGNIZED] = drawings.recognized != 1
    if config.countries:
        codes = [code.encode() for code in config.countries]
        rules[ELSEWHERE] = ~np.isin(drawings.countrycode.view("S2").ravel(), codes)
    return rules
