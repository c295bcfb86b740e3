"""MLflow's own page of a run, in a browser: the curves and the slider of pictures are there."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.config import TrackingConfig
from pipeline.tracking import open_tracker, tracking_uri
from pipeline.training.callbacks import PICTURES

STEPS = (10, 20, 30)
STARTUP_S = 90


@pytest.fixture
def run_page(tmp_path: Path) -> Iterator[str]:
    """Address of the page of a run with curves and pictures, as `make ui` serves it."""
    config = TrackingConfig(uri=f"sqlite:///{tmp_path}/mlflow.db", experiment="page")
    tracker = open_tracker(config, folder=tmp_path / "journal", run_name="seen")
    for step in STEPS:
        tracker.log_metrics({"valid/L_R": 1.0 / step, "valid/L_KL": 0.2}, step)
        tracker.log_image(Image.new("RGB", (300, 200), (200, step, 0)), PICTURES, step)
    tracker.finish("FINISHED")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", tracking_uri(config)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with (
        open(tmp_path / "server.log", "w") as log,
        subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path) as server,
    ):
        address = f"http://127.0.0.1:{port}"
        try:
            wait_for(f"{address}/health", server, tmp_path / "server.log")
            yield f"{address}/#/experiments/1/runs/{tracker.run_id}/model-metrics"
        finally:
            server.terminate()


def wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + STARTUP_S
    while time.monotonic() < deadline_s:
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(address, timeout=1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"no answer within {STARTUP_S} s: {log.read_text()}")


@pytest.mark.browser
def test_the_page_of_a_run_shows_curves_and_pictures(browser: Any, run_page: str) -> None:
    with browser.new_page(viewport={"width": 1400, "height": 2200}) as page:
        page.goto(run_page)
        for name in ("L_R", "L_KL", PICTURES):
            page.get_by_text(name, exact=True).first.wait_for(timeout=60_000)
        slider = page.get_by_role("slider").first
        for step in STEPS:  # moved to the next picture, the page shows it
            slider.press("ArrowRight")
            picture = page.locator(f"img[src*='%2Bstep%2B{step}%2B']")
            picture.wait_for(timeout=60_000)
            assert picture.evaluate("async image => (await image.decode(), image.naturalWidth)")
