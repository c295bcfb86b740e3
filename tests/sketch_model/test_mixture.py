from __future__ import annotations

import numpy as np
import torch

from sketch_model.mixture import (
    MAX_MEAN,
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


def test_the_bounds_are_those_stated_and_have_no_gradient_beyond() -> None:
    output = torch.cat([-1e7 * torch.ones(1, output_size(M)), 1e7 * torch.ones(1, output_size(M))])
    output = output.double().requires_grad_()
    mixture = Mixture.from_output(output)
    for values, bounds in (
        (mixture.mean_x, (-MAX_MEAN, MAX_MEAN)),
        (mixture.mean_y, (-MAX_MEAN, MAX_MEAN)),
        (mixture.log_sigma_x.exp(), (MIN_SIGMA, MAX_SIGMA)),
        (mixture.log_sigma_y.exp(), (MIN_SIGMA, MAX_SIGMA)),
    ):
        expected = torch.tensor(bounds, dtype=torch.float64)[:, None].expand(2, M)
        torch.testing.assert_close(values, expected)
    rho = torch.tanh(mixture.rho_logit)
    torch.testing.assert_close(
        1 - rho**2, torch.full((2, M), MIN_RHO_COMPLEMENT, dtype=torch.float64), rtol=1e-6, atol=0
    )
    offset_nll(mixture, torch.zeros(2, 2, dtype=torch.float64)).sum().backward()
    assert output.grad is not None
    assert (output.grad[:, 3 + M :] == 0).all()


def test_logits_count_by_their_differences_alone_however_large() -> None:
    output, offset = random_output(5, dtype=torch.float32), torch.randn(5, 2)
    shifted = output.clone()
    shifted[:, : 3 + M] = (output[:, : 3 + M] * 8).round()  # integers, exact beside 2^20
    moved = shifted.clone()
    moved[:, : 3 + M] += 2.0**20
    pen = torch.eye(3)[[0, 1, 2, 0, 1]]
    for nll, target in ((offset_nll, offset), (pen_nll, pen)):
        got = nll(Mixture.from_output(moved), target)
        assert torch.equal(got, nll(Mixture.from_output(shifted), target))
