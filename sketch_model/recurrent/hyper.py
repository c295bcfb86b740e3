"""The HyperLSTM's fast path: one `autograd.Function` over all steps.

Both of its cells take the step of a layer-norm LSTM, with its kernels; what the main cell's step
begins with is put together by a kernel of its own (`modulation`). Products of each step:

    [hyper h ; h ; x] [W]     of the small cell, one product
    e = hyper h' A + bias     the embeddings of all modulations, one product
    m = e D                   12 groups of E columns times [E, N], one batched product
    r = h W_h

Kept for the way back are these but m, which is three times as wide as r: it is multiplied again in
less time than it would take to store.

Shapes as in `hyper_forward`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from sketch_model.annotations import Tensor
from sketch_model.cells import HyperLSTMCell, HyperLSTMState
from sketch_model.recurrent.driver import Plan, stack_weights
from sketch_model.recurrent.hyper_backward import WayBack
from sketch_model.recurrent.hyper_forward import Arguments, History, allocate, run_forward
from sketch_model.recurrent.modulation import HyperKernels, ModulationBackward, ModulationForward
from sketch_model.recurrent.terms import collect_terms

__all__ = ["HyperKernels", "ModulationBackward", "ModulationForward", "unroll_hyper"]


def unroll_hyper(
    plan: Plan,
    cell: HyperLSTMCell,
    inputs: Tensor,
    state: HyperLSTMState,
    constant: Tensor | None,
    masks: Tensor | None,
) -> Tensor:
    """Hidden outputs, [T, B, N], or each sketch's last; arguments as of `recurrent.unroll`."""
    num_features, small = inputs.shape[-1], cell.hyper_cell
    hyper_input_weight, hyper_hidden_weight = torch.split(
        small.input_weight, [cell.input_size, cell.size]
    )
    hyper_weight = stack_weights(
        torch.cat([small.hidden_weight, hyper_hidden_weight]),
        hyper_input_weight[:num_features],
        cell.bias.dtype,
    )
    num_shift_embeddings = cell.embedding_weight.shape[1] - len(cell.embedding_bias)
    _, (hyper_gate_gain, hyper_gate_shift, hyper_memory_gain, hyper_memory_shift) = collect_terms(
        small
    )
    bias, (gate_gain, gate_shift, memory_gain, memory_shift) = collect_terms(cell)
    arguments = Arguments(
        inputs=inputs,
        masks=masks,
        h=state.h,
        hyper_h=state.hyper_h,
        c=state.c,
        hyper_c=state.hyper_c,
        hyper_weight=hyper_weight,
        hyper_offset=_multiply_constant(constant, hyper_input_weight[num_features:]),
        hidden_weight=cell.hidden_weight,
        input_weight=cell.input_weight[:num_features],
        offset=_multiply_constant(constant, cell.input_weight[num_features:]),
        bias=bias[None],
        embedding_weight=cell.embedding_weight,
        embedding_bias=torch.nn.functional.pad(cell.embedding_bias, (0, num_shift_embeddings)),
        modulation_weight=cell.modulation_weight,
        hyper_gate_gain=hyper_gate_gain,
        hyper_gate_shift=hyper_gate_shift,
        hyper_memory_gain=hyper_memory_gain,
        hyper_memory_shift=hyper_memory_shift,
        gate_gain=gate_gain,
        gate_shift=gate_shift,
        memory_gain=memory_gain,
        memory_shift=memory_shift,
    )
    outputs: Tensor = _Unroll.apply(plan, *arguments)  # type: ignore[no-untyped-call]
    return outputs


def _multiply_constant(constant: Tensor | None, weight: Tensor) -> Tensor:
    """[B, gates], or zeros in one row."""
    return weight.new_zeros(1, weight.shape[1]) if constant is None else constant @ weight


class _Unroll(torch.autograd.Function):
    """All steps; puts out what `unroll_hyper` does."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, *tensors: Tensor | None) -> Tensor:
        contiguous: Any = (None if tensor is None else tensor.contiguous() for tensor in tensors)
        arguments = Arguments(*contiguous)
        history = allocate(plan, arguments)
        outputs = run_forward(plan, arguments, history)
        ctx.plan = plan
        ctx.save_for_backward(*arguments, *history)
        return outputs[0] if plan.ends_only else outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        num_arguments = len(Arguments._fields)
        way_back = WayBack(
            ctx.plan,
            Arguments(*ctx.saved_tensors[:num_arguments]),
            History(*ctx.saved_tensors[num_arguments:]),
            grad_outputs,
            with_inputs=ctx.needs_input_grad[1],
        )
        return None, *way_back.run()
