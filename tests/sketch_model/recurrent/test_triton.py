"""The Triton kernels in Triton's interpreter, through the same drivers that a GPU has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from sketch_model.cells import HyperLSTMCell, LayerNormLSTMCell, LSTMCell, RecurrentCell
from sketch_model.recurrent.driver import Plan
from sketch_model.recurrent.eager import unroll_eager
from sketch_model.recurrent.hyper import unroll_hyper
from sketch_model.recurrent.layer_norm import unroll_layer_norm
from sketch_model.recurrent.lstm import unroll_lstm

triton = pytest.importorskip("triton")
if not triton.knobs.runtime.interpret:
    pytest.skip("Triton is not in interpreter mode", allow_module_level=True)

from sketch_model.recurrent import triton_hyper, triton_layer_norm, triton_lstm  # noqa: E402

ROOT = Path(__file__).parents[3]
NUM_STEPS, BATCH, FEATURES, CONSTANT, UNITS = 3, 5, 5, 4, 20  # no power of two among the sizes


class Way(NamedTuple):
    unroll: Any
    kernels: Any


WAYS = {
    "lstm": Way(unroll_lstm, triton_lstm),
    "layer_norm": Way(unroll_layer_norm, triton_layer_norm),
    "hyper": Way(unroll_hyper, triton_hyper),
}


def random_cell(kind: str, num_constant: int, dtype: torch.dtype) -> RecurrentCell:
    torch.manual_seed(0)
    num_inputs = FEATURES + num_constant
    cell: RecurrentCell
    match kind:
        case "lstm":
            cell = LSTMCell(num_inputs, UNITS)
        case "layer_norm":
            cell = LayerNormLSTMCell(num_inputs, UNITS)
        case _:
            cell = HyperLSTMCell(num_inputs, UNITS, hyper_size=6, hyper_embedding_size=3)
    for parameter in cell.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return cell.to(dtype)


class Case:
    """A cell and what it is unrolled over; the leaves have gradients."""

    def __init__(self, kind: str, dtype: torch.dtype, *, masked: bool, with_constant: bool) -> None:
        num_constant = CONSTANT if with_constant else 0
        self.kind, self.cell = kind, random_cell(kind, num_constant, dtype)

        def random(*shape: int) -> torch.Tensor:
            return torch.randn(shape, dtype=dtype, requires_grad=True)

        self.inputs, vector = (
            random(NUM_STEPS, BATCH, FEATURES),
            random(BATCH, self.cell.state_size),
        )
        self.state: Any = self.cell.split_state(vector)
        self.constant = random(BATCH, num_constant) if with_constant else None
        self.masks = None
        if masked:
            self.masks = (torch.rand(NUM_STEPS, BATCH, UNITS) < 0.7).to(dtype) / 0.7
        leaves = [self.inputs, vector, self.constant, *self.cell.parameters()]
        self.leaves = [leaf for leaf in leaves if leaf is not None]

    def eager(self) -> torch.Tensor:
        return unroll_eager(
            self.cell, self.inputs, self.state, constant=self.constant, masks=self.masks
        )

    def fast(self, kernels: Any, product_dtype: torch.dtype, **options: Any) -> torch.Tensor:
        defaults = {
            "num_rows": [BATCH] * NUM_STEPS,
            "ends_only": False,
            "keep_history": torch.is_grad_enabled(),
        }
        plan = Plan(kernels, product_dtype, **{**defaults, **options})
        way = WAYS[self.kind].unroll
        outputs: torch.Tensor = way(
            plan, self.cell, self.inputs, self.state, self.constant, self.masks
        )
        return outputs

    def differentiate(self, outputs: torch.Tensor) -> list[torch.Tensor]:
        """Outputs, and the gradients of some function of them."""
        torch.manual_seed(1)
        weights = torch.randn_like(outputs)
        gradients = torch.autograd.grad((outputs * weights).sum(), self.leaves)
        return [outputs.detach(), *gradients]


@pytest.mark.parametrize(("masked", "with_constant"), [(True, True), (False, False)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize("kind", WAYS)
def test_kernels_equal_the_loop_over_the_cell(
    kind: str, dtype: torch.dtype, tolerance: float, masked: bool, with_constant: bool
) -> None:
    """Guarantee G12."""
    case = Case(kind, dtype, masked=masked, with_constant=with_constant)
    fast = case.differentiate(case.fast(WAYS[kind].kernels, dtype))
    for got, expected in zip(fast, case.differentiate(case.eager()), strict=True):
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", WAYS)
def test_products_in_bf16_leave_the_state_in_float32(kind: str) -> None:
    case = Case(kind, torch.float32, masked=True, with_constant=True)
    fast = case.differentiate(case.fast(WAYS[kind].kernels, torch.bfloat16))
    exact = case.differentiate(case.eager())
    assert fast[0].dtype == torch.float32
    assert not torch.equal(fast[0], exact[0])
    for got, expected in zip(fast, exact, strict=True):  # bf16 keeps 8 bits
        assert (got - expected).norm() < 0.03 * expected.norm()


@pytest.mark.parametrize("with_constant", [True, False])
@pytest.mark.parametrize("kind", WAYS)
def test_sketches_that_have_ended_are_left_alone(kind: str, with_constant: bool) -> None:
    case = Case(kind, torch.float64, masked=True, with_constant=with_constant)
    options = {"num_rows": [5, 3, 1], "ends_only": True}
    way = WAYS[kind]
    fast = case.differentiate(case.fast(way.kernels, torch.float64, **options))
    last_steps = torch.tensor([2, 1, 1, 0, 0])
    expected = case.differentiate(case.eager()[last_steps, torch.arange(BATCH)])
    for got, wanted in zip(fast, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", WAYS)
def test_without_gradients_the_outputs_are_the_same(kind: str) -> None:
    case = Case(kind, torch.float32, masked=False, with_constant=True)
    with_history = case.fast(WAYS[kind].kernels, torch.float32)
    with torch.no_grad():
        assert torch.equal(case.fast(WAYS[kind].kernels, torch.float32), with_history)


def test_a_program_that_takes_several_sketches_adds_up_their_gains(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(triton_layer_norm, "MAX_PROGRAMS", 2)
    case = Case("layer_norm", torch.float64, masked=True, with_constant=True)
    fast = case.differentiate(case.fast(triton_layer_norm, torch.float64))
    for got, expected in zip(fast, case.differentiate(case.eager()), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_layouts_cover_every_sketch_and_unit() -> None:
    for size in (1, 20, 256, 512, 2048):
        for num_rows in (1, 3, 100, 4096):
            layout = triton_lstm.tile_layout(num_rows, size)
            grid = triton_lstm.make_grid(num_rows, layout)
            for programs, part, whole in zip(
                grid, (layout["ROWS"], layout["UNITS"]), (num_rows, size), strict=True
            ):
                assert part & (part - 1) == 0
                assert (programs - 1) * part < whole <= programs * part


def test_they_compile_for_a_gpu() -> None:
    """To machine code for an H100 or H200, for which no GPU is needed."""
    environment = {key: os.environ[key] for key in os.environ if key != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("compile_triton.py")],
        env={**environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        f"{module}.{kernel}: 2 binaries"
        for module, kernels in {
            "triton_lstm": ("_step_forward", "_step_backward"),
            "triton_layer_norm": ("_step_forward", "_step_backward"),
            "triton_hyper": ("_modulate", "_demodulate"),
            "triton_nll": ("_evaluate", "_differentiate"),
        }.items()
        for kernel in kernels
    ]
