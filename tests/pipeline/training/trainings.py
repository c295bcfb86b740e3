"""An uninterrupted training, and what it is for another one to have been the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mlflow.entities import Run as MlflowRun

from pipeline.config import Config
from pipeline.training.fit import FitResult
from pipeline.training.run import Run
from tests.experiments import (
    image_steps,
    runs,
    steps_of,
)

NUM_STEPS, VALIDATE_EVERY = 8, 2
VALIDATIONS = list(range(VALIDATE_EVERY, NUM_STEPS + 1, VALIDATE_EVERY))
STEPS = list(range(1, NUM_STEPS + 1))


@dataclass(frozen=True)
class Trained:
    """An uninterrupted training, to compare others with."""

    config: Config
    result: FitResult

    @property
    def record(self) -> MlflowRun:
        (record,) = runs(self.config.tracking.uri)
        return record


def load(checkpoint: Path) -> dict[str, Any]:
    return dict(torch.load(checkpoint, weights_only=True))


def assert_same_training(run: Run, expected: Run) -> None:
    """Weights, optimizer, place in the data and every figure, bit for bit."""
    assert run.curves.read_text() == expected.curves.read_text()
    assert run.num_steps == expected.num_steps
    for name in ("last_checkpoint", "best_checkpoint"):
        one, two = load(getattr(run, name)), load(getattr(expected, name))
        assert one["global_step"] == two["global_step"]
        assert one["validation"] == two["validation"]
        assert one["loops"]["fit_loop"]["state_dict"] == two["loops"]["fit_loop"]["state_dict"]
        assert one["lr_schedulers"] == two["lr_schedulers"]
        assert one["state_dict"].keys() == two["state_dict"].keys()
        for key, tensor in one["state_dict"].items():
            assert torch.equal(tensor, two["state_dict"][key]), key
        states = [content["optimizer_states"][0]["state"] for content in (one, two)]
        for number, state in states[0].items():
            for key, value in state.items():
                assert torch.equal(value, states[1][number][key])


def assert_same_record(config: Config, expected: Trained) -> None:
    """One run that is finished, each figure of each step once, and the same values."""
    (record,) = runs(config.tracking.uri)
    assert record.info.status == "FINISHED"
    steps = steps_of(expected.config.tracking.uri, expected.record)
    assert steps_of(config.tracking.uri, record) == steps
    assert image_steps(config.tracking.uri, record) == [0, *VALIDATIONS]
    names = [name for name in steps if name.partition("/")[0] in ("train", "valid", "epoch")]
    names.remove("train/sketches_per_s")
    assert {name: record.data.metrics[name] for name in names} == {
        name: expected.record.data.metrics[name] for name in names
    }
