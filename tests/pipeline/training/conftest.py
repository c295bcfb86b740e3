"""Tiny data, made once, and configs that train on it in a second."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import Config, SourceConfig
from tests.experiments import make_config, make_data, write_drawings


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> SourceConfig:
    folder = tmp_path_factory.mktemp("drawings")
    source = write_drawings(folder / "bucket")
    make_data(make_config(source, folder))
    return source


@pytest.fixture
def config(source: SourceConfig, tmp_path: Path) -> Config:
    return make_config(source, tmp_path)
