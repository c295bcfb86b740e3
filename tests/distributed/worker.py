"""Trains several configs one after the other in the processes that torchrun has started.

Processes take seconds to start, and a tiny training none. `served.json` of each run's folder tells
what this process was given and what all of them computed, step by step; `fit` is the real one.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline.config import Config
from pipeline.entry import compose
from pipeline.training.fit import fit
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


def train(config: Config, rank: int = 0) -> None:
    """Adds what this process saw to the run's folder."""
    with Served() as served:
        folder = fit(config).run.folder
    path = folder / f"served-{len(served.positions)}-{min(served.positions)}-{rank}.json"
    path.write_text(json.dumps(vars(served) | {"_original": None}))


if __name__ == "__main__":
    for overrides in json.loads(Path(sys.argv[1]).read_text()):
        train(compose(overrides), int(os.environ["RANK"]))
