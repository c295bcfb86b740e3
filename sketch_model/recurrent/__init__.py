"""Unrolling a cell over time: the place where the way of doing it is chosen.

Everything in here is time-major, because a step then is one contiguous block.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from sketch_model.annotations import Float, Int, Tensor
from sketch_model.cells import (
    HyperLSTMCell,
    LayerNormLSTMCell,
    LSTMCell,
    RecurrentCell,
    State,
)
from sketch_model.recurrent import cudnn
from sketch_model.recurrent.driver import Plan, gather_rows, round_sum, scatter_rows
from sketch_model.recurrent.dropout import dropout_masks
from sketch_model.recurrent.eager import unroll_eager
from sketch_model.recurrent.hyper import unroll_hyper
from sketch_model.recurrent.layer_norm import unroll_layer_norm
from sketch_model.recurrent.lstm import unroll_lstm

__all__ = ["Packing", "dropout_masks", "product_dtype", "unroll", "unroll_packed", "unroll_to_ends"]

_LOG = logging.getLogger("sketch_model")

_PRODUCT_DTYPES: Final = (torch.bfloat16, torch.float32, torch.float64)
"""What step kernels read and write."""


class Packing(NamedTuple):
    """Rows of sketches of many lengths without padding: step after step, the longest first.

    Attributes:
        order: of the sketches, by length.
        counts: sketches that have not ended, at each step until all have.
    """

    order: Int[Tensor, " batch"]
    counts: list[int]

    @property
    def num_rows(self) -> int:
        """With some at the end that stand for nothing, so that shapes recur (`products`)."""
        return round_sum(self.counts, self.counts[0])

    @classmethod
    def of(cls, lengths: Int[Tensor, " batch"], num_steps: int) -> Packing:
        """Of sketches with so many steps each.

        Raises:
            ValueError: if a length is less than 1 or more than `num_steps`.
        """
        order = torch.argsort(lengths, descending=True, stable=True)
        return cls(order, _count_running(lengths, num_steps))

    @property
    def places(self) -> tuple[Int[Tensor, " rows"], Int[Tensor, " rows"]]:
        """The sketch and the step of each row that stands for something."""
        sketches = torch.cat([self.order[:count] for count in self.counts])
        counts = torch.tensor(self.counts)
        return sketches, torch.arange(len(counts)).repeat_interleave(counts)


class Way(NamedTuple):
    """How to unroll a cell.

    Attributes:
        name: for the log.
        unroll: takes (plan, cell, inputs, state, constant, masks).
        kernels: for the plan.
    """

    name: str
    unroll: Callable[..., Tensor]
    kernels: Any


def unroll(
    cell: RecurrentCell,
    inputs: Float[Tensor, "time batch features"],
    state: State,
    *,
    constant: Float[Tensor, "batch constant"] | None = None,
    masks: Float[Tensor, "time batch units"] | None = None,
) -> Float[Tensor, "time batch units"]:
    """Hidden outputs of a cell over all steps, the same as `eager.unroll_eager` gives, faster.

    The matrix products of the recurrence run in autocast's dtype where autocast is on; state,
    gates and outputs are float32 in any case.

    Args:
        cell: takes [inputs ; constant] at each step.
        inputs: what changes from step to step.
        state: before the first step.
        constant: what is the same at every step (the latent vector), multiplied once.
        masks: dropout of the candidates (`dropout_masks`); None is no dropout.

    Raises:
        ValueError: if `inputs` and `constant` together are not as wide as the cell's input.
    """
    width = inputs.shape[-1] + (0 if constant is None else constant.shape[-1])
    if width != cell.input_size:
        raise ValueError(f"the cell takes {cell.input_size} inputs per step, got {width}")
    way = _choose(cell, inputs, masks)
    if way is None:
        return unroll_eager(cell, inputs, state, constant=constant, masks=masks)
    num_steps, batch_size, _ = inputs.shape
    plan = _plan(way, inputs, [batch_size] * num_steps, ends_only=False)
    with torch.autocast(inputs.device.type, enabled=False):
        return way.unroll(plan, cell, inputs, state, constant, masks)


def unroll_to_ends(
    cell: RecurrentCell,
    inputs: Float[Tensor, "time batch features"],
    lengths: Int[Tensor, " batch"],
    *,
    masks: Float[Tensor, "time batch units"] | None = None,
) -> Float[Tensor, "batch units"]:
    """Each sketch's output at its last step, `lengths - 1`, from a zero state.

    What stands in `inputs` and `masks` from `lengths` on does not influence the result. On the CPU
    it is not computed: the sketches are put in order of length, and each step takes those that have
    not ended. Elsewhere that would have to wait for the lengths.

    Args:
        cell: as in `unroll`.
        inputs: as in `unroll`.
        lengths: steps of each sketch, at least 1.
        masks: as in `unroll`.

    Raises:
        ValueError: if a length is less than 1 or more than there are inputs (on the CPU).
    """
    way = _choose(cell, inputs, masks)
    state = cell.zero_state(inputs.shape[1])
    if way is None or inputs.device.type != "cpu":
        outputs = unroll(cell, inputs, state, masks=masks)
        return outputs[lengths - 1, torch.arange(len(lengths), device=outputs.device)]
    order, counts = Packing.of(lengths, len(inputs))
    plan = _plan(way, inputs, counts, ends_only=True)
    inputs = inputs[: len(counts), order]
    masks = None if masks is None else _take_rows(masks, order, counts)
    with torch.autocast(inputs.device.type, enabled=False):
        ends = way.unroll(plan, cell, inputs, state, None, masks)
    return ends[torch.argsort(order)]


def unroll_packed(
    cell: RecurrentCell,
    inputs: Float[Tensor, "time batch features"],
    state: State,
    packing: Packing,
    *,
    constant: Float[Tensor, "batch constant"] | None = None,
    masks: Float[Tensor, "rows units"] | None = None,
) -> Float[Tensor, "rows units"]:
    """Hidden outputs as `unroll` gives them, of the rows of a packing alone and in its order.

    Rows that stand for nothing are zero.

    For the CPU: each step takes the sketches that have not ended.

    Args:
        cell: as in `unroll`.
        inputs: as in `unroll`.
        state: as in `unroll`.
        packing: of the same sketches.
        constant: as in `unroll`.
        masks: as in `unroll`, but packed.
    """
    order, counts = packing
    inputs = inputs[: len(counts), order]
    state = type(state)(*(part[order] for part in state))
    constant = None if constant is None else constant[order]
    if masks is not None:
        masks = _unpack(masks, counts)
    way = _choose(cell, inputs, masks)
    if way is None:
        outputs = unroll_eager(cell, inputs, state, constant=constant, masks=masks)
    else:
        plan = _plan(way, inputs, counts, ends_only=False)
        with torch.autocast(inputs.device.type, enabled=False):
            outputs = way.unroll(plan, cell, inputs, state, constant, masks)
    return _Pack.apply(outputs, counts)  # type: ignore[no-untyped-call, no-any-return]


class _Pack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        return gather_rows(rows, counts, 0, len(counts))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_rows: Tensor) -> tuple[Tensor, None]:
        return _unpack(grad_rows, ctx.counts), None


def _unpack(rows: Tensor, counts: list[int]) -> Tensor:
    """[T, B, columns], with zeros where there is no row."""
    padded = rows.new_zeros(len(counts), counts[0], rows.shape[1])
    scatter_rows(rows, counts, 0, len(counts), padded)
    return padded


def _count_running(lengths: Tensor, num_steps: int) -> list[int]:
    """Sketches that have not ended, at each step until all have.

    Raises:
        ValueError: if a length is none that the inputs can have.
    """
    shortest, longest = (int(length) for length in lengths.aminmax())
    if not 1 <= shortest <= longest <= num_steps:
        raise ValueError(
            f"lengths must lie between 1 and the {num_steps} steps of the inputs,"
            f" got {shortest} to {longest}"
        )
    num_ended = torch.bincount(lengths)[:longest].cumsum(0)
    counts: list[int] = (len(lengths) - num_ended).tolist()
    return counts


def _take_rows(masks: Tensor, order: Tensor, num_rows: list[int]) -> Tensor:
    """The first rows in this order, as many as take part at each step; the others are not set."""
    taken = torch.empty_like(masks)
    for rows, source, num in zip(taken, masks, num_rows, strict=False):
        torch.index_select(source, 0, order[:num], out=rows[:num])
    return taken


def _plan(way: Way, inputs: Tensor, num_rows: list[int], *, ends_only: bool) -> Plan:
    return Plan(
        kernels=way.kernels,
        product_dtype=product_dtype(inputs),
        num_rows=num_rows,
        ends_only=ends_only,
        keep_history=torch.is_grad_enabled(),
    )


def product_dtype(inputs: Tensor) -> torch.dtype:
    """Autocast's where it is on, else that of the inputs."""
    device = inputs.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else inputs.dtype


def _choose(cell: RecurrentCell, inputs: Tensor, masks: Tensor | None) -> Way | None:
    """How to unroll; None is the loop over the cell."""
    device, dtype = inputs.device.type, product_dtype(inputs)
    way = None
    if dtype in _PRODUCT_DTYPES and inputs.dtype == cell.hidden_weight.dtype:
        if device == "cpu" and _is_installed("numba"):
            way = _compiled_way(cell)
        elif device == "cuda":
            way = _gpu_way(cell, dtype, masks)
    name = "the loop over the cell" if way is None else way.name
    _report(type(cell).__name__, device, str(dtype).removeprefix("torch."), name)
    return way


def _compiled_way(cell: nn.Module) -> Way | None:
    """Step kernels of numba."""
    name = "compiled step kernels"
    match cell:
        case LSTMCell():
            from sketch_model.recurrent import compiled_lstm

            return Way(name, unroll_lstm, compiled_lstm)
        case LayerNormLSTMCell():
            from sketch_model.recurrent import compiled_layer_norm

            return Way(name, unroll_layer_norm, compiled_layer_norm)
        case HyperLSTMCell():
            from sketch_model.recurrent import compiled_hyper

            return Way(name, unroll_hyper, compiled_hyper)
    return None


def _gpu_way(cell: RecurrentCell, product_dtype: torch.dtype, masks: Tensor | None) -> Way | None:
    """cuDNN where it does what is asked for, else step kernels."""
    if cudnn.takes(cell, product_dtype, masks):
        return Way("cuDNN", cudnn.unroll_cudnn, None)
    return _triton_way(cell) if _is_installed("triton") else None


def _triton_way(cell: nn.Module) -> Way | None:
    """Step kernels of Triton."""
    name = "Triton step kernels"
    match cell:
        case LSTMCell():
            from sketch_model.recurrent import triton_lstm

            return Way(name, unroll_lstm, triton_lstm)
        case LayerNormLSTMCell():
            from sketch_model.recurrent import triton_layer_norm

            return Way(name, unroll_layer_norm, triton_layer_norm)
        case HyperLSTMCell():
            from sketch_model.recurrent import triton_hyper

            return Way(name, unroll_hyper, triton_hyper)
    return None


@functools.cache
def _is_installed(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


@functools.cache
def _report(cell: str, device: str, product_dtype: str, way: str) -> None:
    """Once for each choice."""
    _LOG.info("%s on %s, products in %s: %s", cell, device, product_dtype, way)
