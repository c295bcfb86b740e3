"""Step kernels of the HyperLSTM for a GPU (`modulation.HyperKernels`), in Triton.

As `triton_lstm`; a program takes a tile of one gate.
"""

from __future__ import annotations

from typing import no_type_check

import triton
import triton.language as tl

from sketch_model.recurrent.kernels import BackwardStep, ForwardStep
from sketch_model.recurrent.modulation import ModulationBackward, ModulationForward
from sketch_model.recurrent.triton_layer_norm import (
    NUM_STATISTICS,
    SUMS_PER_SKETCH,
    bind_backward,
    bind_forward,
)
from sketch_model.recurrent.triton_lstm import Steps, make_grid, row_stride, tile_layout

__all__ = [
    "NUM_STATISTICS",
    "SUMS_PER_SKETCH",
    "bind_backward",
    "bind_demodulate",
    "bind_forward",
    "bind_modulate",
]


def bind_modulate(buffers: ModulationForward) -> ForwardStep:
    """Scales and shifts, going forward."""
    _, batch_size, size = buffers.modulations.shape
    r, inputs = Steps(buffers.r), Steps(buffers.inputs)
    offset_stride = row_stride(buffers.offset)

    def run(step: int, num_rows: int) -> None:
        layout = tile_layout(num_rows, size)
        _modulate[(*make_grid(num_rows, layout), 4)](
            buffers.modulations,
            r[step],
            inputs[step],
            buffers.input_weight,
            buffers.offset,
            buffers.u,
            num_rows,
            batch_size,
            offset_stride,
            NUM_FEATURES=len(buffers.input_weight),
            **layout,
        )

    return run


def bind_demodulate(buffers: ModulationBackward) -> BackwardStep:
    """The same, going back."""
    _, batch_size, size = buffers.modulations.shape
    r, inputs = Steps(buffers.r), Steps(buffers.inputs)
    offset_stride = row_stride(buffers.offset)

    def run(step: int, num_rows: int, first: int) -> None:
        layout = tile_layout(num_rows, size)
        _demodulate[(*make_grid(num_rows, layout), 4)](
            buffers.modulations,
            r[step],
            inputs[step],
            buffers.input_weight,
            buffers.offset,
            buffers.grad_u,
            buffers.grad_modulations,
            buffers.grad_r[first:],
            buffers.grad_a[first:],
            buffers.grad_offset,
            num_rows,
            batch_size,
            offset_stride,
            NUM_FEATURES=len(buffers.input_weight),
            **layout,
        )

    return run


@triton.jit
@no_type_check
def _multiply_inputs(
    inputs, weight, offset, row, column, offset_stride, kept, SIZE: tl.constexpr, NUM_FEATURES
):
    """x W_x + offset."""
    result = tl.load(offset + row * offset_stride + column, mask=kept, other=0.0)
    for feature in range(NUM_FEATURES):
        x = tl.load(inputs + row * NUM_FEATURES + feature, mask=kept, other=0.0)
        result += x * tl.load(weight + feature * (4 * SIZE) + column, mask=kept, other=0.0)
    return result


@triton.jit(do_not_specialize=["num_rows"])
@no_type_check
def _modulate(
    modulations,
    r,
    inputs,
    weight,
    offset,
    u,
    num_rows,
    batch_size,
    offset_stride,
    NUM_FEATURES: tl.constexpr,
    SIZE: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    unit = tl.program_id(1) * UNITS + tl.arange(0, UNITS)[None, :]
    kept = (row < num_rows) & (unit < SIZE)
    column = tl.program_id(2) * SIZE + unit
    at = (tl.program_id(2) * batch_size + row) * SIZE + unit
    groups = 4 * batch_size * SIZE

    a = _multiply_inputs(
        inputs, weight, offset, row, column, offset_stride, kept, SIZE, NUM_FEATURES
    )
    input_scale = tl.load(modulations + at, mask=kept, other=0.0).to(a.dtype)
    hidden_scale = tl.load(modulations + at + groups, mask=kept, other=0.0).to(a.dtype)
    shift = tl.load(modulations + at + 2 * groups, mask=kept, other=0.0).to(a.dtype)
    product = tl.load(r + row * (4 * SIZE) + column, mask=kept, other=0.0).to(a.dtype)
    result = input_scale * a + hidden_scale * product + shift
    tl.store(u + row * (4 * SIZE) + column, result, mask=kept)


@triton.jit(do_not_specialize=["num_rows"])
@no_type_check
def _demodulate(
    modulations,
    r,
    inputs,
    weight,
    offset,
    grad_u,
    grad_modulations,
    grad_r,
    grad_a,
    grad_offset,
    num_rows,
    batch_size,
    offset_stride,
    NUM_FEATURES: tl.constexpr,
    SIZE: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    unit = tl.program_id(1) * UNITS + tl.arange(0, UNITS)[None, :]
    kept = (row < num_rows) & (unit < SIZE)
    column = tl.program_id(2) * SIZE + unit
    at = (tl.program_id(2) * batch_size + row) * SIZE + unit
    groups = 4 * batch_size * SIZE
    gates_at = row * (4 * SIZE) + column

    a = _multiply_inputs(
        inputs, weight, offset, row, column, offset_stride, kept, SIZE, NUM_FEATURES
    )
    grad = tl.load(grad_u + gates_at, mask=kept, other=0.0).to(a.dtype)
    product = tl.load(r + gates_at, mask=kept, other=0.0).to(a.dtype)
    tl.store(grad_modulations + at, grad * a, mask=kept)
    tl.store(grad_modulations + at + groups, grad * product, mask=kept)
    tl.store(grad_modulations + at + 2 * groups, grad, mask=kept)
    input_scale = tl.load(modulations + at, mask=kept, other=0.0).to(a.dtype)
    hidden_scale = tl.load(modulations + at + groups, mask=kept, other=0.0).to(a.dtype)
    tl.store(grad_r + gates_at, grad * hidden_scale, mask=kept)
    tl.store(grad_a + gates_at, grad * input_scale, mask=kept)
    total = tl.load(grad_offset + gates_at, mask=kept, other=0.0) + grad * input_scale
    tl.store(grad_offset + gates_at, total, mask=kept)
