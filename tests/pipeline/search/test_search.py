"""Searches with real trials, on a Ray of this machine that all tests of this file share."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
from mlflow import MlflowClient

import sketch_model
from pipeline.config import Algorithm, Config, SearchConfig, UserError
from pipeline.search.driver import run_search
from tests.experiments import (
    command_line,
    make_config,
    make_data,
    new_store,
    tracked,
    write_drawings,
)

pytestmark = pytest.mark.dist


@pytest.fixture(scope="module", autouse=True)
def _one_ray() -> Iterator[None]:
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def base(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = make_config(write_drawings(folder / "bucket"), folder)
    make_data(config)
    return tracked(config, new_store(folder, tmp_path_factory))


def with_search(config: Config, name: str, space: dict[str, Any], **search: Any) -> Config:
    settings = {"algorithm": Algorithm.random, "num_trials": 3, "seed": 1, "max_concurrent": 2}
    figures = {"minimize": ["rate_nats", "distortion_nats"]}
    found = SearchConfig(name=name, space=space, **(settings | figures | search))
    return replace(config, search=found)


def read_trials(config: Config) -> list[dict[str, str]]:
    path = Path(config.results_dir) / "search" / config.search.name / "trials.csv"
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def searched(base: Config) -> Config:
    """A grid, half of whose trials cannot go well."""
    space = {"loss": {"w_KL": [0.1, 1.0]}, "train": {"learning_rate": [0.01, 1e30]}}
    config = with_search(base, "grid", space, algorithm=Algorithm.grid, num_trials=None)
    run_search(config, ["+experiment=tiny", "source=local"])
    return config


def test_what_fails_is_recorded_with_its_error_and_does_not_end_the_search(
    searched: Config,
) -> None:
    for row in read_trials(searched):
        fails = float(row["train.learning_rate"]) > 1
        assert row["status"] == ("failed" if fails else "finished")
        assert ("lower train.learning_rate" in row["error"]) == fails
        assert row["step"] == ("0" if fails else "8")


def test_a_trials_figures_are_those_of_its_model(searched: Config) -> None:
    for row in read_trials(searched):
        if row["status"] == "finished":
            training = Path(row["folder"]) / "results" / "model" / "training.json"
            validation = json.loads(training.read_text())["validation"]
            model = sketch_model.load(training.parent)
            assert float(row["rate_nats"]) == pytest.approx(model.config.N_z * validation["L_KL"])
            assert float(row["distortion_nats"]) == pytest.approx(
                model.data.N_max * validation["L_R"]
            )


def test_mlflow_has_a_parent_a_child_per_trial_and_the_winner_under_an_alias(
    searched: Config,
) -> None:
    client = MlflowClient(searched.tracking.uri)
    experiment = client.get_experiment_by_name("sketch-rnn")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [
        run
        for run in runs
        if run.data.tags.get("search") == "grid" and "source" not in run.data.tags
    ]
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    rows = {row["mlflow_run_id"]: row for row in read_trials(searched)}
    assert {child.info.run_id for child in children} == rows.keys()
    for child in children:
        row = rows[child.info.run_id]
        assert child.info.status == ("FAILED" if row["status"] == "failed" else "FINISHED")
        assert float(child.data.params["loss.w_KL"]) == float(row["loss.w_KL"])
    assert parent.info.status == "FINISHED"
    names = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"trials.csv", "trials.parquet", "search.html"} <= names
    (winner,) = [row for row in rows.values() if row["is_winner"] == "true"]
    assert parent.data.tags["winner"] == winner["number"]
    assert f"loss.w_KL={winner['loss.w_KL']}" in parent.data.tags["winner.in_full"]
    version = client.get_model_version_by_alias("tiny", "search-winner")
    assert version.run_id == winner["mlflow_run_id"]


def test_the_same_command_repeats_nothing(searched: Config) -> None:
    logs = [*Path(searched.runs_dir).glob("search-tiny-grid-*/trials/*/log.txt")]
    before = [log.read_bytes() for log in logs]
    assert len(logs) == 4
    rows = read_trials(searched)
    run_search(searched, ["+experiment=tiny", "source=local"])
    assert [log.read_bytes() for log in logs] == before
    assert read_trials(searched) == rows


def test_trials_that_are_behind_are_stopped(base: Config) -> None:
    space = {"train": {"learning_rate": [0.01, 1e-5]}}
    options = {"algorithm": Algorithm.grid, "num_trials": None, "max_concurrent": 1}
    config = with_search(
        base, "asha", space, **options, asha=True, asha_reduction=2, minimize=["bound_nats"]
    )
    run_search(config, [])
    assert [row["status"] for row in read_trials(config)] == ["finished", "stopped"]
    client = MlflowClient(config.tracking.uri)
    assert client.get_run(read_trials(config)[1]["mlflow_run_id"]).info.status == "KILLED"


def test_more_trials_are_asked_for_and_the_old_ones_are_there(base: Config) -> None:
    space = {"loss": {"w_KL": {"low": 0.1, "high": 1.0}}}
    run_search(with_search(base, "more", space, num_trials=1), [])
    config = with_search(base, "more", space, num_trials=2)
    run_search(config, [])
    first, second = read_trials(config)
    assert first["folder"] != second["folder"]
    assert Path(first["folder"], "log.txt").read_text().count("Training to step") == 1


def test_no_trial_begins_that_no_machine_can_run(base: Config) -> None:
    config = with_search(base, "gpu", {"loss": {"w_KL": [0.1, 1.0]}}, gpus_per_process=0.5)
    with pytest.raises(UserError, match=r"needs 0\.5 GPUs .* the cluster has 0"):
        run_search(config, [])
    assert not [*Path(base.runs_dir).glob("search-tiny-gpu-*/trials")]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGUSR1, 75), (signal.SIGKILL, -9)])
def test_a_search_whose_driver_is_ended_goes_on(
    base: Config, number: signal.Signals, code: int
) -> None:
    name = f"ended-by-{number.name}"
    command = [
        *(sys.executable, "-m", "pipeline.search", *command_line(base)),
        *(f"search.name={name}", "+search.space.loss.w_KL={low:0.1,high:1.0}"),
        *("search.algorithm=random", "search.num_trials=3", "search.max_concurrent=1"),
        "search.minimize=[rate_nats,distortion_nats]",
    ]
    finished = f"search-tiny-{name}-*/trials/*/results/model"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        assert "trial 1 finished" in driver.stdout.readline()
        driver.send_signal(number)
    assert driver.returncode == code
    assert 1 <= len([*Path(base.runs_dir).glob(finished)]) < 3
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "search is done: 3 finished" in result.stdout
    rows = read_trials(with_search(base, name, {}))
    assert {row["number"] for row in rows} == {"1", "2", "3"}
    assert len({row["folder"] for row in rows}) == 3
    assert Path(rows[0]["folder"], "log.txt").read_text().count("Training to step") == 1
