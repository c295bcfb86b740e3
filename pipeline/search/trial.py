"""One trial: a training of the config with other values, in a process of its own."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import json
import os
import socket
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.config import FIGURES, Config, UserError
from pipeline.identity import fingerprint
from pipeline.importing import importing
from pipeline.loading import with_values
from pipeline.manifest import Manifest
from pipeline.search.outcome import DISTORTION, RATE

STEP, IS_FINAL = "step", "is_final"
"""What a report has beside its figures; the final one is of the published model."""
LOG, FAILURE = "log.txt", "failure.txt"
"""In a trial's folder: what it printed, and in one line why it cannot be finished."""
OUT_OF_MEMORY = (
    "out of memory ({error}): use a smaller train.batch_size, a larger trainer.accumulate, or fewer"
    " trials at once (search.max_concurrent)"
)
Values = Mapping[str, Any]
Tags = Mapping[str, str]
Reporter = Callable[[dict[str, Any]], None]
Training = Callable[[Config, Tags, Reporter], None]


class TrialFailed(Exception):
    """A trial met an error that it would meet again."""


@dataclass(frozen=True)
class Trials:
    """What all trials of a search have in common."""

    config: Config
    """With absolute paths, and the steps of a trial."""
    folder: Path
    """That holds a folder per trial."""
    tags: Tags
    """Of their MLflow runs."""

    def folder_of(self, values: Values) -> Path:
        """Where the trial of these values has its run, its log and its results."""
        return self.folder / fingerprint(dict(values))[:12]

    def config_of(self, values: Values) -> Config:
        """What the trial trains."""
        folder = self.folder_of(values)
        config = with_values(self.config, values)
        return replace(config, runs_dir=str(folder), results_dir=str(folder / "results"))

    def run(self, values: Values, report: Reporter, train: Training) -> None:
        """Trains, publishes the best model, and reports each validation and at last that model.

        A trial whose process died goes on from its checkpoint, and one of values that were tried
        already reports what came of them.

        Raises:
            TrialFailed: for whatever goes wrong, now and each time again.
        """
        folder, config = self.folder_of(values), self.config_of(values)
        folder.mkdir(parents=True, exist_ok=True)
        failure = folder / FAILURE
        with _exclusive(folder / ".lock"), printing_to(folder / LOG):
            if failure.exists():
                raise TrialFailed(failure.read_text())
            try:
                train(config, self.tags, report)
                final = _figures_of_model(config)
            except Exception as error:
                traceback.print_exc()
                failure.write_text(_explain(error))
                raise TrialFailed(_explain(error)) from None
        report(final)


def train_and_publish(config: Config, tags: Tags, report: Reporter) -> None:
    """What each process of a trial does."""
    _settle_device(config)
    with importing():  # torch and Lightning: not needed by the driver
        from pipeline.training.fit import fit

    def tell(step: int, line: Mapping[str, float]) -> None:
        if step < config.train.max_steps:  # the last one is followed by the model's figures
            report({STEP: step, IS_FINAL: False} | figures(config, line))

    result = fit(config, tags=tags, report=tell)
    if result.is_rank_zero:
        result.publish(config)


def _settle_device(config: Config) -> None:
    """A trial has the GPU that is reserved for it, or none; from others Ray hides none."""
    reserved = config.search.gpus_per_process
    if not reserved:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        return
    import torch

    if not torch.cuda.is_available():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        raise UserError(
            f"search.gpus_per_process={reserved:g} reserved a GPU of {socket.gethostname()}"
            f" (CUDA_VISIBLE_DEVICES={visible}), and torch {torch.__version__} finds none there:"
            " install the GPU's driver and torch's CUDA build, have Ray count the GPUs that there"
            " are (`ray start --num-gpus`), or train on CPUs with search.gpus_per_process=0"
        )


def _figures_of_model(config: Config) -> dict[str, Any]:
    from pipeline.results import TRAINING_NAME  # torch
    from pipeline.search import judgement

    training = json.loads((config.model_dir / TRAINING_NAME).read_text())
    with config.curves_path.open(newline="") as file:
        lines = {int(line["step"]): line for line in csv.DictReader(file)}
    line = {name: float(value) for name, value in lines[training["best_step"]].items()}
    final = {STEP: training["num_steps"], IS_FINAL: True} | figures(config, line)
    return final | (judgement.measure(config) if judgement.is_wanted(config) else {})


def figures(config: Config, line: Mapping[str, float]) -> dict[str, float]:
    """Those of a line of the curves, and rate and distortion in nats per drawing.

    A decoder-only model tells nothing by a latent vector: its rate is 0.
    """
    N_max = Manifest.read(config.manifest_path).N_max
    reported = {name.removeprefix("valid/"): value for name, value in line.items()}
    return {
        RATE: config.model.N_z * reported["L_KL"],
        DISTORTION: N_max * reported["L_R"],
        **{name: reported[name] for name in FIGURES if name in reported},
    }


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Waits for another trial of equal values, if there is one at the moment."""
    with path.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def printing_to(path: Path) -> Iterator[None]:
    """Appends what is printed inside to a file."""
    with (
        path.open("a", buffering=1) as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        yield


def _explain(error: Exception) -> str:
    """In one line."""
    kind = type(error).__name__
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or kind == "OutOfMemoryError":
        return OUT_OF_MEMORY.format(error=text or kind)
    return text if isinstance(error, UserError) else f"{kind}: {text}"
