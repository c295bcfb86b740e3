"""Draws and encodes with exported graphs: onnxruntime and numpy, no torch.

    model = OnnxSketchRNN("exported")
    uniforms = np.random.default_rng(0).random((10, model.N_max, UNIFORMS_PER_POINT))
    z = np.random.default_rng(1).standard_normal((10, model.N_z))
    drawings = model.sample(uniforms, z=z, temperature=0.4)

It is written to be read, and carried over to other languages.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sketch_model.config import MAX_OFFSET

FORMAT_VERSION: Final = 1
UNIFORMS_PER_POINT: Final = 4
START: Final = (0, 0, 1, 0, 0)
_LIFTED, _END = 3, 4  # columns of stroke-5

Floats = NDArray[np.float32]
Context = dict[str, NDArray[Any]]


class OnnxSketchRNN:
    """A folder that `onnx.save_onnx` wrote.

    Attributes:
        offset_scale: drawing units that make the graphs' unit.
        N_max: rows of the longest sequence, end token included.
        categories: what a category's index stands for.
        N_z: numbers of a latent vector; 0 without one.

    Raises:
        ValueError: if onnxruntime is not installed, or the folder is not one of that format.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        path = Path(folder)
        config = _read_config(path / "config.json")
        self.offset_scale: float = config["data"]["offset_scale"]
        self.N_max: int = config["data"]["N_max"]
        self.categories: list[str] = config["data"]["categories"]
        self.N_z: int = config["model"]["N_z"] if config["model"]["conditional"] else 0
        graphs = {name: _open(path / name) for name in config["graphs"]}
        self._step = graphs["step.onnx"]
        self._start = graphs.get("start.onnx")
        self._encoder = graphs.get("encoder.onnx")

    @property
    def _told(self) -> set[str]:
        """Which of z and category each step is told."""
        return {given.name for given in self._step.get_inputs()} & {"z", "category"}

    def encode(self, drawings: Sequence[NDArray[Any]]) -> tuple[Floats, Floats]:
        """Mean and standard deviation of q(z | drawing), [B, N_z] each.

        Args:
            drawings: stroke-3 in drawing units.

        Raises:
            ValueError: if the model has no encoder.
        """
        if self._encoder is None:
            raise ValueError("a decoder-only model has no encoder: export a conditional one")
        lengths = np.array([len(drawing) for drawing in drawings], dtype=np.int64)
        points = np.zeros((len(drawings), lengths.max(), 5), dtype=np.float32)
        for rows, drawing in zip(points, drawings, strict=True):
            rows[: len(drawing)] = self.to_rows(drawing)
        mean, sigma = self._encoder.run(None, {"points": points, "lengths": lengths})
        return mean, sigma

    def to_rows(self, drawing: NDArray[Any]) -> Floats:
        """Stroke-5 in the graphs' unit, [L, 5], of a drawing in stroke-3."""
        offsets = np.clip(drawing[:, :2], -MAX_OFFSET, MAX_OFFSET) / self.offset_scale
        pen = drawing[:, 2]
        rows = [*offsets.T, 1 - pen, pen, np.zeros(len(drawing))]
        return np.stack(rows, axis=1).astype(np.float32)

    def context(
        self, num: int, z: NDArray[Any] | None = None, category: Sequence[str] | None = None
    ) -> Context:
        """What every step of `num` sketches is told.

        Args:
            num: B.
            z: [B, N_z].
            category: a name each.

        Raises:
            ValueError: if it is not what the model takes, or a category is unknown.
        """
        given = {name for name, value in (("z", z), ("category", category)) if value is not None}
        if given != self._told:
            raise ValueError(
                f"each step is told {sorted(self._told)} by this model, got {sorted(given)}"
            )
        told: Context = {}
        if z is not None:
            told["z"] = np.asarray(z, dtype=np.float32)
            if told["z"].shape != (num, self.N_z):
                raise ValueError(f"z must be [{num}, {self.N_z}], got {list(told['z'].shape)}")
        if category is not None:
            if len(category) != num or not set(category) <= set(self.categories):
                raise ValueError(f"category must be {num} of {self.categories}, got {category}")
            indices = [self.categories.index(name) for name in category]
            told["category"] = np.array(indices, dtype=np.int64)
        return told

    def start(self, num: int, context: Context) -> Floats:
        """States before the first step, [B, S]."""
        if self._start is None:
            sizes = {given.name: given.shape for given in self._step.get_inputs()}
            return np.zeros((num, sizes["state"][1]), dtype=np.float32)
        state: Floats = self._start.run(None, context)[0]
        return state

    def step(
        self, point: Floats, state: Floats, context: Context
    ) -> tuple[dict[str, Floats], Floats]:
        """The fields of `mixture.Mixture` for the row after `point` [B, 5], and the next state."""
        names = [given.name for given in self._step.get_outputs()]
        *parameters, state = self._step.run(None, {"point": point, "state": state, **context})
        return dict(zip(names, parameters, strict=False)), state

    def sample(
        self,
        uniforms: NDArray[Any],
        *,
        z: NDArray[Any] | None = None,
        category: Sequence[str] | None = None,
        temperature: float = 1.0,
        prefix: NDArray[Any] | None = None,
    ) -> list[Floats]:
        """Draws; a sketch ends with the model's end token, or with its random numbers.

        Args:
            uniforms: in [0, 1), [B, points, 4]: for the component, the pen state and, two, the
                offset of each point. Those of a prefix are not read.
            z: as in `context`.
            category: as in `context`.
            temperature: above 0, as in Ha & Eck 2017, eq. 8.
            prefix: beginning of all of them, stroke-3 in drawing units; it is not repeated in z.

        Returns:
            Stroke-3 in drawing units, [L, 3] each, as `SketchRNN.sample` gives it.
        """
        num, num_points, _ = uniforms.shape
        context = self.context(num, z, category)
        state = self.start(num, context)
        row = np.tile(np.array(START, dtype=np.float32), (num, 1))
        given = np.zeros((0, 5), np.float32) if prefix is None else self.to_rows(prefix)
        rows = np.zeros((num, num_points, 5), dtype=np.float32)
        for point in range(num_points):
            parameters, state = self.step(row, state, context)
            if point < len(given):
                row = np.tile(given[point], (num, 1))
            else:
                row = draw_row(parameters, uniforms[:, point], temperature)
            rows[:, point] = row
            if rows[:, : point + 1, _END].any(axis=1).all():
                break
        rows[..., :2] *= self.offset_scale
        lengths = np.where(rows[..., _END].any(1), rows[..., _END].argmax(1), num_points)
        return [
            sketch[:length, [0, 1, _LIFTED]] for sketch, length in zip(rows, lengths, strict=True)
        ]


def draw_row(parameters: dict[str, Floats], uniforms: NDArray[Any], temperature: float) -> Floats:
    """One stroke-5 row per sketch, as `sampling.draw_row` with the paper's rule of temperature."""
    component = _draw_index(parameters["weight_logits"], temperature, uniforms[:, 0])
    pen = _draw_index(parameters["pen_logits"], temperature, uniforms[:, 1])
    chosen = {
        name: np.take_along_axis(values, component[:, None], axis=1)[:, 0].astype(np.float64)
        for name, values in parameters.items()
        if name != "pen_logits"
    }
    radius = np.sqrt(-2 * np.log1p(-uniforms[:, 2].astype(np.float64)))
    angle = 2 * np.pi * uniforms[:, 3]
    along, across = radius * np.cos(angle), radius * np.sin(angle)
    spread, rho = np.sqrt(temperature), chosen["rho_logit"]
    correlated = np.tanh(rho) * along + across / np.cosh(rho)
    rows = np.zeros((len(pen), 5), dtype=np.float32)
    rows[:, 0] = chosen["mean_x"] + spread * np.exp(chosen["log_sigma_x"]) * along
    rows[:, 1] = chosen["mean_y"] + spread * np.exp(chosen["log_sigma_y"]) * correlated
    rows[np.arange(len(pen)), 2 + pen] = 1
    return rows


def _draw_index(logits: Floats, temperature: float, uniforms: NDArray[Any]) -> NDArray[np.intp]:
    """Draws from softmax(logits / temperature) by inverting the cumulative distribution."""
    above = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    cumulative = np.exp(above / temperature).cumsum(axis=1)
    thresholds = uniforms * cumulative[:, -1]
    indices: NDArray[np.intp] = (cumulative <= thresholds[:, None]).sum(axis=1)
    indices = np.minimum(indices, logits.shape[1] - 1)
    return indices


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}): give a folder of graphs") from None
    match config:
        case {"format_version": version, "graphs": [*_], "model": {}, "data": {}}:
            if version == FORMAT_VERSION:
                return dict(config)
    raise ValueError(f"{path} is not of graphs of format {FORMAT_VERSION}: export the model again")


def _open(path: Path) -> Any:
    if find_spec("onnxruntime") is None:
        raise ValueError("graphs run under onnxruntime: pip install '.[onnx]'")
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class for each thing that can be wrong
        raise ValueError(f"{path} cannot be run ({error}): export the model again") from None
