"""The plain LSTM's fast path: what it hands to `driver`."""

from __future__ import annotations

import torch

from sketch_model.annotations import Tensor
from sketch_model.cells import FORGET_BIAS, LSTMCell, LSTMState
from sketch_model.recurrent.driver import Plan, unroll_gates


def unroll_lstm(
    plan: Plan,
    cell: LSTMCell,
    inputs: Tensor,
    state: LSTMState,
    constant: Tensor | None,
    masks: Tensor | None,
) -> Tensor:
    """Hidden outputs, [T, B, N], or each sketch's last; arguments as of `recurrent.unroll`."""
    return unroll_gates(
        plan,
        inputs,
        constant,
        cell.bias + forget_bias(cell.bias),
        cell.input_weight,
        cell.hidden_weight,
        state.c,
        state.h,
        masks,
        parameters=(),
    )


def forget_bias(like: Tensor) -> Tensor:
    """What is added to the gates, [G], whatever the parameters are."""
    bias = torch.zeros_like(like)
    bias.chunk(4)[2].fill_(FORGET_BIAS)
    return bias
