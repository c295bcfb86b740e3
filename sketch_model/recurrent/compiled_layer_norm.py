"""Step kernels of the layer-norm LSTM for the CPU (`kernels.StepKernels`), compiled by numba.

A sketch's row of numbers fits the processor's nearest cache, so the kernels pass over it several
times rather than do all in one loop: a loop that writes to many arrays is not vectorized, for want
of proof that they do not overlap.
"""

from __future__ import annotations

from typing import Final, no_type_check

import numpy as np

from sketch_model.cells import LAYER_NORM_EPSILON
from sketch_model.compiled_math import compiled, load, narrow, sigmoid, tanh
from sketch_model.recurrent.compiled_lstm import as_arrays, bind_steps
from sketch_model.recurrent.kernels import (
    BackwardBuffers,
    BackwardStep,
    ForwardBuffers,
    ForwardStep,
)

NUM_STATISTICS: Final = 5
SUMS_PER_SKETCH: Final = False


def bind_forward(buffers: ForwardBuffers) -> ForwardStep:
    """The step going forward."""
    u = bind_steps(buffers.u)
    offset, masks, parameters, *others = as_arrays(buffers[1:])
    arrays = offset, masks, *parameters, *others
    return lambda step, num_rows: _step_forward(step, num_rows, u(step), *arrays)


def bind_backward(buffers: BackwardBuffers) -> BackwardStep:
    """The step going back."""
    u = bind_steps(buffers.u)
    offset, masks, parameters, *others, grad_parameters = as_arrays(buffers[1:])
    arrays = offset, masks, *parameters, *others, *grad_parameters
    return lambda step, num_rows, first: _step_backward(step, num_rows, first, u(step), *arrays)


@compiled
@no_type_check
def _step_forward(
    step,
    num_rows,
    u,
    offset,
    masks,
    gate_gain,
    gate_shift,
    memory_gain,
    memory_shift,
    c,
    statistics,
    outputs,
    operands,
):
    size = c.shape[2]
    old, new = step % len(c), (step + 1) % len(c)
    keep, put = step % len(statistics), step % len(outputs)
    gates, memory = _row(4 * size, c), _row(size, c)
    for b in range(num_rows):
        shift = b % len(offset)
        for n in range(4 * size):
            gates[n] = load(u[b, n]) + offset[shift, n]
        for gate in range(4):
            mean, scale = _normalize(gates[gate * size : (gate + 1) * size])
            statistics[keep, b, gate, 0], statistics[keep, b, gate, 1] = mean, scale
        for n in range(4 * size):
            gates[n] = gates[n] * gate_gain[n] + gate_shift[n]
        for n in range(size):
            j = tanh(gates[size + n])
            if masks is not None:
                j *= masks[step, b, n]
            i, f = sigmoid(gates[n]), sigmoid(gates[2 * size + n])
            memory[n] = c[old, b, n] * f + i * j
        for n in range(size):
            c[new, b, n] = memory[n]
        mean, scale = _normalize(memory)
        statistics[keep, b, 4, 0], statistics[keep, b, 4, 1] = mean, scale
        for n in range(size):
            shown = tanh(memory[n] * memory_gain[n] + memory_shift[n])
            h = shown * sigmoid(gates[3 * size + n])
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
    gate_gain,
    gate_shift,
    memory_gain,
    memory_shift,
    c,
    statistics,
    grad_outputs,
    grad_h,
    grad_c,
    grad_u,
    grad_offset,
    grad_gate_gain,
    grad_gate_shift,
    grad_memory_gain,
    grad_memory_shift,
):
    size = c.shape[2]
    one = c.dtype.type(1.0)
    normal, gates, grads = _row(4 * size, c), _row(4 * size, c), _row(4 * size, c)
    memory, grad_memory = _row(size, c), _row(size, c)
    for b in range(num_rows):
        shift, row = b % len(offset), b % len(grad_gate_gain)
        for gate in range(4):
            mean, scale = statistics[step, b, gate, 0], statistics[step, b, gate, 1]
            for n in range(size):
                m = gate * size + n
                normal[m] = (load(u[b, m]) + offset[shift, m] - mean) * scale
        for n in range(4 * size):
            gates[n] = normal[n] * gate_gain[n] + gate_shift[n]
        for n in range(size):
            gates[n] = sigmoid(gates[n])
            gates[size + n] = tanh(gates[size + n])
            gates[2 * size + n] = sigmoid(gates[2 * size + n])
            gates[3 * size + n] = sigmoid(gates[3 * size + n])

        mean, scale = statistics[step, b, 4, 0], statistics[step, b, 4, 1]
        for n in range(size):
            memory[n] = (c[step + 1, b, n] - mean) * scale
            shown = tanh(memory[n] * memory_gain[n] + memory_shift[n])
            grad = load(grad_h[b, n])
            if grad_outputs is not None:
                grad += grad_outputs[step, b, n]
            o = gates[3 * size + n]
            grads[3 * size + n] = grad * shown * o * (one - o)
            grad_memory[n] = grad * o * (one - shown * shown)
        for n in range(size):
            grad_memory_gain[row, n] += grad_memory[n] * memory[n]
            grad_memory_shift[row, n] += grad_memory[n]
            grad_memory[n] *= memory_gain[n]
        _normalize_backward(grad_memory, memory, scale)

        for n in range(size):
            i, j, f = gates[n], gates[size + n], gates[2 * size + n]
            grad = grad_memory[n] + grad_c[b, n]
            grad_c[b, n] = grad * f
            grads[2 * size + n] = grad * c[step, b, n] * f * (one - f)
            if masks is not None:
                grad *= masks[step, b, n]
            grads[n] = grad * j * i * (one - i)
            grads[size + n] = grad * i * (one - j * j)
        for n in range(4 * size):
            grad_gate_gain[row, n] += grads[n] * normal[n]
            grad_gate_shift[row, n] += grads[n]
            grads[n] *= gate_gain[n]
        for gate in range(4):
            part = slice(gate * size, (gate + 1) * size)
            _normalize_backward(grads[part], normal[part], statistics[step, b, gate, 1])
        for n in range(4 * size):
            grad_u[first + b, n] = narrow(grads[n], grad_u)
        if grad_offset is not None:
            total = b % len(grad_offset)
            for n in range(4 * size):
                grad_offset[total, n] += grads[n]


@compiled
@no_type_check
def _row(num_columns, like):
    return np.empty(num_columns, like.dtype)


@compiled
@no_type_check
def _normalize(values):
    """In place; gives the mean and 1 / deviation."""
    count, zero = values.dtype.type(len(values)), values.dtype.type(0.0)
    total = zero
    for n in range(len(values)):
        total += values[n]
    mean = total / count
    total = zero
    for n in range(len(values)):
        values[n] -= mean
        total += values[n] * values[n]
    scale = values.dtype.type(1.0 / np.sqrt(total / count + LAYER_NORM_EPSILON))
    for n in range(len(values)):
        values[n] *= scale
    return mean, scale


@compiled
@no_type_check
def _normalize_backward(grads, normal, scale):
    """Gradients with respect to normal numbers, turned into those of what was normalized."""
    count, zero = grads.dtype.type(len(grads)), grads.dtype.type(0.0)
    total, along = zero, zero
    for n in range(len(grads)):
        total += grads[n]
        along += grads[n] * normal[n]
    total, along = total / count, along / count
    for n in range(len(grads)):
        grads[n] = scale * (grads[n] - total - normal[n] * along)
