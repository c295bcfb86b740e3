"""Trainings through the real command, ended from outside at a chosen moment."""

from __future__ import annotations

import itertools
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks import timing
from pipeline.config import Config
from pipeline.entry import compose
from pipeline.training.checkpoint_files import newest_checkpoint

LIMIT_S = 300.0
"""Until a command that was sent a signal counts as one that hangs."""
START, STEPS, END = "the start", "steps", "the end"
WRITING, VALIDATION = "the writing of a checkpoint", "a validation"
_BEGINS = re.compile(r"Training to step \d+, from step (\d+)\.")
_VALIDATED = re.compile(r"step (\d+)/\d+: ")


@dataclass(frozen=True)
class Training:
    """One run: what is trained, in a folder that belongs to it.

    Attributes:
        folder: of its runs, results and tracking store.
        overrides: of the command line, beside those that the folder makes.
        module: that is started: `pipeline.train`, or what does the same.
    """

    folder: Path
    overrides: tuple[str, ...]
    module: str = "pipeline.train"

    @property
    def command_line(self) -> list[str]:
        places = {
            "runs_dir": self.folder / "runs",
            "results_dir": self.folder / "results",
            "tracking.uri": f"sqlite:///{self.folder / 'mlflow.db'}",
        }
        return [*self.overrides, *(f"{name}={place}" for name, place in places.items())]

    @cached_property
    def config(self) -> Config:
        return compose(self.command_line)

    @property
    def run(self) -> Path:
        """The run's folder; there is none before it begins."""
        (folder,) = (self.folder / "runs").iterdir()
        return folder

    @property
    def saved(self) -> dict[str, Any] | None:
        """The content of the newest checkpoint; None if there is none yet."""
        newest = [newest_checkpoint(folder) for folder in (self.folder / "runs").glob("*")]
        return newest[0][1] if newest and newest[0] else None


@dataclass(frozen=True)
class Moment:
    """When a signal is sent.

    Attributes:
        step: after the validation of the first step from this on; 0 is when training begins, None
            the launch.
        after_s: how long after that.
        place: what then to wait for: `WRITING`, `VALIDATION` or nothing.
    """

    step: int | None
    after_s: float
    place: str = ""


@dataclass
class Attempt:
    """What becomes of a command.

    Attributes:
        code: that it ended with; below zero it is a signal's.
        ended_in_s: from the signal on.
        saved_step: of the checkpoint that it left; 0 without one.
        place: what it was doing when it was sent the signal; with SIGKILL, which leaves all as it
            was, when it ended.
        times_s: from the launch to when training began, and to the end of each validation.
    """

    code: int = 0
    ended_in_s: float = 0.0
    saved_step: int = 0
    place: str = ""
    from_step: int | None = None
    """Where it began to train; None if it did not get as far."""
    validated_step: int = -1
    output: str = ""
    times_s: list[float] = field(default_factory=list)
    launched_s: float = field(default_factory=time.time)

    @property
    def ended_as_asked(self) -> bool:
        """By SIGKILL itself, else with the code that schedulers start a command again on.

        A signal that comes before training has begun, or when it is over, finds nothing to save.
        """
        if self.code == os.EX_TEMPFAIL:
            return True
        return self.code == -signal.SIGKILL or (self.code < 0 and self.place in (START, END))

    def describe(self) -> str:
        """A line for who waits."""
        began = "did not begin" if self.from_step is None else f"from step {self.from_step}"
        return (
            f"{began}, saved step {self.saved_step}, in {self.place}: code {self.code} after"
            f" {self.ended_in_s:.1f} s"
        )

    def is_at(self, moment: Moment) -> bool:
        """Whether it has got to what comes before the moment."""
        if moment.step is None:
            return True
        return self.from_step is not None and self.validated_step >= (moment.step or -1)

    def read(self, process: subprocess.Popen[str]) -> None:
        """What the command says, until it ends."""
        begun_s = time.perf_counter()
        assert process.stdout is not None
        for line in process.stdout:
            self.output += line
            if begins := _BEGINS.match(line):
                self.from_step = int(begins[1])
            elif validated := _VALIDATED.match(line):
                self.validated_step = int(validated[1])
            else:
                continue
            self.times_s.append(time.perf_counter() - begun_s)


def choose_moments(num: int, training: Training, undisturbed: Attempt, seed: int) -> list[Moment]:
    """Random moments of a run that goes on after each, in the order of its steps.

    Of five, one is of the start, one of a checkpoint that is half-written, and one of a validation;
    the last is of the end.

    Args:
        num: of them, at least two.
        training: what it is of.
        undisturbed: the same training: how long everything takes.
        seed: of the choice.
    """
    choice, train = random.Random(seed), training.config.train
    start_s = undisturbed.times_s[0]
    interval_s = statistics.median(b - a for a, b in itertools.pairwise(undisturbed.times_s))
    validated = range(0, train.max_steps - 3 * train.validate_every, train.validate_every)
    steps = sorted(choice.choice(validated) for _ in range(num - 1))
    moments = [Moment(step, choice.uniform(0, 1.5 * interval_s)) for step in steps]
    moments[1::5] = [replace(moment, place=WRITING) for moment in moments[1::5]]
    moments[2::5] = [Moment(None, choice.uniform(0, start_s)) for _ in moments[2::5]]
    moments[3::5] = [replace(moment, place=VALIDATION) for moment in moments[3::5]]
    return [*moments, Moment(train.max_steps, choice.uniform(0, 0.2))]


def attempt(
    training: Training, moment: Moment | None = None, number: signal.Signals = signal.SIGKILL
) -> Attempt:
    """Runs the command, to its end or until it is sent a signal.

    Raises:
        RuntimeError: if it fails, goes on after the signal, or ends by itself before the moment.
    """
    found = Attempt()
    with subprocess.Popen(
        [sys.executable, "-m", training.module, *training.command_line],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=timing.ROOT,
        env={**os.environ, **dict.fromkeys(timing.THREAD_VARIABLES, "1")},
    ) as process:
        reader = threading.Thread(target=found.read, args=[process])
        reader.start()
        if moment is not None:
            _wait(training, process, found, moment)
            found.place = find_place(training, found)
            _send(number, process, found)
        reader.join()
        found.code = process.wait()
    if found.code not in (0, os.EX_TEMPFAIL, -number):
        raise RuntimeError(f"it failed with {found.code}:\n{found.output}")
    if number is signal.SIGKILL or moment is None:
        found.place = find_place(training, found)
    found.saved_step = (training.saved or {"global_step": 0})["global_step"]
    return found


def _wait(
    training: Training, process: subprocess.Popen[str], found: Attempt, moment: Moment
) -> None:
    def wait_until(is_time: Callable[[], bool]) -> None:
        while not is_time():
            if process.poll() is not None:
                raise RuntimeError(f"it ended before {moment}:\n{found.output}")
            time.sleep(0.0005)

    wait_until(lambda: found.is_at(moment))
    due_s = time.monotonic() + moment.after_s
    # A machine that has become faster must not come to the end meanwhile.
    too_far = training.config.train.max_steps - training.config.train.validate_every
    is_last = moment.step is not None and moment.step > too_far
    wait_until(
        lambda: time.monotonic() >= due_s or (found.validated_step >= too_far and not is_last)
    )
    if moment.place:
        wait_until(lambda: find_place(training, found) == moment.place)


def find_place(training: Training, found: Attempt) -> str:
    """What a training is doing, or was doing when it ended, from what it has said and saved.

    A file that an earlier attempt has left half-written tells nothing of this one.
    """
    train = training.config.train
    if found.from_step is None:
        return START
    partial = training.run.glob(".*.ckpt.partial")
    if any(modified_s(path) > found.launched_s for path in partial):
        return WRITING
    if found.validated_step == train.max_steps:
        return END
    saved = training.saved
    if saved is None or saved["global_step"] % train.validate_every:
        return STEPS
    is_validated = saved["callbacks"]["Checkpoints"]["validated_step"] == saved["global_step"]
    return STEPS if is_validated else VALIDATION


def modified_s(path: Path) -> float:
    """When a file was written to; 0 if it is gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _send(number: signal.Signals, process: subprocess.Popen[str], found: Attempt) -> None:
    sent_s = time.perf_counter()
    process.send_signal(number)
    try:
        process.wait(LIMIT_S)
    except subprocess.TimeoutExpired as error:
        process.kill()
        raise RuntimeError(f"it goes on {LIMIT_S} s after {number.name}") from error
    found.ended_in_s = time.perf_counter() - sent_s
