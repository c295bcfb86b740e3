"""What `mlflow models serve` runs. It travels with a model, beside `sketch_model`.

MLflow executes this file where the model is served, so it imports nothing else of this project.
"""

from __future__ import annotations

import secrets
from typing import Any

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModel
from numpy.typing import NDArray
from pydantic import BaseModel

import sketch_model
from sketch_model.config import Condition
from sketch_model.svg import sketch_to_svg

MAX_DRAWINGS = 1000
"""Drawings of all rows of a request."""
_MAX_SEED = 2**63 - 1


class Row(BaseModel, extra="forbid"):
    """One of a request's `inputs`."""

    task: str
    """reconstruct: the drawing, encoded and drawn again. complete: the drawing is a beginning.
    sample: drawings of the model's own."""
    drawing: list[list[float]] | None = None
    """Rows (dx, dy, pen_lifted) in drawing units."""
    category: str | None = None
    """Of what is drawn; for a model that is told."""
    temperature: float | None = None
    """1 by default."""
    seed: int | None = None
    """Drawn by default; the answer has it."""
    num: int | None = None
    """How many drawings; one by default."""


class Drawings(BaseModel):
    """The answer to a row."""

    drawings: list[list[list[float]]]
    """Rows (dx, dy, pen_lifted) of each; those of a completed drawing include the given ones."""
    svgs: list[str]
    seed: int


class DrawingService(PythonModel):
    """Answers rows one after another, each by itself: the same row gives the same drawings."""

    def load_context(self, context: Any) -> None:
        """Reads the model and draws once, which compiles what is compiled."""
        self._model = sketch_model.load(context.artifacts["model"])
        told = self._model.config.condition is Condition.category
        category = self._model.data.categories[0] if told else None
        self._model.sample(category=category, seed=0)

    def predict(self, model_input: list[Row]) -> list[Drawings]:  # type: ignore[override]
        """The drawings of each row.

        Raises:
            MlflowException: which the server answers with HTTP 400, if a row is not understood or
                asks for what the model cannot do.
        """
        num = sum(max(row.num or 1, 1) for row in model_input)
        if num > MAX_DRAWINGS:
            raise MlflowException.invalid_parameter_value(
                f"a request may ask for {MAX_DRAWINGS} drawings, got {num}: send several requests"
            )
        return [self._answer(f"inputs[{n}]", row) for n, row in enumerate(model_input)]

    def _answer(self, place: str, row: Row) -> Drawings:
        try:
            seed = secrets.randbelow(_MAX_SEED) if row.seed is None else row.seed
            if not 0 <= seed <= _MAX_SEED:
                raise ValueError(f"seed={seed} must lie between 0 and {_MAX_SEED}")
            drawings = self._draw(row, seed)
        except ValueError as error:
            raise MlflowException.invalid_parameter_value(f"{place}: {error}") from None
        given = len(row.drawing or ()) if row.task == "complete" else 0
        return Drawings(
            drawings=[drawing.tolist() for drawing in drawings],
            svgs=[sketch_to_svg(drawing, split_after=given) for drawing in drawings],
            seed=seed,
        )

    def _draw(self, row: Row, seed: int) -> list[NDArray[np.float32]]:
        options: dict[str, Any] = {"num": row.num, "category": row.category, "seed": seed}
        if row.temperature is not None:
            options["temperature"] = row.temperature
        match row.task:
            case "sample" if row.drawing is not None:
                raise ValueError("task=sample reads no drawing: leave it out")
            case "sample":
                return self._model.sample(**options)
            case "complete":
                return self._model.sample(prefix=_given(row), **options)
            case "reconstruct":
                z = self._model.encode(_given(row))
                return self._model.sample(z=z, **options)
        raise ValueError(f"task={row.task!r} must be one of reconstruct, complete, sample")


def _given(row: Row) -> NDArray[np.float32]:
    if row.drawing is None:
        raise ValueError(f"task={row.task} needs a drawing: rows (dx, dy, pen_lifted)")
    for n, point in enumerate(row.drawing):
        if len(point) != 3:
            raise ValueError(f"drawing[{n}] must be (dx, dy, pen_lifted), got {point}")
    return np.array(row.drawing, np.float32).reshape(-1, 3)


mlflow.models.set_model(DrawingService())
