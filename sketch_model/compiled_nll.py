"""Kernels of `row_nll` for the CPU, compiled by numba, so needing it.

Rows are taken `_CHUNK` at a time, so that what belongs to them stays in the cache, and each loop
runs over the rows of a chunk for one component: along memory, in vector instructions. In a chunk
without a real row only the pens are computed.

The mathematics is that of `mixture.offset_nll`, with one rearrangement: cosh r multiplies what is
summed over components rather than having its logarithm added in the exponent.

Arrays: `output` and `gradient` are [6 M + 3, R] over the R = T B rows, of float32, float64, or the
bits of bfloat16. Everything else is float32 or float64.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple, no_type_check

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from sketch_model.annotations import Tensor
from sketch_model.compiled_math import exp, load, narrow
from sketch_model.mixture import LOG_2_PI, MAX_MEAN, MAX_RHO_LOGIT, MAX_SIGMA, MIN_SIGMA

_CHUNK: Final = 128

_compiled = numba.njit(
    cache=True, nogil=True, fastmath={"contract", "nsz", "arcp"}, error_model="numpy"
)
"""As `compiled_math.compiled`, but sums keep their order: a huge logit has to be subtracted from
another one before a density is added, or the density is lost."""


class _Constants(NamedTuple):
    """In the dtype of the computation: a literal in a kernel would make float64 of float32."""

    max_mean: Any = MAX_MEAN
    min_log_sigma: Any = math.log(MIN_SIGMA)
    max_log_sigma: Any = math.log(MAX_SIGMA)
    max_rho_logit: Any = MAX_RHO_LOGIT
    log_2_pi: Any = LOG_2_PI
    half: Any = 0.5
    zero: Any = 0.0
    log_tiny: Any = math.nan
    """Of the least normal number, where `exp` stops: a component below it, times a derivative that
    may be huge, has to be 0."""


class _Chunk(NamedTuple):
    """What is known of the rows of a chunk."""

    is_real: NDArray[np.bool_]
    targets: NDArray[Any]
    """[5, rows]."""
    top_weight: NDArray[Any]
    """Largest weight logit."""
    top_joint: NDArray[Any]
    """Largest logarithm of `joint`, but for `cosh`, before it was divided by its exponential."""
    weight_sum: NDArray[Any]
    """Of exp(weight logit - top_weight)."""
    joint_sum: NDArray[Any]
    """Of `joint`."""
    slope: NDArray[Any]
    """What the gradient of the offset's nats is; 0 in padding."""
    cosh: NDArray[Any]
    """[M, rows]."""
    joint: NDArray[Any]
    """[M, rows]: weight times density of each component, up to a factor per row."""


class _Component(NamedTuple):
    """One component of one row, in the notation of `mixture.offset_nll`."""

    log_density: Any
    """Without log cosh r, and without log 2 pi."""
    a: Any
    b: Any
    across: Any
    cosh: Any
    sinh: Any
    inverse_sigma_x: Any
    inverse_sigma_y: Any
    in_mean_x: Any
    """Whether the mean is within its bounds, so that it has a gradient; the others likewise."""
    in_mean_y: Any
    in_sigma_x: Any
    in_sigma_y: Any
    in_rho: Any


def evaluate(slabs: Tensor, targets: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """As `row_nll.Kernels.evaluate`."""
    dtype = torch.float64 if slabs.dtype == torch.float64 else torch.float32
    offset_nll, pen_nll = torch.empty(2, *slabs.shape[1:], dtype=dtype)
    arrays = map(_as_array, (slabs.flatten(1), targets, lengths, offset_nll.view(-1)))
    _evaluate(*arrays, pen_nll.view(-1).numpy(), _constants(offset_nll))
    return offset_nll, pen_nll


def differentiate(
    slabs: Tensor, targets: Tensor, lengths: Tensor, grad_offset: Tensor, grad_pen: Tensor
) -> Tensor:
    """As `row_nll.Kernels.differentiate`."""
    gradient = torch.zeros_like(slabs)
    rows = grad_offset.view(-1), grad_pen.view(-1)
    arrays = map(_as_array, (slabs.flatten(1), targets, lengths, *rows, gradient.flatten(1)))
    _differentiate(*arrays, _constants(grad_offset))
    return gradient


def _constants(like: Tensor) -> _Constants:
    scalar = like.numpy().dtype.type
    log_tiny = math.log(torch.finfo(like.dtype).tiny)
    return _Constants(*map(scalar, _Constants(log_tiny=log_tiny)))


def _as_array(tensor: Tensor) -> NDArray[Any]:
    """The same memory; of bfloat16, which numpy has not, the bits."""
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.view(torch.uint16)
    array: NDArray[Any] = tensor.detach().numpy()
    return array


@_compiled
@no_type_check
def _evaluate(output, targets, lengths, offset_nll, pen_nll, constants):
    chunk = _new_chunk(len(output) // 6, offset_nll)
    for start in range(0, len(offset_nll), _CHUNK):
        num = min(_CHUNK, len(offset_nll) - start)
        any_real = _read_targets(start, num, targets, lengths, chunk)
        if any_real:
            _sum_components(start, num, output, chunk, constants)
        for n in range(num):
            nll = constants.zero
            if any_real and chunk.is_real[n]:
                nll = math.log(chunk.weight_sum[n] / chunk.joint_sum[n]) - chunk.top_joint[n]
                nll += constants.log_2_pi
            offset_nll[start + n] = nll
        _evaluate_pens(start, num, output, chunk, pen_nll)


@_compiled
@no_type_check
def _differentiate(output, targets, lengths, grad_offset, grad_pen, gradient, constants):
    chunk = _new_chunk(len(output) // 6, grad_offset)
    for start in range(0, len(grad_offset), _CHUNK):
        num = min(_CHUNK, len(grad_offset) - start)
        if _read_targets(start, num, targets, lengths, chunk):
            for n in range(num):
                chunk.slope[n] = grad_offset[start + n] if chunk.is_real[n] else constants.zero
            _sum_components(start, num, output, chunk, constants)
            for k in range(len(chunk.joint)):
                _differentiate_component(k, start, num, output, chunk, gradient, constants)
        _differentiate_pens(start, num, output, chunk, grad_pen, gradient)


@_compiled
@no_type_check
def _new_chunk(num_components, like):
    num = _CHUNK
    return _Chunk(
        np.zeros(num, np.bool_),
        np.zeros((5, num), like.dtype),
        np.zeros(num, like.dtype),
        np.zeros(num, like.dtype),
        np.zeros(num, like.dtype),
        np.zeros(num, like.dtype),
        np.zeros(num, like.dtype),
        np.zeros((num_components, num), like.dtype),
        np.zeros((num_components, num), like.dtype),
    )


@_compiled
@no_type_check
def _read_targets(start, num, targets, lengths, chunk):
    """Fills in `is_real` and `targets`. Returns whether any row is real."""
    any_real = False
    for n in range(num):
        step, sketch = divmod(start + n, len(lengths))
        chunk.is_real[n] = step < lengths[sketch]
        any_real |= chunk.is_real[n]
        for column in range(5):
            chunk.targets[column, n] = targets[sketch, step, column]
    return any_real


@_compiled
@no_type_check
def _evaluate_pens(start, num, output, chunk, pen_nll):
    down, lifted, end = output[0], output[1], output[2]
    for n in range(start, start + num):
        top, total = _sum_pens(load(down[n]), load(lifted[n]), load(end[n]))
        nll = (top - load(down[n])) * chunk.targets[2, n - start]
        nll += (top - load(lifted[n])) * chunk.targets[3, n - start]
        nll += (top - load(end[n])) * chunk.targets[4, n - start]
        pen_nll[n] = nll + math.log(total)


@_compiled
@no_type_check
def _differentiate_pens(start, num, output, chunk, grad_pen, gradient):
    stop = start + num
    down, lifted, end = output[0, start:stop], output[1, start:stop], output[2, start:stop]
    slope, targets = grad_pen[start:stop], chunk.targets
    for state in range(3):
        logit, target, grad = (
            output[state, start:stop],
            targets[2 + state],
            gradient[state, start:stop],
        )
        for n in range(num):
            top, total = _sum_pens(load(down[n]), load(lifted[n]), load(end[n]))
            share = exp(load(logit[n]) - top) / total
            grad[n] = narrow(slope[n] * (share - target[n]), gradient)


@numba.njit(inline="always")
@no_type_check
def _sum_pens(down, lifted, end):
    """Largest pen logit, and the sum of exp(pen logit - largest)."""
    top = max(down, lifted, end)
    return top, exp(down - top) + exp(lifted - top) + exp(end - top)


@_compiled
@no_type_check
def _rows_of_component(k, start, num, array):
    """Of weight logit, mean x, mean y, log sigma x, log sigma y and rho logit."""
    size, stop = len(array) // 6, start + num
    return (
        array[3 + k, start:stop],
        array[3 + k + size, start:stop],
        array[3 + k + 2 * size, start:stop],
        array[3 + k + 3 * size, start:stop],
        array[3 + k + 4 * size, start:stop],
        array[3 + k + 5 * size, start:stop],
    )


@_compiled
@no_type_check
def _sum_components(start, num, output, chunk, constants):
    """Fills in the rest of the chunk."""
    top_weight, weight_sum = chunk.top_weight, chunk.weight_sum
    top_joint, joint_sum = chunk.top_joint, chunk.joint_sum
    weight_sum[:], joint_sum[:] = constants.zero, constants.zero
    for k in range(len(chunk.joint)):
        weight = output[3 + k, start : start + num]
        for n in range(num):
            top_weight[n] = load(weight[n]) if k == 0 else max(top_weight[n], load(weight[n]))
    for k in range(len(chunk.joint)):
        _weigh_component(k, start, num, output, chunk, constants)
        joint = chunk.joint[k]
        for n in range(num):
            top_joint[n] = joint[n] if k == 0 else max(top_joint[n], joint[n])
    for k in range(len(chunk.joint)):
        weight, joint, cosh = output[3 + k, start : start + num], chunk.joint[k], chunk.cosh[k]
        for n in range(num):
            below = joint[n] - top_joint[n]
            joint[n] = constants.zero if below <= constants.log_tiny else cosh[n] * exp(below)
            joint_sum[n] += joint[n]
            weight_sum[n] += exp(load(weight[n]) - top_weight[n])


@_compiled
@no_type_check
def _weigh_component(k, start, num, output, chunk, constants):
    """Logarithm of `joint`, but for `cosh`; and this."""
    weight, mean_x, mean_y, log_sigma_x, log_sigma_y, rho_logit = _rows_of_component(
        k, start, num, output
    )
    dx, dy, joint, cosh = chunk.targets[0], chunk.targets[1], chunk.joint[k], chunk.cosh[k]
    top_weight = chunk.top_weight
    for n in range(num):
        component = _component(
            dx[n],
            dy[n],
            load(mean_x[n]),
            load(mean_y[n]),
            load(log_sigma_x[n]),
            load(log_sigma_y[n]),
            load(rho_logit[n]),
            constants,
        )
        # Not added to a logit that may be huge, beside which a density would not count.
        joint[n] = (load(weight[n]) - top_weight[n]) + component.log_density
        cosh[n] = component.cosh


@_compiled
@no_type_check
def _differentiate_component(k, start, num, output, chunk, gradient, constants):
    weight, mean_x, mean_y, log_sigma_x, log_sigma_y, rho_logit = _rows_of_component(
        k, start, num, output
    )
    grad_weight, grad_mean_x, grad_mean_y, grad_sigma_x, grad_sigma_y, grad_rho = (
        _rows_of_component(k, start, num, gradient)
    )
    dx, dy, joint, slope = chunk.targets[0], chunk.targets[1], chunk.joint[k], chunk.slope
    top_weight, weight_sum, joint_sum = chunk.top_weight, chunk.weight_sum, chunk.joint_sum
    for n in range(num):
        part = _component(
            dx[n],
            dy[n],
            load(mean_x[n]),
            load(mean_y[n]),
            load(log_sigma_x[n]),
            load(log_sigma_y[n]),
            load(rho_logit[n]),
            constants,
        )
        pull = slope[n] * joint[n] / joint_sum[n]
        pull_a = pull * part.across * part.cosh
        pull_b = pull * (part.b - part.across * part.sinh)
        turn = part.across * (part.a * part.sinh - part.b * part.cosh) - part.sinh / part.cosh
        prior = exp(load(weight[n]) - top_weight[n]) / weight_sum[n]
        zero = constants.zero
        grad_weight[n] = narrow(slope[n] * prior - pull, gradient)
        grad_mean_x[n] = narrow(
            -pull_a * part.inverse_sigma_x if part.in_mean_x else zero, gradient
        )
        grad_mean_y[n] = narrow(
            -pull_b * part.inverse_sigma_y if part.in_mean_y else zero, gradient
        )
        grad_sigma_x[n] = narrow(pull - pull_a * part.a if part.in_sigma_x else zero, gradient)
        grad_sigma_y[n] = narrow(pull - pull_b * part.b if part.in_sigma_y else zero, gradient)
        grad_rho[n] = narrow(pull * turn if part.in_rho else zero, gradient)


@numba.njit(inline="always")
@no_type_check
def _component(dx, dy, mean_x, mean_y, log_sigma_x, log_sigma_y, rho_logit, constants):
    """Takes scalars: an array that is handed on is counted, and the loop does not vectorize."""
    bounded_x = _clamp(mean_x, -constants.max_mean, constants.max_mean)
    bounded_y = _clamp(mean_y, -constants.max_mean, constants.max_mean)
    bounded_sigma_x = _clamp(log_sigma_x, constants.min_log_sigma, constants.max_log_sigma)
    bounded_sigma_y = _clamp(log_sigma_y, constants.min_log_sigma, constants.max_log_sigma)
    bounded_rho = _clamp(rho_logit, -constants.max_rho_logit, constants.max_rho_logit)
    inverse_sigma_x, inverse_sigma_y = exp(-bounded_sigma_x), exp(-bounded_sigma_y)
    grown, shrunk = exp(bounded_rho), exp(-bounded_rho)
    cosh, sinh = constants.half * (grown + shrunk), constants.half * (grown - shrunk)
    a, b = (dx - bounded_x) * inverse_sigma_x, (dy - bounded_y) * inverse_sigma_y
    across = a * cosh - b * sinh
    exponent = constants.half * (across * across + b * b)
    return _Component(
        -bounded_sigma_x - bounded_sigma_y - exponent,
        a,
        b,
        across,
        cosh,
        sinh,
        inverse_sigma_x,
        inverse_sigma_y,
        mean_x == bounded_x,
        mean_y == bounded_y,
        log_sigma_x == bounded_sigma_x,
        log_sigma_y == bounded_sigma_y,
        rho_logit == bounded_rho,
    )


@numba.njit(inline="always")
@no_type_check
def _clamp(x, low, high):
    """NaN stays NaN."""
    y = low if x < low else x
    return high if y > high else y
