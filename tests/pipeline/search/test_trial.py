"""What a trial does when it goes wrong: now, each time again, and when its process dies."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from pipeline.config import Algorithm, Config, SearchConfig, UserError
from pipeline.entry import compose
from pipeline.search import tuner
from pipeline.search.outcome import Goal, Status, Trial
from pipeline.search.record import of_a_trial
from pipeline.search.space import Choice
from pipeline.search.trial import IS_FINAL, STEP, TrialFailed, Trials, train_and_publish
from pipeline.training.interruption import Interruption
from tests.experiments import changed

VALUES = {"loss.w_KL": 0.5}


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


@dataclass(frozen=True)
class Dying:
    """A trial whose process is killed, unless it was killed `num_deaths` times already."""

    config: Config
    folder: Path
    num_deaths: int

    def folder_of(self, values: Any) -> Path:
        return self.folder

    def run(self, values: Any, report: Callable[[dict[str, Any]], None], train: Any) -> None:
        found = len([*self.folder.glob("death-*")])
        if found < self.num_deaths:
            (self.folder / f"death-{found}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        report({STEP: 7, IS_FINAL: True, "bound_nats": 1.5})


@dataclass(frozen=True)
class Sharing:
    """Trials that look who else is there; none ends before two have begun."""

    config: Config
    folder: Path

    def folder_of(self, values: Any) -> Path:
        return self.folder

    def run(self, values: Any, report: Callable[[dict[str, Any]], None], train: Any) -> None:
        own = self.folder / f"begun-{values['loss.w_KL']}"
        own.write_text(os.environ["CUDA_VISIBLE_DEVICES"])
        while len([*self.folder.glob("begun-*")]) < 2:
            time.sleep(0.01)
        time.sleep(0.5)  # a third one would begin meanwhile
        begun, ended = ([*self.folder.glob(f"{what}-*")] for what in ("begun", "ended"))
        num_there = len(begun) - len(ended)
        own.with_name(f"ended-{values['loss.w_KL']}").touch()
        report({STEP: num_there, IS_FINAL: True, "bound_nats": 1.5})


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
    ray.init(num_cpus=4, num_gpus=1, include_dashboard=False, log_to_driver=False)
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
