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
from pipeline.data.dataset import ShardedSketches
from pipeline.entry import compose
from pipeline.quality.assessment import quality_of
from pipeline.quality.assessment import tracked as tracked_quality
from pipeline.search.driver import run_search
from tests.experiments import (
    changed,
    command_line,
    make_config,
    make_data,
    new_store,
    read_csv,
    tracked,
    write_drawings,
)
from tests.pipeline.search.recognisers import save_untrained

SEARCHED = "train.learning_rate"
JUDGED = "quality/samples_0.5/diversity"

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
    config = changed(config, "quality", temperatures=[0.5])
    save_untrained(config)
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
def overrides(base: Config) -> list[str]:
    return [
        *command_line(base),
        *("search.name=grid", "+search.space.train.learning_rate=[0.01,1e30,1e-5]"),
        *("search.algorithm=grid", "search.num_trials=null", "search.max_concurrent=1"),
        *("search.minimize=[rate_nats,distortion_nats]", f"search.maximize=[{JUDGED}]"),
        *("search.asha=true", "search.asha_figure=train/L_R", "search.asha_reduction=2"),
        "quality.temperatures=[0.5]",
    ]


@pytest.fixture(scope="module")
def searched(overrides: list[str]) -> Config:
    """A trial that goes well, one that cannot, and one that is behind; the driver is killed before
    the last."""
    end_driver(overrides, signal.SIGKILL, "trial 2 failed")
    config = compose(overrides)
    run_search(config, overrides)
    return config


def end_driver(overrides: list[str], number: signal.Signals, message: str) -> int:
    """Sends a search a signal when it has said something; its exit code."""
    command = [sys.executable, "-m", "pipeline.search", *overrides]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        assert any(message in line for line in driver.stdout)
        driver.send_signal(number)
    return driver.returncode


def test_what_fails_or_is_behind_is_recorded_and_does_not_end_the_search(
    searched: Config,
) -> None:
    found = read_trials(searched)
    assert [row["status"] for row in found] == ["finished", "failed", "stopped"]
    assert [row["step"] for row in found] == ["8", "0", "2"]
    assert ["lower train.learning_rate" in row["error"] for row in found] == [False, True, False]


def test_a_trials_figures_are_those_of_its_model(searched: Config) -> None:
    row, _, stopped = read_trials(searched)
    training = Path(row["folder"]) / "results" / "model" / "training.json"
    content = json.loads(training.read_text())
    validation = content["validation"]
    assert {name: float(row[name]) for name in validation} == validation
    model = sketch_model.load(training.parent)
    assert float(row["rate_nats"]) == pytest.approx(model.config.N_z * validation["L_KL"])
    assert float(row["distortion_nats"]) == pytest.approx(model.data.N_max * validation["L_R"])
    (line,) = [
        line
        for line in read_csv(training.parents[1] / "curves.csv")
        if line["step"] == str(content["best_step"])
    ]
    assert float(row["train/L_R"]) == float(line["train/L_R"])
    assert float(stopped["train/L_R"]) > float(line["train/L_R"])


def test_drawings_are_judged_at_a_trials_end(searched: Config) -> None:
    row, *others = read_trials(searched)
    model = sketch_model.load(Path(row["folder"]) / "results" / "model")
    valid = ShardedSketches(searched.manifest_path, "valid")
    expected = tracked_quality(quality_of(model, searched, valid))
    judged = {name: float(row[name]) for name in expected}
    assert judged == pytest.approx(expected)
    assert not any(other[JUDGED] for other in others)
    run = MlflowClient(searched.tracking.uri).get_run(row["mlflow_run_id"])
    assert run.data.metrics[JUDGED] == pytest.approx(expected[JUDGED])
    assert run.data.tags["quality.split"] == "valid"
    results = Path(searched.results_dir) / "search" / "grid"
    assert (
        "large diversity (samples, τ\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}0.5)"
        in (results / "search.html").read_text()
    )
    assert (results / "rate_nats-quality-samples_0.5-diversity.png").exists()


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
    ends = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
    for child in children:
        row = rows[child.info.run_id]
        assert child.info.status == ends[row["status"]]
        assert float(child.data.params[SEARCHED]) == float(row[SEARCHED])
    assert parent.info.status == "FINISHED"
    names = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"trials.csv", "trials.parquet", "search.html"} <= names
    (winner,) = [row for row in rows.values() if row["is_winner"] == "true"]
    assert parent.data.tags["winner"] == winner["number"]
    assert f"{SEARCHED}={winner[SEARCHED]}" in parent.data.tags["winner.in_full"]
    version = client.get_model_version_by_alias("tiny", "search-winner")
    assert version.run_id == winner["mlflow_run_id"]


def test_what_had_ended_before_the_driver_was_killed_is_not_trained_again(
    searched: Config,
) -> None:
    for trial in read_trials(searched):
        log = Path(trial["folder"]) / "log.txt"
        assert log.read_text().count("Training to step") == 1


def test_the_same_command_repeats_nothing(searched: Config, overrides: list[str]) -> None:
    logs = [*Path(searched.runs_dir).glob("search-tiny-grid-*/trials/*/log.txt")]
    before = [log.read_bytes() for log in logs]
    assert len(logs) == 3
    rows = read_trials(searched)
    run_search(searched, overrides)
    assert [log.read_bytes() for log in logs] == before
    assert read_trials(searched) == rows


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gpus_per_process": 0.5}, r"needs 0\.5 GPUs .* the cluster has 0"),
        ({"maximize": ["quality/people/diversity"]}, r"which not every trial has: of quality/ "),
    ],
)
def test_no_trial_begins_that_cannot_go_well(
    base: Config, settings: dict[str, Any], message: str
) -> None:
    config = with_search(base, "none", {"loss": {"w_KL": [0.1, 1.0]}}, **settings)
    with pytest.raises(UserError, match=message):
        run_search(config, [])
    assert not [*Path(base.runs_dir).glob("search-tiny-none-*/trials")]


@pytest.mark.long
def test_a_search_whose_driver_is_ended_goes_on_and_is_extended(base: Config) -> None:
    overrides = [
        *command_line(base),
        *("search.name=ended", "+search.space.loss.w_KL={low:0.1,high:1.0}"),
        *("search.algorithm=optuna", "search.num_trials=3", "search.max_concurrent=1"),
        f"search.minimize=[rate_nats,{JUDGED}]",
        "quality.temperatures=[0.5]",
    ]
    for number, code, trial in ((signal.SIGKILL, -9, 1), (signal.SIGUSR1, 75, 2)):
        # What was forgotten of the last two seconds is told again, from the trial's folder.
        assert end_driver(overrides, number, f"trial {trial} finished") == code
    models = "search-tiny-ended-*/trials/*/results/model"
    trained = [*Path(base.runs_dir).glob(models)]
    assert 2 <= len(trained) < 4
    config = changed(compose(overrides), "search", num_trials=4)
    run_search(config, overrides)
    trials = read_trials(config)
    assert [trial["status"] for trial in trials] == ["finished"] * 4
    folders = [Path(trial["folder"]) for trial in trials]
    assert {path.parents[1] for path in trained} <= set(folders)
    assert (folders[0] / "log.txt").read_text().count("Training to step") == 1
