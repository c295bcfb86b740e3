"""However many processes share a batch, and in however many parts: one and the same training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.config import Config
from tests.distributed.conftest import ELASTIC, FLOORS, LONG_ELASTIC, NUM_STEPS, Trainings

# The first test makes all trainings.
pytestmark = [pytest.mark.dist, pytest.mark.timeout(600), pytest.mark.xdist_group("distributed")]

TOLERANCE = 1e-5
"""Of losses (relative) and weights (absolute, at a rate of 0.01) after 50 steps.

The same numbers are summed in another order: float32 rounds to 6e-8, a gradient is a sum of some
hundred rows, and Adam, dividing by the gradient's size, hands its relative error on. Seen are 1e-6.
A floor that is applied by each process by itself, or a share that is weighed wrongly, gives 1e-2.
"""

L_KL = 4  # among the figures of a step


def long(*values: object) -> Any:
    """What `make test` leaves to `make prove`."""
    return pytest.param(*values, marks=pytest.mark.long)


def losses(run: Path) -> torch.Tensor:
    """[steps, figures], as the process of rank 0 knows them of all."""
    by_step: dict[int, list[float]] = {}
    for path in run.glob("served-*-0.json"):
        by_step |= {int(step): v for step, v in json.loads(path.read_text())["losses"].items()}
    assert sorted(by_step) == list(range(len(by_step)))
    return torch.tensor([by_step[step] for step in range(len(by_step))])


def assert_same_training(run: Path, expected: Path) -> None:
    assert run.name == expected.name, "processes and parts do not define the result"
    torch.testing.assert_close(losses(run), losses(expected), rtol=TOLERANCE, atol=TOLERANCE / 10)
    found, wanted = (
        torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (run, expected)
    )
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=TOLERANCE)


def test_the_floor_is_crossed_in_both_directions(trainings: Trainings) -> None:
    seen = losses(trainings.run("crossed"))[:, L_KL]
    assert len(seen) == NUM_STEPS
    assert (seen > FLOORS["crossed"]).diff().sum() > 3


@pytest.mark.long
def test_the_other_floors_are_never_crossed(trainings: Trainings) -> None:
    below, above = (losses(trainings.run(name))[:, L_KL] for name in ("below", "above"))
    assert below.max() < FLOORS["below"]
    assert above.min() > FLOORS["above"]


@pytest.mark.parametrize(
    ("num_processes", "floor"),
    [
        (2, "crossed"),
        *(long(*e) for e in [(2, "below"), (2, "above"), (3, "crossed"), (4, "crossed")]),
    ],
)
def test_processes_train_as_one(trainings: Trainings, num_processes: int, floor: str) -> None:
    """Fifty steps without dropout, with augmentation and sketches of unequal length."""
    assert_same_training(trainings.run(floor, num_processes), trainings.run(floor))


@pytest.mark.parametrize(
    ("num_parts", "floor"), [(3, "crossed"), long(2, "below"), long(2, "above")]
)
def test_parts_train_as_one(trainings: Trainings, num_parts: int, floor: str) -> None:
    assert_same_training(trainings.run(floor, num_parts=num_parts), trainings.run(floor))


def test_parts_drop_what_processes_drop(trainings: Trainings) -> None:
    """Masks belong to a share of the batch, whoever computes it."""
    run, whole = trainings.run("dropout", num_parts=2), trainings.run("dropout")
    assert_same_training(run, trainings.run("dropout", num_processes=2))
    assert (losses(run) - losses(whole)).abs().max() > 1e-3, "nothing was dropped"


@pytest.mark.parametrize("name", [*ELASTIC, *map(long, LONG_ELASTIC)])
def test_a_run_goes_on_with_other_numbers_of_processes(
    trainings: Trainings, tiny: Config, name: str
) -> None:
    """1 -> 2 -> 1 or 1 -> 2 -> 4 -> 1, in the midst of epochs: every position once, in the batches
    of one process (G8), and that one's weights."""
    run, undisturbed = trainings.elastic(name), trainings.run("crossed")
    assert_same_training(run, undisturbed)

    def served(folder: Path) -> dict[int, list[int]]:
        batches: dict[int, list[int]] = {step: [] for step in range(NUM_STEPS)}
        for path in folder.glob("served-*.json"):
            for step, positions in json.loads(path.read_text())["positions"].items():
                batches[int(step)] += positions
        return {step: sorted(positions) for step, positions in batches.items()}

    batches = served(run)
    assert batches == served(undisturbed)
    everything = sorted(position for batch in batches.values() for position in batch)
    assert everything == list(range(NUM_STEPS * tiny.train.batch_size))
