"""What a trial does when it goes wrong: now, each time again, and when its process dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import ray

from pipeline.config import Algorithm, Config, SearchConfig
from pipeline.entry import compose
from pipeline.search import tuner
from pipeline.search.outcome import Goal, Status, Trial
from pipeline.search.record import of_a_trial
from pipeline.search.space import Choice
from pipeline.search.trial import IS_FINAL, STEP, TrialFailed, Trials
from pipeline.training.interruption import Interruption

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


@pytest.fixture(scope="module")
def config() -> Iterator[Config]:
    search = SearchConfig(
        name="dying",
        space={"loss": {"w_KL": [0.5]}},
        algorithm=Algorithm.grid,
        minimize=["bound_nats"],
        max_failures=2,
    )
    config = of_a_trial(replace(compose(["+experiment=smoke"]), search=search))
    tuner.prepare(config)
    yield config
    ray.shutdown()


@pytest.mark.dist
@pytest.mark.parametrize(
    ("num_deaths", "status", "error"),
    [(2, Status.finished, ""), (3, Status.failed, "its process died 3 times")],
)
def test_a_trial_whose_process_dies_is_started_again(
    config: Config, tmp_path: Path, num_deaths: int, status: Status, error: str
) -> None:
    found: list[Trial] = []
    trials: Any = Dying(config, tmp_path, num_deaths)

    def watch(all_of_them: list[Trial], ended: Trial | None) -> None:
        found[:] = all_of_them

    space = {"loss.w_KL": Choice((0.5,))}
    tuner.run(trials, space, Goal(("bound_nats",)), tmp_path / "tune", watch, Interruption())
    (trial,) = found
    assert trial.status is status
    assert trial.error.startswith(error)
    assert trial.step == (7 if status is Status.finished else 0)
