from __future__ import annotations

import numpy as np
import pytest
import torch

from sketch_model.latent import interpolate, lerp, slerp
from tests.numerics import sketch_rnn_numpy
from tests.numerics.torch_weights import to_numpy


def test_slerp_agrees_with_numpy() -> None:
    torch.manual_seed(0)
    start, stop = torch.randn(2, 8, dtype=torch.float64)
    shares = torch.linspace(0, 1, 7, dtype=torch.float64)
    expected = [
        sketch_rnn_numpy.slerp(to_numpy(start), to_numpy(stop), share) for share in shares.tolist()
    ]
    np.testing.assert_allclose(to_numpy(slerp(start, stop, shares)), expected, rtol=1e-12)


@pytest.mark.parametrize("factor", [1.0, 1.0 + 1e-7, 2.5, -1.0, 0.0])
def test_slerp_without_an_arc_is_lerp(factor: float) -> None:
    start = torch.tensor([1.0, -2.0, 0.5])
    shares = torch.tensor([0.0, 0.25, 1.0])
    assert torch.equal(slerp(start, factor * start, shares), lerp(start, factor * start, shares))


def test_slerp_is_continuous_where_it_becomes_lerp() -> None:
    start, aside = torch.eye(2, dtype=torch.float64)
    shares = torch.linspace(0, 1, 5, dtype=torch.float64)
    for angle in (0.9e-4, 1.1e-4):
        stop = torch.cos(torch.tensor(angle)) * start + torch.sin(torch.tensor(angle)) * aside
        difference = slerp(start, stop, shares) - lerp(start, stop, shares)
        assert difference.abs().max() < 1e-8


def test_interpolation_includes_both_ends() -> None:
    start, stop = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0])
    points = interpolate(start, stop, 5)
    assert points.shape == (5, 2)
    torch.testing.assert_close(points[[0, -1]], torch.stack([start, stop]))
    with pytest.raises(ValueError, match="num=1 must be at least 2"):
        interpolate(start, stop, 1)
