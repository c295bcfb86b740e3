"""The fast path of an LSTM, with or without layer norm: one `autograd.Function` over all steps.

Against a loop over the cell it saves the autograd graph of every step. What changes from step to
step is multiplied together with h, everything but products is done by one kernel a step
(`kernels`), and the gradient of the weights is gathered into few large products.

Shapes as in `kernels`; F inputs per step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from sketch_model.annotations import Tensor
from sketch_model.recurrent.kernels import BackwardBuffers, ForwardBuffers, StepKernels
from sketch_model.recurrent.products import bind_fresh_product, bind_product, round_rows

_CHUNK: Final = 32
"""Steps of a whole batch whose gates' gradients are multiplied into the weight gradient together;
more steps where sketches have ended."""

_ROUND_ROWS: Final = 128
"""What the number of rows of a product over several steps is a multiple of: see `products`."""

_ALIGNMENT: Final = 16
"""Of the columns of an operand: of others, large products are up to a third slower."""


class Plan(NamedTuple):
    """How to unroll.

    Attributes:
        kernels: of the cell, for the device.
        product_dtype: of the products' operands and results.
        num_rows: sketches that take part at each step.
        ends_only: whether only each sketch's last output is wanted.
        keep_history: whether gradients are.
    """

    kernels: StepKernels
    product_dtype: torch.dtype
    num_rows: list[int]
    ends_only: bool
    keep_history: bool


def unroll_gates(
    plan: Plan,
    inputs: Tensor,  # [T, B, F]
    constant: Tensor | None,  # [B, Z]
    bias: Tensor,  # [G]
    input_weight: Tensor,  # [F + Z, G]
    hidden_weight: Tensor,  # [N, G]
    c: Tensor,  # [B, N]
    h: Tensor,  # [B, N]
    masks: Tensor | None,  # [T, B, N]
    parameters: tuple[Tensor, ...],
) -> Tensor:
    """h of all steps, [T, B, N], or with `ends_only` each sketch's last, [B, N].

    What does not change from step to step is multiplied once on the CPU, where products are dear.
    On a GPU to multiply it again costs less than to read and add what came of it.
    """
    offset = bias[None]
    if constant is not None and not plan.kernels.SUMS_PER_SKETCH:
        num_features = inputs.shape[-1]
        offset = torch.addmm(offset, constant, input_weight[num_features:])
        input_weight, constant = input_weight[:num_features], None
    outputs: Tensor = _Unroll.apply(  # type: ignore[no-untyped-call]
        plan, inputs, constant, offset, input_weight, hidden_weight, c, h, masks, *parameters
    )
    return outputs


class _Unroll(torch.autograd.Function):
    """u_t = [h_{t-1} ; x_t ; constant] [W_h ; W_x] + offset, and the kernels' step from there."""

    @staticmethod
    def forward(
        ctx: Any,
        plan: Plan,
        inputs: Tensor,
        constant: Tensor | None,
        offset: Tensor,
        input_weight: Tensor,
        hidden_weight: Tensor,
        c: Tensor,
        h: Tensor,
        masks: Tensor | None,
        *parameters: Tensor,
    ) -> Tensor:
        weight = stack_weights(hidden_weight, input_weight, plan.product_dtype)
        operands = _allocate_operands(inputs, constant, h, weight)
        buffers = _allocate(plan, operands, offset, c, masks, parameters)
        run_forward(plan, buffers, weight)
        ctx.plan, ctx.num_features, ctx.num_parameters = plan, inputs.shape[-1], len(parameters)
        ctx.num_constant = 0 if constant is None else constant.shape[-1]
        ctx.save_for_backward(
            weight, *buffers[1:3], *buffers[4:6], operands, *parameters, *buffers.u
        )
        return buffers.outputs[0] if plan.ends_only else buffers.outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        plan: Plan = ctx.plan
        weight, offset, masks, c, statistics, operands, *rest = ctx.saved_tensors
        parameters, u = rest[: ctx.num_parameters], rest[ctx.num_parameters :]
        batch_size, size = c[0].shape
        num_rows = batch_size if plan.kernels.SUMS_PER_SKETCH else 1
        sums = torch.zeros_like(offset)
        if ctx.num_constant:
            sums = offset.new_zeros(batch_size, offset.shape[1])
        grad_h = torch.zeros_like(c[0], dtype=plan.product_dtype)
        if plan.ends_only:
            grad_h.copy_(grad_outputs)
        buffers = BackwardBuffers(
            u=u,
            offset=offset,
            masks=masks,
            parameters=tuple(parameters),
            c=c,
            statistics=statistics,
            grad_outputs=None if plan.ends_only else grad_outputs.contiguous(),
            grad_h=grad_h,
            grad_c=torch.zeros_like(c[0]),
            grad_u=weight.new_empty(chunk_rows(plan.num_rows, batch_size, _CHUNK), weight.shape[1]),
            grad_offset=None if plan.kernels.SUMS_PER_SKETCH else sums,
            grad_parameters=tuple(c.new_zeros(num_rows, len(p)) for p in parameters),
        )
        grad_inputs = None
        if ctx.needs_input_grad[1]:
            grad_inputs = c.new_zeros(len(u), batch_size, ctx.num_features)
        grad_weight = run_backward(plan, buffers, operands, weight, grad_inputs, sums)
        inputs_end = size + ctx.num_features
        weight_end = inputs_end + ctx.num_constant
        grad_constant = None
        if ctx.num_constant:
            grad_constant = sums @ weight[inputs_end:weight_end].t().to(sums.dtype)
        return (
            None,
            grad_inputs,
            grad_constant,
            sums.sum_to_size(offset.shape),
            grad_weight[size:weight_end],
            grad_weight[:size],
            buffers.grad_c,
            buffers.grad_h.to(c.dtype),
            None,
            *(grad.sum(0) for grad in buffers.grad_parameters),
        )


def stack_weights(hidden_weight: Tensor, input_weight: Tensor, dtype: torch.dtype) -> Tensor:
    """[W_h ; W_x ; zeros], [K, G], for operands [h ; x ; zeros]."""
    num_rows = len(hidden_weight) + len(input_weight)
    padding = hidden_weight.new_zeros(-num_rows % _ALIGNMENT, hidden_weight.shape[1])
    return torch.cat([hidden_weight, input_weight, padding]).to(dtype)


def _allocate_operands(
    inputs: Tensor, constant: Tensor | None, h: Tensor, weight: Tensor
) -> Tensor:
    """[T + 1, B, K], with all in it but what the steps make."""
    num_steps, batch_size, num_features = inputs.shape
    operands = weight.new_empty(num_steps + 1, batch_size, len(weight))
    hidden, changing, rest = operands.tensor_split([h.shape[1], h.shape[1] + num_features], dim=-1)
    hidden[0] = h
    changing[:-1] = inputs
    num_constant = 0
    if constant is not None:
        num_constant = constant.shape[1]
        rest[..., :num_constant] = constant
    rest[..., num_constant:] = 0
    return operands


def _allocate(
    plan: Plan,
    operands: Tensor,
    offset: Tensor,
    c: Tensor,
    masks: Tensor | None,
    parameters: tuple[Tensor, ...],
) -> ForwardBuffers:
    num_steps, batch_size, size = len(operands) - 1, *c.shape
    num_kept = num_steps if plan.keep_history else 1
    memory = c.new_empty(num_kept + 1, batch_size, size)
    memory[0] = c
    statistics = None
    if plan.kernels.NUM_STATISTICS:
        statistics = c.new_empty(num_kept, batch_size, plan.kernels.NUM_STATISTICS, 2)
    return ForwardBuffers(
        u=[operands.new_empty(0, offset.shape[1])] * num_kept,  # to be replaced
        offset=offset.contiguous(),
        masks=masks,
        parameters=parameters,
        c=memory,
        statistics=statistics,
        outputs=c.new_empty(1 if plan.ends_only else num_steps, batch_size, size),
        operands=operands,
    )


def run_forward(plan: Plan, buffers: ForwardBuffers, weight: Tensor) -> None:
    """All steps; fills in the buffers."""
    step_forward = plan.kernels.bind_forward(buffers)
    batch_size = buffers.operands.shape[1]
    multiply = bind_fresh_product(weight, batch_size)
    operands, u = buffers.operands.unbind(), buffers.u
    for step, num_rows in enumerate(plan.num_rows):
        rounded = round_rows(num_rows, batch_size)
        u[step % len(u)] = multiply(operands[step][:rounded])
        step_forward(step, num_rows)


def run_backward(
    plan: Plan,
    buffers: BackwardBuffers,
    operands: Tensor,  # [T + 1, B, K]
    weight: Tensor,  # [K, G]
    grad_inputs: Tensor | None,  # [T, B, F], written
    sums: Tensor,  # [B or 1, G], written
) -> Tensor:
    """All steps, from the last on; fills in the buffers and gives the gradient of the weights."""
    step_backward = plan.kernels.bind_backward(buffers)
    grad_h, grad_u = buffers.grad_h, buffers.grad_u
    hidden_weight, other_weight = weight.tensor_split([grad_h.shape[1]])
    batch_size = len(grad_h)
    multiply_back = bind_product(hidden_weight.t(), batch_size)
    grad_weight = torch.zeros_like(weight, dtype=buffers.c.dtype)
    for start, stop in chunks(plan.num_rows, _CHUNK * batch_size):
        first = total = sum(plan.num_rows[start:stop])
        for step in reversed(range(start, stop)):
            num_rows = plan.num_rows[step]
            first -= num_rows
            step_backward(step, num_rows, first)
            last = first + round_rows(num_rows, batch_size)
            multiply_back(grad_u[first:last], grad_h[:num_rows])
        rows = gather_rows(operands, plan.num_rows, start, stop)
        grads = pad_rows(grad_u, total, len(rows))
        add_product(grad_weight, transpose(rows), grads)  # as fast as of all steps together
        if buffers.grad_offset is None:
            _add_up(sums, grads[:total], plan.num_rows[start:stop])
        if grad_inputs is not None:
            grad_rows = grads @ other_weight[: grad_inputs.shape[-1]].t()
            scatter_rows(grad_rows, plan.num_rows, start, stop, grad_inputs)
    return grad_weight


def _add_up(sums: Tensor, rows: Tensor, num_rows: list[int]) -> None:
    """Adds all steps' rows to `sums`, each sketch's to its own row or to the only one."""
    if len(sums) in (1, num_rows[-1]):
        sums += rows.view(-1, *sums.shape).sum(0, dtype=sums.dtype)
    else:
        for part in torch.split(rows, num_rows):
            sums[: len(part)] += part


def chunks(num_rows: list[int], limit: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of steps that have at most so many rows together, from the last ones on."""
    stop = len(num_rows)
    while stop:
        start, total = stop - 1, num_rows[stop - 1]
        while start and total + num_rows[start - 1] <= limit:
            start -= 1
            total += num_rows[start]
        yield start, stop
        stop = start


def chunk_rows(num_rows: list[int], batch_size: int, num_steps: int) -> int:
    """Room for the rows of any of the chunks of so many steps of a whole batch."""
    total = min(sum(num_rows), num_steps * batch_size)
    return total + -total % _ROUND_ROWS


def gather_rows(operands: Tensor, num_rows: list[int], start: int, stop: int) -> Tensor:
    """Rows that take part at these steps, one after the other, and zeros to make `round_sum`."""
    if num_rows[stop - 1] == operands.shape[1]:
        return operands[start:stop].flatten(0, 1)
    parts = [operands[step, : num_rows[step]] for step in range(start, stop)]
    missing = round_sum(num_rows[start:stop], operands.shape[1]) - sum(num_rows[start:stop])
    return torch.cat([*parts, operands.new_zeros(missing, operands.shape[2])])


def round_sum(num_rows: list[int], batch_size: int) -> int:
    """Rows of several steps, and some more where sketches end, so that there are few numbers."""
    total = sum(num_rows)
    return total if num_rows[-1] == batch_size else total + -total % _ROUND_ROWS


def pad_rows(rows: Tensor, num: int, rounded: int) -> Tensor:
    """The first `num` rows, and zeros."""
    if rounded > len(rows):
        return torch.nn.functional.pad(rows[:num], (0, 0, 0, rounded - num))
    rows[num:rounded] = 0
    return rows[:rounded]


def scatter_rows(rows: Tensor, num_rows: list[int], start: int, stop: int, result: Tensor) -> None:
    """The reverse of `gather_rows`."""
    first = 0
    for step in range(start, stop):
        result[step, : num_rows[step]] = rows[first : first + num_rows[step]]
        first += num_rows[step]


def transpose(rows: Tensor) -> Tensor:
    """[columns, rows], to be the left operand of a product.

    On the CPU in bf16 it is laid out anew: an operand that lies the other way round makes oneDNN
    take twice as long (with AMX).
    """
    columns = rows.t()
    if rows.dtype == torch.bfloat16 and rows.device.type == "cpu":
        return columns.contiguous()
    return columns


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right, multiplied in the dtype of both."""
    if right.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right
