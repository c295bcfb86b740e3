"""Weights that a new run begins with instead of random ones (`init_from=`)."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from pipeline.config import UserError
from pipeline.training.checkpoint_files import BEST, read_checkpoint
from sketch_model import weights
from sketch_model.config import Condition, ModelConfig
from sketch_model.model import SketchRNN

_PREFIX = "model."
"""Of the model's parameters in a checkpoint, which is of the training module around it."""


class _Found(NamedTuple):
    """What a file of weights holds; only the folder of a model says what model it is."""

    state: dict[str, Tensor]
    config: ModelConfig | None = None
    categories: tuple[str, ...] | None = None


def file_of(init_from: str) -> Path:
    """The file of weights that is meant: the best of a run's folder, a checkpoint's, a model's.

    Raises:
        UserError: if it is none of these.
    """
    given = Path(init_from)
    for path in (given / BEST, given / weights.WEIGHTS_NAME, given):
        if path.is_file():
            return path
    raise UserError(
        f"init_from={init_from} holds no weights: give the folder of a run (with {BEST}), a"
        f" checkpoint of one, or the folder of a model (with {weights.WEIGHTS_NAME})"
    )


def fingerprint(init_from: str) -> str:
    """SHA-256 of the file of weights: a run that begins with others is another run."""
    with file_of(init_from).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load(model: SketchRNN, init_from: str) -> None:
    """Gives a model the weights of another.

    Raises:
        UserError: if they are of a model of other sizes, or of one that was told other categories.
    """
    path = file_of(init_from)
    found = _read(path)
    categories = found.categories
    if model.config.condition is Condition.category and model.data.categories != categories:
        raise UserError(
            f"init_from={init_from}: model.condition=category needs a model that was told the same"
            f" categories in the same order, {list(model.data.categories)}, and this one"
            f" {'does not say them' if categories is None else f'was told {list(categories)}'}"
            "; the folder of a model says them, a checkpoint does not"
        )
    expected = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    shapes = {name: list(tensor.shape) for name, tensor in found.state.items()}
    other = sorted(n for n in expected.keys() | shapes.keys() if expected.get(n) != shapes.get(n))
    if other:
        name = other[0]
        raise UserError(
            f"init_from={init_from} is of another model: {name} is {shapes.get(name, 'missing')}"
            f" there and {expected.get(name, 'missing')} here ({len(other)} parameters differ)."
            f" Train with that model's cells and sizes: {_differences(found.config, model.config)}"
        )
    model.load_state_dict(found.state)


def _differences(found: ModelConfig | None, ours: ModelConfig) -> str:
    """As they are typed on the command line, as far as they are known."""
    if found is None:
        return "model.*, as in the run.json of that run"
    names = (field.name for field in fields(found) if not field.name.endswith("dropout"))
    return " ".join(
        f"model.{name}={getattr(found, name)}"
        for name in names
        if getattr(found, name) != getattr(ours, name)
    )


def _read(path: Path) -> _Found:
    if path.name == weights.WEIGHTS_NAME:
        try:
            model = weights.load(path.parent)
        except ValueError as error:
            raise UserError(f"init_from: {error}") from error
        return _Found(dict(model.state_dict()), model.config, model.data.categories)
    state = read_checkpoint(path).get("state_dict")
    if not isinstance(state, dict):
        raise UserError(f"init_from={path} is a file of tensors but not a checkpoint of a run")
    return _Found({name.removeprefix(_PREFIX): tensor for name, tensor in state.items()})
