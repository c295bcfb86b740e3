"""What is done to trainings, and whether they come to the same as one that nothing happened to."""

from __future__ import annotations

import contextlib
import io
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks import timing
from benchmarks.attempts import Attempt, Moment, Training, attempt, choose_moments
from benchmarks.sameness import differences, differences_of_runs, weights_differ_by
from benchmarks.served import read_batches
from pipeline.ingest.driver import ingest
from pipeline.prepare import prepare
from pipeline.training.callbacks import Figures
from pipeline.training.checkpoint_files import newest_checkpoint
from pipeline.training.fit import fit

VALIDATE_EVERY = 10
TOLERANCE = 1e-5
"""Of weights, where other numbers of processes sum the same in another order, as in
tests/distributed."""


@dataclass(frozen=True)
class Proof:
    """A row of the table.

    Attributes:
        what: was done.
        num: how often.
        num_held: how often it went on as it should.
        remarks: where it was, and how the end compares.
        faults: what is not as it should be at the end.
    """

    what: str
    num: int
    num_held: int
    remarks: list[str]
    faults: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return self.num_held == self.num and not self.faults


class Laboratory:
    """Makes the same small training as often as it is needed."""

    def __init__(self, folder: Path, num_steps: int, num_drawings: int) -> None:
        self._folder = folder
        self._overrides = (
            "+experiment=smoke",
            f"source.num_drawings={num_drawings}",
            f"data_dir={folder / 'data'}",
            f"train.max_steps={num_steps}",
            f"train.validate_every={VALIDATE_EVERY}",
            "train.checkpoint_every=3",
            "trainer.num_threads=1",
            "tracking.log_every=1",
        )
        self.undisturbed = self.make("undisturbed")
        with contextlib.redirect_stdout(io.StringIO()):
            list(ingest(self.undisturbed.config))
            prepare(self.undisturbed.config)
        self.undisturbed_attempt = attempt(self.undisturbed)

    def make(self, name: str, *overrides: str, module: str = "pipeline.train") -> Training:
        """A training that has not begun."""
        folder = self._folder / name
        folder.mkdir()
        return Training(folder, (*self._overrides, *overrides), module)


def prove_signals(
    laboratory: Laboratory, num: int, numbers: Sequence[signal.Signals], seed: int
) -> Proof:
    """One training that is sent a signal again and again, and goes on each time."""
    what = " and ".join(number.name for number in numbers)
    training = laboratory.make(what.replace(" ", "-"))
    moments = choose_moments(num, training, laboratory.undisturbed_attempt, seed)
    attempts = []
    for count, moment in enumerate(moments):
        attempts.append(attempt(training, moment, numbers[count % len(numbers)]))
        timing.report(f"{what} {count + 1} of {num}: {attempts[-1].describe()}")
    attempts.append(attempt(training))
    faults = list(differences(training, laboratory.undisturbed))
    held = [
        each.ended_as_asked and _goes_on(each, attempts[count:])
        for count, each in enumerate(attempts[:-1], start=1)
    ]
    remarks = [_describe_places(attempts[:-1]), _describe_ends(attempts[:-1])]
    if not faults:
        remarks.append(
            "weights, optimizer, curves, model and every figure in MLflow identical to the"
            " undisturbed training's, no step twice, none missing"
        )
    return Proof(f"{what} at random moments", num, sum(held), remarks, faults)


def _goes_on(ended: Attempt, following: Sequence[Attempt]) -> bool:
    """Whether the next one that got as far began with the step that was saved."""
    begun = [each.from_step for each in following if each.from_step is not None]
    if not begun:  # it was over
        return "training was finished already" in following[-1].output
    return begun[0] == ended.saved_step


def _describe_places(attempts: Sequence[Attempt]) -> str:
    places = Counter(each.place for each in attempts)
    return "in " + ", ".join(f"{place} {num}" for place, num in places.most_common())


def _describe_ends(attempts: Sequence[Attempt]) -> str:
    codes = Counter(each.code for each in attempts)
    longest_s = max(each.ended_in_s for each in attempts)
    said = ", ".join(f"{code} {num} times" for code, num in codes.most_common())
    return f"exit code {said}, after {longest_s:.1f} s at most"


def prove_processes(laboratory: Laboratory, nums: Sequence[int], seed: int) -> Proof:
    """One training of ever other numbers of processes, each asked to stop at a random moment."""
    options = ["model.recurrent_dropout=0", "tracking.enabled=false"]
    alone, shared = (
        laboratory.make(name, *options, module="benchmarks.served") for name in ("alone", "shared")
    )
    attempt(alone)
    num_steps, choice, ends = alone.config.train.max_steps, random.Random(seed), []
    for count, num in enumerate(nums):
        moment = None
        if count < len(nums) - 1:
            step = (count + 1) * num_steps // len(nums) // VALIDATE_EVERY * VALIDATE_EVERY
            moment = Moment(step, choice.uniform(0, 0.5))
        overrides = (*shared.overrides, f"trainer.num_processes={num}")
        ends.append(attempt(replace(shared, overrides=overrides), moment, signal.SIGTERM))
        timing.report(f"{num} processes: {ends[-1].describe()}")
    expected, found = (read_batches(each.folder / "served") for each in (alone, shared))
    held = [step for step in expected if found.get(step) == expected[step]]
    largest = weights_differ_by(shared, alone)
    positions = sorted(p for batches in found.values() for batch in batches for p in batch)
    faults = []
    if positions != list(range(num_steps * alone.config.train.batch_size)):
        faults.append("a position was not served, or twice")
    if largest > TOLERANCE:
        faults.append(f"weights differ by {largest:.1e}")
    stops = ", ".join(str(end.saved_step) for end in ends[:-1])
    return Proof(
        f"{' → '.join(map(str, nums))} processes, steps with the batch of one process",
        num_steps,
        len(held),
        [
            f"stopped after steps {stops}",
            f"each of {len(positions):,} positions served once, in the same order",
            f"weights differ from one process's by {largest:.1e} ({TOLERANCE:.0e} allowed)",
        ],
        faults,
    )


def prove_positions(laboratory: Laboratory, num: int) -> Proof:
    """A training that is stopped after each step, and goes on."""
    num_steps = (num // VALIDATE_EVERY + 1) * VALIDATE_EVERY
    options = ["tracking.enabled=false", f"train.max_steps={num_steps}"]
    stopped, alone = (laboratory.make(n, *options) for n in ("stopped", "not-stopped"))
    held = 0
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        fit(alone.config)
        with _asked_to_stop_at_every_step():
            for step in range(1, num + 1):
                with contextlib.suppress(SystemExit):
                    fit(stopped.config)
                saved = newest_checkpoint(stopped.run)
                held += saved is not None and saved[1]["global_step"] == step
        fit(stopped.config)
    faults = list(differences_of_runs(stopped, alone))
    remarks = [f"steps 1 to {num}, over validations and epochs"]
    if not faults:
        remarks.append(f"weights, optimizer and curves identical after step {num_steps}")
    return Proof("a stop after each step", num, held, remarks, faults)


@contextlib.contextmanager
def _asked_to_stop_at_every_step() -> Iterator[None]:
    original = Figures.on_train_batch_start

    def ask(self: Figures, *arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        original(self, *arguments)

    with patch.object(Figures, "on_train_batch_start", ask):
        yield
