"""What a run is computed on, as Lightning is told it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy, Strategy

from pipeline.config import Config, Precision
from pipeline.training.checkpoint_writer import CheckpointFiles
from pipeline.training.launch import Launch, LaunchEnvironment

_PRECISION: dict[Precision, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    Precision.fp32: "32-true",
    Precision.bf16: "bf16-mixed",
    Precision.fp16: "16-mixed",
}
"""As Lightning names them; in the others, autocast multiplies so and weights are float32."""


def make_trainer(
    config: Config, launch: Launch, folder: Path, callbacks: list[Callback]
) -> pl.Trainer:
    """Lightning's Trainer: devices, precision and the rhythm of validations."""
    train = config.train
    return pl.Trainer(
        accelerator=launch.device.type,
        devices=1,  # the strategy knows them
        strategy=_strategy(launch, config.trainer.timeout_s),
        precision=_PRECISION[train.precision],
        max_steps=-1,  # the run ends after the validation of its last step (checkpoints.py)
        max_epochs=-1,
        val_check_interval=train.validate_every,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        plugins=[LaunchEnvironment(launch), CheckpointFiles()],
        use_distributed_sampler=False,
        logger=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=callbacks,
    )


def _strategy(launch: Launch, timeout_s: int) -> Strategy:
    """Gradients are averaged over the processes in the backward pass.

    Every parameter gets one at every step, below the floor of L_KL too, so that none is looked for.
    """
    if launch.world_size == 1:
        return SingleDeviceStrategy(launch.device)
    return DDPStrategy(
        parallel_devices=[launch.device] * launch.num_local,
        process_group_backend="gloo" if launch.device.type == "cpu" else "nccl",
        timeout=timedelta(seconds=timeout_s),
        gradient_as_bucket_view=True,
    )
