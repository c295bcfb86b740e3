"""A quick sender, and a server that is started once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.tracking import sender
from tests.pipeline.tracking.mlflow_server import Proxy, mlflow_server


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "GATHER_S", 0.05)
    monkeypatch.setattr(sender, "PAUSE_S", 0.1)
    monkeypatch.setattr(sender, "LONGEST_PAUSE_S", 0.2)


@pytest.fixture(scope="session")
def server_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="session")
def server(server_folder: Path) -> Iterator[str]:
    with mlflow_server(server_folder) as address:
        yield address


@pytest.fixture
def proxy(server: str) -> Iterator[Proxy]:
    proxy = Proxy(server)
    yield proxy
    proxy.close()
