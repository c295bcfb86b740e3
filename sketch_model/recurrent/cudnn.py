"""The plain LSTM without dropout through torch's own, which is cuDNN's on a GPU.

torch keeps its gates in the order i, f, j, o, its weights the other way round and the forget bias
among the biases. In the dtypes of the state only: cuDNN would carry c in that of the products.
"""

from __future__ import annotations

import torch

from sketch_model.annotations import Tensor
from sketch_model.cells import LSTMCell, LSTMState, RecurrentCell
from sketch_model.recurrent.driver import Plan
from sketch_model.recurrent.terms import collect_terms


def takes(cell: RecurrentCell, product_dtype: torch.dtype, masks: Tensor | None) -> bool:
    """Whether `unroll_cudnn` does what is asked for."""
    return (
        isinstance(cell, LSTMCell) and masks is None and product_dtype == cell.hidden_weight.dtype
    )


def unroll_cudnn(
    plan: Plan,
    cell: LSTMCell,
    inputs: Tensor,
    state: LSTMState,
    constant: Tensor | None,
    masks: Tensor | None,
) -> Tensor:
    """Hidden outputs, [T, B, N]; arguments as of `recurrent.unroll`."""
    assert takes(cell, plan.product_dtype, masks)
    assert not plan.ends_only
    if constant is not None:
        inputs = torch.cat([inputs, constant.expand(len(inputs), -1, -1)], dim=-1)
    outputs, _, _ = torch.lstm(
        inputs,
        (state.h[None].contiguous(), state.c[None].contiguous()),
        _flat_parameters(cell),
        has_biases=True,
        num_layers=1,
        dropout=0.0,
        train=plan.keep_history,  # cuDNN keeps nothing for the way back otherwise
        bidirectional=False,
        batch_first=False,
    )
    return outputs


def _flat_parameters(cell: LSTMCell) -> tuple[Tensor, ...]:
    """W_x [G, X], W_h [G, N] and two biases [G] that follow on each other in memory.

    Where they do not, cuDNN has them copied at every call, and torch warns.
    """
    weights = [_reorder(weight).t() for weight in (cell.input_weight, cell.hidden_weight)]
    bias = _reorder(collect_terms(cell).bias)
    parameters = [*weights, bias, torch.zeros_like(bias)]
    flat = torch.cat([parameter.reshape(-1) for parameter in parameters])
    parts = torch.split(flat, [parameter.numel() for parameter in parameters])
    return tuple(part.view(p.shape) for part, p in zip(parts, parameters, strict=True))


def _reorder(gates: Tensor) -> Tensor:
    """Columns in the order i, j, f, o to i, f, j, o."""
    i, j, f, o = gates.chunk(4, dim=-1)
    return torch.cat([i, f, j, o], dim=-1)
