from __future__ import annotations

from typing import Any

import pytest
import torch

from sketch_model.cells import (
    HyperLSTMCell,
    HyperLSTMState,
    LayerNormLSTMCell,
    LayerNormLSTMState,
)
from sketch_model.recurrent import Packing, dropout_masks, unroll, unroll_packed, unroll_to_ends
from sketch_model.recurrent.driver import Plan
from sketch_model.recurrent.eager import unroll_eager
from sketch_model.recurrent.hyper import unroll_hyper

pytest.importorskip("numba", reason="the step kernels for the CPU need numba")

from sketch_model.recurrent import compiled_hyper

NUM_STEPS, BATCH, FEATURES, CONSTANT, UNITS = 37, 3, 5, 4, 6  # several chunks and a rest
HYPER_UNITS, EMBEDDING = 7, 2


class Case:
    """A cell with random weights, and what it is unrolled over; the leaves have gradients."""

    def __init__(
        self,
        dtype: torch.dtype = torch.float64,
        num_steps: int = NUM_STEPS,
        *,
        with_masks: bool = True,
        with_constant: bool = True,
    ) -> None:
        torch.manual_seed(3)
        num_constant = CONSTANT if with_constant else 0
        self.cell = HyperLSTMCell(FEATURES + num_constant, UNITS, HYPER_UNITS, EMBEDDING).to(dtype)
        for parameter in self.cell.parameters():
            torch.nn.init.normal_(parameter, std=0.4)

        def random(*shape: int) -> torch.Tensor:
            return torch.randn(shape, dtype=dtype, requires_grad=True)

        self.inputs = random(num_steps, BATCH, FEATURES)
        state_sizes = (UNITS, HYPER_UNITS, UNITS, HYPER_UNITS)
        self.state = HyperLSTMState(*(random(BATCH, size) for size in state_sizes))
        self.constant = random(BATCH, CONSTANT) if with_constant else None
        masks = dropout_masks((num_steps, BATCH, UNITS), 0.3) if with_masks else None
        self.masks = None if masks is None else masks.to(dtype)
        leaves = [self.inputs, *self.state, self.constant, *self.cell.parameters()]
        self.leaves = [leaf for leaf in leaves if leaf is not None]

    def run(self, way: Any) -> torch.Tensor:
        outputs: torch.Tensor = way(
            self.cell, self.inputs, self.state, constant=self.constant, masks=self.masks
        )
        return outputs

    def outputs_and_gradients(self, way: Any) -> list[torch.Tensor]:
        outputs = self.run(way)
        torch.manual_seed(5)
        weights = torch.randn_like(outputs)
        return [outputs, *torch.autograd.grad((outputs * weights).sum(), self.leaves)]


def unroll_compiled(
    cell: HyperLSTMCell,
    inputs: Any,
    state: Any,
    *,
    constant: Any = None,
    masks: Any = None,
    product_dtype: torch.dtype | None = None,
    lengths: list[int] | None = None,
) -> torch.Tensor:
    """The fast path, whatever would be chosen; with `lengths`, longest first, to the ends."""
    lengths_or_all = lengths or [len(inputs)] * inputs.shape[1]
    plan = Plan(
        kernels=compiled_hyper,
        product_dtype=product_dtype or inputs.dtype,
        num_rows=[sum(step < length for length in lengths_or_all) for step in range(len(inputs))],
        ends_only=lengths is not None,
        keep_history=torch.is_grad_enabled(),
    )
    return unroll_hyper(plan, cell, inputs, state, constant, masks)


@pytest.mark.parametrize("with_masks", [False, True])
@pytest.mark.parametrize("with_constant", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_fast_path_equals_the_loop_over_the_cell(
    dtype: torch.dtype, tolerance: float, with_constant: bool, with_masks: bool
) -> None:
    case = Case(dtype, with_constant=with_constant, with_masks=with_masks)
    fast = case.outputs_and_gradients(unroll_compiled)
    reference = case.outputs_and_gradients(unroll_eager)
    for got, expected in zip(fast, reference, strict=True):
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


def test_gradcheck() -> None:
    case = Case(num_steps=18)
    assert torch.autograd.gradcheck(
        lambda *_: case.run(unroll_compiled), case.leaves, fast_mode=True
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_fast_path_to_the_ends_equals_the_last_steps_of_the_loop(
    dtype: torch.dtype, tolerance: float
) -> None:
    case, lengths = Case(dtype), [37, 20, 1]

    def eager_ends(*arguments: Any, **keywords: Any) -> torch.Tensor:
        outputs = unroll_eager(*arguments, **keywords)
        return outputs[torch.tensor(lengths) - 1, torch.arange(BATCH)]

    def compiled_ends(*arguments: Any, **keywords: Any) -> torch.Tensor:
        return unroll_compiled(*arguments, lengths=lengths, **keywords)

    fast = case.outputs_and_gradients(compiled_ends)
    reference = case.outputs_and_gradients(eager_ends)
    for got, expected in zip(fast, reference, strict=True):
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_packed_outputs_are_those_of_all_steps(dtype: torch.dtype, tolerance: float) -> None:
    case, packing = Case(dtype), Packing.of(torch.tensor([20, 37, 1]), NUM_STEPS)
    sketches, steps = packing.places

    def take(outputs: torch.Tensor) -> torch.Tensor:
        missing = packing.num_rows - len(steps)
        return torch.cat([outputs[steps, sketches], outputs.new_zeros(missing, UNITS)])

    def eager_rows(*arguments: Any, **keywords: Any) -> torch.Tensor:
        return take(unroll_eager(*arguments, **keywords))

    def packed_rows(*arguments: Any, masks: torch.Tensor, **keywords: Any) -> torch.Tensor:
        return unroll_packed(*arguments, packing, masks=take(masks), **keywords)

    fast = case.outputs_and_gradients(packed_rows)
    for got, expected in zip(fast, case.outputs_and_gradients(eager_rows), strict=True):
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


def test_it_is_what_a_cpu_takes() -> None:
    """To the bit, which the loop over the cell is not."""
    case = Case(torch.float32)
    assert torch.equal(case.run(unroll), case.run(unroll_compiled))
    assert not torch.equal(case.run(unroll), case.run(unroll_eager))


def test_outputs_at_the_ends_are_put_back_in_order() -> None:
    case = Case(with_constant=False)
    lengths = torch.tensor([1, 37, 20])
    outputs = unroll_eager(case.cell, case.inputs, case.cell.zero_state(BATCH), masks=case.masks)
    got = unroll_to_ends(case.cell, case.inputs, lengths, masks=case.masks)
    torch.testing.assert_close(got, outputs[lengths - 1, torch.arange(BATCH)])


def test_without_gradients_no_history_is_kept_and_the_outputs_are_the_same() -> None:
    case = Case(torch.float32)
    with_history = case.run(unroll_compiled)
    with torch.no_grad():
        without = case.run(unroll_compiled)
    assert torch.equal(with_history, without)


def test_products_in_bf16_keep_float32_outputs() -> None:
    case = Case(torch.float32)
    reference = case.outputs_and_gradients(unroll_eager)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = case.outputs_and_gradients(unroll)
    assert rounded[0].dtype == torch.float32
    assert (rounded[0] - reference[0]).norm() > 1e-5 * reference[0].norm()
    for got, expected in zip(rounded, reference, strict=True):  # bf16 keeps 8 bits
        assert (got - expected).norm() < 0.02 * expected.norm()


def test_a_new_cell_is_a_layer_norm_lstm_that_sees_a_tenth_of_its_sums() -> None:
    """Its scales are 0.1 and its shifts 0, whatever the small cell puts out."""
    torch.manual_seed(0)
    cell = HyperLSTMCell(FEATURES, UNITS, HYPER_UNITS, EMBEDDING).double()
    plain = LayerNormLSTMCell(FEATURES, UNITS).double()
    plain.input_weight.data = 0.1 * cell.input_weight.data
    plain.hidden_weight.data = 0.1 * cell.hidden_weight.data
    state = Case().state
    inputs = torch.randn(NUM_STEPS, BATCH, FEATURES, dtype=torch.float64)
    expected = unroll_eager(plain, inputs, LayerNormLSTMState(state.h, state.c))
    # float32's rounding of 0.1 / E and 0.1 is all that differs
    torch.testing.assert_close(unroll_compiled(cell, inputs, state), expected, rtol=1e-7, atol=1e-7)
