from __future__ import annotations

import numpy as np
import pytest
import torch

from sketch_model.cells import (
    HyperLSTMCell,
    LayerNormLSTMCell,
    LSTMCell,
    RecurrentCell,
    build_cell,
)
from sketch_model.config import Cell, ModelConfig
from tests.numerics.torch_weights import cell_weights, state_vector, to_numpy

CONFIG = ModelConfig(decoder_cell=Cell.hyper, hyper_size=7, hyper_embedding_size=3)


def random_cell(kind: Cell, dtype: torch.dtype = torch.float32) -> RecurrentCell:
    """Every parameter away from where it starts, gains near 1."""
    torch.manual_seed(1)
    cell = build_cell(kind, 5, 11, CONFIG).to(dtype)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return cell


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("kind", list(Cell))
def test_a_cell_agrees_with_numpy_over_twenty_steps(
    kind: Cell, dtype: torch.dtype, tolerance: float
) -> None:
    """All of the state, after each step, from any state, with dropout."""
    cell = random_cell(kind, dtype)
    numpy_cell = cell_weights(cell)
    vector = torch.randn(4, cell.state_size, dtype=dtype)
    state, expected = cell.split_state(vector), to_numpy(vector)
    assert expected.shape[1] == numpy_cell.state_size
    for _ in range(20):
        x = torch.randn(4, 5, dtype=dtype)
        mask = torch.empty(4, 11, dtype=dtype).bernoulli_(0.9) / 0.9
        state = cell(x, state, mask)
        expected = numpy_cell.step(to_numpy(x), expected, to_numpy(mask))
        np.testing.assert_allclose(state_vector(state), expected, rtol=0, atol=tolerance)
        np.testing.assert_allclose(
            to_numpy(state.h), numpy_cell.shown(expected), rtol=0, atol=tolerance
        )


@pytest.mark.parametrize("kind", list(Cell))
def test_the_state_before_the_first_step_is_zero(kind: Cell) -> None:
    cell = random_cell(kind)
    assert state_vector(cell.zero_state(3)).tolist() == [[0.0] * cell.state_size] * 3


@pytest.mark.parametrize("kind", list(Cell))
def test_initial_weights_are_the_references(kind: Cell) -> None:
    torch.manual_seed(0)
    cell = build_cell(kind, 5, 64, ModelConfig())
    bound = (6 / (5 + 4 * 64)) ** 0.5  # glorot over the whole matrix, not per gate
    assert 0.95 * bound < cell.input_weight.abs().max() <= bound
    for block in cell.hidden_weight.chunk(4, dim=1):
        torch.testing.assert_close(block @ block.T, torch.eye(64), rtol=0, atol=1e-5)
    if not isinstance(cell, LayerNormLSTMCell):
        assert cell.bias.abs().max() == 0
    if not isinstance(cell, LSTMCell):
        for norm in ("gate", "memory"):
            assert (getattr(cell, f"{norm}_gain") == 1).all()
            assert (getattr(cell, f"{norm}_shift") == 0).all()


def test_the_small_cell_starts_as_a_layer_norm_lstm_over_inputs_and_h() -> None:
    torch.manual_seed(0)
    cell = build_cell(Cell.hyper, 5, 64, ModelConfig())
    assert isinstance(cell, HyperLSTMCell)
    small = cell.hyper_cell
    assert small.input_weight.shape == (5 + 64, 4 * 256)
    bound = (6 / (5 + 64 + 4 * 256)) ** 0.5
    assert 0.95 * bound < small.input_weight.abs().max() <= bound
    for block in small.hidden_weight.chunk(4, dim=1):
        torch.testing.assert_close(block @ block.T, torch.eye(256), rtol=0, atol=1e-5)


def test_a_hyper_cell_starts_with_scales_of_a_tenth_and_without_shifts() -> None:
    """Whatever its small cell puts out; and the matrices behind the shifts are not all zero."""
    torch.manual_seed(0)
    cell = build_cell(Cell.hyper, 5, 64, ModelConfig())
    assert isinstance(cell, HyperLSTMCell)
    input_scale, hidden_scale, shift = cell.modulations(torch.randn(3, 256))
    assert input_scale.shape == hidden_scale.shape == shift.shape == (3, 4 * 64)
    torch.testing.assert_close(input_scale, torch.full_like(input_scale, 0.1))
    torch.testing.assert_close(hidden_scale, torch.full_like(hidden_scale, 0.1))
    assert (shift == 0).all()
    of_scales, of_shifts = cell.embedding_weight.split([8 * 32, 4 * 32], dim=1)
    assert (of_scales == 0).all()
    torch.testing.assert_close(of_shifts.std(), torch.tensor(0.01), rtol=0.02, atol=0)
    assert (cell.modulation_weight[8:] == 0).all()


@pytest.mark.parametrize("kind", list(Cell))
def test_dropping_the_whole_candidate_keeps_the_memory(kind: Cell) -> None:
    """It decays by the forget gate, here at its bias of 1 alone."""
    cell = build_cell(kind, 5, 6, CONFIG)
    with torch.no_grad():
        cell.input_weight.zero_()
        state = cell.split_state(torch.zeros(2, cell.state_size))._replace(c=torch.ones(2, 6))
        dropped = cell(torch.zeros(2, 5), state, torch.zeros(2, 6))
    torch.testing.assert_close(dropped.c, torch.full((2, 6), 0.731058578))


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        (Cell.lstm, {"c": [0, 1], "h": [2, 3]}),
        (Cell.layer_norm, {"h": [0, 1], "c": [2, 3]}),
        (Cell.hyper, {"h": [0, 1], "hyper_h": [2, 3, 4], "c": [5, 6], "hyper_c": [7, 8, 9]}),
    ],
)
def test_a_state_vector_has_the_reference_s_order(kind: Cell, parts: dict[str, list[int]]) -> None:
    cell = build_cell(
        kind, 5, 2, ModelConfig(decoder_cell=Cell.hyper, hyper_size=3, hyper_embedding_size=2)
    )
    vector = torch.arange(float(cell.state_size))[None]
    state = cell.split_state(vector)
    assert {name: part[0].tolist() for name, part in state._asdict().items()} == parts


def test_layer_norm_keeps_gates_apart() -> None:
    """Each gate has statistics of its own, so shifting all of one gate changes nothing."""
    cell = random_cell(Cell.layer_norm, torch.float64)
    state = cell.split_state(torch.randn(3, cell.state_size, dtype=torch.float64))
    x = torch.randn(3, 5, dtype=torch.float64)
    before = cell(x, state)
    with torch.no_grad():
        cell.input_weight[:, 11:22] += torch.randn(5, 1, dtype=torch.float64)
    after = cell(x, state)
    torch.testing.assert_close(after.h, before.h)
