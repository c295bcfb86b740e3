"""Recording of runs, against real stores on disk."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from PIL import Image

from pipeline.config import TrackingConfig, UserError
from pipeline.tracking import JournaledTracker, Tracker, open_tracker, reopen_tracker
from pipeline.tracking.store import record_load
from tests.experiments import image_steps, new_store, runs, steps_of


@pytest.fixture
def config(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> TrackingConfig:
    return TrackingConfig(uri=new_store(tmp_path, tmp_path_factory))


def picture(shade: int = 0) -> Image.Image:
    return Image.new("L", (4, 4), shade)


def test_everything_of_a_run_arrives_once(config: TrackingConfig, tmp_path: Path) -> None:
    note = tmp_path / "note.json"
    note.write_text('{"a": 1}')
    tracker = open_tracker(config, folder=tmp_path / "run", run_name="first")
    tracker.log_params({"model.M": 20, "categories": ["cat"]})
    tracker.set_tags({"source": "doodles"})
    for step in (10, 20):
        tracker.log_metrics({"train/loss": step / 10, "train/w": 0.5}, step)
        tracker.log_image(picture(step), "drawings/seen", step)
    tracker.log_file(note, "data")
    tracker.finish("FINISHED")

    (run,) = runs(config.uri)
    assert run.info.run_name == "first"
    assert run.info.run_id == tracker.run_id
    assert run.info.status == "FINISHED"
    assert run.data.params == {"model.M": "20", "categories": "['cat']"}
    assert run.data.tags["source"] == "doodles"
    assert steps_of(config.uri, run) == {"train/loss": [10, 20], "train/w": [10, 20]}
    history = MlflowClient(config.uri).get_metric_history(run.info.run_id, "train/loss")
    assert {entry.step: entry.value for entry in history} == {10: 1.0, 20: 2.0}
    assert image_steps(config.uri, run) == [10, 20]
    (stored,) = (tmp_path / "mlruns").rglob("data/note.json")
    assert json.loads(stored.read_text()) == {"a": 1}


def test_a_continued_run_skips_exactly_what_it_has(config: TrackingConfig, tmp_path: Path) -> None:
    """The first process dies at step 20 before its validation: that one is still to come."""
    first = open_tracker(config, folder=tmp_path / "run", run_name="first")
    first.log_params({"train.max_steps": 100})
    for step in (10, 20):
        first.log_metrics({"train/loss": 1.0}, step)
    first.log_metrics({"valid/loss": 1.0}, 10)
    first.log_image(picture(), "drawings/seen", 10)
    first.finish("KILLED")

    second = open_tracker(config, folder=tmp_path / "run", run_name="x")
    second.log_params({"train.max_steps": 200, "train.pool": 3})
    for step in (10, 20, 30):
        second.log_metrics({"train/loss": 2.0, "train/new": 0.0}, step)
        second.log_metrics({"valid/loss": 2.0}, step)
        second.log_image(picture(), "drawings/seen", step)
    second.finish("FINISHED")

    (run,) = runs(config.uri)
    assert run.info.run_name == "first"
    assert run.info.status == "FINISHED"
    assert run.info.run_id == first.run_id == second.run_id
    assert run.data.params == {"train.max_steps": "100", "train.pool": "3"}
    assert steps_of(config.uri, run) == {
        name: [10, 20, 30] for name in ("train/loss", "train/new", "valid/loss")
    }
    history = MlflowClient(config.uri).get_metric_history(run.info.run_id, "train/loss")
    assert {entry.step: entry.value for entry in history} == {10: 1.0, 20: 1.0, 30: 2.0}
    assert image_steps(config.uri, run) == [10, 20, 30]


@pytest.mark.parametrize("is_there", [True, False])
def test_what_is_recorded_after_training_belongs_to_its_run(
    config: TrackingConfig, tmp_path: Path, is_there: bool
) -> None:
    """Also where the run's folder is gone; an evaluation that is repeated is recorded again."""
    folder = tmp_path / "run"
    first = open_tracker(config, folder=folder)
    first.log_metrics({"test/L_R": 1.0}, 10)
    first.finish("KILLED")
    if not is_there:
        shutil.rmtree(folder)
    for value in (2.0, 3.0):
        again = reopen_tracker(config, folder, first.run_id)
        again.log_metrics({"test/L_R": value}, 10)
        again.finish()
    (run,) = runs(config.uri)
    assert run.info.status == "KILLED"
    history = MlflowClient(config.uri).get_metric_history(run.info.run_id, "test/L_R")
    assert sorted(entry.value for entry in history) == [1.0, 2.0, 3.0]
    assert {entry.step for entry in history} == {10}


@pytest.mark.parametrize("lost", ["deleted", "never there"])
def test_a_run_that_is_gone_is_recorded_anew(
    config: TrackingConfig, tmp_path: Path, lost: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The steps of the lost run that are trained again are not left out."""
    run_id: str | None = "0" * 32
    if lost == "deleted":
        first = open_tracker(config, folder=tmp_path / "run", run_name="second")
        first.log_metrics({"train/loss": 1.0}, 20)
        first.finish("FINISHED")
        run_id = first.run_id
        MlflowClient(config.uri).delete_run(str(run_id))
    second = open_tracker(config, folder=tmp_path / "run", run_name="second", run_id=run_id)
    second.log_metrics({"train/loss": 1.0}, 10)
    second.finish("FINISHED")
    (run,) = runs(config.uri)
    assert run.info.run_id == second.run_id != run_id
    assert run.info.run_name == "second"
    assert steps_of(config.uri, run) == {"train/loss": [10]}
    assert f"no run {run_id}" in capsys.readouterr().out


def test_a_store_that_is_locked_in_the_middle_is_waited_for(
    config: TrackingConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As by somebody's backup: training does not notice."""
    tracker = open_tracker(config, folder=tmp_path / "run")
    with closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as somebody:
        somebody.execute("BEGIN EXCLUSIVE")
        tracker.log_metrics({"train/loss": 1.0}, 10)
        text = ""
        while "nothing reaches" not in text:
            text += capsys.readouterr().out
            time.sleep(0.02)
    tracker.finish("FINISHED")
    assert "answers again" in capsys.readouterr().out
    (run,) = runs(config.uri)
    assert steps_of(config.uri, run) == {"train/loss": [10]}


def test_the_load_of_the_machine_goes_on_counting(
    config: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.01")
    seen: list[dict[str, float]] = []
    stopped = threading.Event()

    def log(figures: dict[str, float]) -> None:
        seen.append(figures)
        if len(seen) == 3:
            stopped.set()

    record_load(log, stopped, config)
    assert len(seen) == 3
    assert {"system/cpu_utilization_percentage", "system/disk_usage_percentage"} <= set(seen[0])


def test_figures_without_a_step_follow_the_last(config: TrackingConfig, tmp_path: Path) -> None:
    for _ in range(2):
        tracker = open_tracker(config, folder=tmp_path / "run")
        for _ in range(2):
            tracker.log_metrics({"x": 1.0}, None)
        tracker.finish("FINISHED")
    (run,) = runs(config.uri)
    assert steps_of(config.uri, run) == {"x": [0, 1, 2, 3]}


def test_a_category_may_have_a_name_that_mlflow_refuses(
    config: TrackingConfig, tmp_path: Path
) -> None:
    tracker = open_tracker(config, folder=tmp_path / "run")
    tracker.log_metrics({"test/dog's (big) house.L_R": 1.0}, 1)
    tracker.finish("FINISHED")
    (run,) = runs(config.uri)
    assert run.data.metrics == {"test/dog_s _big_ house.L_R": 1.0}


def test_a_store_that_cannot_be_written_is_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "folder.db").mkdir()
    (tmp_path / "text.db").write_text("this is no database, however long it may be. " * 50)
    before = sorted(tmp_path.rglob("*"))
    for uri in (
        "sqlite:////dev/null/x.db",
        f"sqlite:///{tmp_path}/folder.db",
        f"sqlite:///{tmp_path}/text.db",
        f"sqlite:///{tmp_path}/text.db/x.db",
    ):
        with pytest.raises(UserError) as caught:
            open_tracker(TrackingConfig(uri=uri), folder=tmp_path / "run")
        for part in (uri, "tracking.uri=sqlite:///FILE", "tracking.enabled=false"):
            assert part in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_nobody_but_rank_zero_records(tmp_path: Path) -> None:
    config = TrackingConfig(uri=f"sqlite:///{tmp_path}/mlflow.db")
    off = TrackingConfig(uri=config.uri, enabled=False)
    folder = tmp_path / "run"
    for tracker in (
        open_tracker(config, folder=folder, rank=1),
        open_tracker(off, folder=folder),
        reopen_tracker(off, folder, "0" * 32),
        reopen_tracker(config, folder),
    ):
        assert not isinstance(tracker, JournaledTracker)
        assert isinstance(tracker, Tracker)
        tracker.log_params({"a": 1})
        tracker.log_metrics({"a": 1.0}, 1)
        tracker.log_image(picture(), "drawings", 1)
        tracker.log_file(tmp_path)
        tracker.log_dataset("drawings", "0" * 64, "shards", {})
        tracker.log_model(Path.mkdir, name="a", alias="b", step=1, metrics={})
        tracker.set_tags({"a": "b"})
        tracker.finish("FINISHED")
        assert tracker.run_id is None
    assert list(tmp_path.iterdir()) == []
