"""The plain LSTM's fast path: what it hands to `driver`."""

from __future__ import annotations

from sketch_model.annotations import Tensor
from sketch_model.cells import LSTMCell, LSTMState
from sketch_model.recurrent.driver import Plan, unroll_gates
from sketch_model.recurrent.terms import collect_terms


def unroll_lstm(
    plan: Plan,
    cell: LSTMCell,
    inputs: Tensor,
    state: LSTMState,
    constant: Tensor | None,
    masks: Tensor | None,
) -> Tensor:
    """Hidden outputs, [T, B, N], or each sketch's last; arguments as of `recurrent.unroll`."""
    bias, parameters = collect_terms(cell)
    return unroll_gates(
        plan,
        inputs,
        constant,
        bias,
        cell.input_weight,
        cell.hidden_weight,
        state.c,
        state.h,
        masks,
        parameters,
    )
