"""A category as training reads it: real drawings where there are any, otherwise doodles."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.config import Config, Source, SourceConfig
from pipeline.ingest.driver import ingest
from pipeline.prepare import prepare

NUM_DOODLES = 4000


def write_shards(folder: Path, word: str) -> Config:
    """Ingests a category into `folder`, from $QUICKDRAW_ROOT where it is set."""
    root = os.environ.get("QUICKDRAW_ROOT")
    source = SourceConfig(name=Source.doodles, num_drawings=NUM_DOODLES)
    if root:
        source = SourceConfig(name=Source.local, root=root)
    config = Config(
        name=word,
        categories=[word],
        source=source,
        data_dir=str(folder / "data"),
        results_dir=str(folder / "results"),
        num_workers=1,
    )
    list(ingest(config))
    prepare(config)
    return config


def whose() -> str:
    """Whose drawings `write_shards` takes."""
    if os.environ.get("QUICKDRAW_ROOT"):
        return "real drawings of Quick, Draw!"
    return "doodles, NOT real drawings: QUICKDRAW_ROOT is not set"
