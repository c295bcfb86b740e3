"""A password in tracking.uri is used, and is found nowhere afterwards."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

from pipeline.config import Config
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
OUTAGE = """
from pipeline.tracking import sender
from {module} import main
sender.PATIENCE_S = 0.5
main()
"""


def command(config: Config, module: str) -> str:
    """What a command prints."""
    program = [sys.executable, "-c", OUTAGE.format(module=module)]
    run = subprocess.run(
        [*program, *command_line(config)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout + run.stderr


def test_a_planted_password_is_found_nowhere(
    proxy: Proxy, server: str, server_folder: Path, tmp_path: Path
) -> None:
    """Trained while the server is down, which is said; recorded by the same command, and others."""
    config = make_config(write_drawings(tmp_path / "bucket"), tmp_path)
    make_data(config)
    uri = proxy.address.replace("http://", f"http://user:{SECRET}@")
    config = changed(tracked(config, uri), "tracking", experiment="credentials")
    proxy.mode = "refuse"
    printed = command(config, "pipeline.train")
    assert "records have not reached http://***@" in printed
    proxy.mode = "pass"
    for module in ("pipeline.train", "pipeline.evaluate"):
        printed += command(config, module)
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
