"""What is exported: a model, and what is known of how it came about."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.config import UserError
from pipeline.results import TRAINING_NAME
from sketch_model.model import SketchRNN

METRICS_NAME = "metrics.json"


@dataclass(frozen=True)
class Subject:
    """A model, and what lies beside it.

    Attributes:
        model: in evaluation mode, on the CPU.
        training: what training.json says; None without one.
        metrics: figures of the test split; None if it was not evaluated.
    """

    model: SketchRNN
    training: dict[str, Any] | None = None
    metrics: dict[str, Any] | None = None


def make_subject(address: str, model: SketchRNN, folder: Path | None) -> Subject:
    """A model with what is recorded beside it.

    Args:
        address: what the user called it.
        model: in evaluation mode.
        folder: of its weights, which may have training.json, and metrics.json around it; None if
            it is of no such folder.

    Raises:
        UserError: if its weights are not finite, a record cannot be read, or the metrics are of
            other data.
    """
    for name, tensor in model.state_dict().items():
        if not tensor.isfinite().all() or tensor.dtype != torch.float32:
            raise UserError(
                f"{address}: {name} must be finite float32, got {tensor.dtype} with"
                f" {int((~tensor.isfinite()).sum())} that are not finite; export another checkpoint"
            )
    if folder is None:
        return Subject(model)
    metrics = _read(folder.parent / METRICS_NAME)
    if metrics is not None:
        _check_metrics(metrics, model, folder)
    return Subject(model, _read(folder / TRAINING_NAME), metrics)


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error}): write it again, or remove it") from error


def _check_metrics(metrics: dict[str, Any], model: SketchRNN, path: Path) -> None:
    found = metrics.get("N_max"), metrics.get("offset_scale")
    expected = model.data.N_max, model.data.offset_scale
    if found != expected:
        raise UserError(
            f"{path.parent / METRICS_NAME} is of data with (N_max, offset_scale) = {found}, and the"
            f" model in {path} of {expected}: run python -m pipeline.evaluate again, or remove it"
        )
