from __future__ import annotations

import numpy as np
import pytest
import torch

from sketch_model.mixture import (
    MAX_SIGMA,
    MIN_RHO_COMPLEMENT,
    MIN_SIGMA,
    Mixture,
    offset_nll,
    output_size,
    pen_nll,
)
from tests.numerics.sketch_rnn_numpy import offset_density, read_output
from tests.numerics.torch_weights import to_numpy

M = 4


def random_output(*rows: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(*rows, output_size(M), dtype=dtype)


def test_likelihoods_are_those_of_the_density_multiplied_out() -> None:
    output, offset = random_output(6, 5), torch.randn(6, 5, 2, dtype=torch.float64)
    mixture, parameters = Mixture.from_output(output), read_output(to_numpy(output))
    density = offset_density(parameters, *np.moveaxis(to_numpy(offset), -1, 0))
    got = to_numpy(offset_nll(mixture, offset))
    np.testing.assert_allclose(got, -np.log(density), rtol=1e-12)
    for state in range(3):
        pen = torch.eye(3, dtype=torch.float64)[state].expand(6, 5, 3)
        expected = -np.log(parameters.pen[..., state])
        np.testing.assert_allclose(to_numpy(pen_nll(mixture, pen)), expected, rtol=1e-12)


def test_the_density_integrates_to_one() -> None:
    output = 0.3 * random_output()
    mesh = torch.linspace(-12, 12, 481, dtype=torch.float64)
    offsets = torch.cartesian_prod(mesh, mesh)
    mixture = Mixture.from_output(output.expand(len(offsets), -1))
    total = torch.exp(-offset_nll(mixture, offsets)).sum() * (mesh[1] - mesh[0]) ** 2
    assert abs(total.item() - 1.0) < 1e-6


EXTREME = 1e4


@pytest.mark.parametrize("log_sigma", [-EXTREME, 0.0, EXTREME])
@pytest.mark.parametrize("rho_logit", [-EXTREME, 0.0, 20.0])
@pytest.mark.parametrize("distance", [0.0, 50.0])
def test_extreme_outputs_give_finite_losses_and_gradients_in_float32(
    log_sigma: float, rho_logit: float, distance: float
) -> None:
    output = random_output(7, dtype=torch.float32)
    output[:, 3 + 3 * M : 3 + 5 * M] = log_sigma
    output[:, 3 + 5 * M :] = rho_logit
    output[:, :3] = torch.tensor([EXTREME, 0.0, -EXTREME])
    output[:, 3] = EXTREME
    output.requires_grad_()
    mixture = Mixture.from_output(output)
    offset = torch.full((7, 2), distance)
    loss = offset_nll(mixture, offset).sum() + pen_nll(mixture, torch.eye(3)[[2] * 7]).sum()
    loss.backward()
    assert loss.isfinite()
    assert output.grad is not None
    assert output.grad.isfinite().all()


def test_the_bounds_are_those_stated() -> None:
    output = torch.cat([-EXTREME * torch.ones(1, output_size(M)), EXTREME * torch.ones(1, 27)])
    mixture = Mixture.from_output(output.double())
    sigma, rho = mixture.log_sigma_x.exp(), torch.tanh(mixture.rho_logit)
    torch.testing.assert_close(sigma[0], torch.full((M,), MIN_SIGMA, dtype=torch.float64))
    torch.testing.assert_close(sigma[1], torch.full((M,), MAX_SIGMA, dtype=torch.float64))
    torch.testing.assert_close(
        1 - rho**2, torch.full((2, M), MIN_RHO_COMPLEMENT, dtype=torch.float64), rtol=1e-6, atol=0
    )
