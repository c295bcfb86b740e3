"""The fast path in plain torch: one `autograd.Function` over all steps.

Against the eager loop it saves the autograd graph of every step: elementwise work is done in place
in preallocated buffers, the constant part of the input is multiplied once, and the gradient of the
weights is gathered into few large products, over `_CHUNK` steps each, which is as fast as one over
all of them and keeps its operands in cache.

Shapes: T steps, B batch, F inputs per step, N units; G = 4 N gates in the order i, j, f, o.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch.autograd.function import once_differentiable

from sketch_model.annotations import Float, Tensor
from sketch_model.cells import FORGET_BIAS, LSTMCell, LSTMState

_CHUNK: Final = 16
"""Steps whose gate gradients are multiplied into the weight gradient together."""


def unroll_fused(
    cell: LSTMCell,
    inputs: Float[Tensor, "time batch features"],
    state: LSTMState,
    constant: Float[Tensor, "batch constant"] | None,
    masks: Float[Tensor, "time batch units"] | None,
    product_dtype: torch.dtype | None,
) -> Float[Tensor, "time batch units"]:
    """As `recurrent.unroll`; `product_dtype` is that of the products of the recurrence."""
    num_features = inputs.shape[-1]
    offset = cell.bias.expand(inputs.shape[1], -1)
    if constant is not None:
        offset = torch.addmm(offset, constant, cell.input_weight[num_features:])
    outputs: Tensor = _Unroll.apply(  # type: ignore[no-untyped-call]
        inputs.contiguous(),
        offset,
        cell.input_weight[:num_features],
        cell.hidden_weight,
        state.c,
        state.h,
        masks,
        product_dtype or cell.hidden_weight.dtype,
        torch.is_grad_enabled(),
    )
    return outputs


class _Unroll(torch.autograd.Function):
    """u_t = x_t W_x + h_{t-1} W_h + offset, and the LSTM's step from there."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,  # [T, B, F]
        offset: Tensor,  # [B, G]
        input_weight: Tensor,  # [F, G]
        hidden_weight: Tensor,  # [N, G]
        initial_c: Tensor,  # [B, N]
        initial_h: Tensor,  # [B, N]
        masks: Tensor | None,  # [T, B, N]
        product_dtype: torch.dtype,
        keep_history: bool,
    ) -> Tensor:  # [T, B, N]
        num_steps, batch_size, _ = inputs.shape
        size = hidden_weight.shape[0]
        num_kept = num_steps if keep_history else 1
        gates = inputs.new_empty(num_kept, 4, batch_size, size)
        c = inputs.new_empty(num_kept + keep_history, batch_size, size)
        h = inputs.new_empty(num_steps + 1, batch_size, size)
        u = inputs.new_empty(batch_size, 4 * size)
        u_i, u_j, u_f, u_o = u.chunk(4, dim=1)
        scratch = inputs.new_empty(batch_size, size)
        c[0], h[0] = initial_c, initial_h
        offset = offset.clone()
        offset[:, 2 * size : 3 * size] += FORGET_BIAS
        weight = hidden_weight.to(product_dtype)

        all_x, all_c, all_h = inputs.unbind(), c.unbind(), h.unbind()
        all_masks = None if masks is None else masks.unbind()
        all_gates = [step_gates.unbind() for step_gates in gates.unbind()]
        for step, x in enumerate(all_x):
            torch.addmm(offset, x, input_weight, out=u)
            _add_product(u, all_h[step], weight)
            i, j, f, o = all_gates[step % num_kept]
            torch.sigmoid(u_i, out=i)
            torch.tanh(u_j, out=j)
            torch.sigmoid(u_f, out=f)
            torch.sigmoid(u_o, out=o)
            new_c = all_c[(step + 1) % len(all_c)]
            torch.mul(all_c[step % len(all_c)], f, out=new_c)
            if all_masks is not None:
                j = torch.mul(j, all_masks[step], out=scratch)
            new_c.addcmul_(i, j)
            torch.tanh(new_c, out=scratch)
            torch.mul(scratch, o, out=all_h[step + 1])

        ctx.product_dtype = product_dtype
        ctx.save_for_backward(inputs, input_weight, hidden_weight, gates, c, h, masks)
        return h[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        inputs, input_weight, hidden_weight, gates, c, h, masks = ctx.saved_tensors
        num_steps, batch_size, num_features = inputs.shape
        size = len(hidden_weight)
        grad_c, grad_h, scratch = inputs.new_zeros(3, batch_size, size)
        grad_offset = inputs.new_zeros(batch_size, 4 * size)
        grad_weight = inputs.new_zeros(size + num_features, 4 * size)
        grad_inputs = torch.empty_like(inputs) if ctx.needs_input_grad[0] else None
        grad_gates = inputs.new_empty(min(_CHUNK, num_steps), batch_size, 4 * size)
        operands = grad_gates.to(ctx.product_dtype)  # the same tensor where the dtype is
        transposed_weight = hidden_weight.t().to(ctx.product_dtype).contiguous()

        all_grad_outputs, all_c = grad_outputs.unbind(), c.unbind()
        all_gates = [step_gates.unbind() for step_gates in gates.unbind()]
        all_masks = [None] * num_steps if masks is None else masks.unbind()
        all_grad_gates = [(u, u.chunk(4, dim=1)) for u in grad_gates.unbind()]
        all_operands = operands.unbind()
        for stop in range(num_steps, 0, -_CHUNK):
            start = max(0, stop - _CHUNK)
            for step in reversed(range(start, stop)):
                grad_u, grads = all_grad_gates[step - start]
                operand = all_operands[step - start]
                grad_h += all_grad_outputs[step]
                _step_backward(
                    grads,
                    grad_c,
                    grad_h,
                    all_gates[step],
                    all_c[step],
                    all_c[step + 1],
                    all_masks[step],
                    scratch,
                )
                grad_offset += grad_u
                if operand.dtype != grad_u.dtype:
                    operand.copy_(grad_u)
                _set_product(grad_h, operand, transposed_weight)
            rows = torch.cat([h[start:stop], inputs[start:stop]], dim=-1).flatten(0, 1)
            columns = operands[: stop - start].flatten(0, 1)
            _add_product(grad_weight, rows.t(), columns)
            if grad_inputs is not None:
                grad_inputs[start:stop] = grad_gates[: stop - start] @ input_weight.t()

        grad_hidden_weight, grad_input_weight = grad_weight.split(
            [len(hidden_weight), num_features]
        )
        return (
            grad_inputs,
            grad_offset,
            grad_input_weight,
            grad_hidden_weight,
            grad_c,
            grad_h,
            None,
            None,
            None,
        )


def _step_backward(
    grads: tuple[Tensor, ...],  # of i, j, f, o before their nonlinearities, written
    grad_c: Tensor,  # [B, N], of the new c on entry and of the old one on return
    grad_h: Tensor,  # [B, N], of the new h
    gates: tuple[Tensor, ...],  # i, j, f, o after their nonlinearities
    old_c: Tensor,
    new_c: Tensor,
    mask: Tensor | None,
    scratch: Tensor,
) -> None:
    """Gradient of one step with respect to the gates and c, in place."""
    i, j, f, o = gates
    grad_i, grad_j, grad_f, grad_o = grads
    tanh_c = torch.tanh(new_c, out=scratch)
    torch.mul(grad_h, tanh_c, out=grad_o)
    # grad_c += grad_h * o * (1 - tanh_c^2), with grad_f as scratch space
    torch.mul(grad_h, o, out=grad_f)
    grad_c += _tanh_backward(grad_f, tanh_c)
    grad_candidate = grad_c if mask is None else torch.mul(grad_c, mask, out=scratch)
    torch.mul(grad_candidate, j, out=grad_i)
    torch.mul(grad_candidate, i, out=grad_j)
    torch.mul(grad_c, old_c, out=grad_f)
    grad_c *= f
    _sigmoid_backward(grad_i, i)
    _tanh_backward(grad_j, j)
    _sigmoid_backward(grad_f, f)
    _sigmoid_backward(grad_o, o)


def _sigmoid_backward(grad: Tensor, output: Tensor) -> Tensor:
    """grad *= output (1 - output)."""
    result: Tensor = torch.ops.aten.sigmoid_backward.grad_input(grad, output, grad_input=grad)
    return result


def _tanh_backward(grad: Tensor, output: Tensor) -> Tensor:
    """grad *= 1 - output^2."""
    result: Tensor = torch.ops.aten.tanh_backward.grad_input(grad, output, grad_input=grad)
    return result


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right, multiplied in the dtype of `right`."""
    if right.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += left.to(right.dtype) @ right


def _set_product(result: Tensor, left: Tensor, right: Tensor) -> None:
    """result = left @ right, multiplied in the dtype of both."""
    if right.dtype == result.dtype:
        torch.mm(left, right, out=result)
    else:
        result.copy_(left @ right)
