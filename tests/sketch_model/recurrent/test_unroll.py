"""The fast paths of the LSTM, plain and with layer norm, and what is chosen when."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import sketch_model.recurrent as recurrent
from sketch_model.cells import HyperLSTMCell, LayerNormLSTMCell, LSTMCell, State
from sketch_model.recurrent import (
    Packing,
    compiled_layer_norm,
    compiled_lstm,
    dropout_masks,
    unroll,
    unroll_packed,
    unroll_to_ends,
)
from sketch_model.recurrent.driver import Plan
from sketch_model.recurrent.eager import unroll_eager
from sketch_model.recurrent.layer_norm import unroll_layer_norm
from sketch_model.recurrent.lstm import unroll_lstm

NUM_STEPS, BATCH, FEATURES, CONSTANT, UNITS = 70, 4, 5, 4, 6  # several chunks and a rest
CELLS = {"lstm": LSTMCell, "layer_norm": LayerNormLSTMCell}
EXACT, ROUNDED = (torch.float64, 1e-12), (torch.float32, 2e-5)

any_cell = pytest.mark.parametrize("kind", list(CELLS))


class Case:
    """A cell with random weights, and what it is unrolled over; the leaves have gradients."""

    def __init__(
        self,
        kind: str,
        dtype: torch.dtype = torch.float64,
        num_steps: int = NUM_STEPS,
        *,
        with_masks: bool = True,
        with_constant: bool = True,
    ) -> None:
        torch.manual_seed(3)
        num_constant = CONSTANT if with_constant else 0
        self.cell = CELLS[kind](FEATURES + num_constant, UNITS).to(dtype)
        for parameter in self.cell.parameters():
            torch.nn.init.normal_(parameter, std=0.4)

        def random(*shape: int) -> torch.Tensor:
            return torch.randn(shape, dtype=dtype, requires_grad=True)

        self.inputs, self.vector = random(num_steps, BATCH, FEATURES), random(BATCH, 2 * UNITS)
        self.constant = random(BATCH, CONSTANT) if with_constant else None
        masks = dropout_masks((num_steps, BATCH, UNITS), 0.3) if with_masks else None
        self.masks = None if masks is None else masks.to(dtype)

    @property
    def state(self) -> State:
        return self.cell.split_state(self.vector)

    def run(self, way: Any) -> torch.Tensor:
        outputs: torch.Tensor = way(
            self.cell, self.inputs, self.state, constant=self.constant, masks=self.masks
        )
        return outputs

    def run_to_ends(self, lengths: torch.Tensor) -> torch.Tensor:
        return unroll_to_ends(self.cell, self.inputs, lengths, masks=self.masks)

    def last_outputs(self, lengths: torch.Tensor) -> torch.Tensor:
        state = self.cell.zero_state(BATCH)
        outputs = unroll_eager(self.cell, self.inputs, state, masks=self.masks)
        return outputs[lengths - 1, torch.arange(BATCH)]

    def with_gradients(self, outputs: torch.Tensor) -> list[torch.Tensor | None]:
        """Outputs, and the gradients of a random sum of them."""
        torch.manual_seed(5)
        weights = torch.randn_like(outputs)
        leaves = [self.inputs, self.vector, self.constant, *self.cell.parameters()]
        gradients = torch.autograd.grad(
            (outputs * weights).sum(),
            [leaf for leaf in leaves if leaf is not None],
            allow_unused=True,
        )
        return [outputs, *gradients]


def assert_all_close(got: Any, expected: Any, tolerance: float) -> None:
    for one, other in zip(got, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def assert_near_in_norm(got: Any, expected: Any) -> None:
    """As near as bf16 allows, which keeps 8 bits."""
    for one, other in zip(got, expected, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() < 0.02 * other.norm()


@any_cell
@pytest.mark.parametrize(
    ("precision", "with_masks", "with_constant", "num_steps"),
    [
        (EXACT, True, True, NUM_STEPS),
        (EXACT, False, False, NUM_STEPS),
        (EXACT, True, True, 1),
        (ROUNDED, True, True, NUM_STEPS),
    ],
)
def test_fast_path_equals_the_loop_over_the_cell(
    kind: str,
    precision: tuple[torch.dtype, float],
    with_masks: bool,
    with_constant: bool,
    num_steps: int,
) -> None:
    dtype, tolerance = precision
    case = Case(kind, dtype, num_steps, with_masks=with_masks, with_constant=with_constant)
    fast = case.with_gradients(case.run(unroll))
    assert_all_close(fast, case.with_gradients(case.run(unroll_eager)), tolerance)


@any_cell
@pytest.mark.parametrize("precision", [EXACT, ROUNDED])
@pytest.mark.parametrize("lengths", [[1, 70, 20, 33], [2, 1, 1, 2], [70, 70, 70, 70]])
def test_outputs_at_the_ends_are_those_of_the_last_steps(
    kind: str, precision: tuple[torch.dtype, float], lengths: list[int]
) -> None:
    dtype, tolerance = precision
    case, ends = Case(kind, dtype, with_constant=False), torch.tensor(lengths)
    got = case.with_gradients(case.run_to_ends(ends))
    assert_all_close(got, case.with_gradients(case.last_outputs(ends)), tolerance)


@any_cell
@pytest.mark.parametrize("precision", [EXACT, ROUNDED])
@pytest.mark.parametrize("lengths", [[1, 70, 20, 33], [2, 1, 1, 2], [70, 70, 70, 70]])
def test_packed_outputs_are_those_of_all_steps(
    kind: str, precision: tuple[torch.dtype, float], lengths: list[int]
) -> None:
    """Of sketches that go on at each step, the longest first; what else there is in it is zero."""
    dtype, tolerance = precision
    case, packing = Case(kind, dtype), Packing.of(torch.tensor(lengths), NUM_STEPS)
    sketches, steps = packing.places
    rows = sorted(zip(steps.tolist(), sketches.tolist(), strict=True))
    assert rows == [(s, n) for s in range(NUM_STEPS) for n in range(BATCH) if s < lengths[n]]
    assert len(rows) <= packing.num_rows < len(rows) + 128

    def take(outputs: torch.Tensor) -> torch.Tensor:
        missing = packing.num_rows - len(rows)
        return torch.cat([outputs[steps, sketches], outputs.new_zeros(missing, UNITS)])

    expected = case.with_gradients(take(case.run(unroll_eager)))
    assert case.masks is not None
    masks = take(case.masks)
    got = unroll_packed(
        *(case.cell, case.inputs, case.state, packing), constant=case.constant, masks=masks
    )
    assert_all_close(case.with_gradients(got), expected, tolerance)


@any_cell
def test_what_follows_the_end_of_a_sketch_is_not_read(kind: str) -> None:
    case, lengths = Case(kind, with_constant=False), torch.tensor([3, 70, 1, 35])
    expected = case.run_to_ends(lengths)
    assert case.masks is not None
    ended = torch.arange(NUM_STEPS)[:, None] >= lengths
    case.inputs = case.inputs.detach().masked_fill(ended[:, :, None], torch.nan)
    case.masks = case.masks.masked_fill(ended[:, :, None], torch.nan)
    got = case.run_to_ends(lengths)
    assert torch.equal(got, expected)
    got.sum().backward()
    for parameter in case.cell.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


@any_cell
def test_gradcheck(kind: str) -> None:
    case = Case(kind, num_steps=34)

    def run(inputs: Any, vector: Any, constant: Any, *_: Any) -> torch.Tensor:
        state = case.cell.split_state(vector)
        return unroll(case.cell, inputs, state, constant=constant, masks=case.masks)

    leaves = (case.inputs, case.vector, case.constant, *case.cell.parameters())
    assert torch.autograd.gradcheck(run, leaves, fast_mode=True)


@any_cell
def test_gradcheck_to_the_ends(kind: str) -> None:
    case = Case(kind, num_steps=34, with_constant=False)

    def run(inputs: Any, *_: Any) -> torch.Tensor:
        lengths = torch.tensor([1, 33, 34, 7])
        return unroll_to_ends(case.cell, inputs, lengths, masks=case.masks)

    assert torch.autograd.gradcheck(run, (case.inputs, *case.cell.parameters()), fast_mode=True)


@any_cell
@pytest.mark.parametrize("with_constant", [False, True])
def test_kernels_that_leave_sums_to_the_driver_give_the_same(
    kind: str, with_constant: bool
) -> None:
    case = Case(kind, with_constant=with_constant)
    way, kernels = {
        "lstm": (unroll_lstm, compiled_lstm),
        "layer_norm": (unroll_layer_norm, compiled_layer_norm),
    }[kind]
    plan = Plan(
        kernels=SimpleNamespace(  # as those of a GPU
            bind_forward=kernels.bind_forward,
            bind_backward=kernels.bind_backward,
            NUM_STATISTICS=kernels.NUM_STATISTICS,
            SUMS_PER_SKETCH=True,
        ),
        product_dtype=torch.float64,
        num_rows=[BATCH] * NUM_STEPS,
        ends_only=False,
        keep_history=True,
    )
    got = way(plan, case.cell, case.inputs, case.state, case.constant, case.masks)  # type: ignore[operator]
    expected = case.with_gradients(case.run(unroll_eager))
    assert_all_close(case.with_gradients(got), expected, 1e-12)


@any_cell
def test_without_gradients_no_history_is_kept_and_the_outputs_are_the_same(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(kind, torch.float32)
    with_history = case.run(unroll)
    kernels = {"lstm": compiled_lstm, "layer_norm": compiled_layer_norm}[kind]
    bind, bound = kernels.bind_forward, []
    monkeypatch.setattr(
        kernels, "bind_forward", lambda buffers: bound.append(buffers) or bind(buffers)
    )
    with torch.no_grad():
        assert torch.equal(case.run(unroll), with_history)
    (buffers,) = bound
    assert (len(buffers.u), len(buffers.c)) == (1, 2)
    assert buffers.statistics is None or len(buffers.statistics) == 1


@any_cell
def test_autocast_multiplies_in_bf16_and_keeps_float32_outputs(kind: str) -> None:
    case = Case(kind, torch.float32)
    reference = case.with_gradients(case.run(unroll))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = case.with_gradients(case.run(unroll))
    assert not torch.equal(rounded[0], reference[0])  # type: ignore[arg-type]
    assert_near_in_norm(rounded, reference)


@any_cell
def test_autocast_to_the_ends_multiplies_in_bf16(kind: str) -> None:
    case, lengths = Case(kind, torch.float32, with_constant=False), torch.tensor([9, 70, 1, 35])
    reference = case.run_to_ends(lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = case.run_to_ends(lengths)
    assert not torch.equal(rounded, reference)
    assert_near_in_norm([rounded], [reference])


@pytest.mark.parametrize("lengths", [[0, 3, 2, 1], [1, 2, 3, 71]])
def test_lengths_that_the_inputs_cannot_have_are_refused(lengths: list[int]) -> None:
    case = Case("lstm", with_constant=False)
    with pytest.raises(ValueError, match=rf"between 1 and the 70 steps.*got .*{max(lengths)}"):
        case.run_to_ends(torch.tensor(lengths))


def test_inputs_of_another_width_are_refused() -> None:
    cell = Case("lstm").cell
    with pytest.raises(ValueError, match="takes 9 inputs per step, got 5"):
        unroll(cell, torch.zeros(2, 1, FEATURES), cell.zero_state(1))


def test_each_choice_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    recurrent._report.cache_clear()
    caplog.set_level(logging.INFO, "sketch_model")
    for _ in range(2):
        for kind in CELLS:
            Case(kind, torch.float32).run(unroll)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            Case("lstm", torch.float32).run(unroll)
    assert caplog.messages == [
        "LSTMCell on cpu, products in float32: compiled step kernels",
        "LayerNormLSTMCell on cpu, products in float32: compiled step kernels",
        "LSTMCell on cpu, products in bfloat16: compiled step kernels",
    ]


def test_without_numba_the_cell_is_looped_over_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    recurrent._report.cache_clear()
    monkeypatch.setattr(recurrent, "_is_installed", lambda library: False)
    caplog.set_level(logging.INFO, "sketch_model")
    case = Case("layer_norm", with_constant=False)
    lengths = torch.tensor([3, 70, 1, 35])
    assert torch.equal(case.run(unroll), case.run(unroll_eager))
    assert torch.equal(case.run_to_ends(lengths), case.last_outputs(lengths))
    assert caplog.messages == [
        "LayerNormLSTMCell on cpu, products in float64: the loop over the cell"
    ]


def test_a_gpu_has_triton_for_every_cell_and_cudnn_where_it_will_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("triton")
    inputs, masks = torch.zeros(1, 1, FEATURES), torch.ones(1, 1, UNITS)
    names = {}
    for cell in (
        LSTMCell(FEATURES, UNITS),
        LayerNormLSTMCell(FEATURES, UNITS),
        HyperLSTMCell(FEATURES, UNITS, 3, 2),
    ):
        for dropped in (None, masks):
            way = recurrent._gpu_way(cell, inputs.dtype, dropped)
            assert way is not None
            names[type(cell).__name__, dropped is None] = way.name
    assert names.pop(("LSTMCell", True)) == "cuDNN"
    assert set(names.values()) == {"Triton step kernels"}
    monkeypatch.setattr(recurrent, "_is_installed", lambda library: False)
    assert recurrent._gpu_way(LSTMCell(FEATURES, UNITS), inputs.dtype, masks) is None


def test_what_kernels_cannot_multiply_is_left_to_the_loop() -> None:
    case = Case("lstm", torch.float32)
    with torch.autocast("cpu", dtype=torch.float16):
        got, expected = case.run(unroll), case.run(unroll_eager)
    assert torch.equal(got, expected)
