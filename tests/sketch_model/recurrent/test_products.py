from __future__ import annotations

import pytest
import torch

from sketch_model.recurrent.products import bind_fresh_product, bind_product


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-14), (torch.float32, 1e-5), (torch.bfloat16, 2**-7)],
)
@pytest.mark.parametrize("transposed", [False, True])
def test_a_bound_product_is_the_product_whatever_the_number_of_rows(
    dtype: torch.dtype, tolerance: float, transposed: bool
) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(37, 20).to(dtype)
    if transposed:
        matrix = matrix.t().contiguous().t()
    multiply, multiply_fresh = bind_product(matrix, num_rows=9), bind_fresh_product(matrix, 9)
    for num_rows in (9, 1, 16, 0):
        left = torch.randn(num_rows, 37).to(dtype)
        out = torch.full((num_rows + 1, 20), torch.nan, dtype=dtype)
        multiply(left, out[:num_rows])
        expected = left.double() @ matrix.double()
        scale = left.double().norm(dim=1, keepdim=True) * matrix.double().norm(dim=0)
        assert ((out[:num_rows].double() - expected).abs() <= tolerance * scale).all()
        assert out[num_rows:].isnan().all()
        assert torch.equal(multiply_fresh(left), out[:num_rows])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_product_that_adds_leaves_what_was_there(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    left, matrix, out = (
        torch.randint(-4, 5, shape).to(dtype) for shape in ((9, 7), (7, 3), (9, 3))
    )
    expected = out.double() + left.double() @ matrix.double()  # small whole numbers: no rounding
    bind_product(matrix, num_rows=9, adds=True)(left, out)
    assert torch.equal(out.double(), expected)
