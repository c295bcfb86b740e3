from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sketch_model.mixture import MAX_MEAN, MAX_SIGMA, MIN_RHO_COMPLEMENT, MIN_SIGMA, output_size
from sketch_model.row_nll import choose_kernels, fused_row_nll, reference_row_nll, row_nll
from tests.numerics.torch_weights import to_numpy

RowNLL = Callable[..., tuple[torch.Tensor, torch.Tensor]]


def compiled_kernels() -> Any:
    pytest.importorskip("numba", reason="numba is not installed")
    from sketch_model import compiled_nll

    return compiled_nll


def triton_kernels() -> Any:
    triton = pytest.importorskip("triton", reason="Triton is not installed")
    if not triton.knobs.runtime.interpret:
        pytest.skip("Triton is not in interpreter mode")
    from sketch_model import triton_nll

    return triton_nll


KERNELS = {"compiled": compiled_kernels, "triton": triton_kernels}


@pytest.fixture(params=list(KERNELS))
def fused(request: pytest.FixtureRequest) -> RowNLL:
    kernels = KERNELS[request.param]()
    return lambda *arguments: fused_row_nll(*arguments, kernels)


@pytest.fixture(params=["reference", *KERNELS])
def way(request: pytest.FixtureRequest) -> RowNLL:
    if request.param == "reference":
        return reference_row_nll
    kernels = KERNELS[request.param]()
    return lambda *arguments: fused_row_nll(*arguments, kernels)


class Case(NamedTuple):
    output: torch.Tensor
    targets: torch.Tensor
    lengths: torch.Tensor


def random_case(
    B: int,
    T: int,
    M: int,
    dtype: torch.dtype = torch.float64,
    *,
    lengths: list[int] | None = None,
    spread: float = 1.0,
) -> Case:
    """In the decoder's layout; the targets a view, as a batch's are."""
    torch.manual_seed(0)
    output = spread * torch.randn(output_size(M), T, B, dtype=dtype)
    rows = torch.randn(B, T + 1, 5, dtype=dtype)
    rows[..., 2:] = torch.eye(3, dtype=dtype)[torch.randint(3, (B, T + 1))]
    drawn = torch.randint(T + 1, (B,)) if lengths is None else torch.tensor(lengths)
    return Case(output.permute(2, 1, 0), rows[:, 1:], drawn)


def evaluate(way: RowNLL, case: Case) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Both results, and the gradient of a random combination of them."""
    output = case.output.detach().requires_grad_()
    offset, pen = way(output, case.targets, case.lengths)
    weights = torch.rand(2, *offset.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad([offset, pen], output, list(weights.to(offset.dtype)))
    return offset.detach(), pen.detach(), gradient


SHAPES = [(1, 1, 1), (1, 1, 20), (3, 50, 1), (1, 300, 3), (7, 40, 20), (129, 2, 5)]


@pytest.mark.parametrize(("B", "T", "M"), SHAPES)
@pytest.mark.parametrize("spread", [1.0, 30.0])  # of 30, many numbers are beyond their bounds
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_fused_equals_the_reference_forward_and_backward(
    fused: RowNLL, B: int, T: int, M: int, spread: float, dtype: torch.dtype, tolerance: float
) -> None:
    lengths = [1] if B == T == 1 else None
    case = random_case(B, T, M, dtype, lengths=lengths, spread=spread)
    for got, expected in zip(evaluate(fused, case), evaluate(reference_row_nll, case), strict=True):
        assert got.dtype == expected.dtype
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


def test_gradients_in_float64(fused: RowNLL) -> None:
    case = random_case(2, 3, 2, lengths=[3, 1])
    output = case.output.detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda o: fused(o, case.targets, case.lengths), output)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_read_as_it_is_and_computed_in_float32(
    way: RowNLL, dtype: torch.dtype
) -> None:
    exact = random_case(5, 30, 4, torch.float32)
    exact = exact._replace(output=exact.output.to(dtype).float())
    offset, pen, gradient = evaluate(way, exact._replace(output=exact.output.to(dtype)))
    expected_offset, expected_pen, expected_gradient = evaluate(reference_row_nll, exact)
    torch.testing.assert_close(offset, expected_offset, rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(pen, expected_pen, rtol=2e-5, atol=2e-5)
    assert gradient.dtype == dtype
    # One unit in the last place: Triton's interpreter truncates where the others round.
    step = torch.finfo(dtype).eps
    torch.testing.assert_close(gradient.float(), expected_gradient, rtol=step, atol=1e-6)


def test_the_layout_of_the_output_does_not_matter(fused: RowNLL) -> None:
    case = random_case(4, 6, 3)
    wide = torch.randn(4, 6, 2 * output_size(3), dtype=torch.float64)
    wide[..., ::2] = case.output
    for output in (case.output.contiguous(), wide[..., ::2]):
        for got, expected in zip(
            evaluate(fused, case._replace(output=output)), evaluate(fused, case), strict=True
        ):
            assert torch.equal(got, expected)


def test_padding_has_pens_and_no_offsets(way: RowNLL) -> None:
    case = random_case(3, 200, 2, lengths=[0, 7, 200])
    is_real = torch.arange(200) < case.lengths[:, None]
    offset, pen, gradient = evaluate(way, case)
    assert (offset != 0).equal(is_real)
    assert (gradient[..., 3:] != 0).any(-1).equal(is_real)
    assert (gradient[..., :3] != 0).all()
    elsewhere = case.targets.clone()
    elsewhere[..., :2][~is_real] = 1e3
    moved = case.output.clone()
    moved[..., 3:][~is_real] = 1e4
    again = evaluate(way, Case(moved, elsewhere, case.lengths))
    for got, expected in zip(again, (offset, pen, gradient), strict=True):
        assert torch.equal(got, expected)


def test_nothing_but_what_is_given_is_kept_for_the_way_back(fused: RowNLL) -> None:
    case = random_case(3, 5, 2)
    output = case.output.detach().requires_grad_()
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        fused(output, case.targets, case.lengths)
    given = {tensor.data_ptr() for tensor in (output, case.targets, case.lengths)}
    assert {tensor.data_ptr() for tensor in kept} == given


# Extreme values ----------------------------------------------------------------------------------


def nll_numpy(case: Case) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ha & Eck 2017, eqs. 3 to 6 and 9, in float64 and as they are printed, but for logarithms."""
    output, targets = to_numpy(case.output.double()), to_numpy(case.targets.double())
    pen_logits, parts = output[..., :3], np.split(output[..., 3:], 6, axis=-1)
    logits, x, y, log_sigma_x, log_sigma_y, rho = parts
    x, y = np.clip(x, -MAX_MEAN, MAX_MEAN), np.clip(y, -MAX_MEAN, MAX_MEAN)
    sigma_x = np.exp(np.clip(log_sigma_x, np.log(MIN_SIGMA), np.log(MAX_SIGMA)))
    sigma_y = np.exp(np.clip(log_sigma_y, np.log(MIN_SIGMA), np.log(MAX_SIGMA)))
    rho = np.clip(np.tanh(rho), *(np.sqrt(1 - MIN_RHO_COMPLEMENT) * np.array([-1, 1])))
    a, b = (targets[..., :1] - x) / sigma_x, (targets[..., 1:2] - y) / sigma_y
    Z = a**2 + b**2 - 2 * rho * a * b
    density = -Z / (2 * (1 - rho**2)) - np.log(2 * np.pi * sigma_x * sigma_y * np.sqrt(1 - rho**2))
    offset = -logsumexp(log_softmax(logits) + density)
    return offset, -(log_softmax(pen_logits) * targets[..., 2:]).sum(-1)


def logsumexp(x: NDArray[np.float64]) -> NDArray[np.float64]:
    top = x.max(-1)
    total: NDArray[np.float64] = top + np.log(np.exp(x - top[..., None]).sum(-1))
    return total


def log_softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = x - x.max(-1, keepdims=True)
    return shifted - logsumexp(shifted)[..., None]


EXTREMES = {
    "logit": (0.0, 1e4, -1e30),
    "mean_x": (0.0, 1e4, -1e30),
    "mean_y": (0.0, 1e30),
    "log_sigma_x": (0.0, -11.0, -1e30, 1e30),
    "log_sigma_y": (0.0, -1e4, 1e4),
    "rho_logit": (0.0, 7.0, -20.0, 1e30),
    "offset": (0.0, 50.0, -1000.0),
}


def extreme_case(dtype: torch.dtype) -> Case:
    """All combinations: of one component, of all, and with pens as extreme as the weights."""
    values = torch.tensor(list(itertools.product(*EXTREMES.values())))
    values = torch.cat([values, values])
    num, M = len(values), 3
    torch.manual_seed(0)
    output = 0.5 * torch.randn(num, 6, M)
    output[: num // 2, :, 0] += values[: num // 2, :6]
    output[num // 2 :] += values[num // 2 :, :6, None]
    pens = torch.randn(num, 3) + values[:, :1] * torch.tensor([1.0, 0.0, -1.0])
    targets = torch.zeros(num, 5)
    targets[:, 0], targets[:, 1] = values[:, 6], -values[:, 6]
    targets[torch.arange(num), 2 + torch.randint(3, (num,))] = 1.0
    outputs = torch.cat([pens, output.flatten(1)], dim=1).to(dtype)
    return Case(outputs[None], targets[None], torch.tensor([num]))


CONDITION = 1e-4
"""Float32 rounds a distance in standard deviations by 6e-8, times cosh r <= 1000 where rho is
close to 1 and the distances along x and y nearly cancel."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_outputs_give_what_they_should_and_finite_gradients(
    way: RowNLL, dtype: torch.dtype
) -> None:
    case = extreme_case(dtype)
    offset, pen, gradient = evaluate(way, case)
    expected_offset, expected_pen = nll_numpy(case)
    np.testing.assert_allclose(to_numpy(offset), expected_offset, rtol=CONDITION, atol=2e-5)
    np.testing.assert_allclose(to_numpy(pen), expected_pen, rtol=2e-5, atol=2e-5)
    assert gradient.isfinite().all()
    # Where all components are further away than this, rounding decides which of them is nearest.
    near = torch.from_numpy(expected_offset < 1e3)
    assert near.float().mean() > 0.1
    exact = evaluate(reference_row_nll, case._replace(output=case.output.double()))[2][near]
    error = (gradient[near].double() - exact).abs().amax(-1) / exact.abs().amax(-1)
    assert error.max() < 2 * max(CONDITION, torch.finfo(dtype).eps)


@pytest.mark.parametrize("parameter", range(output_size(2)))
def test_nan_is_never_hidden(way: RowNLL, parameter: int) -> None:
    case = random_case(3, 4, 2, torch.float32, lengths=[4, 2, 4])
    case.output[1, 1, parameter] = torch.nan
    offset, pen, _ = evaluate(way, case)
    hit = torch.zeros(3, 4, dtype=torch.bool)
    hit[1, 1] = True
    assert (pen if parameter < 3 else offset).isnan().equal(hit)
    assert not (offset if parameter < 3 else pen).isnan().any()


# The choice --------------------------------------------------------------------------------------


@pytest.fixture
def forgetful() -> None:
    choose_kernels.cache_clear()


@pytest.mark.usefixtures("forgetful")
def test_the_choice_is_by_device_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    kernels = compiled_kernels()
    with caplog.at_level(logging.INFO, logger="sketch_model"):
        for _ in range(2):
            assert choose_kernels("cpu") is kernels
            assert choose_kernels("mps") is None
    assert caplog.messages == [
        "likelihood of rows on cpu: compiled kernels",
        "likelihood of rows on mps: reference",
    ]


@pytest.mark.usefixtures("forgetful")
def test_without_numba_the_reference_is_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    case = random_case(2, 3, 2)
    with caplog.at_level(logging.INFO, logger="sketch_model"):
        results = row_nll(*case)
    monkeypatch.undo()
    choose_kernels.cache_clear()
    assert caplog.messages == ["likelihood of rows on cpu: reference"]
    for got, expected in zip(results, reference_row_nll(*case), strict=True):
        assert torch.equal(got, expected)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_it_equals_the_reference(dtype: torch.dtype) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    case = Case(*(part.cuda() for part in random_case(70, 50, 20, torch.float32)))
    case = case._replace(output=case.output.to(dtype))
    step = torch.finfo(dtype).eps if dtype == torch.bfloat16 else 2e-5
    for got, expected, tolerance in zip(
        evaluate(row_nll, case), evaluate(reference_row_nll, case), (2e-5, 2e-5, step), strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=tolerance, atol=2e-5)
