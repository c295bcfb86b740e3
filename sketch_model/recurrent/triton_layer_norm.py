"""Step kernels of the layer-norm LSTM for a GPU (`kernels.StepKernels`), in Triton.

As `triton_lstm`, but that a program takes whole sketches, because a norm is over all units of one.
Going back, a program takes every so many-th sketch and adds up what gains and shifts get from them
before it writes, to a row of its own.
"""

from __future__ import annotations

from typing import Any, Final, no_type_check

import triton
import triton.language as tl

from sketch_model.cells import LAYER_NORM_EPSILON
from sketch_model.recurrent.kernels import (
    BackwardBuffers,
    BackwardStep,
    ForwardBuffers,
    ForwardStep,
)
from sketch_model.recurrent.triton_lstm import Steps, load_gate, row_stride, store_gate, tanh

NUM_STATISTICS: Final = 5

SUMS_PER_SKETCH: Final = True

MAX_PROGRAMS: Final = 512
"""Going back: about four on each multiprocessor of a large GPU."""

_EPSILON = tl.constexpr(LAYER_NORM_EPSILON)


def bind_forward(buffers: ForwardBuffers) -> ForwardStep:
    """The step going forward."""
    u, c, outputs = Steps(buffers.u), Steps(buffers.c), Steps(buffers.outputs)
    masks, operands = Steps(buffers.masks), Steps(buffers.operands)
    statistics = Steps(buffers.statistics)
    offset_stride = row_stride(buffers.offset)
    num_columns = buffers.operands.shape[-1]
    layout = row_layout(buffers.c.shape[-1])

    def run(step: int, num_rows: int) -> None:
        _step_forward[(num_rows,)](
            u[step],
            buffers.offset,
            masks[step],
            *buffers.parameters,
            c[step],
            c[step + 1],
            statistics[step],
            outputs[step],
            operands[step + 1],
            offset_stride,
            num_columns,
            HAS_MASKS=buffers.masks is not None,
            **layout,
        )

    return run


def bind_backward(buffers: BackwardBuffers) -> BackwardStep:
    """The step going back."""
    u, c, masks = Steps(buffers.u), Steps(buffers.c), Steps(buffers.masks)
    statistics, grad_outputs = Steps(buffers.statistics), Steps(buffers.grad_outputs)
    offset_stride = row_stride(buffers.offset)
    layout = row_layout(buffers.c.shape[-1])

    def run(step: int, num_rows: int, first: int) -> None:
        num_programs = min(num_rows, MAX_PROGRAMS)
        _step_backward[(num_programs,)](
            u[step],
            buffers.offset,
            masks[step],
            *buffers.parameters,
            c[step],
            c[step + 1],
            statistics[step],
            grad_outputs[step],
            buffers.grad_h,
            buffers.grad_c,
            buffers.grad_u[first:],
            buffers.grad_offset,
            *buffers.grad_parameters,
            num_rows,
            offset_stride,
            HAS_MASKS=buffers.masks is not None,
            HAS_GRAD_OUTPUTS=buffers.grad_outputs is not None,
            TURNS=triton.cdiv(num_rows, num_programs),
            **layout,
        )

    return run


def row_layout(size: int) -> dict[str, Any]:
    """How a program holds a row of so many units."""
    block = triton.next_power_of_2(size)
    return {"SIZE": size, "BLOCK": block, "num_warps": min(max(block // 64, 1), 16)}


@triton.jit
@no_type_check
def load_row(pointer, kept, like):
    """Numbers of a row, zero beyond its end, in the type of `like`."""
    return tl.load(pointer, mask=kept, other=0.0).to(like.dtype)


@triton.jit
@no_type_check
def normalize(x, statistics, kept, SIZE: tl.constexpr):
    """x to mean 0 and variance 1; writes what `renormalize` reads."""
    mean = tl.sum(x, 0) / SIZE
    centred = tl.where(kept, x - mean, 0.0)
    scale = 1 / tl.sqrt(tl.sum(centred * centred, 0) / SIZE + _EPSILON)
    tl.store(statistics, mean)
    tl.store(statistics + 1, scale)
    return centred * scale


@triton.jit
@no_type_check
def renormalize(x, statistics, kept):
    """What `normalize` gave, and the scale."""
    scale = tl.load(statistics + 1)
    return tl.where(kept, (x - tl.load(statistics)) * scale, 0.0), scale


@triton.jit
@no_type_check
def normalize_backward(grad, normal, scale, kept, SIZE: tl.constexpr):
    """Gradient of x, of that of `normalize(x)`."""
    mean, slope = tl.sum(grad, 0) / SIZE, tl.sum(grad * normal, 0) / SIZE
    return tl.where(kept, scale * (grad - mean - normal * slope), 0.0)


@triton.jit
@no_type_check
def affine(gate, normal, gain, shift, unit, kept, SIZE: tl.constexpr):
    """A normal row times its gain, shifted."""
    at = gate * SIZE + unit
    return load_row(gain + at, kept, normal) * normal + load_row(shift + at, kept, normal)


@triton.jit
@no_type_check
def _step_forward(
    u,
    offset,
    masks,
    gate_gain,
    gate_shift,
    memory_gain,
    memory_shift,
    c,
    new_c,
    statistics,
    outputs,
    operands,
    offset_stride,
    num_columns,
    HAS_MASKS: tl.constexpr,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0)
    unit = tl.arange(0, BLOCK)
    kept = unit < SIZE
    at, statistics = row * SIZE + unit, statistics + row * 10
    gates_at, offset_at = row * (4 * SIZE) + unit, row * offset_stride + unit

    old = tl.load(c + at, mask=kept, other=0.0)
    i = load_gate(0, u, offset, gates_at, offset_at, kept, SIZE, old)
    j = load_gate(1, u, offset, gates_at, offset_at, kept, SIZE, old)
    f = load_gate(2, u, offset, gates_at, offset_at, kept, SIZE, old)
    o = load_gate(3, u, offset, gates_at, offset_at, kept, SIZE, old)
    i = normalize(i, statistics, kept, SIZE)
    j = normalize(j, statistics + 2, kept, SIZE)
    f = normalize(f, statistics + 4, kept, SIZE)
    o = normalize(o, statistics + 6, kept, SIZE)
    i = tl.sigmoid(affine(0, i, gate_gain, gate_shift, unit, kept, SIZE))
    j = tanh(affine(1, j, gate_gain, gate_shift, unit, kept, SIZE))
    f = tl.sigmoid(affine(2, f, gate_gain, gate_shift, unit, kept, SIZE))
    o = tl.sigmoid(affine(3, o, gate_gain, gate_shift, unit, kept, SIZE))
    if HAS_MASKS:
        j *= load_row(masks + at, kept, old)
    new = old * f + i * j
    normal = normalize(new, statistics + 8, kept, SIZE)
    h = tanh(affine(0, normal, memory_gain, memory_shift, unit, kept, SIZE)) * o
    tl.store(new_c + at, new, mask=kept)
    tl.store(outputs + at, h, mask=kept)
    tl.store(operands + row * num_columns + unit, h, mask=kept)


@triton.jit(do_not_specialize=["num_rows"])
@no_type_check
def _step_backward(
    u,
    offset,
    masks,
    gate_gain,
    gate_shift,
    memory_gain,
    memory_shift,
    c,
    new_c,
    all_statistics,
    grad_outputs,
    grad_h,
    grad_c,
    grad_u,
    grad_offset,
    grad_gate_gain,
    grad_gate_shift,
    grad_memory_gain,
    grad_memory_shift,
    num_rows,
    offset_stride,
    HAS_MASKS: tl.constexpr,
    HAS_GRAD_OUTPUTS: tl.constexpr,
    TURNS: tl.constexpr,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    unit = tl.arange(0, BLOCK)
    zero = tl.zeros((BLOCK,), c.dtype.element_ty)
    gain_i, gain_j, gain_f, gain_o, gain_c = zero, zero, zero, zero, zero
    shift_i, shift_j, shift_f, shift_o, shift_c = zero, zero, zero, zero, zero
    for turn in range(TURNS):
        row = tl.program_id(0) + turn * tl.num_programs(0)
        kept = (unit < SIZE) & (row < num_rows)
        row = tl.minimum(row, num_rows - 1)
        at, statistics = row * SIZE + unit, all_statistics + row * 10
        gates_at, offset_at = row * (4 * SIZE) + unit, row * offset_stride + unit

        i = load_gate(0, u, offset, gates_at, offset_at, kept, SIZE, zero)
        j = load_gate(1, u, offset, gates_at, offset_at, kept, SIZE, zero)
        f = load_gate(2, u, offset, gates_at, offset_at, kept, SIZE, zero)
        o = load_gate(3, u, offset, gates_at, offset_at, kept, SIZE, zero)
        normal_i, scale_i = renormalize(i, statistics, kept)
        normal_j, scale_j = renormalize(j, statistics + 2, kept)
        normal_f, scale_f = renormalize(f, statistics + 4, kept)
        normal_o, scale_o = renormalize(o, statistics + 6, kept)
        i = tl.sigmoid(affine(0, normal_i, gate_gain, gate_shift, unit, kept, SIZE))
        j = tanh(affine(1, normal_j, gate_gain, gate_shift, unit, kept, SIZE))
        f = tl.sigmoid(affine(2, normal_f, gate_gain, gate_shift, unit, kept, SIZE))
        o = tl.sigmoid(affine(3, normal_o, gate_gain, gate_shift, unit, kept, SIZE))
        normal_c, scale_c = renormalize(load_row(new_c + at, kept, zero), statistics + 8, kept)
        shown = tanh(affine(0, normal_c, memory_gain, memory_shift, unit, kept, SIZE))

        grad = load_row(grad_h + at, kept, zero)
        if HAS_GRAD_OUTPUTS:
            grad += load_row(grad_outputs + at, kept, zero)
        grad_o = grad * shown * o * (1 - o)
        grad_shown = grad * o * (1 - shown * shown)
        gain_c += grad_shown * normal_c
        shift_c += grad_shown
        grad_normal = grad_shown * load_row(memory_gain + unit, kept, zero)
        grad_memory = load_row(grad_c + at, kept, zero)
        grad_memory += normalize_backward(grad_normal, normal_c, scale_c, kept, SIZE)
        tl.store(grad_c + at, grad_memory * f, mask=kept)

        grad_f = grad_memory * load_row(c + at, kept, zero) * f * (1 - f)
        if HAS_MASKS:
            grad_memory *= load_row(masks + at, kept, zero)
        grad_i = grad_memory * j * i * (1 - i)
        grad_j = grad_memory * i * (1 - j * j)
        gain_i, shift_i = gain_i + grad_i * normal_i, shift_i + grad_i
        gain_j, shift_j = gain_j + grad_j * normal_j, shift_j + grad_j
        gain_f, shift_f = gain_f + grad_f * normal_f, shift_f + grad_f
        gain_o, shift_o = gain_o + grad_o * normal_o, shift_o + grad_o
        grad_i *= load_row(gate_gain + unit, kept, zero)
        grad_j *= load_row(gate_gain + SIZE + unit, kept, zero)
        grad_f *= load_row(gate_gain + 2 * SIZE + unit, kept, zero)
        grad_o *= load_row(gate_gain + 3 * SIZE + unit, kept, zero)
        grad_i = normalize_backward(grad_i, normal_i, scale_i, kept, SIZE)
        grad_j = normalize_backward(grad_j, normal_j, scale_j, kept, SIZE)
        grad_f = normalize_backward(grad_f, normal_f, scale_f, kept, SIZE)
        grad_o = normalize_backward(grad_o, normal_o, scale_o, kept, SIZE)
        store_gate(0, grad_i, grad_u, grad_offset, gates_at, kept, SIZE)
        store_gate(1, grad_j, grad_u, grad_offset, gates_at, kept, SIZE)
        store_gate(2, grad_f, grad_u, grad_offset, gates_at, kept, SIZE)
        store_gate(3, grad_o, grad_u, grad_offset, gates_at, kept, SIZE)

    kept = unit < SIZE
    at = tl.program_id(0) * SIZE + unit
    add_row(grad_memory_gain + at, gain_c, kept)
    add_row(grad_memory_shift + at, shift_c, kept)
    at = tl.program_id(0) * (4 * SIZE) + unit
    add_row(grad_gate_gain + at, gain_i, kept)
    add_row(grad_gate_gain + at + SIZE, gain_j, kept)
    add_row(grad_gate_gain + at + 2 * SIZE, gain_f, kept)
    add_row(grad_gate_gain + at + 3 * SIZE, gain_o, kept)
    add_row(grad_gate_shift + at, shift_i, kept)
    add_row(grad_gate_shift + at + SIZE, shift_j, kept)
    add_row(grad_gate_shift + at + 2 * SIZE, shift_f, kept)
    add_row(grad_gate_shift + at + 3 * SIZE, shift_o, kept)


@triton.jit
@no_type_check
def add_row(total, x, kept):
    """total += x, in memory that no other program touches."""
    tl.store(total, tl.load(total, mask=kept) + x, mask=kept)
