from __future__ import annotations

import numpy as np
import pytest
import torch

from sketch_model.latent import (
    Path,
    analogy,
    draw_prior,
    interpolate,
    interpolate_between_four,
    lerp,
    slerp,
    vary,
)
from tests.numerics import sketch_rnn_numpy
from tests.numerics.torch_weights import to_numpy
from tests.sketch_model.sketches import small_model


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


@pytest.mark.parametrize("path", [slerp, lerp])
def test_a_grid_between_four_walks_its_sides_and_then_across(path: Path) -> None:
    corners = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    grid = interpolate_between_four(corners, 3, 5, path)
    assert grid.shape == (3, 5, 6)
    torch.testing.assert_close(grid[[0, 0, -1, -1], [0, -1, 0, -1]], corners)
    half = torch.tensor([0.5])
    left, right = (path(corners[n], corners[n + 2], half)[0] for n in range(2))
    torch.testing.assert_close(grid[1, 2], path(left, right, half)[0])
    with pytest.raises(ValueError, match="1 by 5 must be at least 2 by 2"):
        interpolate_between_four(corners, 1, 5)


def test_an_analogy_adds_a_difference() -> None:
    start, gained, lost = torch.tensor([[1.0, 2.0], [5.0, 5.0], [4.0, 1.0]])
    assert analogy(start, gained, lost).tolist() == [2.0, 6.0]


def test_varying_keeps_the_prior_and_forgets_with_the_spread() -> None:
    z = draw_prior(1, 4000, seed=1)[0]
    for spread, kept in ((0.0, 1.0), (0.6, 0.8), (1.0, 0.0)):
        varied = vary(z, 3, spread=spread, seed=2)
        assert varied.std().item() == pytest.approx(1.0, abs=0.04)
        for row in varied:
            assert torch.corrcoef(torch.stack([z, row]))[0, 1].item() == pytest.approx(
                kept, abs=0.05
            )
    assert not torch.equal(*vary(z, 2, spread=0.1, seed=2))
    with pytest.raises(ValueError, match=r"spread=1\.5 must lie between 0 and 1"):
        vary(z, 1, spread=1.5, seed=0)


def test_the_prior_is_that_of_sampling() -> None:
    model = small_model()
    expected = model.sample(3, seed=7)
    drawn = model.sample(3, z=draw_prior(3, model.config.N_z, seed=7), seed=7)
    for one, other in zip(drawn, expected, strict=True):
        np.testing.assert_array_equal(one, other)
