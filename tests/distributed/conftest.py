"""Trainings of one to four processes, each made once for all tests of this folder."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import Config
from sketch_model.config import Augmentation
from tests.distributed.worker import train
from tests.experiments import changed, command_line, make_config, make_data, write_drawings

NUM_STEPS = 50
ELASTIC_STEPS = {1: 10, 2: 20, 4: 30}
"""Steps to which a run is trained that goes on with ever more processes, and then one again."""
FLOORS = {"below": 10.0, "crossed": 0.02, "above": 1e-7}
"""KL_min, by where L_KL is seen from it."""


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
    """Runs by number of processes and what is trained; all of a number's are made at once."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._made: set[int] = set()

    def folder(self, num_processes: int, name: str) -> Path:
        if num_processes not in self._made:
            self._make(num_processes)
        (run,) = Path(self._runs_dir(num_processes, name)).iterdir()
        return run

    def configs(self, num_processes: int) -> dict[str, Config]:
        """One whose floor is crossed; up to two processes, the other floors and dropout as well."""
        config = self.config
        configs = {name: changed(config, "loss", KL_min=floor) for name, floor in FLOORS.items()}
        configs["dropout"] = changed(config, "model", recurrent_dropout=0.5)
        if num_processes > 2:
            configs = {"crossed": configs["crossed"]}
        if num_processes in ELASTIC_STEPS:
            configs["elastic"] = changed(
                configs["crossed"],
                "train",
                max_steps=ELASTIC_STEPS[num_processes],
                validate_every=10,
            )
        return {
            name: replace(each, runs_dir=self._runs_dir(num_processes, name))
            for name, each in configs.items()
        }

    def _runs_dir(self, num_processes: int, name: str) -> str:
        owner = "all" if name == "elastic" else num_processes
        return f"{self.config.runs_dir}/{owner}/{name}"

    def _make(self, num_processes: int) -> None:
        self._made.add(num_processes)
        configs = self.configs(num_processes)
        if num_processes == 1:
            for config in configs.values():
                train(config)
            return
        if num_processes in ELASTIC_STEPS:  # after those of fewer processes
            fewer = [num for num in ELASTIC_STEPS if num < num_processes]
            self.folder(max(fewer), "elastic")
        orders = Path(self.config.runs_dir) / f"orders-{num_processes}.json"
        orders.write_text(json.dumps([as_many_as_started(c) for c in configs.values()]))
        torchrun(num_processes, "tests.distributed.worker", str(orders), check=True)


def as_many_as_started(config: Config) -> list[str]:
    """The command line of a config, with trainer=ddp."""
    own = ("trainer.num_nodes=", "trainer.num_processes=")
    return ["trainer=ddp", *(each for each in command_line(config) if not each.startswith(own))]


def torchrun(
    num_processes: int, *command: str, check: bool = False
) -> subprocess.CompletedProcess[str]:
    """The launcher that comes with torch."""
    launcher = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={num_processes}",
        "-m",
    ]
    result = subprocess.run(
        [sys.executable, *launcher, *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    if check and result.returncode:
        pytest.fail(result.stdout + result.stderr)
    return result


@pytest.fixture(scope="session")
def trainings(tiny: Config) -> Trainings:
    return Trainings(tiny)
