"""Sketch-RNN as plain PyTorch has it: what the training step and sampling are compared with.

Written for the comparison, in the ways in which public re-implementations go about it: `nn.LSTM`
over padded sequences, `nn.LSTM` over a `PackedSequence` in the encoder, and a loop over a cell,
which TorchScript can compile. Each computes the same function as `SketchRNN`
(benchmarks/equality.py); the loss is written in torch operations and is the same for all.

`nn.LSTM` offers no dropout of the candidate, so what uses it goes without. A state is a list of
tensors, the output h first.
"""

from __future__ import annotations

import warnings
from enum import StrEnum

import torch
from torch import Tensor, nn
from torch.nn import functional

from sketch_model.batch import SketchBatch
from sketch_model.cells import INITIAL_SCALE, LAYER_NORM_EPSILON, NUM_MODULATIONS
from sketch_model.config import Cell, ModelConfig
from sketch_model.encoder import Posterior, reverse_within_lengths
from sketch_model.losses import floored_kl, kl_nats
from sketch_model.mixture import offset_nll, output_size, pen_nll
from sketch_model.model import Prediction

NUM_COLUMNS = 5


class Way(StrEnum):
    """How a peer goes through time."""

    library = "nn.LSTM"
    packed = "nn.LSTM, packed encoder"
    loop = "loop"
    script = "TorchScript loop"


class PlainLSTMCell(nn.Module):
    """Dropout of the candidate alone; +1 at the forget gate."""

    def __init__(self, num_inputs: int, size: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.from_inputs = nn.Linear(num_inputs, 4 * size)
        self.from_hidden = nn.Linear(size, 4 * size, bias=False)

    def forward(self, x: Tensor, state: list[Tensor]) -> list[Tensor]:
        """One step."""
        h, c = state
        i, j, f, o = (self.from_inputs(x) + self.from_hidden(h)).chunk(4, dim=1)
        candidate = functional.dropout(torch.tanh(j), self.dropout, self.training)
        c = c * torch.sigmoid(f + 1.0) + torch.sigmoid(i) * candidate
        return [torch.tanh(c) * torch.sigmoid(o), c]


class PlainLayerNormCell(nn.Module):
    """An `nn.LayerNorm` for each gate, and one for c."""

    def __init__(self, num_inputs: int, size: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.from_inputs = nn.Linear(num_inputs, 4 * size, bias=False)
        self.from_hidden = nn.Linear(size, 4 * size, bias=False)
        self.norm_i, self.norm_j, self.norm_f, self.norm_o, self.norm_c = _norms(size)

    def forward(self, x: Tensor, state: list[Tensor]) -> list[Tensor]:
        """One step."""
        h, c = state
        i, j, f, o = (self.from_inputs(x) + self.from_hidden(h)).chunk(4, dim=1)
        candidate = functional.dropout(torch.tanh(self.norm_j(j)), self.dropout, self.training)
        c = c * torch.sigmoid(self.norm_f(f) + 1.0) + torch.sigmoid(self.norm_i(i)) * candidate
        return [torch.tanh(self.norm_c(c)) * torch.sigmoid(self.norm_o(o)), c]


class PlainHyperCell(nn.Module):
    """A small layer-norm LSTM, two linear maps for each of twelve scales and shifts.

    The maps to the embeddings are one; those from them are twelve.
    """

    def __init__(
        self, num_inputs: int, size: int, dropout: float, hyper_size: int, embedding_size: int
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.hyper_cell = PlainLayerNormCell(num_inputs + size, hyper_size, 0.0)
        self.from_inputs = nn.Linear(num_inputs, 4 * size, bias=False)
        self.from_hidden = nn.Linear(size, 4 * size, bias=False)
        self.bias = nn.Parameter(torch.zeros(4 * size))
        self.embed = nn.Linear(hyper_size, NUM_MODULATIONS * embedding_size)
        self.modulate = nn.ModuleList(
            nn.Linear(embedding_size, size, bias=False) for _ in range(NUM_MODULATIONS)
        )
        for linear in self.modulate[:8]:
            nn.init.constant_(linear.weight, INITIAL_SCALE / embedding_size)
        self.norm_i, self.norm_j, self.norm_f, self.norm_o, self.norm_c = _norms(size)

    def forward(self, x: Tensor, state: list[Tensor]) -> list[Tensor]:
        """One step."""
        h, hyper_h, c, hyper_c = state
        hyper_h, hyper_c = self.hyper_cell(torch.cat([x, h], dim=1), [hyper_h, hyper_c])
        embeddings = self.embed(hyper_h).chunk(12, dim=1)
        scales: list[Tensor] = []
        for number, linear in enumerate(self.modulate):
            scales.append(linear(embeddings[number]))
        from_x = self.from_inputs(x).chunk(4, dim=1)
        from_h = self.from_hidden(h).chunk(4, dim=1)
        bias = self.bias.chunk(4)
        gates: list[Tensor] = []
        for n in range(4):
            scaled = scales[n] * from_x[n] + scales[4 + n] * from_h[n]
            gates.append(scaled + scales[8 + n] + bias[n])
        candidate = torch.tanh(self.norm_j(gates[1]))
        candidate = functional.dropout(candidate, self.dropout, self.training)
        c = c * torch.sigmoid(self.norm_f(gates[2]) + 1.0)
        c = c + torch.sigmoid(self.norm_i(gates[0])) * candidate
        h = torch.tanh(self.norm_c(c)) * torch.sigmoid(self.norm_o(gates[3]))
        return [h, hyper_h, c, hyper_c]


class Loop(nn.Module):
    """All outputs of a cell, [time, batch, units], one step after another."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, rows: Tensor, state: list[Tensor]) -> Tensor:
        """Rows are [time, batch, columns]."""
        outputs: list[Tensor] = []
        for x in rows.unbind(0):
            state = self.cell(x, state)
            outputs.append(state[0])
        return torch.stack(outputs)


class Library(nn.Module):
    """The same of `nn.LSTM`."""

    def __init__(self, num_inputs: int, size: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(num_inputs, size)

    def forward(self, rows: Tensor, state: list[Tensor]) -> Tensor:
        """Rows are [time, batch, columns]."""
        h, c = state
        outputs: Tensor = self.lstm(rows, (h[None], c[None]))[0]
        return outputs


class PlainSketchRNN(nn.Module):
    """Conditional, of one kind of cell in encoder and decoder unless `config` says otherwise."""

    def __init__(self, config: ModelConfig, way: Way) -> None:
        super().__init__()
        self.config, self.way = config, way
        size = config.encoder_size
        if way is Way.packed:
            _expect_lstm(config.encoder_cell, way)
            self.encoder = nn.LSTM(NUM_COLUMNS, size, bidirectional=True)
        else:
            self.ahead = _unroller(config.encoder_cell, NUM_COLUMNS, size, config, way)
            self.back = _unroller(config.encoder_cell, NUM_COLUMNS, size, config, way)
        self.mean = nn.Linear(2 * size, config.N_z)
        self.log_variance = nn.Linear(2 * size, config.N_z)
        sizes = state_sizes(config.decoder_cell, config.decoder_size, config)
        self.initial = nn.Linear(config.N_z, sum(sizes))
        self.decoder = _unroller(
            config.decoder_cell, NUM_COLUMNS + config.N_z, config.decoder_size, config, way
        )
        self.output = nn.Linear(config.decoder_size, output_size(config.M))

    def forward(self, batch: SketchBatch, latent_noise: Tensor) -> Prediction:
        """What `SketchRNN` predicts."""
        summary = self._summarize(batch.targets.transpose(0, 1), batch.lengths)
        posterior = Posterior(self.mean(summary).float(), self.log_variance(summary).float())
        z = posterior.sample(latent_noise)
        rows = batch.inputs.transpose(0, 1)
        rows = torch.cat([rows, z.expand(len(rows), -1, -1)], dim=2)
        hidden = self.decoder(rows, self.initial_state(z))
        return Prediction(self.output(hidden).float().transpose(0, 1), posterior)

    def initial_state(self, z: Tensor) -> list[Tensor]:
        """Of the decoder."""
        sizes = state_sizes(self.config.decoder_cell, self.config.decoder_size, self.config)
        return list(torch.tanh(self.initial(z)).split(sizes, dim=1))

    def _summarize(self, rows: Tensor, lengths: Tensor) -> Tensor:
        if self.way is Way.packed:
            packed = nn.utils.rnn.pack_padded_sequence(rows, lengths.cpu(), enforce_sorted=False)
            return torch.cat(self.encoder(packed)[1][0].unbind(), dim=1)
        sizes = state_sizes(self.config.encoder_cell, self.config.encoder_size, self.config)
        state = [rows.new_zeros(len(lengths), size) for size in sizes]
        each = torch.arange(len(lengths), device=rows.device)
        ahead = self.ahead(rows, state)[lengths - 1, each]
        back = self.back(reverse_within_lengths(rows, lengths), state)[lengths - 1, each]
        return torch.cat([ahead, back], dim=1)


def plain_loss(
    prediction: Prediction, batch: SketchBatch, N_max: int, w_KL: float, KL_min: float
) -> Tensor:
    """L_R + w_KL max(L_KL, KL_min), in the torch operations that the formulas are written in."""
    targets = batch.targets
    is_real = torch.arange(targets.shape[1], device=targets.device) < batch.lengths[:, None]
    mixture, posterior = prediction.mixture, prediction.posterior
    assert posterior is not None
    offset_nats = (offset_nll(mixture, targets[..., :2]) * is_real).sum()
    pen_nats = pen_nll(mixture, targets[..., 2:]).sum()
    L_R = (offset_nats + pen_nats) / (len(targets) * N_max)
    L_KL = kl_nats(posterior).mean() / posterior.mean.shape[1]
    return L_R + w_KL * floored_kl(L_KL, KL_min)


def build_plain_cell(kind: Cell, num_inputs: int, size: int, config: ModelConfig) -> nn.Module:
    """A cell for a loop, with the configuration's dropout."""
    dropout = config.recurrent_dropout
    match kind:
        case Cell.lstm:
            return PlainLSTMCell(num_inputs, size, dropout)
        case Cell.layer_norm:
            return PlainLayerNormCell(num_inputs, size, dropout)
        case Cell.hyper:
            return PlainHyperCell(
                num_inputs, size, dropout, config.hyper_size, config.hyper_embedding_size
            )


def state_sizes(kind: Cell, size: int, config: ModelConfig) -> list[int]:
    """Of the tensors of a state: h, c, or h, hyper h, c, hyper c."""
    return 2 * [size, config.hyper_size] if kind is Cell.hyper else [size, size]


def _unroller(kind: Cell, num_inputs: int, size: int, config: ModelConfig, way: Way) -> nn.Module:
    if way in (Way.library, Way.packed):
        _expect_lstm(kind, way)
        return Library(num_inputs, size)
    loop = Loop(build_plain_cell(kind, num_inputs, size, config))
    return compile_script(loop) if way is Way.script else loop


def compile_script(module: nn.Module) -> nn.Module:
    """TorchScript, which is still what public re-implementations compile their loops with."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*torch.jit.script.*deprecated", DeprecationWarning)
        scripted: nn.Module = torch.jit.script(module)
    return scripted


def _expect_lstm(kind: Cell, way: Way) -> None:
    if kind is not Cell.lstm:
        raise ValueError(f"{way} has the lstm cell alone, got {kind}: use {Way.loop}")


def _norms(size: int) -> list[nn.LayerNorm]:
    return [nn.LayerNorm(size, eps=LAYER_NORM_EPSILON) for _ in range(5)]
