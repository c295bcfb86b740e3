"""What happens beside the optimizer steps: figures, curves, pictures and the progress line."""

from __future__ import annotations

import csv
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback, TQDMProgressBar
from torch import Tensor

from pipeline.tracking import Tracker
from pipeline.training.module import SketchModule
from sketch_model import raster
from sketch_model.batch import PackedBatch
from sketch_model.config import Condition
from sketch_model.model import SketchRNN

PICTURES = "drawings/by_step"
"""Key of the pictures. MLflow's page sorts sections by the part before the slash: these lead."""


class Figures(Callback):
    """Figures of training steps and validations, for the tracker and for the run's curves.csv.

    A line of the CSV belongs to a validation and holds the means of the training figures since the
    one before.
    """

    def __init__(self, tracker: Tracker, curves: Path, num_sketches: int, every: int) -> None:
        self._tracker, self._curves = tracker, curves
        self._num_sketches, self._every = num_sketches, every
        self._since_validation, self._since_epoch = _Mean(), _Mean()
        self._clock = _Clock()
        self._learning_rate = 0.0
        self._last_line = 0
        """Step of the last line of the curves."""
        self.line: dict[str, float] = {}
        """What this process has added to the curves last, without the step."""

    def state_dict(self) -> dict[str, Any]:
        """Means that are not complete."""
        return {
            "since_validation": self._since_validation.state(),
            "since_epoch": self._since_epoch.state(),
            "last_line": self._last_line,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on with the means."""
        self._since_validation.restore(state_dict["since_validation"])
        self._since_epoch.restore(state_dict["since_epoch"])
        self._last_line = state_dict["last_line"]

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Drops lines that a killed part of the run wrote after the checkpoint it goes on from."""
        self._clock.restart(trainer.global_step)
        if trainer.is_global_zero and self._curves.exists():
            with self._curves.open(newline="") as file:
                rows = list(csv.DictReader(file))
            write_csv(self._curves, [r for r in rows if int(r["step"]) <= self._last_line])

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Notes the rate of the step."""
        self._learning_rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Logs every tenth or so step, and the means of an epoch at its end."""
        assert isinstance(module, SketchModule)
        figures, step = module.figures, trainer.global_step
        batch_size = module.config.train.batch_size
        self._since_validation.add(figures)
        self._since_epoch.add(figures)
        if step % self._every == 0:
            self._tracker.log_metrics(
                {f"train/{name}": float(value) for name, value in figures.items()}
                | {
                    "train/w": module.w_KL(step - 1),
                    "train/learning_rate": self._learning_rate,
                    "train/gradient_norm": module.gradient_norm,
                    "train/sketches_per_s": self._clock.rate(step) * batch_size,
                    "train/epoch": step * batch_size / self._num_sketches,
                },
                step,
            )
        if step * batch_size // self._num_sketches > (step - 1) * batch_size // self._num_sketches:
            means = self._since_epoch.take()
            self._tracker.log_metrics({f"epoch/{name}": v for name, v in means.items()}, step)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Logs the validation and adds a line to the curves."""
        assert isinstance(module, SketchModule)
        step = trainer.global_step
        validation = {f"valid/{name}": value for name, value in module.validation.items()}
        training = {f"train/{name}": v for name, v in self._since_validation.take().items()}
        self._tracker.log_metrics(validation, step)
        self.line = training | validation
        if trainer.is_global_zero:
            append_csv(self._curves, {"step": step} | self.line)
        self._last_line = step
        self._clock.restart(step)


class Pictures(Callback):
    """Drawings of the validation split as the model redraws them, and samples, in one picture.

    A decoder-only model completes the first half of a drawing instead of redrawing it. A model with
    condition=category draws each column's category. The pictures of the start and of each
    validation share a key, so that MLflow's page shows a slider over them.
    """

    def __init__(self, tracker: Tracker, packed: PackedBatch) -> None:
        self._tracker, self._sketches = tracker, packed.sketches()
        self._categories = packed.categories.tolist()

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Begins with what the model draws untrained; MLflow's slider begins at step 0 anyway."""
        if trainer.global_step == 0:
            self._log(trainer, module)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Logs what the model draws now."""
        self._log(trainer, module)

    def _log(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, SketchModule)
        if not trainer.is_global_zero:
            return
        model, num = module.model, len(self._sketches)
        told = None
        if model.config.condition is Condition.category:
            told = [model.data.categories[index] for index in self._categories]
        if model.config.conditional:
            second = model.reconstruct(self._sketches, temperature=0.2, category=told, seed=0)
            caption = "redrawn, temperature 0.2"
        else:
            second = self._completed(model, told)
            caption = "completed, temperature 0.2"
        samples = model.sample(num, temperature=0.4, category=told, seed=0)
        picture = raster.grid(
            [self._sketches, second, samples],
            row_captions=["validation split", caption, "sampled, temperature 0.4"],
            title=f"step {trainer.global_step}",
        )
        self._tracker.log_image(picture, PICTURES, trainer.global_step)

    def _completed(self, model: SketchRNN, told: list[str] | None) -> list[NDArray[np.float32]]:
        completed = []
        for index, sketch in enumerate(self._sketches):
            half = sketch[: max(1, len(sketch) // 2)]
            category = None if told is None else told[index]
            completed += model.sample(prefix=half, temperature=0.2, category=category, seed=0)
        return completed


class Report(Callback):
    """Tells somebody of each line of the curves."""

    def __init__(self, report: Callable[[int, Mapping[str, float]], None], of: Figures) -> None:
        self._report, self._figures = report, of

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Hands on its figures."""
        self._report(trainer.global_step, self._figures.line)


class Progress(TQDMProgressBar):
    """A bar over all steps of the run on a terminal, and a line per validation anywhere else."""

    def __init__(self, max_steps: int) -> None:
        super().__init__(refresh_rate=10 if sys.stderr.isatty() else 0)
        self._max_steps = max_steps
        self._clock = _Clock()
        self._steps_per_s = 0.0

    @property
    def total_train_batches(self) -> int:
        """The loader has no end; the run has."""
        return self._max_steps

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Explains the figures where they are about to appear."""
        super().on_train_start(trainer, module)
        assert isinstance(module, SketchModule)
        self._clock.restart(trainer.global_step)
        self._say(
            f"Training to step {self._max_steps}, from step {trainer.global_step}.\n"
            "L_R is a density's negative logarithm per row: it falls as the model learns, and below"
            " zero is normal.\n"
            f"L_KL stays near its floor, {module.config.loss.KL_min}, while the floor holds.\n"
            "Drawings are scribbles at first; people's categories take thousands of steps, so look"
            " at the run's pictures, not at the figures alone."
        )

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Takes the speed of training before the validation."""
        super().on_validation_start(trainer, module)
        self._steps_per_s = self._clock.rate(trainer.global_step)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Says how far the run is and how it does."""
        super().on_validation_end(trainer, module)
        assert isinstance(module, SketchModule)
        step, figures = trainer.global_step, module.validation
        self._say(
            f"step {step}/{self._max_steps}: L_R {figures['L_R']:.4f} (L_s {figures['L_s']:.4f},"
            f" L_p {figures['L_p']:.4f}), L_KL {figures['L_KL']:.4f},"
            f" objective {figures['objective']:.4f}" + self._speed(step, module)
        )
        self._clock.restart(step)

    def _speed(self, step: int, module: SketchModule) -> str:
        if not self._steps_per_s:  # a validation that was made up for, before the first step
            return ""
        left_min = (self._max_steps - step) / self._steps_per_s / 60
        rate = self._steps_per_s * module.config.train.batch_size
        return f"; {rate:.0f} sketches/s, {left_min:.1f} min of training left"

    def _say(self, text: str) -> None:
        if not self.trainer.is_global_zero:
            return
        if self.is_enabled:
            self.print(text)  # above the bar
        else:
            print(text, flush=True)


class _Mean:
    """Means of figures over steps; sums stay tensors, so that nobody waits for a GPU."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._num = 0

    def add(self, figures: Mapping[str, Tensor]) -> None:
        self._sums = {name: self._sums.get(name, 0) + value for name, value in figures.items()}
        self._num += 1

    def take(self) -> dict[str, float]:
        """The means, and begins anew; empty without steps."""
        means = {name: float(total) / self._num for name, total in self._sums.items()}
        self._sums, self._num = {}, 0
        return means

    def state(self) -> dict[str, Any]:
        return {"sums": dict(self._sums), "num": self._num}

    def restore(self, state: dict[str, Any]) -> None:
        self._sums, self._num = dict(state["sums"]), state["num"]


class _Clock:
    """Steps per second between two looks."""

    def __init__(self) -> None:
        self.restart(0)

    def restart(self, step: int) -> None:
        """Begins an interval, so that what happened before is left out."""
        self._step, self._at_s = step, time.perf_counter()

    def rate(self, step: int) -> float:
        """Steps per second since the interval began; begins the next."""
        rate = (step - self._step) / (time.perf_counter() - self._at_s)
        self.restart(step)
        return rate


def append_csv(path: Path, row: Mapping[str, float]) -> None:
    """Adds a line to a CSV file, with a header if it is new."""
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replaces a CSV file by these lines; without lines, removes it."""
    if not rows:
        path.unlink()
        return
    temporary = path.with_name(f".{path.name}.partial")
    temporary.unlink(missing_ok=True)
    for row in rows:
        append_csv(temporary, row)
    os.replace(temporary, path)
