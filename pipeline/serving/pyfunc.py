"""A model as MLflow keeps and serves it: with signature, example, environment and code."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sketch_model
from sketch_model.config import Condition
from sketch_model.model import SketchRNN
from sketch_model.weights import save

_LIBRARIES = ("mlflow", "torch", "numpy", "numba", "safetensors", "pydantic")
_TRIANGLE = [[40.0, 0.0, 0.0], [-20.0, 35.0, 0.0], [-20.0, -35.0, 1.0]]
_ATTRIBUTION = "Quick, Draw! data by Google, licensed under CC BY 4.0"
_QUICKDRAW = ("quickdraw", "google")
"""Sources of a model that are certain to be Google's drawings; a local folder may hold any."""


def build(model: SketchRNN, folder: Path) -> None:
    """Writes a folder that MLflow can log, and serve without this repository.

    Args:
        model: also one that was imported.
        folder: must not be there yet, or be empty.
    """
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, of its own types
        import mlflow.pyfunc

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary:
        weights = Path(temporary) / "model"
        save(model, weights)
        mlflow.pyfunc.save_model(
            path=folder,
            python_model=str(Path(__file__).with_name("service.py")),
            artifacts={"model": str(weights)},
            code_paths=[str(Path(sketch_model.__file__).parent)],
            input_example=_example(model),
            pip_requirements=[_requirement(name) for name in _LIBRARIES],
            metadata=_metadata(model),
        )


def _example(model: SketchRNN) -> list[dict[str, Any]]:
    """One row of each task that the model can do."""
    told = {}
    if model.config.condition is Condition.category:
        told["category"] = model.data.categories[0]
    rows: list[dict[str, Any]] = [
        {"task": "sample", "num": 2, "temperature": 0.4, "seed": 1},
        {"task": "complete", "drawing": _TRIANGLE, "seed": 1},
    ]
    if model.config.conditional:
        rows.append({"task": "reconstruct", "drawing": _TRIANGLE, "seed": 1})
    return [row | told for row in rows]


def _metadata(model: SketchRNN) -> dict[str, Any]:
    data = model.data
    metadata: dict[str, Any] = {
        "data": data.source,
        "categories": list(data.categories),
        "N_max": data.N_max,
        "offset_scale": data.offset_scale,
        "conditional": model.config.conditional,
    }
    if data.source in _QUICKDRAW:
        metadata["attribution"] = _ATTRIBUTION
    return metadata


def _requirement(name: str) -> str:
    """The installed version, as any index has it: "2.13.0+cpu" is on PyTorch's alone."""
    return f"{name}=={version(name).partition('+')[0]}"
