"""The layer-norm LSTM's fast path: what it hands to `driver`."""

from __future__ import annotations

import torch

from sketch_model.annotations import Tensor
from sketch_model.cells import LayerNormLSTMCell, LayerNormLSTMState
from sketch_model.recurrent.driver import Plan, unroll_gates
from sketch_model.recurrent.lstm import forget_bias


def unroll_layer_norm(
    plan: Plan,
    cell: LayerNormLSTMCell,
    inputs: Tensor,
    state: LayerNormLSTMState,
    constant: Tensor | None,
    masks: Tensor | None,
) -> Tensor:
    """Hidden outputs, [T, B, N], or each sketch's last; arguments as of `recurrent.unroll`."""
    shift = cell.gate_shift + forget_bias(cell.gate_shift)
    return unroll_gates(
        plan,
        inputs,
        constant,
        torch.zeros_like(shift),
        cell.input_weight,
        cell.hidden_weight,
        state.c,
        state.h,
        masks,
        parameters=(cell.gate_gain, shift, cell.memory_gain, cell.memory_shift),
    )
