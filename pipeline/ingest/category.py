"""One category: which of its parts are finished, and what is known of it as a whole.

A category's folder holds a folder per part, named after the config and the part's number. Parts
that are finished stay finished, so an ingest that was killed goes on with the rest. category.json
is written last and names every shard; what does not belong is then removed.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import storage
from pipeline.config import IngestConfig, SourceConfig, UserError
from pipeline.identity import fingerprint, to_dict
from pipeline.ingest.part import PART_NAME, REJECTS_NAME, SHAPES_NAME, PartTask
from pipeline.ingest.source import Part
from pipeline.ingest.split import NO_CUTS, Cuts, needs_ranks
from pipeline.manifest import (
    SCHEMA_VERSION,
    SPLITS,
    CategoryManifest,
    Counts,
    PartManifest,
    Statistics,
    to_json,
)

MANIFEST_NAME = "category.json"
CUTS_NAME = "cuts.json"
NUM_REJECTS_SHOWN = 5


class CategoryPlan:
    """One category that is to be ingested."""

    def __init__(
        self,
        category: str,
        parts: list[Part],
        source: SourceConfig,
        config: IngestConfig,
        folder: str,
    ) -> None:
        self.category, self.parts, self.config = category, parts, config
        self._source, self._folder = source, folder
        self._cuts = NO_CUTS
        # Whether too many records are bad is judged at the end, and changes no shard.
        settings = {k: v for k, v in to_dict(config).items() if k != "max_reject_share"}
        form = {"format": source.format, "quantum": source.quantum}
        self._settings = [SCHEMA_VERSION, category, form, settings]
        self._fingerprint = fingerprint([self._settings, [part.identity for part in parts]])

    def tasks(self) -> list[PartTask]:
        """A task per part."""
        return [self._task(number, part) for number, part in enumerate(self.parts)]

    def _task(self, number: int, part: Part) -> PartTask:
        cuts = [self._cuts.limit, self._cuts.splits]
        mark = fingerprint([self._settings, part.identity, cuts])
        # What was made from other things has another name, so that it outlasts the making of this.
        folder = self._location(f"{number:05d}-{mark[:8]}")
        return PartTask(part, self.category, self.config, self._cuts, folder, mark)

    def _location(self, name: str) -> str:
        return storage.join(self._folder, name)

    def read_finished(self) -> CategoryManifest | None:
        """The category's manifest, if its shards are there and made from the same things."""
        manifest = _read(CategoryManifest.parse, self._location(MANIFEST_NAME))
        if manifest is None or manifest.fingerprint != self._fingerprint:
            return None
        if manifest.ingest != to_dict(self.config):
            return None
        return manifest if _has_shards(self._folder, manifest) else None

    def read_finished_parts(self) -> dict[int, PartManifest]:
        """The parts that are there and made from the same things."""
        finished = {}
        for number, task in enumerate(self.tasks()):
            manifest = _read(PartManifest.parse, storage.join(task.folder, PART_NAME))
            if manifest is None or manifest.fingerprint != task.fingerprint:
                continue
            if _has_shards(task.folder, manifest):
                finished[number] = manifest
        return finished

    def read_cuts(self) -> bool:
        """Takes the cuts that an earlier ingest has found; whether there are any."""
        try:
            content = json.loads(storage.read_bytes(self._location(CUTS_NAME)))
        except (FileNotFoundError, ValueError):
            return False
        if content["fingerprint"] != self._fingerprint:
            return False
        self._cuts = Cuts(content["limit"], tuple(content["splits"]))
        return True

    def write_cuts(self, cuts: Cuts) -> None:
        """Keeps the cuts, so that an ingest that is killed need not look for them again."""
        self._cuts = cuts
        content = {
            "fingerprint": self._fingerprint,
            "limit": cuts.limit,
            "splits": list(cuts.splits),
        }
        storage.write_bytes(json.dumps(content).encode(), self._location(CUTS_NAME))

    def finish(self, parts: dict[int, PartManifest]) -> CategoryManifest:
        """Writes what is known of the category as a whole, and removes what is not of it."""
        tasks, manifests = self.tasks(), [parts[number] for number in sorted(parts)]
        counts = Counts.total([part.counts for part in manifests])
        self._check(counts)
        storage.write_bytes(b"".join(self._rejects(manifests)), self._location(REJECTS_NAME))
        identities = [part.identity for part in self.parts]
        manifest = CategoryManifest(
            category=self.category,
            generated=any(identity.get("generated", False) for identity in identities),
            source=to_dict(self._source),
            files=identities,
            ingest=to_dict(self.config),
            fingerprint=self._fingerprint,
            counts=counts,
            longest=max(part.longest for part in manifests),
            statistics={
                split: sum((part.statistics[split] for part in manifests), Statistics())
                for split in SPLITS
            },
            near_duplicates=self._count_near_duplicates(manifests),
            shards=[
                replace(shard, path=f"{_name(task)}/{shard.path}")
                for task, part in zip(tasks, manifests, strict=True)
                for shard in part.shards
            ],
        )
        storage.write_bytes(to_json(manifest), self._location(MANIFEST_NAME))
        self.prune()
        return manifest

    def _check(self, counts: Counts) -> None:
        num_rejects, config = sum(counts.rejected.values()), self.config
        if counts.lines == 0:
            raise UserError(f"category {self.category!r} is empty: its file has no lines")
        if num_rejects > config.max_reject_share * counts.lines:
            raise UserError(
                f"{num_rejects} of {counts.lines} lines of category {self.category!r} cannot be"
                f" read, more than ingest.max_reject_share={config.max_reject_share} allows: mend"
                " the source or raise the share. The first are:\n  "
                + "\n  ".join(self._first_rejects())
            )
        if sum(counts.drawings.values()) == 0:
            filtered = ", ".join(f"{num} {rule}" for rule, num in counts.filtered.items())
            raise UserError(
                f"no drawing of category {self.category!r} is left: of {counts.lines} lines"
                f" {filtered or 'none'} are filtered and {num_rejects} cannot be read"
            )

    def _first_rejects(self) -> Iterator[str]:
        left = NUM_REJECTS_SHOWN
        for entry in self._read_rejects():
            if left == 0:
                return
            left -= 1
            yield f"{entry['file']} line {entry['line']}: {entry['reason']} ({entry['detail']})"

    def _read_rejects(self) -> Iterator[dict[str, Any]]:
        """The rejects of all parts, with the lines of each counted from the file's first."""
        path, num_before = "", 0
        for task in self.tasks():
            if task.part.path != path:
                path, num_before = task.part.path, 0
            for line in storage.read_bytes(storage.join(task.folder, REJECTS_NAME)).splitlines():
                entry = json.loads(line)
                yield entry | {"line": entry["line"] + (num_before if entry["file"] == path else 0)}
            manifest = _read(PartManifest.parse, storage.join(task.folder, PART_NAME))
            assert manifest is not None
            num_before += manifest.counts.lines

    def _rejects(self, manifests: list[PartManifest]) -> Iterator[bytes]:
        if any(part.counts.rejected for part in manifests):
            for entry in self._read_rejects():
                yield json.dumps(entry).encode() + b"\n"

    def _count_near_duplicates(self, manifests: list[PartManifest]) -> dict[str, int]:
        shapes: dict[str, list[NDArray[np.uint64]]] = {split: [] for split in SPLITS}
        for task, part in zip(self.tasks(), manifests, strict=True):
            content = storage.read_bytes(storage.join(task.folder, SHAPES_NAME))
            ends = np.cumsum([part.counts.drawings[split] for split in SPLITS])
            of_part = np.split(np.load(io.BytesIO(content), allow_pickle=False), ends[:-1])
            for split, found in zip(SPLITS, of_part, strict=True):
                shapes[split].append(found)
        train, *others = (np.concatenate(shapes[split]) for split in SPLITS)
        train.sort()
        return {
            split: int((np.searchsorted(train, found, "right") > train.searchsorted(found)).sum())
            for split, found in zip(SPLITS[1:], others, strict=True)
        }

    def prune(self) -> None:
        """Removes what is not of the category, as far as an ingest that was killed has not."""
        if needs_ranks(self.config) and self._cuts == NO_CUTS and not self.read_cuts():
            return  # the cuts, without which parts have no names, are removed after the parts
        kept = {MANIFEST_NAME, REJECTS_NAME} | {_name(task) for task in self.tasks()}
        names = storage.list_names(self._folder)
        for name in sorted(names, key=lambda name: name == CUTS_NAME):
            if name not in kept:
                storage.remove(self._location(name))


def _name(task: PartTask) -> str:
    return task.folder.rpartition("/")[2]


def _read(parse: Callable[[bytes, str], Any], location: str) -> Any:
    """What a manifest says; None where there is none, or one that is to be made anew."""
    try:
        content = storage.read_bytes(location)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return parse(content, location)
    except UserError:  # damaged, or of another version
        return None


def _has_shards(folder: str, manifest: CategoryManifest | PartManifest) -> bool:
    return all(
        storage.size_bytes(storage.join(folder, shard.path)) == shard.size_bytes
        for shard in manifest.shards
    )
