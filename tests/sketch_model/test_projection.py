from __future__ import annotations

import pytest
import torch

from sketch_model.projection import project


def leaves(dtype: torch.dtype) -> list[torch.Tensor]:
    torch.manual_seed(0)
    shapes = (7, 3, 6), (5, 6), (5,)
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


def outputs_and_gradients(tensors: list[torch.Tensor], way: object) -> list[torch.Tensor]:
    assert callable(way)
    outputs = way(*tensors)
    slopes = torch.linspace(-1, 2, outputs.numel(), dtype=outputs.dtype).view_as(outputs)
    return [outputs, *torch.autograd.grad((outputs * slopes).sum(), tensors)]


def linear(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", enabled=False):
        return torch.nn.functional.linear(hidden, weight, bias).permute(2, 0, 1)


def test_it_is_a_linear_layer_with_the_outputs_first() -> None:
    got = outputs_and_gradients(leaves(torch.float64), project)
    for one, other in zip(got, outputs_and_gradients(leaves(torch.float64), linear), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert got[0].is_contiguous()


def test_gradcheck() -> None:
    assert torch.autograd.gradcheck(project, leaves(torch.float64))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_outputs_keep_float32_and_only_bf16_rounds_gradients(
    dtype: torch.dtype,
) -> None:
    expected = outputs_and_gradients(leaves(torch.float32), linear)
    with torch.autocast("cpu", dtype=dtype):
        got = outputs_and_gradients(leaves(torch.float32), project)
    torch.testing.assert_close(got[0], expected[0], rtol=1e-6, atol=1e-6)
    for one, other in zip(got[1:3], expected[1:3], strict=True):
        assert one.dtype == torch.float32
        error = (one - other).norm() / other.norm()
        assert error < 0.01  # bf16 keeps 8 bits
        assert (error > 1e-4) == (dtype == torch.bfloat16)
    torch.testing.assert_close(got[3], expected[3], rtol=1e-6, atol=1e-6)
