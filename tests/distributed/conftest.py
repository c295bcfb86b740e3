"""Trainings of one to four processes, all of them made by one command for the tests here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import Config
from sketch_model.config import Augmentation
from tests.experiments import changed, command_line, make_config, make_data, write_drawings

NUM_STEPS = 50
ELASTIC = {"to two": ((1, 10), (2, 30), (1, NUM_STEPS))}
LONG_ELASTIC = {"to four": ((1, 10), (2, 20), (4, 30), (1, NUM_STEPS))}
"""Numbers of processes that one run goes on with, and the step to which each trains it."""
FLOORS = {"below": 10.0, "crossed": 0.02, "above": 1e-7}
"""KL_min, by where L_KL is seen from it."""
TRAININGS = {
    (1, 1): ["crossed", "dropout"],
    (1, 2): ["dropout"],
    (1, 3): ["crossed"],
    (2, 1): ["crossed", "dropout"],
}
LONG_TRAININGS = {
    (1, 1): [*FLOORS, "dropout"],
    (1, 2): ["below", "above", "dropout"],
    (1, 3): ["crossed"],
    (2, 1): [*FLOORS, "dropout"],
    (3, 1): ["crossed"],
    (4, 1): ["crossed"],
}
"""What is trained, by the numbers of processes and of parts that each share is computed in; where
tests marked `long` are among those that run, the longer list."""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Twelve sketches a step, which divide among two, three and four; no dropout."""
    folder = tmp_path_factory.mktemp("distributed")
    config = make_config(
        write_drawings(folder / "bucket"),
        folder,
        batch_size=12,
        max_steps=NUM_STEPS,
        validate_every=25,
        decay=0.98,
        augmentation=Augmentation(),
    )
    make_data(config)
    return changed(config, "model", recurrent_dropout=0.0)


class Trainings:
    """The runs of `TRAININGS`, and those that go on with ever other numbers of processes."""

    def __init__(self, config: Config, *, is_long: bool) -> None:
        self._trainings = LONG_TRAININGS if is_long else TRAININGS
        self._elastic = ELASTIC | LONG_ELASTIC if is_long else ELASTIC
        self._folder = Path(config.runs_dir)
        self._folder.mkdir()
        floors = {name: changed(config, "loss", KL_min=floor) for name, floor in FLOORS.items()}
        self._configs = floors | {"dropout": changed(config, "model", recurrent_dropout=0.5)}
        orders = self._folder / "orders.json"
        orders.write_text(json.dumps([*self._orders()]))
        command = [sys.executable, "-m", "tests.distributed.worker", str(orders)]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=550)
        assert result.returncode == 0, result.stdout + result.stderr

    def run(self, name: str, num_processes: int = 1, num_parts: int = 1) -> Path:
        """The folder of a run."""
        (run,) = self._runs_dir(name, num_processes, num_parts).iterdir()
        return run

    def elastic(self, name: str) -> Path:
        """The run of `ELASTIC` or `LONG_ELASTIC`."""
        (run,) = (self._folder / name).iterdir()
        return run

    def _runs_dir(self, name: str, num_processes: int, num_parts: int) -> Path:
        return self._folder / f"{num_processes}-{num_parts}" / name

    def _orders(self) -> Iterator[tuple[int, list[list[str]]]]:
        for (num_processes, num_parts), names in self._trainings.items():
            configs = (
                replace(
                    changed(self._configs[name], "trainer", accumulate=num_parts),
                    runs_dir=str(self._runs_dir(name, num_processes, num_parts)),
                )
                for name in names
            )
            yield num_processes, [overrides(config, num_processes) for config in configs]
        for name, steps in self._elastic.items():
            elastic = replace(self._configs["crossed"], runs_dir=str(self._folder / name))
            for num_processes, step in steps:
                config = changed(elastic, "train", max_steps=step, validate_every=10)
                yield num_processes, [overrides(config, num_processes)]


def overrides(config: Config, num_processes: int) -> list[str]:
    """The command line of a config, for as many processes as a launcher has started."""
    line = command_line(config)
    if num_processes == 1:
        return line
    own = ("trainer.num_nodes=", "trainer.num_processes=")
    return ["trainer=ddp", *(each for each in line if not each.startswith(own))]


@pytest.fixture(scope="session")
def trainings(tiny: Config, request: pytest.FixtureRequest) -> Trainings:
    is_long = any(item.get_closest_marker("long") for item in request.session.items)
    return Trainings(tiny, is_long=is_long)
