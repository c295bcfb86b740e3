"""What a shard set contains: counts, exact statistics, checksums, and the fingerprint of it all.

Ingest writes a `CategoryManifest` beside the shards of a category; prepare merges those of one
experiment into a `Manifest`. Both are JSON, carry a schema version and are refused by name when
they are damaged or of another version.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from pipeline import storage
from pipeline.atomic import replacing_file
from pipeline.config import Source, UserError
from pipeline.identity import fingerprint

SCHEMA_VERSION = 2
SPLITS = ("train", "valid", "test")
_Content = TypeVar("_Content", "PartManifest", "CategoryManifest", "Manifest")


@dataclass(frozen=True)
class Statistics:
    """Integer sums over all dx and dy of some sketches, in drawing units, after clipping.

    They add up exactly, so another choice of categories needs no new pass over the drawings.
    """

    num_values: int = 0
    total: int = 0
    total_squares: int = 0

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(
            self.num_values + other.num_values,
            self.total + other.total,
            self.total_squares + other.total_squares,
        )

    @property
    def offset_scale(self) -> float:
        """Population standard deviation of dx and dy pooled, in drawing units (0 if empty)."""
        if self.num_values == 0:
            return 0.0
        scatter = self.num_values * self.total_squares - self.total**2
        return math.sqrt(scatter / self.num_values**2)


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One Arrow IPC file and the checksums of its parts.

    Record batch i is the bytes from `ends[i - 1]` (0 for the first, which so includes the file's
    header) to `ends[i]`; the footer is the rest. Every byte belongs to one checksum.
    """

    path: str
    """Relative to the folder of the part, of the category, or of all shards, whose manifest it
    stands in."""
    category: str
    split: str
    num_sketches: int
    num_points: int
    recordbatch_rows: int
    """Sketches in each record batch but the last."""
    size_bytes: int
    sha256: str
    ends: list[int]
    crc32: list[int]
    """One per record batch."""
    footer_crc32: int


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Where each input line went: `lines` is the sum of all the others."""

    lines: int
    drawings: dict[str, int]
    """Per split."""
    filtered: dict[str, int]
    """Per rule."""
    rejected: dict[str, int]
    """Per reason; rejects.jsonl names each file and line."""

    def __post_init__(self) -> None:
        groups = (self.drawings, self.filtered, self.rejected)
        accounted = sum(sum(group.values()) for group in groups)
        assert self.lines == accounted, f"{self.lines} lines, {accounted} accounted for"

    @classmethod
    def total(cls, parts: Sequence[Counts]) -> Counts:
        """The sums of some parts, with every split."""
        sums = {}
        for group in ("drawings", "filtered", "rejected"):
            counter = Counter(dict.fromkeys(SPLITS, 0) if group == "drawings" else {})
            for part in parts:
                counter.update(getattr(part, group))
            sums[group] = dict(counter if group == "drawings" else sorted(counter.items()))
        return cls(lines=sum(part.lines for part in parts), **sums)


@dataclass(frozen=True, kw_only=True)
class PartManifest:
    """The part.json of one part of a category: what of it is in which shards."""

    schema_version: int = SCHEMA_VERSION
    fingerprint: str
    """Of schema version, part, cuts and config: the same again needs no new ingest."""
    counts: Counts
    longest: int
    statistics: dict[str, Statistics]
    shards: list[Shard]

    @classmethod
    def parse(cls, content: bytes, path: str) -> PartManifest:
        """Reads part.json.

        Raises:
            UserError: if it is damaged or of another schema version.
        """
        return _parse(cls, content, path, "run ingest again")

    @classmethod
    def _from_json(cls, content: dict[str, Any]) -> PartManifest:
        return cls(**content | _common_fields(content))


@dataclass(frozen=True, kw_only=True)
class CategoryManifest:
    """The category.json of one ingested category."""

    schema_version: int = SCHEMA_VERSION
    category: str
    generated: bool
    source: dict[str, Any]
    """The source config that the category was read with."""
    files: list[dict[str, Any]]
    """What was read: path, address, size and version of each part's file."""
    ingest: dict[str, Any]
    """The ingest config that made the shards."""
    fingerprint: str
    """Of schema version, files and ingest config: the same again needs no new ingest."""
    counts: Counts
    longest: int
    """Points of the longest kept sketch, over all splits."""
    statistics: dict[str, Statistics]
    """Per split."""
    near_duplicates: dict[str, int]
    """Drawings of the valid and test splits that look, on a coarse grid, like one to train on."""
    shards: list[Shard]

    @classmethod
    def parse(cls, content: bytes, path: str) -> CategoryManifest:
        """Reads category.json.

        Raises:
            UserError: if it is damaged or of another schema version.
        """
        return _parse(cls, content, path, "delete its folder and run ingest again")

    @classmethod
    def _from_json(cls, content: dict[str, Any]) -> CategoryManifest:
        return cls(**content | _common_fields(content))


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The shards of an experiment's categories, and what their numbers mean."""

    schema_version: int = SCHEMA_VERSION
    name: str
    generated: bool
    """Whether a generator made the drawings, not people."""
    source: dict[str, Any]
    categories: list[str]
    """A sketch's category is an index into this list."""
    ingest: dict[str, Any]
    counts: dict[str, Counts]
    """Per category."""
    empty_splits: list[str]
    offset_scale: float
    """Standard deviation of the train split's dx and dy (Ha & Eck 2017, section 3.3)."""
    longest: int
    """Points of the longest sketch; always below N_max."""
    near_duplicates: dict[str, dict[str, int]]
    """Per category, those of the valid and test splits."""
    shards_root: str
    """Folder of all shards: relative to the manifest's own, or the address of a remote one."""
    shards: list[Shard]
    fingerprint: str = ""
    """Of all the above but `name`, `source` and the places of shards: equal for equal data,
    wherever it lies."""

    @property
    def quantum(self) -> float:
        """Units of the source's files per drawing unit; 1 for whole numbers."""
        return float(self.source["quantum"]) or 1.0

    @property
    def N_max(self) -> int:
        """Rows of the longest sequence, end token included."""
        return int(self.ingest["N_max"])

    def num_drawings(self, split: str) -> int:
        """Drawings of a split over all categories."""
        return sum(counts.drawings[split] for counts in self.counts.values())

    def locate_shards(self, path: Path) -> str:
        """Location of the folder of all shards, given the manifest's own path."""
        if storage.is_remote(self.shards_root):
            return self.shards_root
        return os.path.normpath(path.parent / self.shards_root)

    def computed_fingerprint(self) -> str:
        """The fingerprint that the other fields give."""
        content = asdict(self)
        for place in ("name", "source", "shards_root", "fingerprint"):
            del content[place]
        for shard in content["shards"]:
            del shard["path"]
        return fingerprint(content)

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Reads a manifest that prepare wrote.

        Raises:
            UserError: if it is missing, damaged or of another schema version.
        """
        remedy = f"run `python -m pipeline.prepare` for {path.stem!r} again"
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise UserError(_explain_missing(path)) from error
        manifest = _parse(cls, content, str(path), remedy)
        if manifest.fingerprint != manifest.computed_fingerprint():
            raise UserError(
                f"{path} is damaged: its fingerprint is {manifest.fingerprint}, its content gives"
                f" {manifest.computed_fingerprint()}; {remedy}"
            )
        return manifest

    @classmethod
    def _from_json(cls, content: dict[str, Any]) -> Manifest:
        counts = {category: Counts(**c) for category, c in content["counts"].items()}
        shards = [Shard(**shard) for shard in content["shards"]]
        return cls(**content | {"counts": counts, "shards": shards})


def _explain_missing(path: Path) -> str:
    choice = f"+experiment={path.stem}"
    folder = path.absolute().parents[1].name
    if folder in list(Source):
        choice += f" source={folder}"
    return (
        f"there are no data yet: {path} does not exist. To make it, run"
        f" `python -m pipeline.ingest {choice}` and `python -m pipeline.prepare {choice}`; if"
        f" {path.stem} is a name= and no experiment, both with the arguments of this command"
    )


def merge(name: str, parts: Sequence[CategoryManifest], shards_root: str) -> Manifest:
    """The manifest of some categories, in their order, all ingested with the same config.

    Args:
        name: of the experiment.
        parts: what ingest says of each category.
        shards_root: folder of the categories' folders, as `Manifest` has it.

    Raises:
        UserError: if the train split has no drawing, or no extent to scale by.
    """
    drawings = {split: sum(part.counts.drawings[split] for part in parts) for split in SPLITS}
    train = sum((part.statistics["train"] for part in parts), Statistics())
    categories = [part.category for part in parts]
    if drawings["train"] == 0 or train.offset_scale == 0:
        raise UserError(
            f"the train split of {', '.join(categories)} has {drawings['train']} drawings with an"
            f" offset scale of {train.offset_scale}: choose more drawings or categories, or a"
            " larger train share in ingest.fractions"
        )
    shards = [
        replace(shard, path=f"{part.category}/{shard.path}")
        for part in parts
        for shard in part.shards
    ]
    unsigned = Manifest(
        name=name,
        generated=any(part.generated for part in parts),
        source=parts[0].source,
        categories=categories,
        ingest=parts[0].ingest,
        counts={part.category: part.counts for part in parts},
        empty_splits=[split for split in SPLITS if drawings[split] == 0],
        offset_scale=train.offset_scale,
        longest=max(part.longest for part in parts),
        near_duplicates={part.category: part.near_duplicates for part in parts},
        shards_root=shards_root,
        shards=shards,
    )
    return replace(unsigned, fingerprint=unsigned.computed_fingerprint())


def to_json(content: PartManifest | CategoryManifest | Manifest) -> bytes:
    """The same bytes for the same content."""
    text = json.dumps(asdict(content), indent=1, ensure_ascii=False)
    return f"{_INNER_LISTS.sub(_join_lines, text)}\n".encode()


def write(content: Manifest, path: Path) -> None:
    """Writes a manifest whole or not at all."""
    with replacing_file(path) as writing:
        writing.write_bytes(to_json(content))


_INNER_LISTS = re.compile(r"\[[\d\s,]+\]")
"""Lists of integers: of a checksum per line, a manifest of millions would be long to scroll."""


def _join_lines(match: re.Match[str]) -> str:
    return " ".join(match[0].split())


def _common_fields(content: dict[str, Any]) -> dict[str, Any]:
    statistics = content["statistics"].items()
    return {
        "counts": Counts(**content["counts"]),
        "statistics": {split: Statistics(**sums) for split, sums in statistics},
        "shards": [Shard(**shard) for shard in content["shards"]],
    }


def _parse(cls: type[_Content], text: bytes, path: str, remedy: str) -> _Content:
    try:
        content = json.loads(text)
        version = content["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a manifest ({error}); {remedy}") from error
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema version {version!r}, this program reads {SCHEMA_VERSION}; {remedy}"
        )
    try:
        return cls._from_json(content)
    except (KeyError, TypeError, AttributeError, AssertionError) as error:
        expected = ", ".join(field.name for field in fields(cls))
        raise UserError(
            f"{path} does not hold what a manifest holds ({expected}): {error}; {remedy}"
        ) from error
