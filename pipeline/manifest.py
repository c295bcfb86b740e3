"""What a shard set contains: counts, exact statistics, checksums, and the fingerprint of it all.

Ingest writes a `CategoryManifest` beside the shards of a category; prepare merges those of one
experiment into a `Manifest`. Both are JSON, carry a schema version and are refused by name when
they are damaged or of another version.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.atomic import replacing_file
from pipeline.config import UserError, fingerprint
from sketch_model.config import MAX_OFFSET

SCHEMA_VERSION = 1
SPLITS = ("train", "valid", "test")
_Content = TypeVar("_Content", "CategoryManifest", "Manifest")


@dataclass(frozen=True)
class Statistics:
    """Integer sums over all dx and dy of some sketches, in drawing units, after clipping.

    They add up exactly, so another choice of categories needs no new pass over the drawings.
    """

    num_values: int = 0
    total: int = 0
    total_squares: int = 0

    @classmethod
    def of(cls, points: NDArray[np.integer[Any]]) -> Statistics:
        """Sums over stroke-3 rows [P, 3]; the pen column is left out."""
        values = np.clip(points[:, :2].astype(np.int64), -MAX_OFFSET, MAX_OFFSET)
        return cls(values.size, int(values.sum()), int(np.square(values).sum()))

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
    """In a `CategoryManifest` relative to the category's folder, in a `Manifest` to its file."""
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


@dataclass(frozen=True, kw_only=True)
class CategoryManifest:
    """The category.json of one ingested category."""

    schema_version: int = SCHEMA_VERSION
    category: str
    generated: bool
    source: dict[str, Any]
    """The source config that the category was read with."""
    files: list[dict[str, Any]]
    """What was read: path, address, size and version of each input file."""
    ingest: dict[str, Any]
    """The ingest config that made the shards."""
    fingerprint: str
    """Of schema version, files and ingest config: the same again needs no new ingest."""
    counts: Counts
    longest: int
    """Points of the longest kept sketch, over all splits."""
    statistics: dict[str, Statistics]
    """Per split."""
    shards: list[Shard]

    @classmethod
    def read(cls, path: Path) -> CategoryManifest:
        """Reads category.json.

        Raises:
            UserError: if it is damaged or of another schema version.
        """
        return _read(cls, path, f"delete {path.parent} and run ingest again")

    @classmethod
    def _from_json(cls, content: dict[str, Any]) -> CategoryManifest:
        statistics = {split: Statistics(**sums) for split, sums in content["statistics"].items()}
        return cls(
            **content
            | {
                "counts": Counts(**content["counts"]),
                "statistics": statistics,
                "shards": [Shard(**shard) for shard in content["shards"]],
            }
        )


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
    shards: list[Shard]
    fingerprint: str = ""
    """Of all the above but `name` and `source`: equal for equal data, wherever it lies."""

    @property
    def N_max(self) -> int:
        """Rows of the longest sequence, end token included."""
        return int(self.ingest["N_max"])

    def num_drawings(self, split: str) -> int:
        """Drawings of a split over all categories."""
        return sum(counts.drawings[split] for counts in self.counts.values())

    def computed_fingerprint(self) -> str:
        """The fingerprint that the other fields give."""
        content = asdict(self)
        for place in ("name", "source", "fingerprint"):
            del content[place]
        return fingerprint(content)

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Reads a manifest that prepare wrote.

        Raises:
            UserError: if it is damaged or of another schema version.
        """
        remedy = f"run `python -m pipeline.prepare` for {path.stem!r} again"
        manifest = _read(cls, path, remedy)
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


def merge(name: str, parts: Sequence[CategoryManifest], folders: Iterable[str]) -> Manifest:
    """The manifest of some categories, in their order, all ingested with the same config.

    Args:
        name: of the experiment.
        parts: what ingest says of each category.
        folders: each category's folder, relative to the folder of the manifest's file.

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
        replace(shard, path=f"{folder}/{shard.path}")
        for part, folder in zip(parts, folders, strict=True)
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
        shards=shards,
    )
    return replace(unsigned, fingerprint=unsigned.computed_fingerprint())


def write(content: CategoryManifest | Manifest, path: Path) -> None:
    """Writes a manifest whole or not at all, the same bytes for the same content."""
    with replacing_file(path) as writing, writing.open("w", encoding="utf-8") as file:
        json.dump(asdict(content), file, indent=1, ensure_ascii=False)
        file.write("\n")


def _read(cls: type[_Content], path: Path, remedy: str) -> _Content:
    try:
        content = json.loads(path.read_bytes())
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
