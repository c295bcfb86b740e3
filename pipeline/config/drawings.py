"""Which drawings there are, and how they become shards."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from omegaconf import MISSING

from pipeline.config.error import UserError
from sketch_model.config import at_least, within

_FRACTIONS = [0.9, 0.05, 0.05]


class Source(StrEnum):
    """Where drawings come from."""

    doodles = "doodles"
    local = "local"
    quickdraw = "quickdraw"


class Format(StrEnum):
    """How drawings are written down."""

    simplified = "simplified"
    raw = "raw"
    binary = "binary"
    npz = "npz"
    svg = "svg"


@dataclass(kw_only=True)
class SourceConfig:
    """Where the drawings of a category are read from."""

    name: Source = MISSING
    """doodles are generated here; local is a folder or URL; quickdraw is the public bucket. On the
    command line `source=NAME` takes conf/source/NAME.yaml."""
    root: str = ""
    """Folder or URL laid out like gs://quickdraw_dataset; empty for doodles."""
    format: Format = Format.simplified
    """simplified, raw and binary are the bucket's; npz is magenta's; svg is a folder of SVG files
    per category."""
    quantum: float = 0.0
    """npz only: offsets are stored as multiples of this, at most 1000 of it; 0 takes integers."""
    endpoint_url: str = ""
    """Another server that speaks the Google Cloud Storage API, such as an emulator."""
    num_drawings: int = 0
    """Doodles only: how many are generated per category."""
    seed: int = 0
    """Doodles only: seed of the generator."""

    def __post_init__(self) -> None:
        at_least("source.num_drawings", self.num_drawings, 0)
        at_least("source.quantum", self.quantum, 0.0)
        if self.quantum and self.format != Format.npz:
            raise UserError(
                f"source.quantum={self.quantum} is for source.format=npz: the coordinates of"
                f" source.format={self.format} are integers"
            )
        if self.name == Source.doodles and self.format != Format.simplified:
            raise UserError(
                f"source.format={self.format} is not what source=doodles generates: write doodles"
                " as files with `python -m pipeline.doodle` and read those with source=local"
            )
        if self.name == Source.doodles and (self.root or self.endpoint_url):
            raise UserError(
                f"source.root={self.root!r} and source.endpoint_url={self.endpoint_url!r} are not"
                " read by source=doodles, which is generated: use source=local or source=quickdraw"
            )
        if self.name in (Source.local, Source.quickdraw) and (self.num_drawings or self.seed):
            raise UserError(
                f"source.num_drawings={self.num_drawings} and source.seed={self.seed} are for"
                f" source=doodles: source={self.name} reads every drawing there is"
            )


class SplitRule(StrEnum):
    """What decides which split a drawing belongs to."""

    fractions = "fractions"
    paper = "paper"
    own = "own"


class Engine(StrEnum):
    """What runs the pieces of an ingest side by side."""

    local = "local"
    ray = "ray"


@dataclass(kw_only=True)
class IngestConfig:
    """How drawings become shards."""

    N_max: int = 250
    """Rows of the longest sequence, end token included: a drawing of N_max points is too long."""
    min_strokes: int = 1
    """Drawings of fewer strokes are filtered."""
    recognized_only: bool = False
    """Whether drawings that the game did not recognize, or that do not say, are filtered."""
    countries: list[str] = field(default_factory=list)
    """Two-letter codes; drawings from elsewhere, or that do not say, are filtered. Empty: all."""
    limit: int = 0
    """Drawings kept of a category: those lowest in the order that also cuts the splits. 0: all."""
    splits: SplitRule = SplitRule.fractions
    """fractions: by each drawing's hash; paper: 70,000/2,500/2,500 of a category, by the rank of
    the hash; own: as the file says (npz only)."""
    fractions: list[float] = field(default_factory=lambda: [*_FRACTIONS])
    """Shares of the train, valid and test splits."""
    split_seed: int = 0
    """Of the hash that decides splits and what ingest.limit keeps."""
    max_reject_share: float = 0.01
    """More unreadable lines than this share of a category is an error."""
    part_bytes: int = 1 << 27
    """Larger files of lines are cut into parts of this size, each read alone, into own shards."""
    recordbatch_rows: int = 4096
    """Drawings that are checked, and read from a remote store, together."""
    shard_rows: int = 262_144
    """Drawings in a shard, at most; no fewer than recordbatch_rows."""

    def __post_init__(self) -> None:
        at_least("ingest.N_max", self.N_max, 2)
        at_least("ingest.min_strokes", self.min_strokes, 1)
        at_least("ingest.limit", self.limit, 0)
        at_least("ingest.part_bytes", self.part_bytes, 1)
        for code in self.countries:
            if not re.fullmatch("[A-Z]{2}", code):
                raise UserError(
                    f"ingest.countries={list(self.countries)} must be two-letter codes in capitals,"
                    " such as DE"
                )
        at_least("ingest.recordbatch_rows", self.recordbatch_rows, 1)
        at_least("ingest.shard_rows", self.shard_rows, self.recordbatch_rows)
        within("ingest.max_reject_share", self.max_reject_share, 0.0, 1.0)
        if (
            len(self.fractions) != 3
            or not all(share >= 0 for share in self.fractions)
            or abs(sum(self.fractions) - 1) > 1e-9
            or self.fractions[0] == 0
        ):
            raise UserError(
                f"ingest.fractions={list(self.fractions)} must be three shares (train, valid, test)"
                " that add up to 1, with a train share above 0"
            )
        if self.splits != SplitRule.fractions and list(self.fractions) != _FRACTIONS:
            raise UserError(
                f"ingest.fractions={list(self.fractions)} is not read by ingest.splits="
                f"{self.splits}: leave it out, or use ingest.splits=fractions"
            )


@dataclass(kw_only=True)
class CacheConfig:
    """Where shards in a remote store are kept while they are trained on."""

    dir: str = "cache"
    """Folder on a local disk; several processes and later runs may share it."""
    size_bytes: int = 8 << 30
    """Of all files in it, at most; what was not used for longest makes room."""

    def __post_init__(self) -> None:
        at_least("cache.size_bytes", self.size_bytes, 1)


def check_category(category: str) -> str:
    """Returns the name if it can name a folder; raises UserError otherwise.

    All 345 categories of Quick, Draw! are letters, digits, spaces, hyphens and apostrophes.
    """
    if not re.fullmatch(r"[^\W_][\w '.()-]{0,99}", category) or category != category.strip(" ."):
        raise UserError(
            f"category {category!r:.120} cannot name a folder: use at most 100 letters, digits,"
            " spaces, hyphens and apostrophes, beginning with a letter or a digit"
        )
    return category
