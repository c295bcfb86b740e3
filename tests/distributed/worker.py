"""Trains several configs one after the other, with ever other numbers of processes.

    python -m tests.distributed.worker ORDERS    a file of [[number of processes, configs], ...]

Processes take seconds to start, and a tiny training none: they are forked when everything is
imported. `served-*.json` in a run's folder tells what each was given and what all of them computed,
step by step; `fit` is the real one.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline.config import Config
from pipeline.entry import compose
from pipeline.training.fit import fit
from pipeline.training.launch import Launch
from pipeline.training.module import SketchModule
from sketch_model.batch import PackedBatch


@dataclass
class Served:
    """What `training_step` saw, while it is replaced by one that looks."""

    positions: dict[int, list[int]] = field(default_factory=dict)
    losses: dict[int, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._original = SketchModule.training_step

    def __enter__(self) -> Served:
        def training_step(module: SketchModule, packed: PackedBatch, index: int) -> Tensor:
            loss = self._original(module, packed, index)
            self.positions[module.global_step] = packed.positions.tolist()
            self.losses[module.global_step] = [float(v) for v in module.figures.values()]
            return loss

        SketchModule.training_step = training_step  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: Any) -> None:
        SketchModule.training_step = self._original  # type: ignore[method-assign]


def train(config: Config, rank: int) -> None:
    """Adds what this process saw to the run's folder."""
    with Served() as served:
        folder = fit(config).run.folder
    path = folder / f"served-{len(served.positions)}-{min(served.positions)}-{rank}.json"
    path.write_text(json.dumps(vars(served) | {"_original": None}))


def share(num_processes: int, configs: list[list[str]]) -> None:
    """Does what torchrun does.

    Raises:
        RuntimeError: if a process fails.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    launch = Launch(world_size=num_processes, num_local=num_processes, port=port)
    fork = multiprocessing.get_context("fork").Process
    processes = [fork(target=_work, args=(launch, rank, configs)) for rank in range(num_processes)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError(f"exit codes {[process.exitcode for process in processes]}")


def _work(launch: Launch, rank: int, configs: list[list[str]]) -> None:
    if launch.world_size > 1:
        os.environ |= launch.variables(rank)
    for overrides in configs:
        train(compose(overrides), rank)


if __name__ == "__main__":
    gc.freeze()  # or each process would look through all that was imported, and so copy it
    for order in json.loads(Path(sys.argv[1]).read_text()):
        share(*order)
