"""Finds the model that is meant by an address, of whatever kind.

torch is imported with this module: a command does so when drawing begins.
"""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from pipeline.config import TrackingConfig, UserError
from pipeline.manifest import Manifest
from sketch_model import weights
from sketch_model.config import Cell, Condition, DataSpec, ModelConfig
from sketch_model.magenta import load_google_json
from sketch_model.model import SketchRNN

_MLFLOW = re.compile(r"(models|runs):/.")
_BEST = "best.ckpt"
_PREFIX = "model."
"""Of the model's parameters in a checkpoint, which is of the training module around it."""
_CHOICES = {"encoder_cell": Cell, "decoder_cell": Cell, "condition": Condition}
_UNREADABLE = (OSError, EOFError, RuntimeError, LookupError, TypeError, ValueError)
_ADDRESSES = (
    "give a model's folder (results/quickdraw/NAME/model) or the folder of results around it, a"
    " run's folder with a checkpoint, one of Google's *.gen.json, or models:/NAME@ALIAS or"
    " runs:/RUN_ID/NAME of MLflow"
)


@dataclass(frozen=True)
class Found:
    """A model, ready to draw.

    Attributes:
        model: in evaluation mode.
        folder: with its weights, and what else is known of it, if it is one of results.
        manifest: of the data that it was trained on, if what lies beside the model names it.
        is_run: whether it is a run's best checkpoint.
    """

    model: SketchRNN
    folder: Path | None = None
    manifest: Path | None = None
    is_run: bool = False


def load_model(
    address: str, tracking: TrackingConfig | None = None, manifest: Path | None = None
) -> Found:
    """The model of an address.

    Args:
        address: a folder, a JSON file or a URI of MLflow.
        tracking: of the MLflow store that knows a URI; the default one if None.
        manifest: of the data that a run's folder was trained on, which does not say what they are.

    Raises:
        UserError: if there is no model, or it cannot be read; says what could be given.
    """
    path = Path(address)
    try:
        if _MLFLOW.match(address):
            return Found(_download(address, tracking or TrackingConfig()))
        if path.suffix == ".json" and path.is_file():
            return Found(load_google_json(path))
        if (path / _BEST).is_file():
            return Found(_load_run(path, manifest), manifest=manifest, is_run=True)
        for folder in (path, path / "model"):
            if (folder / weights.CONFIG_NAME).is_file():
                return Found(weights.load(folder), folder, _manifest_beside(folder))
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"model {address}: {error}") from error
    raise UserError(f"there is no model at {address}: {_ADDRESSES}")


def _download(uri: str, tracking: TrackingConfig) -> SketchRNN:
    from pipeline.tracking import download_model  # MLflow takes seconds

    with tempfile.TemporaryDirectory() as folder:
        return weights.load(download_model(uri, Path(folder), tracking))


def _manifest_beside(folder: Path) -> Path | None:
    """What training.json says; paths in it are relative to where training was started."""
    try:
        config = json.loads((folder / "training.json").read_text())["config"]
        path = Path(config["data_dir"]) / "manifests" / f"{config['name']}.json"
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return path if path.is_file() else None


def _load_run(folder: Path, manifest_path: Path | None) -> SketchRNN:
    """The best checkpoint of a run, which is told from the manifest what its numbers mean."""
    if manifest_path is None:
        raise UserError(
            f"the run in {folder} does not say what its numbers mean: give the folder of its"
            " results, or, to pipeline.draw, --data MANIFEST of the data that it was trained on"
        )
    trained_on, config, parameters = _read_checkpoint(folder / _BEST)
    manifest = Manifest.read(manifest_path)
    if trained_on != manifest.fingerprint:
        raise UserError(
            f"the run in {folder} was trained on data with the fingerprint {trained_on}, and"
            f" {manifest_path} has {manifest.fingerprint}: give the manifest of that run"
        )
    data = DataSpec(
        offset_scale=manifest.offset_scale,
        N_max=manifest.N_max,
        categories=tuple(manifest.categories),
        source=str(manifest.source["name"]),
    )
    model = SketchRNN(config, data)
    model.load_state_dict(parameters)
    return model.eval()


def _read_checkpoint(path: Path) -> tuple[str, ModelConfig, dict[str, torch.Tensor]]:
    """Fingerprint of the data, sizes and weights."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        sizes: dict[str, Any] = content["identity"]["model"]
        choices = {name: kind(sizes[name]) for name, kind in _CHOICES.items()}
        parameters = content["state_dict"].items()
        return (
            content["identity"]["data"],
            ModelConfig(**sizes | choices),
            {name.removeprefix(_PREFIX): tensor for name, tensor in parameters},
        )
    except (*_UNREADABLE, UnpicklingError) as error:
        raise UserError(
            f"{path} is not a checkpoint of a run ({str(error).splitlines()[0]}): give the folder"
            " of its results, or train again"
        ) from error
