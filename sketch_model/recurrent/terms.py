"""What a cell hands to its step kernels beside state and products."""

from __future__ import annotations

from typing import NamedTuple

import torch

from sketch_model.annotations import Tensor
from sketch_model.cells import FORGET_BIAS, HyperLSTMCell, LayerNormLSTMCell, LSTMCell


class Terms(NamedTuple):
    """The forget bias is in one of them, wherever the cell has a shift of its gates."""

    bias: Tensor
    """[G], added to u."""
    parameters: tuple[Tensor, ...]
    """As `kernels.ForwardBuffers.parameters`."""


def collect_terms(cell: LSTMCell | LayerNormLSTMCell | HyperLSTMCell) -> Terms:
    """Those of a cell; of a HyperLSTM, those of its main cell."""
    if isinstance(cell, LSTMCell):
        return Terms(_add_forget_bias(cell.bias), ())
    shift = _add_forget_bias(cell.gate_shift)
    bias = cell.bias if isinstance(cell, HyperLSTMCell) else torch.zeros_like(shift)
    return Terms(bias, (cell.gate_gain, shift, cell.memory_gain, cell.memory_shift))


def _add_forget_bias(shift: Tensor) -> Tensor:
    forget_bias = torch.zeros_like(shift)
    forget_bias.chunk(4)[2].fill_(FORGET_BIAS)
    return shift + forget_bias
