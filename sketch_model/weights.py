"""A model as a folder: `model.safetensors` and `config.json`. Weights and data, never code."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from sketch_model.config import Cell, Condition, DataSpec, ModelConfig, choose
from sketch_model.model import SketchRNN

FORMAT_VERSION: Final = 2
CONFIG_NAME: Final = "config.json"
WEIGHTS_NAME: Final = "model.safetensors"


def save(model: SketchRNN, folder: str | os.PathLike[str]) -> None:
    """Writes a model's weights, sizes and data specification, each file whole or not at all.

    Args:
        model: on any device.
        folder: made if it is not there; files of a model in it are replaced.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    config = {
        "format_version": FORMAT_VERSION,
        "model": asdict(model.config),
        "data": asdict(model.data),
    }
    temporary = path / f".{WEIGHTS_NAME}.partial"
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    temporary.write_bytes(to_bytes(tensors))  # save_file has an error of its own for a full disk
    temporary.replace(path / WEIGHTS_NAME)
    temporary = path / f".{CONFIG_NAME}.partial"
    temporary.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path / CONFIG_NAME)


def load(folder: str | os.PathLike[str], device: torch.device | str = "cpu") -> SketchRNN:
    """Reads a model that `save` wrote, ready to draw (in evaluation mode).

    Raises:
        ValueError: if a file is missing or unreadable, the format version is another, or the
            weights do not fit the configuration.
    """
    path = Path(folder)
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        if not (path / name).is_file():
            raise ValueError(
                f"{path} holds no model: {name} is missing; give the folder that"
                " sketch_model.save or training wrote"
            )
    config, data = _read_config(path / CONFIG_NAME)
    try:
        weights = load_file(path / WEIGHTS_NAME)
    except Exception as error:  # safetensors raises its own class for whatever is wrong
        raise ValueError(f"{path / WEIGHTS_NAME} is not a safetensors file: {error}") from None
    # No memory and no random numbers for initial weights that are replaced at once.
    with torch.device("meta"):
        model = SketchRNN(config, data)
    _check_weights(model, weights, path)
    model.load_state_dict(weights, assign=True)
    return model.to(device).eval()


def _read_config(path: Path) -> tuple[ModelConfig, DataSpec]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    version = content.get("format_version") if isinstance(content, dict) else None
    if version == 1:
        content = _upgrade(content)
    elif version != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format_version {version}, and this version of sketch_model reads"
            f" 1 to {FORMAT_VERSION}; load it with the version that wrote it, or train again"
        )
    model = _section(path, content, "model", ModelConfig)
    data = _section(path, content, "data", DataSpec)
    try:
        choices = {
            "encoder_cell": choose("model.encoder_cell", Cell, model["encoder_cell"]),
            "decoder_cell": choose("model.decoder_cell", Cell, model["decoder_cell"]),
            "condition": choose("model.condition", Condition, model["condition"]),
        }
        config = ModelConfig(**model | choices)
        return config, DataSpec(**data | {"categories": tuple(data["categories"])})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def _upgrade(content: dict[str, Any]) -> dict[str, Any]:
    """Version 1 as version 2 has it: one cell for both sides, and options that were not there."""
    model = content.get("model")
    if not isinstance(model, dict) or "cell" not in model:
        return content
    kept = {name: value for name, value in model.items() if name != "cell"}
    cells = {"encoder_cell": model["cell"], "decoder_cell": model["cell"]}
    return content | {"model": asdict(ModelConfig()) | cells | kept}


def _section(path: Path, content: dict[str, Any], name: str, kind: Any) -> dict[str, Any]:
    """One object of the file, with exactly the fields of its dataclass."""
    section = content.get(name)
    expected = {field.name for field in fields(kind)}
    found = set(section) if isinstance(section, dict) else set()
    if found != expected:
        raise ValueError(
            f"{path}: {name!r} must have the fields {sorted(expected)}; missing"
            f" {sorted(expected - found)}, unknown {sorted(found - expected)}"
        )
    assert isinstance(section, dict)
    return section


def _check_weights(model: SketchRNN, weights: dict[str, torch.Tensor], path: Path) -> None:
    expected = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: list(tensor.shape) for name, tensor in weights.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise ValueError(
                f"{path}: {CONFIG_NAME} calls for {name} of shape {expected.get(name)}, and"
                f" {WEIGHTS_NAME} has {found.get(name)}; the two files are not of one model"
            )
