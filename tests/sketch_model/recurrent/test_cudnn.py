from __future__ import annotations

import pytest
import torch

from sketch_model.cells import LayerNormLSTMCell, LSTMCell, LSTMState
from sketch_model.recurrent import compiled_lstm, cudnn
from sketch_model.recurrent.driver import Plan
from sketch_model.recurrent.eager import unroll_eager

NUM_STEPS, BATCH, FEATURES, CONSTANT, UNITS = 9, 3, 5, 4, 6
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
        ],
    ),
]


def make_plan(dtype: torch.dtype) -> Plan:
    return Plan(compiled_lstm, dtype, [BATCH] * NUM_STEPS, ends_only=False, keep_history=True)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("with_constant", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_it_equals_the_loop_over_the_cell(
    dtype: torch.dtype,
    tolerance: float,
    with_constant: bool,
    device: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    torch.manual_seed(0)
    num_constant = CONSTANT if with_constant else 0
    cell = LSTMCell(FEATURES + num_constant, UNITS)
    torch.nn.init.normal_(cell.bias)
    cell.to(device=device, dtype=dtype)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, dtype=dtype).to(device).requires_grad_()

    inputs, c, h = random(NUM_STEPS, BATCH, FEATURES), random(BATCH, UNITS), random(BATCH, UNITS)
    leaves = [inputs, c, h, *cell.parameters()]
    constant = None
    if with_constant:
        constant = random(BATCH, CONSTANT)
        leaves.append(constant)
    state = LSTMState(c, h)
    got = cudnn.unroll_cudnn(make_plan(dtype), cell, inputs, state, constant, None)
    expected = unroll_eager(cell, inputs, state, constant=constant)
    weights = torch.randn_like(expected)
    for each, wanted in zip(
        [got, *torch.autograd.grad((got * weights).sum(), leaves)],
        [expected, *torch.autograd.grad((expected * weights).sum(), leaves)],
        strict=True,
    ):
        torch.testing.assert_close(each, wanted, rtol=tolerance, atol=tolerance)


def test_the_parameters_follow_on_each_other_in_memory() -> None:
    parameters = cudnn._flat_parameters(LSTMCell(FEATURES, UNITS))
    assert [list(each.shape) for each in parameters] == [[24, 5], [24, 6], [24], [24]]
    ends = [each.data_ptr() + each.nbytes for each in parameters]
    assert [each.data_ptr() for each in parameters[1:]] == ends[:-1]
    assert parameters[0].untyped_storage().nbytes() == sum(each.nbytes for each in parameters)


def test_what_it_does_not_take() -> None:
    lstm, masks = LSTMCell(FEATURES, UNITS), torch.ones(NUM_STEPS, BATCH, UNITS)
    assert cudnn.takes(lstm, torch.float32, None)
    assert not cudnn.takes(lstm, torch.float32, masks)
    assert not cudnn.takes(lstm, torch.bfloat16, None)
    assert not cudnn.takes(LayerNormLSTMCell(FEATURES, UNITS), torch.float32, None)
