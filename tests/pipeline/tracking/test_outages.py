"""G14: a server that does not answer, in every way, at the start, in the middle and at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from PIL import Image

from pipeline.config import TrackingConfig
from pipeline.tracking import Tracker, open_tracker, reopen_tracker, sender
from pipeline.tracking.journal import Journal
from tests.experiments import image_steps, runs, steps_of
from tests.pipeline.tracking.mlflow_server import Proxy

HANG_S = 60
DOWN, UP = "nothing reaches", "answers again"


class Printed:
    """What was printed so far; waits for more."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys, self.text = capsys, ""

    def read(self) -> str:
        self.text += self._capsys.readouterr().out
        return self.text

    def wait_for(self, text: str, num: int = 1) -> None:
        wait_until(lambda: self.read().count(text) >= num)


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + HANG_S
    while not is_true():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    return Printed(capsys)


@pytest.fixture
def config(proxy: Proxy, request: Any, monkeypatch: pytest.MonkeyPatch) -> TrackingConfig:
    """An experiment of its own on the server; requests that hang are given up after a second."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(sender, "PATIENCE_S", HANG_S)
    return TrackingConfig(uri=proxy.address, experiment=request.node.name)


def record(tracker: Tracker, *steps: int) -> None:
    for step in steps:
        tracker.log_metrics({"train/loss": step / 3}, step)
        tracker.log_image(Image.new("L", (4, 4), step), "drawings/seen", step)


def assert_recorded(server: str, config: TrackingConfig, *steps: int) -> None:
    (run,) = runs(server, config.experiment)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"a": "1"}
    assert steps_of(server, run) == {"train/loss": list(steps)}
    history = MlflowClient(server).get_metric_history(run.info.run_id, "train/loss")
    assert {entry.step: entry.value for entry in history} == {step: step / 3 for step in steps}
    assert image_steps(server, run) == list(steps)


@pytest.mark.parametrize(
    ("at_first", "later"), [("refuse", "error"), ("html", "refuse"), ("hang", "refusal")]
)
def test_an_outage_delays_records_and_is_said_once(
    at_first: str,
    later: str,
    server: str,
    proxy: Proxy,
    config: TrackingConfig,
    tmp_path: Path,
    printed: Printed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the start, in the middle and at the end; then another process sends what is left."""
    proxy.mode = at_first
    begun_ms = time.time() * 1000
    tracker = open_tracker(config, folder=tmp_path / "run", run_name="first")
    tracker.log_params({"a": 1})
    record(tracker, 1, 2)
    recorded_ms = time.time() * 1000
    printed.wait_for(DOWN)
    assert tracker.run_id is None
    proxy.mode = "pass"
    printed.wait_for(UP)
    proxy.mode = later
    record(tracker, 3, 4)
    printed.wait_for(DOWN, num=2)
    with monkeypatch.context() as patch:
        patch.setattr(sender, "PATIENCE_S", 0.5)
        tracker.finish("FINISHED")
    text = printed.read()
    assert (text.count(DOWN), text.count(UP)) == (2, 1)
    for part in (proxy.address, str(tmp_path / "run"), "records have not reached", "later"):
        assert part in text

    proxy.mode = "pass"
    reopen_tracker(config, tmp_path / "run").finish()
    assert_recorded(server, config, 1, 2, 3, 4)
    (run,) = runs(server, config.experiment)
    assert run.info.run_name == "first"
    history = MlflowClient(server).get_metric_history(run.info.run_id, "train/loss")
    assert all(begun_ms - 1 <= entry.timestamp <= recorded_ms for entry in history[:2])
    assert begun_ms - 1 <= run.info.start_time <= recorded_ms
    assert sorted(os.listdir(tmp_path / "run")) == ["lock", "state.json"]


def test_a_request_whose_answer_is_lost_records_nothing_twice(
    server: str, proxy: Proxy, config: TrackingConfig, tmp_path: Path
) -> None:
    """Among them those that create the experiment and the run."""
    proxy.mode = "lose"
    tracker = open_tracker(config, folder=tmp_path)
    tracker.log_params({"a": 1})
    record(tracker, 1, 2)
    tracker.finish("FINISHED")
    assert {"create", "log-batch", "update"} <= {path.rpartition("/")[2] for path in proxy.lost}
    assert_recorded(server, config, 1, 2)


def test_a_slow_server_gets_everything_and_the_end_does_not_wait_for_it(
    server: str,
    proxy: Proxy,
    config: TrackingConfig,
    tmp_path: Path,
    printed: Printed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    proxy.mode, proxy.delay_s = "slow", 0.1
    tracker = open_tracker(config, folder=tmp_path)
    tracker.log_params({"a": 1})
    record(tracker, 1)
    wait_until(lambda: Journal(tmp_path).num_waiting(tracker._sender._state.offsets) == 0)
    proxy.delay_s = 5
    record(tracker, 2, 3)
    with monkeypatch.context() as patch:
        patch.setattr(sender, "PATIENCE_S", 0.5)
        tracker.finish("FINISHED")
    text = printed.read()
    assert "records have not reached" in text
    assert DOWN not in text
    proxy.mode = "pass"  # the request that is underway is answered nevertheless
    reopen_tracker(config, tmp_path).finish()
    assert_recorded(server, config, 1, 2, 3)


def test_what_the_server_never_takes_is_kept_aside_and_blocks_nothing(
    server: str, config: TrackingConfig, tmp_path: Path, printed: Printed
) -> None:
    tracker = open_tracker(config, folder=tmp_path)
    tracker.log_params({"a": 1, "a(b)": 2})
    tracker.set_tags({"x" * 300: "y", "kept": "yes"})
    for step in (1, 2):
        tracker.log_metrics({"n" * 300: 1.0}, step)
        record(tracker, step)
    tracker.finish("FINISHED")
    assert_recorded(server, config, 1, 2)
    (run,) = runs(server, config.experiment)
    assert run.data.tags["kept"] == "yes"
    text = printed.read()
    for name in ("param a(b)", "tag " + "x" * 300, "metric " + "n" * 300):
        assert text.count(repr(name)) == 1, "said once"
    assert (tmp_path / "refused" / "records.jsonl").read_text().count("\n") == 4


def test_a_run_that_is_deleted_while_it_is_recorded_is_recorded_anew(
    server: str, config: TrackingConfig, tmp_path: Path, printed: Printed
) -> None:
    tracker = open_tracker(config, folder=tmp_path)
    record(tracker, 1)
    wait_until(lambda: tracker.run_id is not None)
    wait_until(lambda: Journal(tmp_path).num_waiting(tracker._sender._state.offsets) == 0)
    first = str(tracker.run_id)
    MlflowClient(server).delete_run(first)
    tracker.log_params({"a": 1})
    record(tracker, 2)
    tracker.finish("FINISHED")
    assert tracker.run_id != first
    assert f"has no run {first}" in printed.read()
    assert_recorded(server, config, 2)


def test_the_environment_may_set_mlflows_client_otherwise(
    config: TrackingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    tracker = open_tracker(config, folder=tmp_path)
    tracker.finish("FINISHED")
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "3"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "1"
