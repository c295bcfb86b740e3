"""Three kinds of doodles, a recogniser of them, and an experiment on two."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.config import (
    Config,
    IngestConfig,
    QualityConfig,
    Source,
    SourceConfig,
    TrackingConfig,
)
from pipeline.ingest.driver import ingest_category
from pipeline.prepare import prepare
from pipeline.quality.making import make_recogniser


@pytest.fixture(scope="session")
def recogniser_config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Its recogniser is made."""
    folder = tmp_path_factory.mktemp("quality")
    config = Config(
        name="recogniser",
        categories=["cat", "sun", "house"],
        source=SourceConfig(name=Source.doodles, num_drawings=250),
        ingest=IngestConfig(fractions=[0.6, 0.1, 0.3]),
        quality=QualityConfig(num_steps=60, num_drawings=60, temperatures=[0.5, 1.0]),
        tracking=TrackingConfig(enabled=False),
        data_dir=str(folder / "data"),
        runs_dir=str(folder / "runs"),
        results_dir=str(folder / "results"),
    )
    for category in config.categories:
        ingest_category(category, config.source, config.ingest, config.shards_location)
    prepare(config)
    make_recogniser(config)
    return config


@pytest.fixture(scope="session")
def config(recogniser_config: Config) -> Config:
    """Of an experiment whose model is to be judged."""
    config = replace(recogniser_config, name="judged", categories=["sun", "cat"])
    prepare(config)
    return config
