"""Weights of the package's modules as the NumPy program takes them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from sketch_model import SketchRNN
from sketch_model.cells import LSTMCell
from tests.numerics.sketch_rnn_numpy import Array, CellWeights, decode, encode


def to_numpy(tensor: torch.Tensor) -> Array:
    return tensor.detach().cpu().numpy().astype(np.float64)


def cell_weights(cell: LSTMCell) -> CellWeights:
    return CellWeights(
        to_numpy(cell.input_weight), to_numpy(cell.hidden_weight), to_numpy(cell.bias)
    )


def linear_weights(linear: nn.Linear) -> tuple[Array, Array]:
    return to_numpy(linear.weight).T, to_numpy(linear.bias)


def encode_numpy(model: SketchRNN, points: Array) -> tuple[Array, Array]:
    encoder = model.encoder
    assert encoder is not None
    return encode(
        cell_weights(encoder.forward_cell),
        cell_weights(encoder.backward_cell),
        linear_weights(encoder.mean),
        linear_weights(encoder.log_variance),
        points,
    )


def decode_numpy(model: SketchRNN, rows: Array, z: Array | None) -> Array:
    decoder = model.decoder
    initial = None if decoder.initial is None else linear_weights(decoder.initial)
    return decode(cell_weights(decoder.cell), linear_weights(decoder.output), rows, z, initial)
