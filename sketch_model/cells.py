"""Recurrent cells: one step each, written to be read against the formulas.

These are the reference that every fast path in `recurrent` is tested against. A cell holds the
parameters and takes one step; the loop over time lives elsewhere.

Shapes: B batch, X inputs, N units; row vectors, y = x W + b.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import nn

from sketch_model.annotations import Float, Tensor
from sketch_model.config import Cell

FORGET_BIAS: Final = 1.0
"""Added to the forget gate at run time, so that `bias` may start at zero."""


class LSTMState(NamedTuple):
    """State of an LSTM, in the order of the reference's state vector [c ; h]."""

    c: Float[Tensor, "batch units"]
    h: Float[Tensor, "batch units"]


class LSTMCell(nn.Module):
    """LSTM with recurrent dropout without memory loss (Semeniuta et al. 2016, eq. 10).

    The gates stand in the order input i, candidate j, forget f, output o:

        i, j, f, o = [x ; h] [W_x ; W_h] + b
        c' = c * sigmoid(f + 1) + sigmoid(i) * tanh(j) * mask
        h' = tanh(c') * sigmoid(o)
    """

    def __init__(self, input_size: int, size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.size = size
        self.input_weight = nn.Parameter(torch.empty(input_size, 4 * size))
        self.hidden_weight = nn.Parameter(torch.empty(size, 4 * size))
        self.bias = nn.Parameter(torch.empty(4 * size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot-uniform over the whole input matrix, an orthogonal block per gate, no bias."""
        nn.init.xavier_uniform_(self.input_weight)
        with torch.no_grad():
            for block in self.hidden_weight.chunk(4, dim=1):
                block.copy_(nn.init.orthogonal_(torch.empty_like(block)))
        nn.init.zeros_(self.bias)

    @property
    def state_size(self) -> int:
        """Numbers in a state vector."""
        return 2 * self.size

    def split_state(self, vector: Float[Tensor, "batch state"]) -> LSTMState:
        """Reads a state vector [c ; h]."""
        return LSTMState(*vector.chunk(2, dim=-1))

    def zero_state(self, batch_size: int) -> LSTMState:
        """The state before the first step, where nothing else is given."""
        return self.split_state(self.bias.new_zeros(batch_size, self.state_size))

    def forward(
        self,
        inputs: Float[Tensor, "batch input"],
        state: LSTMState,
        mask: Float[Tensor, "batch units"] | None = None,
    ) -> LSTMState:
        """One step.

        Args:
            inputs: x.
            state: (c, h) of the step before.
            mask: multiplies the candidate: 0 or 1 / (1 - dropout), new at every step. None is no
                dropout.
        """
        c, h = state
        i, j, f, o = (inputs @ self.input_weight + h @ self.hidden_weight + self.bias).chunk(4, -1)
        candidate = torch.tanh(j)
        if mask is not None:
            candidate = candidate * mask
        c = c * torch.sigmoid(f + FORGET_BIAS) + torch.sigmoid(i) * candidate
        return LSTMState(c, torch.tanh(c) * torch.sigmoid(o))


def build_cell(kind: Cell, input_size: int, size: int) -> LSTMCell:
    """The cell that a configuration names."""
    match kind:
        case Cell.lstm:
            return LSTMCell(input_size, size)
