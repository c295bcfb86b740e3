from __future__ import annotations

from typing import Any

import pytest
import torch

from sketch_model.cells import LSTMCell, LSTMState
from sketch_model.recurrent import dropout_masks, unroll, unroll_to_ends
from sketch_model.recurrent.eager import unroll_eager

NUM_STEPS, BATCH, FEATURES, CONSTANT, UNITS = 37, 3, 5, 4, 6  # several chunks and a rest


def random_arguments(dtype: torch.dtype, num_steps: int = NUM_STEPS) -> dict[str, Any]:
    torch.manual_seed(3)
    masks = dropout_masks((num_steps, BATCH, UNITS), 0.3)
    assert masks is not None
    return {
        "inputs": torch.randn(num_steps, BATCH, FEATURES, dtype=dtype, requires_grad=True),
        "c": torch.randn(BATCH, UNITS, dtype=dtype, requires_grad=True),
        "h": torch.randn(BATCH, UNITS, dtype=dtype, requires_grad=True),
        "constant": torch.randn(BATCH, CONSTANT, dtype=dtype, requires_grad=True),
        "masks": masks.to(dtype),
    }


def random_cell(dtype: torch.dtype, num_inputs: int = FEATURES + CONSTANT) -> LSTMCell:
    torch.manual_seed(4)
    cell = LSTMCell(num_inputs, UNITS)
    torch.nn.init.normal_(cell.bias)
    return cell.to(dtype)


def outputs_and_gradients(
    way: Any, cell: LSTMCell, arguments: dict[str, Any], with_masks: bool
) -> list[torch.Tensor]:
    state = LSTMState(arguments["c"], arguments["h"])
    masks = arguments["masks"] if with_masks else None
    outputs = way(cell, arguments["inputs"], state, constant=arguments["constant"], masks=masks)
    leaves = [arguments[name] for name in ("inputs", "c", "h", "constant")]
    torch.manual_seed(5)
    weights = torch.randn_like(outputs)
    return [outputs, *torch.autograd.grad((outputs * weights).sum(), [*leaves, *cell.parameters()])]


@pytest.mark.parametrize("with_masks", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_fast_path_equals_the_loop_over_the_cell(
    dtype: torch.dtype, tolerance: float, with_masks: bool
) -> None:
    cell, arguments = random_cell(dtype), random_arguments(dtype)
    fast = outputs_and_gradients(unroll, cell, arguments, with_masks)
    reference = outputs_and_gradients(unroll_eager, cell, arguments, with_masks)
    for got, expected in zip(fast, reference, strict=True):
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


def test_gradcheck() -> None:
    cell, arguments = random_cell(torch.float64), random_arguments(torch.float64, num_steps=18)

    def run(inputs: Any, c: Any, h: Any, constant: Any, *_: Any) -> torch.Tensor:
        state = LSTMState(c, h)
        return unroll(cell, inputs, state, constant=constant, masks=arguments["masks"])

    leaves = [arguments[name] for name in ("inputs", "c", "h", "constant")]
    assert torch.autograd.gradcheck(run, (*leaves, *cell.parameters()), fast_mode=True)


def test_without_gradients_no_history_is_kept_and_the_outputs_are_the_same() -> None:
    cell, arguments = random_cell(torch.float32), random_arguments(torch.float32)
    state = LSTMState(arguments["c"], arguments["h"])
    with_history = unroll(cell, arguments["inputs"], state, constant=arguments["constant"])
    with torch.no_grad():
        without = unroll(cell, arguments["inputs"], state, constant=arguments["constant"])
    assert torch.equal(with_history, without)


def test_autocast_multiplies_in_bf16_and_keeps_float32_outputs() -> None:
    cell, arguments = random_cell(torch.float32), random_arguments(torch.float32)
    reference = outputs_and_gradients(unroll, cell, arguments, with_masks=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = outputs_and_gradients(unroll, cell, arguments, with_masks=True)
    assert rounded[0].dtype == torch.float32
    assert not torch.equal(rounded[0], reference[0])
    for got, expected in zip(rounded, reference, strict=True):  # bf16 keeps 8 bits
        assert (got - expected).norm() < 0.02 * expected.norm()


def test_inputs_of_another_width_are_refused() -> None:
    cell = random_cell(torch.float32)
    with pytest.raises(ValueError, match="takes 9 inputs per step, got 5"):
        unroll(cell, torch.zeros(2, 1, FEATURES), cell.zero_state(1))


def test_outputs_at_the_ends_are_those_of_the_last_steps() -> None:
    cell, arguments = random_cell(torch.float64, FEATURES), random_arguments(torch.float64)
    inputs, masks = arguments["inputs"], arguments["masks"]
    outputs = unroll_eager(cell, inputs, cell.zero_state(BATCH), masks=masks)
    lengths = torch.tensor([1, 37, 20])
    got = unroll_to_ends(cell, inputs, lengths, masks=masks)
    torch.testing.assert_close(got, outputs[lengths - 1, torch.arange(BATCH)])


@pytest.mark.parametrize("probability", [0.1, 0.35])
def test_dropout_masks_have_the_right_share_scale_and_no_structure(probability: float) -> None:
    generator = torch.Generator().manual_seed(0)
    masks = dropout_masks((50, 40, 101), probability, generator=generator)
    assert masks is not None
    kept = masks > 0
    assert abs(masks.mean().item() - 1.0) < 5e-3
    assert abs(kept.float().mean().item() - (1 - probability)) < 5e-3
    torch.testing.assert_close(
        masks[kept].max(), torch.tensor(1 / (1 - probability)), rtol=1e-4, atol=0
    )
    assert masks[kept].min() == masks[kept].max()
    for dim in range(3):  # a new mask at each step, sketch and unit: neighbours are independent
        centred = kept.float() - kept.float().mean()
        products = centred.narrow(dim, 1, kept.shape[dim] - 1) * centred.narrow(
            dim, 0, kept.shape[dim] - 1
        )
        assert abs(products.mean().item()) < 4 * probability * (1 - probability) / 400
    # Four numbers are cut out of one: each of the four places must drop as often.
    for lane in range(4):
        share = kept.flatten()[lane::4].float().mean().item()
        assert abs(share - (1 - probability)) < 5e-3


def test_dropout_masks_follow_the_generator() -> None:
    draws = [
        dropout_masks((3, 2, 5), 0.5, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_no_dropout_has_no_masks() -> None:
    assert dropout_masks((3, 2, 5), 0.0) is None
