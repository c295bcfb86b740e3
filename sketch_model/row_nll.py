"""Negative log-likelihood of every row of a batch: the place where the way to it is chosen.

The reference is `mixture.offset_nll` and `mixture.pen_nll` under autograd, which makes some twenty
temporaries of [B, T, M]. The fused kernels, compiled for the CPU or in Triton for a GPU, read the
decoder's output once forward and once backward, write its gradient, and make nothing else of that
size: the way back computes again what it needs, so that without gradients nothing has to be kept.
"""

from __future__ import annotations

import importlib.util
import logging
from functools import cache
from typing import Any, Protocol, runtime_checkable

import torch
from torch.autograd.function import once_differentiable

from sketch_model.annotations import Float, Int, Tensor
from sketch_model.mixture import Mixture, offset_nll, pen_nll

_LOG = logging.getLogger("sketch_model")


@runtime_checkable
class Kernels(Protocol):
    """Fused kernels.

    They read and write slabs: the decoder's output as [6 M + 3, T, B], contiguous. Inside they
    compute in float32, or in float64 if the output is float64.
    """

    def evaluate(self, slabs: Tensor, targets: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets' and pens' nats as `row_nll`, [T, B] each."""

    def differentiate(
        self,
        slabs: Tensor,
        targets: Tensor,
        lengths: Tensor,
        grad_offset: Tensor,
        grad_pen: Tensor,
    ) -> Tensor:
        """Gradient with respect to the slabs, like them, of that of both results, [T, B] each."""


def row_nll(
    output: Float[Tensor, "batch time outputs"],
    targets: Float[Tensor, "batch time 5"],
    lengths: Int[Tensor, " batch"],
) -> tuple[Float[Tensor, "batch time"], Float[Tensor, "batch time"]]:
    """Nats of each row's offset and of its pen (Ha & Eck 2017, eq. 9, inner sums).

    Computed in float32 whatever the output's dtype, or in float64 of a float64 output. A NaN in
    what is read gives NaN.

    Args:
        output: of the decoder. Fastest in the decoder's layout, with the sketches last in memory.
        targets: stroke-5 rows, in model units.
        lengths: real rows of each sketch.

    Returns:
        Offsets, 0 in the rows from `lengths` on, whose mixtures are not read; and pens, of all.
    """
    kernels = choose_kernels(output.device.type)
    if kernels is None:
        return reference_row_nll(output, targets, lengths)
    return fused_row_nll(output, targets, lengths, kernels)


@cache
def choose_kernels(device: str) -> Kernels | None:
    """The fused kernels for a type of device; None, the reference, where there are none.

    Each choice is logged when it is first made.
    """
    if device == "cpu" and importlib.util.find_spec("numba") is not None:
        from sketch_model import compiled_nll

        _LOG.info("likelihood of rows on %s: compiled kernels", device)
        return compiled_nll
    if device == "cuda" and importlib.util.find_spec("triton") is not None:
        from sketch_model import triton_nll

        _LOG.info("likelihood of rows on %s: Triton kernels", device)
        return triton_nll
    _LOG.info("likelihood of rows on %s: reference", device)
    return None


def reference_row_nll(
    output: Float[Tensor, "batch time outputs"],
    targets: Float[Tensor, "batch time 5"],
    lengths: Int[Tensor, " batch"],
) -> tuple[Float[Tensor, "batch time"], Float[Tensor, "batch time"]]:
    """As `row_nll`, by the functions of `mixture`."""
    mixture = Mixture.from_output(output.to(_internal_dtype(output)))
    targets = targets.to(mixture.mean_x.dtype)
    is_real = torch.arange(targets.shape[1], device=lengths.device) < lengths[:, None]
    offset = offset_nll(mixture, targets[..., :2])
    return offset.where(is_real, 0.0), pen_nll(mixture, targets[..., 2:])


def fused_row_nll(
    output: Float[Tensor, "batch time outputs"],
    targets: Float[Tensor, "batch time 5"],
    lengths: Int[Tensor, " batch"],
    kernels: Kernels,
) -> tuple[Float[Tensor, "batch time"], Float[Tensor, "batch time"]]:
    """As `row_nll`, by `kernels`."""
    if output.dtype == torch.float16:  # unlike bfloat16, nothing that numba could read
        output = output.float()
    offset, pen = _RowNLL.apply(output, targets, lengths, kernels)  # type: ignore[no-untyped-call]
    return offset, pen


class _RowNLL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, output: Tensor, targets: Tensor, lengths: Tensor, kernels: Kernels
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(output, targets, lengths)
        ctx.kernels = kernels
        offset, pen = kernels.evaluate(_slabs(output), targets, lengths)
        return offset.t(), pen.t()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_offset: Tensor, grad_pen: Tensor) -> tuple[Tensor | None, ...]:
        output, targets, lengths = ctx.saved_tensors
        gradient = ctx.kernels.differentiate(
            _slabs(output),
            targets,
            lengths,
            grad_offset.t().contiguous(),
            grad_pen.t().contiguous(),
        )
        return gradient.permute(2, 1, 0), None, None, None


def _slabs(output: Tensor) -> Tensor:
    """[6 M + 3, T, B], contiguous; no copy if the output is in the decoder's layout."""
    return output.permute(2, 1, 0).contiguous()


def _internal_dtype(output: Tensor) -> torch.dtype:
    return torch.float64 if output.dtype == torch.float64 else torch.float32
