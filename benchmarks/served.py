"""`pipeline.train` that also writes down which positions each process trained on, step by step.

    python -m benchmarks.served OVERRIDES

Processes that it starts do the same. The files are in the folder `served` beside the runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.importing import importing

if TYPE_CHECKING:
    from pipeline.training.module import SketchModule


def write_down(original: Callable[..., None]) -> Callable[..., None]:
    """As `original`, the hook that runs when the gradients of all processes are there."""

    def hook(module: SketchModule, *arguments: Any) -> None:
        original(module, *arguments)
        assert module.batch is not None
        folder = Path(module.config.runs_dir).with_name("served")
        folder.mkdir(exist_ok=True)
        line = {
            "step": module.global_step,
            "rank": module.global_rank,
            "num_processes": module.trainer.world_size,
            "positions": module.batch.positions.tolist(),
        }
        with (folder / f"{os.getpid()}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    return hook


def read_batches(folder: Path) -> dict[int, list[list[int]]]:
    """The positions of each step, in the order of one process; more than one list if repeated.

    Process r of W takes every W-th sketch of a batch, from the r-th on.

    Raises:
        ValueError: if a process of a step is missing.
    """
    lines = [
        json.loads(line)
        for path in folder.glob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    shares: dict[tuple[int, int], list[Any]] = {}
    for line in lines:
        shares.setdefault((line["step"], line["num_processes"]), []).append(line)
    batches: dict[int, list[list[int]]] = {}
    for (step, num), found in sorted(shares.items()):
        found.sort(key=lambda line: int(line["rank"]))
        if [line["rank"] for line in found] != list(range(num)):
            raise ValueError(f"step {step}: ranks {[line['rank'] for line in found]} of {num}")
        together = zip(*(line["positions"] for line in found), strict=True)
        batches.setdefault(step, []).append([position for each in together for position in each])
    return batches


if __name__ == "__main__":
    with importing():
        from pipeline.train import main
        from pipeline.training.module import SketchModule

    SketchModule.on_before_optimizer_step = write_down(  # type: ignore[method-assign]
        SketchModule.on_before_optimizer_step
    )
    main()
