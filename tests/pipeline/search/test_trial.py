"""What a trial does when it goes wrong: now, each time again, and when its process dies."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from pipeline.config import Algorithm, Config, SearchConfig, UserError
from pipeline.entry import compose
from pipeline.loading import with_values
from pipeline.results import TRAINING_NAME
from pipeline.search import tuner
from pipeline.search.outcome import Goal, Status, Trial
from pipeline.search.record import of_a_trial
from pipeline.search.space import Choice
from pipeline.search.trial import TrialFailed, Trials, train_and_publish
from pipeline.training.fit import fit
from pipeline.training.interruption import Interruption
from tests.experiments import changed, make_config, make_data, write_drawings
from tests.pipeline.search.stand_ins import Dying, Sharing

VALUES = {"loss.w_KL": 0.5}
NUM_CPUS = 4
TOLERANCE = 1e-4
"""Of figures, relative, as in tests/distributed/test_ddp.py."""


class OutOfMemoryError(RuntimeError):
    """As torch calls its own."""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), r"out of memory \(MemoryError\): use a smaller train\.batch_size"),
        (OutOfMemoryError("CUDA: 2 GiB"), r"out of memory \(CUDA: 2 GiB\)"),
        (KeyError("x\ny"), r"^KeyError: 'x\\ny'$"),
    ],
)
def test_an_error_is_one_line_and_is_met_again(
    tmp_path: Path, error: Exception, message: str
) -> None:
    trials = Trials(compose(["+experiment=smoke"]), tmp_path, {})
    num_calls = 0

    def train(*arguments: Any) -> None:
        nonlocal num_calls
        num_calls += 1
        print("this is printed")
        raise error

    for _ in range(2):
        with pytest.raises(TrialFailed, match=message):
            trials.run(VALUES, lambda report: None, train)
    assert num_calls == 1
    log = (trials.folder_of(VALUES) / "log.txt").read_text()
    assert "this is printed" in log
    assert "Traceback" in log


@pytest.fixture(scope="module")
def config() -> Iterator[Config]:
    """On a Ray that was told of a GPU, whether there is one or not."""
    search = SearchConfig(
        name="dying",
        space={"loss": {"w_KL": [0.5]}},
        algorithm=Algorithm.grid,
        minimize=["bound_nats"],
        max_failures=1,
    )
    config = of_a_trial(replace(compose(["+experiment=smoke"]), search=search))
    # Another test may have started one that Ray would join.
    options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False}
    ray.init("local", num_cpus=NUM_CPUS, num_gpus=1, **options)
    tuner.prepare(config)
    yield config
    ray.shutdown()


def run(trials: Any, folder: Path, *values: float) -> list[Trial]:
    found: list[Trial] = []

    def watch(all_of_them: list[Trial], ended: Trial | None) -> None:
        found[:] = all_of_them

    space = {"loss.w_KL": Choice(values)}
    tuner.run(trials, space, Goal(("bound_nats",)), folder / "tune", watch, Interruption())
    return found


@pytest.mark.dist
@pytest.mark.parametrize(
    ("num_deaths", "status", "error"),
    [(1, Status.finished, ""), (2, Status.failed, "its process died 2 times")],
)
def test_a_trial_whose_process_dies_is_started_again(
    config: Config, tmp_path: Path, num_deaths: int, status: Status, error: str
) -> None:
    (trial,) = run(Dying(config, tmp_path, num_deaths), tmp_path, 0.5)
    assert trial.status is status
    assert trial.error.startswith(error)
    assert trial.step == (7 if status is Status.finished else 0)


@pytest.mark.dist
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_trial_of_two_processes_trains_as_one_of_one_does(config: Config, tmp_path: Path) -> None:
    """Where there are just the CPUs that its processes need, and none for what starts them."""
    tiny = make_config(write_drawings(tmp_path / "bucket"), tmp_path)
    make_data(tiny)
    tiny = changed(tiny, "model", recurrent_dropout=0.0)  # each process draws masks of its own
    search = replace(config.search, cpus_per_process=NUM_CPUS / 2)
    two = changed(replace(tiny, search=search), "trainer", num_processes=2)
    (trial,) = run(Trials(two, tmp_path / "trials", {}), tmp_path, VALUES["loss.w_KL"])
    assert trial.status is Status.finished, trial.error
    fit(with_values(tiny, VALUES)).publish(tiny)
    trained, expected = (
        json.loads((folder / "model" / TRAINING_NAME).read_text())
        for folder in (trial.folder / "results", Path(tiny.results_dir))
    )
    assert trained["num_steps"] == expected["num_steps"] == trial.step == 8
    assert trained["validation"] == pytest.approx(expected["validation"], rel=TOLERANCE)
    assert trial.figures["L_R"] == trained["validation"]["L_R"]
    log = (trial.folder / "log.txt").read_text()
    assert log.count("Training to step 8") == log.count("step 8/8") == 1


@pytest.mark.dist
def test_two_trials_share_a_gpu(config: Config, tmp_path: Path) -> None:
    halves = changed(config, "search", gpus_per_process=0.5)
    trials = run(Sharing(halves, tmp_path), tmp_path, 0.1, 0.2, 0.3)
    assert [trial.status for trial in trials] == [Status.finished] * 3
    assert max(trial.step for trial in trials) == 2, "there are 4 CPUs, and never more than two"
    assert {path.read_text() for path in tmp_path.glob("begun-*")} == {"0"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_counted_and_not_there_is_no_cpu(config: Config) -> None:
    with pytest.raises(UserError, match=r"gpus_per_process=0\.5 reserved a GPU .* finds none"):
        train_and_publish(changed(config, "search", gpus_per_process=0.5), {}, print)


def test_a_trial_that_reserves_no_gpu_has_none(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(UserError, match="manifest"):
        train_and_publish(replace(config, data_dir=str(tmp_path)), {}, print)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"
