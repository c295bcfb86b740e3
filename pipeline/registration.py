"""A published model in MLflow's registry, where tools of others find it by name and alias."""

from __future__ import annotations

from pipeline.config import Config
from pipeline.results import Training, reopen_run
from pipeline.serving import pyfunc
from sketch_model import weights


def register(config: Config, training: Training, alias: str) -> None:
    """Logs the published model with its run, and registers it under the experiment's name."""
    tracker = reopen_run(config, training)
    tracker.log_model(
        lambda folder: pyfunc.build(weights.load(config.model_dir), folder),
        name=config.name,
        alias=alias,
        step=training["best_step"],
        metrics={f"best/{name}": value for name, value in training["validation"].items()},
    )
    tracker.finish()
