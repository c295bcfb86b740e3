"""What is exported: a model, and what is known of how it came about."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.config import UserError
from pipeline.results import TRAINING_NAME
from sketch_model import magenta, weights
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


def open_subject(path: Path) -> Subject:
    """Reads a model's folder, with the metrics beside it, or one of Google's *.gen.json files.

    Raises:
        UserError: if it is neither, cannot be read, has weights that are not finite, or the metrics
            are of other data.
    """
    if not path.exists():
        raise UserError(
            f"{path} does not exist: give the folder of a model (results/SOURCE/NAME/model) or one"
            " of Google's *.gen.json files"
        )
    try:
        model = magenta.load_google_json(path) if path.is_file() else weights.load(path)
    except ValueError as error:
        raise UserError(str(error)) from error
    for name, tensor in model.state_dict().items():
        if not tensor.isfinite().all() or tensor.dtype != torch.float32:
            raise UserError(
                f"{path}: {name} must be finite float32, got {tensor.dtype} with"
                f" {int((~tensor.isfinite()).sum())} that are not finite; export another checkpoint"
            )
    if path.is_file():
        return Subject(model)
    metrics = _read(path.parent / METRICS_NAME)
    if metrics is not None:
        _check_metrics(metrics, model, path)
    return Subject(model, _read(path / TRAINING_NAME), metrics)


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
