"""Step kernels of the HyperLSTM for the CPU (`modulation.HyperKernels`), compiled by numba."""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from sketch_model.compiled_math import compiled, load, narrow
from sketch_model.recurrent.compiled_layer_norm import (
    NUM_STATISTICS,
    SUMS_PER_SKETCH,
    bind_backward,
    bind_forward,
)
from sketch_model.recurrent.compiled_lstm import as_arrays
from sketch_model.recurrent.kernels import BackwardStep, ForwardStep
from sketch_model.recurrent.modulation import ModulationBackward, ModulationForward

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
    arrays = as_arrays(buffers)
    return lambda step, num_rows: _modulate(step, num_rows, *arrays)


def bind_demodulate(buffers: ModulationBackward) -> BackwardStep:
    """The same, going back."""
    arrays = as_arrays(buffers)
    return lambda step, num_rows, first: _demodulate(step, num_rows, first, *arrays)


@compiled
@no_type_check
def _multiply_inputs(x, weight, offset, result):
    """x W_x + offset, of one sketch."""
    for k in range(len(result)):
        result[k] = offset[k]
    for feature in range(len(x)):
        factor, row = x[feature], weight[feature]
        for k in range(len(result)):
            result[k] += factor * row[k]


@compiled
@no_type_check
def _modulate(step, num_rows, modulations, r, inputs, weight, offset, u):
    size, at = modulations.shape[2], step % len(r)
    a = np.empty(4 * size, u.dtype)
    for b in range(num_rows):
        _multiply_inputs(inputs[step, b], weight, offset[b % len(offset)], a)
        for gate in range(4):
            for n in range(size):
                k = gate * size + n
                u[0, b, k] = (
                    load(modulations[gate, b, n]) * a[k]
                    + load(modulations[4 + gate, b, n]) * load(r[at, b, k])
                    + load(modulations[8 + gate, b, n])
                )


@compiled
@no_type_check
def _demodulate(
    step,
    num_rows,
    first,
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
):
    size = modulations.shape[2]
    a = np.empty(4 * size, grad_u.dtype)
    for b in range(num_rows):
        total, row = b % len(grad_offset), first + b
        _multiply_inputs(inputs[step, b], weight, offset[b % len(offset)], a)
        for gate in range(4):
            for n in range(size):  # two loops: with more pointers neither would be vectorized
                k = gate * size + n
                grad = grad_u[b, k]
                grad_modulations[gate, b, n] = narrow(grad * a[k], grad_modulations)
                product = grad * load(r[step, b, k])
                grad_modulations[4 + gate, b, n] = narrow(product, grad_modulations)
                grad_modulations[8 + gate, b, n] = narrow(grad, grad_modulations)
            for n in range(size):
                k = gate * size + n
                grad = grad_u[b, k] * load(modulations[gate, b, n])
                grad_a[row, k] = narrow(grad, grad_a)
                grad_offset[total, k] += grad
                product = grad_u[b, k] * load(modulations[4 + gate, b, n])
                grad_r[row, k] = narrow(product, grad_r)
