"""Step kernels of the plain LSTM for a GPU (`kernels.StepKernels`), in Triton.

Import where Triton is known to be there. Buffers may be of any floating type; what is computed is
computed in that of c. Each program takes a tile of some sketches by some units, and no two programs
write to the same number, so results do not depend on their order.

Triton's interpreter runs these on the CPU where TRITON_INTERPRET=1 was set before the import.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, no_type_check

import triton
import triton.language as tl

from sketch_model.annotations import Tensor
from sketch_model.recurrent.kernels import (
    BackwardBuffers,
    BackwardStep,
    ForwardBuffers,
    ForwardStep,
)

NUM_STATISTICS: Final = 0

SUMS_PER_SKETCH: Final = True

_MAX_UNITS: Final = 256
"""Of a tile."""

_MAX_TILE: Final = 512
"""Numbers of a tile: four for each thread of four warps."""


def bind_forward(buffers: ForwardBuffers) -> ForwardStep:
    """The step going forward."""
    size = buffers.c.shape[-1]
    num_columns = buffers.operands.shape[-1]
    u, c, outputs = Steps(buffers.u), Steps(buffers.c), Steps(buffers.outputs)
    masks, operands = Steps(buffers.masks), Steps(buffers.operands)
    offset_stride = row_stride(buffers.offset)

    def run(step: int, num_rows: int) -> None:
        layout = tile_layout(num_rows, size)
        _step_forward[make_grid(num_rows, layout)](
            u[step],
            buffers.offset,
            masks[step],
            c[step],
            c[step + 1],
            outputs[step],
            operands[step + 1],
            num_rows,
            offset_stride,
            num_columns,
            HAS_MASKS=buffers.masks is not None,
            **layout,
        )

    return run


def bind_backward(buffers: BackwardBuffers) -> BackwardStep:
    """The step going back."""
    size = buffers.c.shape[-1]
    u, c, masks = Steps(buffers.u), Steps(buffers.c), Steps(buffers.masks)
    grad_outputs = Steps(buffers.grad_outputs)
    offset_stride = row_stride(buffers.offset)

    def run(step: int, num_rows: int, first: int) -> None:
        layout = tile_layout(num_rows, size)
        _step_backward[make_grid(num_rows, layout)](
            u[step],
            buffers.offset,
            masks[step],
            c[step],
            c[step + 1],
            grad_outputs[step],
            buffers.grad_h,
            buffers.grad_c,
            buffers.grad_u[first:],
            buffers.grad_offset,
            num_rows,
            offset_stride,
            HAS_MASKS=buffers.masks is not None,
            HAS_GRAD_OUTPUTS=buffers.grad_outputs is not None,
            **layout,
        )

    return run


class Steps:
    """A buffer of `T or 1` steps, by step; of no buffer, None for every step."""

    def __init__(self, buffer: Tensor | list[Tensor] | None) -> None:
        self._steps: Sequence[Tensor | None] = (None,)
        if buffer is not None:
            self._steps = buffer.unbind() if isinstance(buffer, Tensor) else buffer

    def __getitem__(self, step: int) -> Tensor | None:
        return self._steps[step % len(self._steps)]


def row_stride(offset: Tensor) -> int:
    """From a sketch's row to the next one's; 0 where all sketches have the same."""
    return 0 if len(offset) == 1 else offset.shape[1]


def tile_layout(num_rows: int, size: int) -> dict[str, int]:
    """What a program takes of so many sketches of so many units."""
    num_units = min(_MAX_UNITS, triton.next_power_of_2(size))
    num_sketches = min(_MAX_TILE // num_units, triton.next_power_of_2(num_rows))
    return {"SIZE": size, "ROWS": num_sketches, "UNITS": num_units}


def make_grid(num_rows: int, layout: Mapping[str, int]) -> tuple[int, int]:
    """Programs that take all of it."""
    return triton.cdiv(num_rows, layout["ROWS"]), triton.cdiv(layout["SIZE"], layout["UNITS"])


@triton.jit
@no_type_check
def tanh(x):
    """Hyperbolic tangent, to about 1e-7 in float32; Triton has none that its interpreter knows."""
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit
@no_type_check
def load_gate(gate, u, offset, at, offset_at, kept, SIZE: tl.constexpr, like):
    """Gate number `gate` of a tile before its nonlinearity, in the type of `like`."""
    product = tl.load(u + at + gate * SIZE, mask=kept, other=0.0).to(like.dtype)
    return product + tl.load(offset + offset_at + gate * SIZE, mask=kept, other=0.0).to(like.dtype)


@triton.jit(do_not_specialize=["num_rows"])
@no_type_check
def _step_forward(
    u,
    offset,
    masks,
    c,
    new_c,
    outputs,
    operands,
    num_rows,
    offset_stride,
    num_columns,
    HAS_MASKS: tl.constexpr,
    SIZE: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    unit = tl.program_id(1) * UNITS + tl.arange(0, UNITS)[None, :]
    kept = (row < num_rows) & (unit < SIZE)
    at = row * SIZE + unit
    gates_at, offset_at = row * (4 * SIZE) + unit, row * offset_stride + unit

    old = tl.load(c + at, mask=kept, other=0.0)
    i = tl.sigmoid(load_gate(0, u, offset, gates_at, offset_at, kept, SIZE, old))
    j = tanh(load_gate(1, u, offset, gates_at, offset_at, kept, SIZE, old))
    f = tl.sigmoid(load_gate(2, u, offset, gates_at, offset_at, kept, SIZE, old))
    o = tl.sigmoid(load_gate(3, u, offset, gates_at, offset_at, kept, SIZE, old))
    if HAS_MASKS:
        j *= tl.load(masks + at, mask=kept, other=0.0).to(old.dtype)
    new = old * f + i * j
    h = tanh(new) * o
    tl.store(new_c + at, new, mask=kept)
    tl.store(outputs + at, h, mask=kept)
    tl.store(operands + row * num_columns + unit, h, mask=kept)


@triton.jit(do_not_specialize=["num_rows"])
@no_type_check
def _step_backward(
    u,
    offset,
    masks,
    c,
    new_c,
    grad_outputs,
    grad_h,
    grad_c,
    grad_u,
    grad_offset,
    num_rows,
    offset_stride,
    HAS_MASKS: tl.constexpr,
    HAS_GRAD_OUTPUTS: tl.constexpr,
    SIZE: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    unit = tl.program_id(1) * UNITS + tl.arange(0, UNITS)[None, :]
    kept = (row < num_rows) & (unit < SIZE)
    at = row * SIZE + unit
    gates_at, offset_at = row * (4 * SIZE) + unit, row * offset_stride + unit

    old = tl.load(c + at, mask=kept, other=0.0)
    i = tl.sigmoid(load_gate(0, u, offset, gates_at, offset_at, kept, SIZE, old))
    j = tanh(load_gate(1, u, offset, gates_at, offset_at, kept, SIZE, old))
    f = tl.sigmoid(load_gate(2, u, offset, gates_at, offset_at, kept, SIZE, old))
    o = tl.sigmoid(load_gate(3, u, offset, gates_at, offset_at, kept, SIZE, old))
    shown = tanh(tl.load(new_c + at, mask=kept, other=0.0))
    grad = tl.load(grad_h + at, mask=kept, other=0.0).to(old.dtype)
    if HAS_GRAD_OUTPUTS:
        grad += tl.load(grad_outputs + at, mask=kept, other=0.0).to(old.dtype)

    grad_memory = tl.load(grad_c + at, mask=kept, other=0.0) + grad * o * (1 - shown * shown)
    tl.store(grad_c + at, grad_memory * f, mask=kept)
    grad_candidate = grad_memory
    if HAS_MASKS:
        grad_candidate *= tl.load(masks + at, mask=kept, other=0.0).to(old.dtype)
    store_gate(0, grad_candidate * j * i * (1 - i), grad_u, grad_offset, gates_at, kept, SIZE)
    store_gate(1, grad_candidate * i * (1 - j * j), grad_u, grad_offset, gates_at, kept, SIZE)
    store_gate(2, grad_memory * old * f * (1 - f), grad_u, grad_offset, gates_at, kept, SIZE)
    store_gate(3, grad * shown * o * (1 - o), grad_u, grad_offset, gates_at, kept, SIZE)


@triton.jit
@no_type_check
def store_gate(gate, grad, grad_u, grad_offset, at, kept, SIZE: tl.constexpr):
    """Writes a gate's gradient, and adds it to each sketch's sum over steps if there is one."""
    at += gate * SIZE
    tl.store(grad_u + at, grad, mask=kept)
    if grad_offset is not None:
        tl.store(grad_offset + at, tl.load(grad_offset + at, mask=kept) + grad, mask=kept)
