"""Step kernels of the plain LSTM for the CPU (`kernels.StepKernels`), compiled by numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, no_type_check

import numpy as np
import torch

from sketch_model.annotations import Tensor
from sketch_model.compiled_math import compiled, load, narrow, sigmoid, tanh
from sketch_model.recurrent.kernels import (
    BackwardBuffers,
    BackwardStep,
    ForwardBuffers,
    ForwardStep,
)

NUM_STATISTICS: Final = 0
SUMS_PER_SKETCH: Final = False


def bind_forward(buffers: ForwardBuffers) -> ForwardStep:
    """The step going forward."""
    u = bind_steps(buffers.u)
    offset, masks, _, c, _, outputs, operands = as_arrays(buffers[1:])
    return lambda step, num_rows: _step_forward(
        step, num_rows, u(step), offset, masks, c, outputs, operands
    )


def bind_backward(buffers: BackwardBuffers) -> BackwardStep:
    """The step going back."""
    u = bind_steps(buffers.u)
    offset, masks, _, c, _, *gradients, _ = as_arrays(buffers[1:])
    return lambda step, num_rows, first: _step_backward(
        step, num_rows, first, u(step), offset, masks, c, *gradients
    )


def bind_steps(u: Tensor | list[Tensor]) -> Callable[[int], Any]:
    """The array of a step; tensors of a list are looked up when asked for."""
    if isinstance(u, list):
        return lambda step: _as_array(u[step % len(u)])
    arrays = _as_array(u)
    return lambda step: arrays[step % len(arrays)]


def as_arrays(buffers: tuple[Any, ...]) -> list[Any]:
    """The same memory for numba, which knows no bfloat16: uint16, for `compiled_math.load`."""
    return [as_arrays(item) if isinstance(item, tuple) else _as_array(item) for item in buffers]


def _as_array(buffer: Tensor | None) -> Any:
    if buffer is None:
        return None
    if buffer.dtype == torch.bfloat16:
        buffer = buffer.view(torch.uint16)
    return buffer.detach().numpy()


@compiled
@no_type_check
def _step_forward(step, num_rows, u, offset, masks, c, outputs, operands):
    size = c.shape[2]
    old, new = step % len(c), (step + 1) % len(c)
    put = step % len(outputs)
    for b in range(num_rows):
        shift = b % len(offset)
        for n in range(size):
            i = sigmoid(load(u[b, n]) + offset[shift, n])
            j = tanh(load(u[b, size + n]) + offset[shift, size + n])
            f = sigmoid(load(u[b, 2 * size + n]) + offset[shift, 2 * size + n])
            o = sigmoid(load(u[b, 3 * size + n]) + offset[shift, 3 * size + n])
            if masks is not None:
                j *= masks[step, b, n]
            memory = c[old, b, n] * f + i * j
            h = tanh(memory) * o
            c[new, b, n] = memory
            outputs[put, b, n] = h
            operands[step + 1, b, n] = narrow(h, operands)


@compiled
@no_type_check
def _step_backward(
    step,
    num_rows,
    first,
    u,
    offset,
    masks,
    c,
    grad_outputs,
    grad_h,
    grad_c,
    grad_u,
    grad_offset,
):
    size = c.shape[2]
    one = c.dtype.type(1.0)
    grads = np.empty(4 * size, c.dtype)  # in a loop of its own, or the other has too many pointers
    for b in range(num_rows):
        shift = b % len(offset)
        for n in range(size):
            i = sigmoid(load(u[b, n]) + offset[shift, n])
            j = tanh(load(u[b, size + n]) + offset[shift, size + n])
            f = sigmoid(load(u[b, 2 * size + n]) + offset[shift, 2 * size + n])
            o = sigmoid(load(u[b, 3 * size + n]) + offset[shift, 3 * size + n])
            shown = tanh(c[step + 1, b, n])
            grad = load(grad_h[b, n])
            if grad_outputs is not None:
                grad += grad_outputs[step, b, n]
            memory = grad_c[b, n] + grad * o * (one - shown * shown)
            grad_c[b, n] = memory * f
            candidate = memory
            if masks is not None:
                candidate *= masks[step, b, n]
            grads[n] = candidate * j * i * (one - i)
            grads[size + n] = candidate * i * (one - j * j)
            grads[2 * size + n] = memory * c[step, b, n] * f * (one - f)
            grads[3 * size + n] = grad * shown * o * (one - o)
        for n in range(4 * size):
            grad_u[first + b, n] = narrow(grads[n], grad_u)
        if grad_offset is not None:
            total = b % len(grad_offset)
            for n in range(4 * size):
                grad_offset[total, n] += grads[n]
