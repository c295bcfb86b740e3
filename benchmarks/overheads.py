"""What a training pays beside its steps: feed, tracker, validations, pictures and checkpoints.

    python -m benchmarks.overheads [--pools 3] [--json FILE]

The default model, batches of 100 as training has them, one thread, through `fit` with a local
store of MLflow, in fp32 and bf16; cats from $QUICKDRAW_ROOT, otherwise doodles. Shares are of
processor time of the thread that trains, the median over pools of 20 steps, the first pool left
out; what waits for a disk is seconds on the clock.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
import torch

from benchmarks import shards, timing
from pipeline.config import (
    Config,
    Precision,
    TrackingConfig,
    TrainConfig,
    TrainerConfig,
)
from pipeline.data.loader import TrainingLoader
from pipeline.manifest import Manifest
from pipeline.tracking import JournaledTracker
from pipeline.training.callbacks import Pictures
from pipeline.training.checkpoint_files import read_checkpoint
from pipeline.training.checkpoint_writer import CheckpointFiles
from pipeline.training.fit import fit
from pipeline.training.module import SketchModule
from sketch_model.batch import PackedBatch
from sketch_model.config import ModelConfig

THREADS = ("tracking", "load")
"""Those that send to MLflow, and that look at the machine's load for it."""
TARGET = 0.02
"""Of a step, for the feed and for the tracker."""
ROUNDS = 5
"""Times that a checkpoint is written and read."""


@dataclass
class Meter:
    """Processor time that the training thread spent, by what for, at the beginning of each step."""

    spent_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    steps: list[dict[str, float]] = field(default_factory=list)

    def timed(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        """As `original`, and adds up its time under a name, on this thread alone."""

        def measured(*arguments: Any, **options: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                return original(*arguments, **options)
            begun_s = time.thread_time()
            try:
                return original(*arguments, **options)
            finally:
                self.spent_s[name] += time.thread_time() - begun_s

        return measured

    def iterate(self, loader: TrainingLoader) -> Iterator[PackedBatch]:
        """The loader's batches, each the beginning of a step."""
        take = self.timed("feed", iter(_iterate(loader)).__next__)
        while True:
            times_s = {"all": time.thread_time(), "threads": thread_seconds()}
            self.steps.append(dict(self.spent_s) | times_s)
            yield take()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While training runs inside."""
        places = {
            "tracker": (JournaledTracker, "log_metrics"),
            "pictures": (Pictures, "on_validation_end"),
            "validation": (SketchModule, "validation_step"),
        }

        def iterate(loader: TrainingLoader) -> Iterator[PackedBatch]:
            return self.iterate(loader)

        with ExitStack() as patches:
            for name, (owner, method) in places.items():
                timed = self.timed(name, getattr(owner, method))
                patches.enter_context(patch.object(owner, method, timed))
            patches.enter_context(patch.object(TrainingLoader, "__iter__", iterate))
            yield

    def per_pool(self, pool: int) -> list[dict[str, float]]:
        """Seconds of each whole pool after the first."""
        marks = self.steps[pool::pool]
        return [
            {name: after[name] - before.get(name, 0.0) for name in after}
            for before, after in itertools.pairwise(marks)
        ]


_iterate = TrainingLoader.__iter__


def thread_seconds() -> float:
    """Processor time of the tracker's threads so far, to 10 ms."""
    own = {thread.native_id for thread in threading.enumerate() if thread.name in THREADS}
    threads = psutil.Process().threads()
    return sum(each.user_time + each.system_time for each in threads if each.id in own)


def measure_training(config: Config, num_pools: int) -> dict[str, float]:
    """Trains, and gives each part's share of a step or of the steps between two validations."""
    rhythm, pool = TrainConfig().validate_every, config.train.pool
    num_steps = (num_pools + 1) * pool + 1
    train = replace(config.train, max_steps=num_steps, validate_every=num_steps)
    meter = Meter()
    with meter.watching(), redirect_stdout(sys.stderr):
        fit(replace(config, train=train))
    pools = meter.per_pool(pool)
    step_s = statistics.median(each["all"] for each in pools) / pool

    def share(*names: str) -> float:
        own = [sum(each.get(name, 0.0) for name in names) for each in pools]
        return statistics.median(s / each["all"] for s, each in zip(own, pools, strict=True))

    return {
        "step_s": step_s,
        "sketches_per_s": config.train.batch_size / step_s,
        "feed": share("feed"),
        "tracker": share("tracker"),
        "threads": share("threads"),
        "tracking": share("tracker", "threads"),
        "validation_s": meter.spent_s["validation"],
        "validation": meter.spent_s["validation"] / (rhythm * step_s),
        "pictures_s": meter.spent_s["pictures"],
        "pictures": meter.spent_s["pictures"] / (rhythm * step_s),
    }


def measure_checkpoint(checkpoint: Path) -> dict[str, float]:
    """Medians of seconds on the clock that a checkpoint costs, part by part, and its size."""
    content = torch.load(checkpoint, weights_only=True)
    target, other = checkpoint.with_name("again.ckpt"), checkpoint.with_name("other.ckpt")

    def write() -> None:
        with target.open("wb") as file:
            torch.save(content, file)

    def sync() -> None:
        with target.open("rb") as file:
            os.fsync(file.fileno())

    parts: dict[str, Callable[[], object]] = {
        "write": write,
        "sync": sync,
        "rename": lambda: target.replace(other),
        "whole": lambda: CheckpointFiles().save_checkpoint(content, checkpoint),
        "verify": lambda: read_checkpoint(checkpoint),
    }
    rounds = [{name: _seconds(part) for name, part in parts.items()} for _ in range(ROUNDS)]
    seconds = {f"{name}_s": statistics.median(each[name] for each in rounds) for name in parts}
    return seconds | {"size_mb": checkpoint.stat().st_size / 1e6}


def _seconds(action: Callable[[], object]) -> float:
    begun_s = time.perf_counter()
    action()
    return time.perf_counter() - begun_s


def measure(folder: Path, num_pools: int, model: ModelConfig) -> dict[str, Any]:
    """All figures, by precision, and of a checkpoint."""
    config = replace(
        shards.write_shards(folder, "cat"),
        model=model,
        trainer=TrainerConfig(num_threads=1),
        tracking=TrackingConfig(uri=f"sqlite:///{folder / 'mlflow.db'}"),
        runs_dir=str(folder / "runs"),
    )
    training = {}
    for precision in (Precision.fp32, Precision.bf16):
        train = replace(config.train, precision=precision)
        training[precision.value] = measure_training(replace(config, train=train), num_pools)
        timing.report(f"{precision.value}: {training[precision.value]}")
    return {
        "machine": timing.describe_machine(),
        "load": os.getloadavg()[2],
        "drawings": shards.whose(),
        "num_validated": Manifest.read(config.manifest_path).num_drawings("valid"),
        "training": training,
        "checkpoint": measure_checkpoint(next((folder / "runs").glob("*/last.ckpt"))),
    }


def format_tables(found: dict[str, Any]) -> str:
    """In Markdown; shares are of a step, or of the steps between two validations."""
    rhythm, by_precision = TrainConfig().validate_every, found["training"]
    rows = [
        ("feed", "feed", TARGET),
        ("tracker, in the training thread", "tracker", None),
        ("tracker, its threads", "threads", None),
        ("tracker, together", "tracking", TARGET),
        (
            f"validation of {found['num_validated']} drawings every {rhythm} steps",
            "validation",
            None,
        ),
        (f"pictures every {rhythm} steps", "pictures", None),
    ]
    lines = [f"| share of the training's time | {' | '.join(by_precision)} | asked for |"]
    lines.append("|---" + "|---:" * (len(by_precision) + 1) + "|")
    for title, name, target in rows:
        shares = [each[name] for each in by_precision.values()]
        asked = "" if target is None else f"{target:.0%}"
        if target is not None and max(shares) > target:
            asked += " — missed"
        cells = " | ".join(f"{share:.2%}" for share in shares)
        lines.append(f"| {title} | {cells} | {asked} |")
    rates = " | ".join(f"{each['sketches_per_s']:.0f}" for each in by_precision.values())
    lines.append(f"| (sketches per second of processor time) | {rates} | |")
    saved = found["checkpoint"]
    lines += ["", f"| a checkpoint of {saved['size_mb']:.1f} MB | s |", "|---|---:|"]
    for title, name in (
        ("written", "write_s"),
        ("synced", "sync_s"),
        ("renamed", "rename_s"),
        ("**all of it, as training does it**", "whole_s"),
        ("verified and read, on a resume", "verify_s"),
    ):
        lines.append(f"| {title} | {saved[name]:.4f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pools", type=int, default=3, help="of 20 steps, that are measured")
    parser.add_argument("--folder", type=Path, help="on the disk that is to be measured")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = measure(Path(folder), options.pools, ModelConfig())
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{found['machine']}, load {found['load']:.1f}, {found['drawings']}\n")
    print(format_tables(found))


if __name__ == "__main__":
    main()
