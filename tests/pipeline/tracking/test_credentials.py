"""A password in tracking.uri is used, and is found nowhere afterwards."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import pytest

from pipeline import evaluate, train
from pipeline.tracking import sender
from tests.experiments import (
    changed,
    command_line,
    make_config,
    make_data,
    runs,
    tracked,
    write_drawings,
)
from tests.pipeline.tracking.mlflow_server import Proxy

SECRET = "pl4nted-s3cret"


def test_a_planted_password_is_found_nowhere(
    proxy: Proxy,
    server: str,
    server_folder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Trained while the server is down, which is said; recorded by the same command, and others."""
    monkeypatch.setattr(sender, "PATIENCE_S", 0.5)
    config = make_config(write_drawings(tmp_path / "bucket"), tmp_path)
    make_data(config)
    uri = proxy.address.replace("http://", f"http://user:{SECRET}@")
    config = changed(tracked(config, uri), "tracking", experiment="credentials")
    monkeypatch.setattr(sys, "argv", ["command", *command_line(config)])
    proxy.mode = "refuse"
    train.main()
    printed = "".join(capfd.readouterr())
    assert "records have not reached http://***@" in printed
    proxy.mode = "pass"
    for command in (train, evaluate):
        command.main()
    printed += "".join(capfd.readouterr())
    (run,) = runs(server, "credentials")
    assert run.info.status == "FINISHED"
    assert "test/L_R" in run.data.metrics
    assert run.data.params["tracking.uri"] == proxy.address.replace("http://", "http://***@")
    assert SECRET not in printed
    written = [path for root in (tmp_path, server_folder) for path in root.rglob("*")]
    names = {path.name for path in written}
    assert {"config.json", "training.json", "server.db"} <= names
    used = base64.b64encode(f"user:{SECRET}".encode()).decode()
    assert proxy.authorizations == {f"Basic {used}"}
    for path in written:
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path
