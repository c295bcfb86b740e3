"""What a run is computed on, as Lightning is told it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.environments import LightningEnvironment

from pipeline.config import Config, Precision
from pipeline.training.checkpoint_files import CheckpointFiles

_PRECISION: dict[Precision, Literal["32-true", "bf16-mixed"]] = {
    Precision.fp32: "32-true",
    Precision.bf16: "bf16-mixed",
}
"""As Lightning names them; in the second, autocast multiplies in bf16 and weights are float32."""


def make_trainer(config: Config, folder: Path, callbacks: list[Callback]) -> pl.Trainer:
    """Lightning's Trainer: devices, precision, clipping and the rhythm of validations."""
    train = config.train
    return pl.Trainer(
        accelerator="cuda" if torch.cuda.is_available() else "cpu",
        devices=config.trainer.num_processes,
        strategy="ddp" if config.trainer.num_processes > 1 else "auto",
        precision=_PRECISION[train.precision],
        max_steps=-1,  # the run ends after the validation of its last step (checkpoints.py)
        max_epochs=-1,
        val_check_interval=train.validate_every,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        gradient_clip_val=train.clip_value or None,
        gradient_clip_algorithm="value",
        plugins=[LightningEnvironment(), CheckpointFiles()],
        use_distributed_sampler=False,
        logger=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=callbacks,
    )
