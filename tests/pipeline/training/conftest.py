"""Tiny data, made once, and configs that train on it in a second."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import Config, SourceConfig
from pipeline.training.fit import fit
from tests.experiments import make_config, make_data, new_store, tracked, write_drawings
from tests.pipeline.training.trainings import Trained


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> SourceConfig:
    folder = tmp_path_factory.mktemp("drawings")
    source = write_drawings(folder / "bucket")
    make_data(make_config(source, folder))
    return source


@pytest.fixture
def config(source: SourceConfig, tmp_path: Path) -> Config:
    return make_config(source, tmp_path)


@pytest.fixture(scope="session")
def uninterrupted(source: SourceConfig, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("uninterrupted")
    config = tracked(make_config(source, folder), new_store(folder, tmp_path_factory))
    return Trained(config, fit(config))


@pytest.fixture
def recorded(config: Config, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    return tracked(config, new_store(tmp_path, tmp_path_factory))
