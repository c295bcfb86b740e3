"""The decoder's output layer, whose way back may be less precise than its way forward."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from sketch_model.annotations import Float, Tensor
from sketch_model.recurrent import product_dtype


def project(
    hidden: Float[Tensor, "time batch units"],
    weight: Float[Tensor, "outputs units"],
    bias: Float[Tensor, " outputs"],
) -> Float[Tensor, "outputs time batch"]:
    """hidden weight^T + bias, the outputs first.

    Under autocast to bf16 the outputs keep float32: means and a log-sum-exp over components need
    more than three digits. The products of their gradients are in bf16, as those of the
    recurrence.
    """
    dtype = product_dtype(hidden)
    if dtype != torch.bfloat16:  # float16 has not the range of gradients
        dtype = hidden.dtype
    with torch.autocast(hidden.device.type, enabled=False):
        outputs: Tensor = _Project.apply(hidden.flatten(0, 1), weight, bias, dtype)  # type: ignore[no-untyped-call]
    return outputs.view(-1, *hidden.shape[:2])


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype
    ) -> Tensor:
        ctx.save_for_backward(hidden, weight)
        ctx.dtype = dtype
        return torch.addmm(bias[:, None], weight, hidden.t())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight = (tensor.to(ctx.dtype) for tensor in ctx.saved_tensors)
        grads, dtype = grad_outputs.to(ctx.dtype), grad_outputs.dtype
        with torch.autocast(grads.device.type, enabled=False):
            grad_hidden, grad_weight = grads.t() @ weight, grads @ hidden
        return grad_hidden.to(dtype), grad_weight.to(dtype), grad_outputs.sum(1), None
