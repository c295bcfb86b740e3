from __future__ import annotations

import numpy as np
import pytest
import torch

from sketch_model.cells import LSTMCell, LSTMState
from tests.numerics.sketch_rnn_numpy import lstm_step
from tests.numerics.torch_weights import cell_weights, to_numpy


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_lstm_agrees_with_numpy_over_twenty_steps(dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(1)
    cell = LSTMCell(5, 11).to(dtype)
    torch.nn.init.normal_(cell.bias)
    state = LSTMState(torch.randn(4, 11, dtype=dtype), torch.randn(4, 11, dtype=dtype))
    c, h = map(to_numpy, state)
    for _ in range(20):
        x = torch.randn(4, 5, dtype=dtype)
        mask = torch.empty(4, 11, dtype=dtype).bernoulli_(0.9) / 0.9
        state = cell(x, state, mask)
        c, h = lstm_step(cell_weights(cell), to_numpy(x), c, h, to_numpy(mask))
    np.testing.assert_allclose(to_numpy(state.c), c, rtol=0, atol=tolerance)
    np.testing.assert_allclose(to_numpy(state.h), h, rtol=0, atol=tolerance)


def test_initial_weights_are_the_references() -> None:
    torch.manual_seed(0)
    cell = LSTMCell(5, 64)
    assert cell.bias.abs().max() == 0
    bound = (6 / (5 + 4 * 64)) ** 0.5  # glorot over the whole matrix, not per gate
    assert 0.95 * bound < cell.input_weight.abs().max() <= bound
    for block in cell.hidden_weight.chunk(4, dim=1):
        torch.testing.assert_close(block @ block.T, torch.eye(64), rtol=0, atol=1e-5)


def test_dropping_the_whole_candidate_keeps_the_memory() -> None:
    cell = LSTMCell(5, 6)
    state = LSTMState(torch.ones(2, 6), torch.zeros(2, 6))
    with torch.no_grad():
        cell.input_weight.zero_()  # all gates at their biases: the forget gate at sigmoid(1)
        dropped = cell(torch.zeros(2, 5), state, torch.zeros(2, 6))
    torch.testing.assert_close(dropped.c, torch.full((2, 6), 0.731058578))


def test_state_vector_is_c_then_h() -> None:
    cell = LSTMCell(5, 2)
    state = cell.split_state(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    assert state.c.tolist() == [[1, 2]]
    assert state.h.tolist() == [[3, 4]]
