"""Models as ONNX graphs, for other programs and languages.

A folder holds `config.json`, what the numbers mean, and the graphs that the model has:

* `encoder.onnx` (conditional models): points [batch, time, 5] and lengths [batch] -> mean and sigma
  [batch, N_z], of q(z | sketch). Rows from `lengths` on do not matter;
* `start.onnx` (models that are told z or a category): z and category -> state, before the first
  step. Without it, the first state is zero;
* `step.onnx`: point [batch, 5], state [batch, S], z and category as far as the model has them ->
  the fields of `mixture.Mixture` for the row after the point, and next_state.

Everything is float32, but lengths and category (its index in config.json) are int64. Points are
stroke-5 rows, offsets divided by config.json's offset_scale; the first one that is fed to a step is
(0, 0, 1, 0, 0). `onnx_reader` draws with them without torch.

Needs onnx and onnxscript. The loop of the encoder is ONNX's Scan.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from sketch_model.annotations import Float, Int, Tensor
from sketch_model.cells import RecurrentCell
from sketch_model.config import Condition, ModelConfig
from sketch_model.decoder import Decoder
from sketch_model.encoder import NUM_COLUMNS, Encoder, reverse_within_lengths
from sketch_model.mixture import Mixture
from sketch_model.model import SketchRNN
from sketch_model.onnx_reader import FORMAT_VERSION

OPSET: Final = 20
"""Version of the operators: onnxruntime reads it from 1.17 on."""

_MAX_BYTES: Final = 2**31 - 2**20  # what protobuf holds, less what is not weights
_BATCH, _TIME = 2, 3  # of the example that a graph is traced with; 0 and 1 would be taken as fixed


def save_onnx(model: SketchRNN, folder: str | os.PathLike[str]) -> None:
    """Writes the graphs of a model and what its numbers mean.

    Args:
        model: on any device, in float32.
        folder: made if it is not there.

    Raises:
        ValueError: if onnx or onnxscript is not installed, or a graph would be too large.
    """
    if lacking := [name for name in ("onnx", "onnxscript") if find_spec(name) is None]:
        raise ValueError(f"ONNX needs {' and '.join(lacking)}: pip install '.[onnx]'")
    _check_size(model)
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    model = copy.deepcopy(model).cpu().eval().requires_grad_(False)  # Scan takes no gradients
    graphs = _graphs(model)
    for name, (graph, inputs, outputs) in graphs.items():
        _write(path / name, graph, inputs, outputs)
    config = {
        "format_version": FORMAT_VERSION,
        "graphs": sorted(graphs),
        "model": asdict(model.config),
        "data": asdict(model.data),
    }
    (path / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _check_size(model: SketchRNN) -> None:
    size_bytes = sum(weights.numel() * 4 for weights in model.decoder.parameters())
    if size_bytes > _MAX_BYTES:
        raise ValueError(
            f"the decoder has {size_bytes:,} bytes of weights, and a file of ONNX holds at most"
            f" {_MAX_BYTES:,}: train one with a smaller model.decoder_size"
        )


def _graphs(model: SketchRNN) -> dict[str, tuple[nn.Module, dict[str, Tensor], list[str]]]:
    """Each file's graph, an example of its inputs in their order, and names of its outputs."""
    config, decoder = model.config, model.decoder
    told = _example_context(config)
    point = torch.zeros(_BATCH, NUM_COLUMNS)
    state = torch.zeros(_BATCH, decoder.cell.state_size)
    names = [*(field.name for field in fields(Mixture)), "next_state"]
    graphs: dict[str, tuple[nn.Module, dict[str, Tensor], list[str]]] = {
        "step.onnx": (_Step(decoder), {"point": point, "state": state, **told}, names)
    }
    if told:
        graphs["start.onnx"] = (_Start(decoder), told, ["state"])
    if model.encoder is not None:
        points = torch.zeros(_BATCH, _TIME, NUM_COLUMNS)
        lengths = torch.full((_BATCH,), _TIME)
        inputs = {"points": points, "lengths": lengths}
        graphs["encoder.onnx"] = (_Encode(model.encoder), inputs, ["mean", "sigma"])
    return graphs


def _example_context(config: ModelConfig) -> dict[str, Tensor]:
    told = {}
    if config.conditional:
        told["z"] = torch.zeros(_BATCH, config.N_z)
    if config.condition is Condition.category:
        told["category"] = torch.zeros(_BATCH, dtype=torch.int64)
    return told


class _Encode(nn.Module):
    """As `Encoder`, with a loop that can be written as a graph."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(
        self, points: Float[Tensor, "batch time 5"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Tensor, Tensor]:
        encoder, ahead = self.encoder, points.transpose(0, 1)
        back = reverse_within_lengths(ahead, lengths)
        ends = [
            _read_to_ends(encoder.forward_cell, ahead, lengths),
            _read_to_ends(encoder.backward_cell, back, lengths),
        ]
        summary = torch.cat(ends, dim=-1)
        return encoder.mean(summary), torch.exp(0.5 * encoder.log_variance(summary))


def _read_to_ends(
    cell: RecurrentCell, rows: Float[Tensor, "time batch 5"], lengths: Int[Tensor, " batch"]
) -> Float[Tensor, "batch units"]:
    """Each sketch's output at its last step: after it, a sketch's state stays what it is."""
    from torch._higher_order_ops.scan import scan

    def step(state: Tensor, x: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        row, time = x
        new = torch.cat(list(cell(row, cell.split_state(state))), dim=-1)
        return torch.where((time < lengths)[:, None], new, state), time.clone()

    zero = rows.new_zeros(rows.shape[1], cell.state_size)
    state, _ = scan(step, zero, (rows, torch.arange(rows.shape[0])))
    h: Tensor = cell.split_state(state).h
    return h


class _Start(nn.Module):
    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self,
        z: Float[Tensor, "batch N_z"] | None = None,
        category: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch state"]:
        assert self.decoder.initial is not None
        return torch.tanh(self.decoder.initial(self.decoder.context(z, category)))


class _Step(nn.Module):
    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self,
        point: Float[Tensor, "batch 5"],
        state: Float[Tensor, "batch state"],
        z: Float[Tensor, "batch N_z"] | None = None,
        category: Int[Tensor, " batch"] | None = None,
    ) -> tuple[Tensor, ...]:
        decoder, context = self.decoder, self.decoder.context(z, category)
        mixture, parts = decoder.step(point, context, decoder.cell.split_state(state))
        parameters = (getattr(mixture, field.name) for field in fields(mixture))
        return *parameters, torch.cat(list(parts), dim=-1)


def _write(path: Path, graph: nn.Module, inputs: dict[str, Tensor], outputs: list[str]) -> None:
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass, RemoveUnusedNodesPass

    shapes = _dynamic_shapes(inputs)
    with _quiet():
        # Strict: by the other way, `len` of a tensor is a constant.
        traced = torch.export.export(graph.eval(), (), inputs, dynamic_shapes=shapes, strict=True)
        program = torch.onnx.export(
            traced,
            kwargs=inputs,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes=shapes,
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    ClearMetadataAndDocStringPass()(program.model)  # where each operator stands in these sources
    RemoveUnusedNodesPass()(program.model)  # weights that a Scan does not read
    program.save(path, external_data=False)


def _dynamic_shapes(inputs: dict[str, Tensor]) -> dict[str, dict[int, Any]]:
    """The first input names the axes: the exporter warns of a name that is given twice."""
    Dim = torch.export.Dim
    shapes: dict[str, dict[int, Any]] = {name: {0: Dim.DYNAMIC} for name in inputs}
    first = next(iter(inputs))
    shapes[first] = {0: Dim("batch")}
    if first == "points":
        shapes[first][1] = Dim("time")
    return shapes


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch 2.13 says of itself and of torchvision."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*treespec, LeafSpec.* is deprecated")
            yield
    finally:
        log.setLevel(level)
