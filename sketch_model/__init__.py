"""Sketch-RNN: a model that draws, useful with torch and numpy alone.

    model = sketch_model.load("results/doodles/doodles/model")
    drawings = model.sample(10, temperature=0.4)
    z = model.encode(drawings[0])

Names are imported when they are first used, so that a program that only reads a configuration does
not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sketch_model.config import Cell, DataSpec, ModelConfig
    from sketch_model.model import Prediction, SketchRNN
    from sketch_model.sampling import TemperatureRule
    from sketch_model.weights import load, save

__all__ = [
    "Cell",
    "DataSpec",
    "ModelConfig",
    "Prediction",
    "SketchRNN",
    "TemperatureRule",
    "load",
    "save",
]

_MODULES = {
    "config": ("Cell", "DataSpec", "ModelConfig"),
    "model": ("Prediction", "SketchRNN"),
    "sampling": ("TemperatureRule",),
    "weights": ("load", "save"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
