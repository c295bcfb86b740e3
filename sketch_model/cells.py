"""Recurrent cells: one step each, written to be read against the formulas.

These are the reference that every fast path in `recurrent` is tested against. A cell holds the
parameters and takes one step; the loop over time lives elsewhere.

Every cell has `input_size`, `size` and `state_size`, reads its state out of a vector
(`split_state`, `zero_state`), and takes a step, `cell(inputs, state, mask) -> state`; the state's
`h` is what it puts out. `mask` multiplies the candidate, and nothing else: recurrent dropout
without memory loss (Semeniuta et al. 2016, eq. 10). Its elements are 0 or 1 / (1 - dropout), new at
every step; None is no dropout.

Shapes: B batch, X inputs, N units, H units and E embedding numbers of a HyperLSTM's small cell; row
vectors, y = x W + b. The four gates stand in the order input i, candidate j, forget f, output o.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import nn

from sketch_model.annotations import Float, Tensor
from sketch_model.config import Cell, ModelConfig

FORGET_BIAS: Final = 1.0
"""Added to the forget gate at run time, so that its bias may start at zero."""

LAYER_NORM_EPSILON: Final = 1e-3
"""Added to the variance (the reference's value)."""

INITIAL_SCALE: Final = 0.1
"""What a HyperLSTM multiplies its gates by at first."""

NUM_SCALES: Final = 8
"""Of a HyperLSTM: one per gate for what comes from the inputs, and one for what comes from h."""

NUM_MODULATIONS: Final = 12
"""Of a HyperLSTM: its scales, and one shift per gate."""


class LSTMState(NamedTuple):
    """State of an LSTM, in the order of the reference's state vector [c ; h]."""

    c: Float[Tensor, "batch units"]
    h: Float[Tensor, "batch units"]


class LayerNormLSTMState(NamedTuple):
    """State of a layer-norm LSTM, in the order of the reference's state vector [h ; c]."""

    h: Float[Tensor, "batch units"]
    c: Float[Tensor, "batch units"]


class HyperLSTMState(NamedTuple):
    """State of a HyperLSTM, in the order of the reference's [h ; hyper h ; c ; hyper c]."""

    h: Float[Tensor, "batch units"]
    hyper_h: Float[Tensor, "batch hyper_units"]
    c: Float[Tensor, "batch units"]
    hyper_c: Float[Tensor, "batch hyper_units"]


State = LSTMState | LayerNormLSTMState | HyperLSTMState


class LSTMCell(nn.Module):
    """The reference's plain LSTM.

    i, j, f, o = [x ; h] [W_x ; W_h] + b
    c' = c * sigmoid(f + 1) + sigmoid(i) * tanh(j) * mask
    h' = tanh(c') * sigmoid(o)
    """

    def __init__(self, input_size: int, size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.size = size
        self.input_weight = glorot_weight(input_size, 4 * size)
        self.hidden_weight = orthogonal_weight(size)
        self.bias = nn.Parameter(torch.zeros(4 * size))

    @property
    def state_size(self) -> int:
        """Numbers in a state vector."""
        return 2 * self.size

    def split_state(self, vector: Float[Tensor, "batch state"]) -> LSTMState:
        """Reads a state vector [c ; h]."""
        return LSTMState(*vector.chunk(2, dim=-1))

    def zero_state(self, batch_size: int) -> LSTMState:
        """The state before the first step, where nothing else is given."""
        return self.split_state(self.hidden_weight.new_zeros(batch_size, self.state_size))

    def forward(
        self,
        inputs: Float[Tensor, "batch input"],
        state: LSTMState,
        mask: Float[Tensor, "batch units"] | None = None,
    ) -> LSTMState:
        """One step."""
        gates = inputs @ self.input_weight + state.h @ self.hidden_weight + self.bias
        c, output_gate = update_memory(gates, state.c, mask)
        return LSTMState(c, torch.tanh(c) * output_gate)


class LayerNormLSTMCell(nn.Module):
    """LSTM whose gates, and the memory that it shows, are normalized (Ba et al. 2016).

    i, j, f, o = LN([x ; h] [W_x ; W_h])      each gate over its own N units
    c' = c * sigmoid(f + 1) + sigmoid(i) * tanh(j) * mask
    h' = tanh(LN(c')) * sigmoid(o)            c' itself is carried as it is
    """

    def __init__(self, input_size: int, size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.size = size
        self.input_weight = glorot_weight(input_size, 4 * size)
        self.hidden_weight = orthogonal_weight(size)
        self.gate_gain = nn.Parameter(torch.ones(4 * size))
        self.gate_shift = nn.Parameter(torch.zeros(4 * size))
        self.memory_gain = nn.Parameter(torch.ones(size))
        self.memory_shift = nn.Parameter(torch.zeros(size))

    @property
    def state_size(self) -> int:
        """Numbers in a state vector."""
        return 2 * self.size

    def split_state(self, vector: Float[Tensor, "batch state"]) -> LayerNormLSTMState:
        """Reads a state vector [h ; c]."""
        return LayerNormLSTMState(*vector.chunk(2, dim=-1))

    def zero_state(self, batch_size: int) -> LayerNormLSTMState:
        """The state before the first step, where nothing else is given."""
        return self.split_state(self.hidden_weight.new_zeros(batch_size, self.state_size))

    def forward(
        self,
        inputs: Float[Tensor, "batch input"],
        state: LayerNormLSTMState,
        mask: Float[Tensor, "batch units"] | None = None,
    ) -> LayerNormLSTMState:
        """One step."""
        gates = inputs @ self.input_weight + state.h @ self.hidden_weight
        gates = normalize(gates, self.gate_gain, self.gate_shift, num_groups=4)
        c, output_gate = update_memory(gates, state.c, mask)
        shown = normalize(c, self.memory_gain, self.memory_shift)
        return LayerNormLSTMState(torch.tanh(shown) * output_gate, c)


class HyperLSTMCell(nn.Module):
    """LSTM whose gates are scaled and shifted by a smaller LSTM at every step (Ha et al. 2016).

    As in the reference implementation, which differs from the article in what the small cell reads
    and in using its new output at once.

    hyper h', hyper c' = LayerNormLSTM_H([x ; h], hyper h, hyper c)      no dropout
    s^x, s^h = (hyper h' A + e) D, once per gate for x and once for h    scales
    t = hyper h' A D, once per gate                                      shifts
    i, j, f, o = LN(s^x * (x W_x) + s^h * (h W_h) + t + b)
    c', h' as in `LayerNormLSTMCell`

    Attributes:
        hyper_cell: the small LSTM.
        embedding_weight: all A side by side, [H, 12 E]: the scales of what comes from x, the scales
            of what comes from h, the shifts; i, j, f, o each.
        embedding_bias: e of the scales, [8 E].
        modulation_weight: all D, [12, E, N], in the same order.
    """

    def __init__(
        self, input_size: int, size: int, hyper_size: int, hyper_embedding_size: int
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.size = size
        self.hyper_size = hyper_size
        self.hyper_embedding_size = hyper_embedding_size
        self.hyper_cell = LayerNormLSTMCell(input_size + size, hyper_size)
        self.input_weight = glorot_weight(input_size, 4 * size)
        self.hidden_weight = orthogonal_weight(size)
        self.bias = nn.Parameter(torch.zeros(4 * size))
        num_scale_embeddings = NUM_SCALES * hyper_embedding_size
        embedding = torch.zeros(hyper_size, NUM_MODULATIONS * hyper_embedding_size)
        nn.init.normal_(embedding[:, num_scale_embeddings:], std=0.01)
        self.embedding_weight = nn.Parameter(embedding)
        self.embedding_bias = nn.Parameter(torch.ones(num_scale_embeddings))
        modulation = torch.zeros(NUM_MODULATIONS, hyper_embedding_size, size)
        modulation[:NUM_SCALES] = INITIAL_SCALE / hyper_embedding_size
        self.modulation_weight = nn.Parameter(modulation)
        self.gate_gain = nn.Parameter(torch.ones(4 * size))
        self.gate_shift = nn.Parameter(torch.zeros(4 * size))
        self.memory_gain = nn.Parameter(torch.ones(size))
        self.memory_shift = nn.Parameter(torch.zeros(size))

    @property
    def state_size(self) -> int:
        """Numbers in a state vector."""
        return 2 * (self.size + self.hyper_size)

    def split_state(self, vector: Float[Tensor, "batch state"]) -> HyperLSTMState:
        """Reads a state vector [h ; hyper h ; c ; hyper c]."""
        return HyperLSTMState(*torch.split(vector, 2 * [self.size, self.hyper_size], dim=-1))

    def zero_state(self, batch_size: int) -> HyperLSTMState:
        """The state before the first step, where nothing else is given."""
        return self.split_state(self.hidden_weight.new_zeros(batch_size, self.state_size))

    def forward(
        self,
        inputs: Float[Tensor, "batch input"],
        state: HyperLSTMState,
        mask: Float[Tensor, "batch units"] | None = None,
    ) -> HyperLSTMState:
        """One step."""
        hyper = self.hyper_cell(
            torch.cat([inputs, state.h], dim=-1), LayerNormLSTMState(state.hyper_h, state.hyper_c)
        )
        input_scale, hidden_scale, shift = self.modulations(hyper.h)
        gates = input_scale * (inputs @ self.input_weight)
        gates = gates + hidden_scale * (state.h @ self.hidden_weight) + shift + self.bias
        gates = normalize(gates, self.gate_gain, self.gate_shift, num_groups=4)
        c, output_gate = update_memory(gates, state.c, mask)
        shown = normalize(c, self.memory_gain, self.memory_shift)
        return HyperLSTMState(torch.tanh(shown) * output_gate, hyper.h, c, hyper.c)

    def modulations(self, hyper_h: Float[Tensor, "batch hyper_units"]) -> tuple[Tensor, ...]:
        """Scales for x W_x, scales for h W_h, and shifts, [B, 4 N] each."""
        embeddings = hyper_h @ self.embedding_weight
        bias = nn.functional.pad(self.embedding_bias, (0, embeddings.shape[-1] // 3))
        per_gate = torch.unflatten(embeddings + bias, -1, (NUM_MODULATIONS, -1))
        modulations = torch.einsum("bge,gen->bgn", per_gate, self.modulation_weight)
        return modulations.flatten(1).chunk(3, dim=-1)


RecurrentCell = LSTMCell | LayerNormLSTMCell | HyperLSTMCell


def build_cell(kind: Cell, input_size: int, size: int, config: ModelConfig) -> RecurrentCell:
    """The cell that a configuration names, with a HyperLSTM's sizes from `config`."""
    match kind:
        case Cell.lstm:
            return LSTMCell(input_size, size)
        case Cell.layer_norm:
            return LayerNormLSTMCell(input_size, size)
        case Cell.hyper:
            return HyperLSTMCell(input_size, size, config.hyper_size, config.hyper_embedding_size)


def update_memory(
    gates: Float[Tensor, "batch gates"],
    c: Float[Tensor, "batch units"],
    mask: Float[Tensor, "batch units"] | None,
) -> tuple[Float[Tensor, "batch units"], Float[Tensor, "batch units"]]:
    """New c, and the output gate after its sigmoid."""
    i, j, f, o = gates.chunk(4, dim=-1)
    candidate = torch.tanh(j)
    if mask is not None:
        candidate = candidate * mask
    c = c * torch.sigmoid(f + FORGET_BIAS) + torch.sigmoid(i) * candidate
    return c, torch.sigmoid(o)


def normalize(
    values: Float[Tensor, "batch features"],
    gain: Float[Tensor, " features"],
    shift: Float[Tensor, " features"],
    *,
    num_groups: int = 1,
) -> Float[Tensor, "batch features"]:
    """Layer normalization of each of `num_groups` equal groups over its own features."""
    groups: Tensor = torch.unflatten(values, -1, (num_groups, -1))
    variance, mean = torch.var_mean(groups, dim=-1, correction=0, keepdim=True)
    normal = (groups - mean) * torch.rsqrt(variance + LAYER_NORM_EPSILON)
    return gain * normal.flatten(-2) + shift


def glorot_weight(num_inputs: int, num_outputs: int) -> nn.Parameter:
    """Uniform, with a bound from the shape of the whole matrix rather than of each gate."""
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(num_inputs, num_outputs)))


def orthogonal_weight(size: int) -> nn.Parameter:
    """An orthogonal [N, N] block for each of four gates, side by side."""
    blocks = [nn.init.orthogonal_(torch.empty(size, size)) for _ in range(4)]
    return nn.Parameter(torch.cat(blocks, dim=1))
