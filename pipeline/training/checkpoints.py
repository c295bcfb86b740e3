"""When a run is saved, what counts as its best model, and when it ends."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint

from pipeline.config import TrainConfig, UserError
from pipeline.training.checkpoint_files import BEST, LAST
from pipeline.training.interruption import Interruption
from pipeline.training.module import OBJECTIVE, SketchModule


class Checkpoints(Checkpoint):
    """Saves the last state and the best model; ends the run at its last step, early, or asked to.

    A checkpoint is written every `checkpoint_every` steps and before and after each validation:
    with one from before, a resumed run begins with the validation that is missing. Lightning calls
    this callback after all others, so that a checkpoint holds what they have counted.
    """

    def __init__(self, folder: Path, train: TrainConfig, interruption: Interruption) -> None:
        self._folder, self._train, self._interruption = folder, train, interruption
        self._step = 0
        self._validated_step = 0
        self._best = math.inf
        self._num_worse = 0

    @property
    def validated_step(self) -> int:
        """Step of the last validation."""
        return self._validated_step

    @property
    def is_out_of_patience(self) -> bool:
        """Whether the objective has not become better for as many validations as are allowed."""
        return 0 < self._train.patience <= self._num_worse

    def state_dict(self) -> dict[str, Any]:
        """What deciding needs of the past."""
        return {
            "validated_step": self._validated_step,
            "best": self._best,
            "num_worse": self._num_worse,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from it."""
        self._validated_step = state_dict["validated_step"]
        self._best = state_dict["best"]
        self._num_worse = state_dict["num_worse"]

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Makes up for a validation that was cut off, and ends a run that has nothing left."""
        self._step = trainer.global_step
        self._interruption.take_over()
        if self._lacks_validation(self._step):
            _validate(trainer)
        self._end_if_done(trainer)
        self._interruption.deferred = True

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Tells the other processes, with the losses of this step, whether this one is to stop."""
        assert isinstance(module, SketchModule)
        module.stop_requested = self._interruption.requested is not None

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Saves after a step where it is time to, and stops where any process was asked to."""
        assert isinstance(module, SketchModule)
        if trainer.global_step == self._step:
            return  # one part of an accumulated step
        self._step = trainer.global_step
        is_due = self._step % self._train.checkpoint_every == 0 or self._lacks_validation(
            self._step
        )
        if is_due or module.stop_agreed:
            self._save(trainer, module, LAST)
        if module.stop_agreed:
            self._interruption.stop()

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Nothing is lost while a validation runs, however long it takes."""
        self._interruption.deferred = False
        if self._interruption.requested is not None:
            self._interruption.stop()

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Compares, saves, and ends the run where it is done."""
        assert isinstance(module, SketchModule)
        self._interruption.deferred = True
        self._validated_step = trainer.global_step
        objective = module.validation[OBJECTIVE]
        is_best = objective < self._best
        self._best = min(objective, self._best)
        self._num_worse = 0 if is_best else self._num_worse + 1
        if is_best:
            self._save(trainer, module, BEST)
        self._save(trainer, module, LAST)
        self._end_if_done(trainer)

    def _lacks_validation(self, step: int) -> bool:
        return step % self._train.validate_every == 0 and step > self._validated_step

    def _end_if_done(self, trainer: pl.Trainer) -> None:
        if self._step >= self._train.max_steps or self.is_out_of_patience:
            trainer.should_stop = True

    def _save(self, trainer: pl.Trainer, module: SketchModule, name: str) -> None:
        weights = torch.nn.utils.get_total_norm(module.model.parameters())
        if not math.isfinite(weights):
            raise UserError(
                f"the norm of the weights is {weights} after step {trainer.global_step}: lower"
                f" train.learning_rate (now {self._train.learning_rate}) or train.clip_value"
                f" ({self._train.clip_value}). The last checkpoint is not affected"
            )
        trainer.save_checkpoint(self._folder / name)


def _validate(trainer: pl.Trainer) -> None:
    """A validation between two steps, as Lightning's training loop runs it."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    loop.restarting = False
    trainer.validating = True
    loop.run()
    trainer.training = True
