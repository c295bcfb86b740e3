"""Kernels of `row_nll` for a GPU, in Triton.

Import where Triton is known to be there. A program takes all components of some rows as one tile
[components, rows], so that it reads each number once; reductions run over the first axis, memory
along the second. The mathematics is that of `compiled_nll`.

Triton's interpreter runs these on the CPU where TRITON_INTERPRET=1 was set before the import.
"""

from __future__ import annotations

import math
from typing import Any, Final, no_type_check

import torch
import triton
import triton.language as tl

from sketch_model.annotations import Tensor
from sketch_model.mixture import LOG_2_PI, MAX_MEAN, MAX_RHO_LOGIT, MAX_SIGMA, MIN_SIGMA

_TILE: Final = 1024
"""Numbers of a tile: eight for each thread of four warps, for each of six parameters."""

_MAX_ROWS: Final = 128

_MAX_MEAN = tl.constexpr(MAX_MEAN)
_MIN_LOG_SIGMA = tl.constexpr(math.log(MIN_SIGMA))
_MAX_LOG_SIGMA = tl.constexpr(math.log(MAX_SIGMA))
_MAX_RHO_LOGIT = tl.constexpr(MAX_RHO_LOGIT)
_LOG_2_PI = tl.constexpr(LOG_2_PI)


def evaluate(slabs: Tensor, targets: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """As `row_nll.Kernels.evaluate`."""
    dtype = torch.float64 if slabs.dtype == torch.float64 else torch.float32
    offset_nll, pen_nll = slabs.new_empty(2, *slabs.shape[1:], dtype=dtype)
    _launch(_evaluate, slabs, targets, lengths, offset_nll, pen_nll)
    return offset_nll, pen_nll


def differentiate(
    slabs: Tensor, targets: Tensor, lengths: Tensor, grad_offset: Tensor, grad_pen: Tensor
) -> Tensor:
    """As `row_nll.Kernels.differentiate`."""
    gradient = torch.empty_like(slabs)
    _launch(_differentiate, slabs, targets, lengths, grad_offset, grad_pen, gradient)
    return gradient


def _launch(kernel: Any, slabs: Tensor, targets: Tensor, lengths: Tensor, *others: Tensor) -> None:
    num_outputs, num_steps, num_sketches = slabs.shape
    size = num_outputs // 6
    num_components = triton.next_power_of_2(size)
    num_rows = max(1, min(_MAX_ROWS, _TILE // num_components))
    kernel[(triton.cdiv(num_steps * num_sketches, num_rows),)](
        slabs,
        targets,
        lengths,
        *others,
        num_steps,
        num_sketches,
        *targets.stride(),
        SIZE=size,
        COMPONENTS=num_components,
        ROWS=num_rows,
    )


@triton.jit
@no_type_check
def _evaluate(
    output,
    targets,
    lengths,
    offset_nll,
    pen_nll,
    num_steps,
    num_sketches,
    sketch_stride,
    step_stride,
    column_stride,
    SIZE: tl.constexpr,
    COMPONENTS: tl.constexpr,
    ROWS: tl.constexpr,
):
    like = offset_nll.dtype.element_ty
    row, target, is_row, is_real = _locate(
        targets, lengths, num_steps, num_sketches, sketch_stride, step_stride, ROWS
    )
    dx = tl.load(target, mask=is_real, other=0.0).to(like)[None, :]
    dy = tl.load(target + column_stride, mask=is_real, other=0.0).to(like)[None, :]
    stride = num_steps * num_sketches
    k = tl.arange(0, COMPONENTS)[:, None]
    read = (k < SIZE) & is_real[None, :]
    at = output + 3 * stride + k.to(tl.int64) * stride + row[None, :]
    part = _read_components(at, read, dx, dy, SIZE * stride, like)
    weight, weight_sum = _read_weights(at, read, k, SIZE, like)
    _, top_joint, joint_sum = _join(weight, part[0], part[4], k, SIZE)
    nll = tl.log(weight_sum / joint_sum) - top_joint
    nll += tl.full([ROWS], _LOG_2_PI, like)
    tl.store(offset_nll + row, tl.where(is_real, nll, 0.0), mask=is_row)

    at = output + row
    down, lifted, end, top, total = _read_pens(at, is_row, stride, like)
    target += 2 * column_stride
    nll = tl.log(total)
    nll += (top - down) * tl.load(target, mask=is_row, other=0.0).to(like)
    target += column_stride
    nll += (top - lifted) * tl.load(target, mask=is_row, other=0.0).to(like)
    target += column_stride
    nll += (top - end) * tl.load(target, mask=is_row, other=0.0).to(like)
    tl.store(pen_nll + row, nll, mask=is_row)


@triton.jit
@no_type_check
def _differentiate(
    output,
    targets,
    lengths,
    grad_offset,
    grad_pen,
    gradient,
    num_steps,
    num_sketches,
    sketch_stride,
    step_stride,
    column_stride,
    SIZE: tl.constexpr,
    COMPONENTS: tl.constexpr,
    ROWS: tl.constexpr,
):
    like = grad_offset.dtype.element_ty
    row, target, is_row, is_real = _locate(
        targets, lengths, num_steps, num_sketches, sketch_stride, step_stride, ROWS
    )
    dx = tl.load(target, mask=is_real, other=0.0).to(like)[None, :]
    dy = tl.load(target + column_stride, mask=is_real, other=0.0).to(like)[None, :]
    slope = tl.load(grad_offset + row, mask=is_real, other=0.0)[None, :]
    stride = num_steps * num_sketches
    k = tl.arange(0, COMPONENTS)[:, None]
    read, write = (k < SIZE) & is_real[None, :], (k < SIZE) & is_row[None, :]
    offset = 3 * stride + k.to(tl.int64) * stride + row[None, :]
    at = output + offset
    part = _read_components(at, read, dx, dy, SIZE * stride, like)
    log_density, a, b, across, cosh, sinh, inverse_x, inverse_y = part[:8]
    weight, weight_sum = _read_weights(at, read, k, SIZE, like)
    joint, _, joint_sum = _join(weight, log_density, cosh, k, SIZE)

    pull = slope * joint / joint_sum[None, :]
    pull_a, pull_b = pull * across * cosh, pull * (b - across * sinh)
    turn = across * (a * sinh - b * cosh) - sinh / cosh
    prior = tl.exp(weight) / weight_sum[None, :]
    at = gradient + offset
    tl.store(at, slope * prior - pull, mask=write)
    at += SIZE * stride
    tl.store(at, tl.where(part[8], -pull_a * inverse_x, 0.0), mask=write)
    at += SIZE * stride
    tl.store(at, tl.where(part[9], -pull_b * inverse_y, 0.0), mask=write)
    at += SIZE * stride
    tl.store(at, tl.where(part[10], pull - pull_a * a, 0.0), mask=write)
    at += SIZE * stride
    tl.store(at, tl.where(part[11], pull - pull_b * b, 0.0), mask=write)
    at += SIZE * stride
    tl.store(at, tl.where(part[12], pull * turn, 0.0), mask=write)

    down, lifted, end, top, total = _read_pens(output + row, is_row, stride, like)
    slope = tl.load(grad_pen + row, mask=is_row, other=0.0)
    at, target = gradient + row, target + 2 * column_stride
    _store_pen(at, slope, tl.exp(down - top) / total, target, is_row)
    at, target = at + stride, target + column_stride
    _store_pen(at, slope, tl.exp(lifted - top) / total, target, is_row)
    at, target = at + stride, target + column_stride
    _store_pen(at, slope, tl.exp(end - top) / total, target, is_row)


@triton.jit
@no_type_check
def _locate(targets, lengths, num_steps, num_sketches, sketch_stride, step_stride, ROWS):
    """This program's rows: numbers, addresses of targets, whether there is one, and a real one."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    is_row = row < num_steps * num_sketches
    step, sketch = row // num_sketches, row % num_sketches
    target = targets + sketch.to(tl.int64) * sketch_stride + step * step_stride
    is_real = is_row & (step < tl.load(lengths + sketch, mask=is_row, other=0))
    return row, target, is_row, is_real


@triton.jit
@no_type_check
def _clamp(x, LOW: tl.constexpr, HIGH: tl.constexpr):
    """NaN stays NaN."""
    low, high = tl.full(x.shape, LOW, x.dtype), tl.full(x.shape, HIGH, x.dtype)
    return tl.where(x < low, low, tl.where(x > high, high, x))


@triton.jit
@no_type_check
def _read_components(at, read, dx, dy, stride, like):
    """As `compiled_nll._Component`; `at` are the addresses of the weights."""
    raw_x = tl.load(at + stride, mask=read, other=0.0).to(like)
    at += 2 * stride
    raw_y = tl.load(at, mask=read, other=0.0).to(like)
    raw_sigma_x = tl.load(at + stride, mask=read, other=0.0).to(like)
    at += 2 * stride
    raw_sigma_y = tl.load(at, mask=read, other=0.0).to(like)
    raw_rho = tl.load(at + stride, mask=read, other=0.0).to(like)
    x, y = _clamp(raw_x, -_MAX_MEAN, _MAX_MEAN), _clamp(raw_y, -_MAX_MEAN, _MAX_MEAN)
    log_sigma_x = _clamp(raw_sigma_x, _MIN_LOG_SIGMA, _MAX_LOG_SIGMA)
    log_sigma_y = _clamp(raw_sigma_y, _MIN_LOG_SIGMA, _MAX_LOG_SIGMA)
    rho = _clamp(raw_rho, -_MAX_RHO_LOGIT, _MAX_RHO_LOGIT)
    inverse_x, inverse_y = tl.exp(-log_sigma_x), tl.exp(-log_sigma_y)
    grown, shrunk = tl.exp(rho), tl.exp(-rho)
    cosh, sinh = 0.5 * (grown + shrunk), 0.5 * (grown - shrunk)
    a, b = (dx - x) * inverse_x, (dy - y) * inverse_y
    across = a * cosh - b * sinh
    log_density = -log_sigma_x - log_sigma_y - 0.5 * (across * across + b * b)
    return (
        log_density,
        a,
        b,
        across,
        cosh,
        sinh,
        inverse_x,
        inverse_y,
        raw_x == x,
        raw_y == y,
        raw_sigma_x == log_sigma_x,
        raw_sigma_y == log_sigma_y,
        raw_rho == rho,
    )


@triton.jit
@no_type_check
def _read_weights(at, read, k, SIZE: tl.constexpr, like):
    """Logits less the largest, -infinity beyond the last, and the sum of their exponentials."""
    weight = tl.load(at, mask=read, other=0.0).to(like)
    weight = tl.where(k < SIZE, weight, float("-inf"))
    weight -= tl.max(weight, axis=0)[None, :]
    return weight, tl.sum(tl.exp(weight), axis=0)


@triton.jit
@no_type_check
def _join(weight, log_density, cosh, k, SIZE: tl.constexpr):
    """`joint`, `top_joint` and `joint_sum` of `compiled_nll._Chunk`."""
    joint = tl.where(k < SIZE, weight + log_density, float("-inf"))
    top = tl.max(joint, axis=0)
    joint = cosh * tl.exp(joint - top[None, :])
    return joint, top, tl.sum(joint, axis=0)


@triton.jit
@no_type_check
def _read_pens(at, is_row, stride, like):
    """Logits, the largest, and the sum of exp(logit - largest)."""
    down = tl.load(at, mask=is_row, other=0.0).to(like)
    lifted = tl.load(at + stride, mask=is_row, other=0.0).to(like)
    end = tl.load(at + 2 * stride, mask=is_row, other=0.0).to(like)
    top = tl.maximum(down, tl.maximum(lifted, end))
    return down, lifted, end, top, tl.exp(down - top) + tl.exp(lifted - top) + tl.exp(end - top)


@triton.jit
@no_type_check
def _store_pen(at, slope, share, target, is_row):
    pen = tl.load(target, mask=is_row, other=0.0).to(share.dtype)
    tl.store(at, slope * (share - pen), mask=is_row)
