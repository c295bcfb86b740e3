"""Weights of the package's modules as the NumPy program takes them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from sketch_model import SketchRNN
from sketch_model.cells import (
    HyperLSTMCell,
    HyperLSTMState,
    LayerNormLSTMCell,
    LayerNormLSTMState,
    LSTMCell,
    LSTMState,
    RecurrentCell,
    State,
)
from tests.numerics.sketch_rnn_numpy import (
    LSTM,
    Array,
    Cell,
    DecoderMasks,
    HyperGate,
    HyperLSTM,
    LayerNorm,
    LayerNormLSTM,
    decode,
    encode,
)


def to_numpy(tensor: torch.Tensor) -> Array:
    return tensor.detach().cpu().numpy().astype(np.float64)


def cell_weights(cell: RecurrentCell) -> Cell:
    match cell:
        case LSTMCell():
            return LSTM(
                to_numpy(cell.input_weight), to_numpy(cell.hidden_weight), to_numpy(cell.bias)
            )
        case LayerNormLSTMCell():
            return _layer_norm_lstm(cell)
        case HyperLSTMCell():
            return HyperLSTM(
                small=_layer_norm_lstm(cell.hyper_cell),
                input_weight=to_numpy(cell.input_weight),
                hidden_weight=to_numpy(cell.hidden_weight),
                gates=_hyper_gates(cell),
                gate_norms=_gate_norms(cell),
                memory_norm=_memory_norm(cell),
            )


def _layer_norm_lstm(cell: LayerNormLSTMCell) -> LayerNormLSTM:
    return LayerNormLSTM(
        to_numpy(cell.input_weight),
        to_numpy(cell.hidden_weight),
        _gate_norms(cell),
        _memory_norm(cell),
    )


def _gate_norms(cell: LayerNormLSTMCell | HyperLSTMCell) -> list[LayerNorm]:
    gains, shifts = np.split(to_numpy(cell.gate_gain), 4), np.split(to_numpy(cell.gate_shift), 4)
    return [LayerNorm(gain, shift) for gain, shift in zip(gains, shifts, strict=True)]


def _memory_norm(cell: LayerNormLSTMCell | HyperLSTMCell) -> LayerNorm:
    return LayerNorm(to_numpy(cell.memory_gain), to_numpy(cell.memory_shift))


def _hyper_gates(cell: HyperLSTMCell) -> list[HyperGate]:
    """The twelve matrices that lie side by side: scales of x, scales of h, shifts; i, j, f, o."""
    A = np.split(to_numpy(cell.embedding_weight), 12, axis=1)
    e = np.split(to_numpy(cell.embedding_bias), 8)
    D = to_numpy(cell.modulation_weight)
    return [
        HyperGate(
            input_scale=(A[y], e[y], D[y]),
            hidden_scale=(A[4 + y], e[4 + y], D[4 + y]),
            shift=(A[8 + y], D[8 + y]),
            bias=bias,
        )
        for y, bias in enumerate(np.split(to_numpy(cell.bias), 4))
    ]


def state_vector(state: State) -> Array:
    """The reference's state vector."""
    match state:
        case LSTMState():
            parts = [state.c, state.h]
        case LayerNormLSTMState():
            parts = [state.h, state.c]
        case HyperLSTMState():
            parts = [state.h, state.hyper_h, state.c, state.hyper_c]
    return to_numpy(torch.cat(parts, dim=-1))


def linear_weights(linear: nn.Linear) -> tuple[Array, Array]:
    return to_numpy(linear.weight).T, to_numpy(linear.bias)


def encode_numpy(
    model: SketchRNN, points: Array, masks: tuple[Array, Array] | tuple[None, None] = (None, None)
) -> tuple[Array, Array]:
    encoder = model.encoder
    assert encoder is not None
    return encode(
        cell_weights(encoder.forward_cell),
        cell_weights(encoder.backward_cell),
        linear_weights(encoder.mean),
        linear_weights(encoder.log_variance),
        points,
        masks,
    )


def decode_numpy(
    model: SketchRNN,
    rows: Array,
    z: Array | None,
    category: int | None = None,
    masks: DecoderMasks | None = None,
) -> Array:
    """`category` is the index of what a model with condition=category is told."""
    decoder = model.decoder
    initial = None if decoder.initial is None else linear_weights(decoder.initial)
    context = [] if z is None else [z]
    if decoder.category_embedding is not None:
        assert category is not None
        context.append(to_numpy(decoder.category_embedding.weight)[category])
    return decode(
        cell_weights(decoder.cell),
        linear_weights(decoder.output),
        rows,
        np.concatenate(context) if context else None,
        initial,
        masks,
    )
