"""Distances between clouds of points, against programs of others and against brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from pipeline.quality.distances import frechet_distance, mean_pairwise_distance, nearest

Array = np.ndarray


def cloud(num: int, size: int, seed: int, shift: float = 0.0) -> Array:
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(99 + int(shift)).normal(size=(size, size))
    return random.normal(size=(num, size)) @ mixing + shift


def frechet_by_scipy(first: Array, second: Array) -> float:
    covariances = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = sqrtm(covariances[0] @ covariances[1]).real
    between = np.square(first.mean(axis=0) - second.mean(axis=0)).sum()
    return float(between + np.trace(covariances[0] + covariances[1] - 2 * root))


@pytest.mark.parametrize(("num", "other", "size"), [(200, 300, 7), (500, 500, 32), (40, 60, 2)])
def test_the_frechet_distance_is_that_of_scipy_s_matrix_root(
    num: int, other: int, size: int
) -> None:
    first, second = cloud(num, size, 0), cloud(other, size, 1, shift=2.0)
    distance = frechet_distance(torch.from_numpy(first), torch.from_numpy(second))
    assert distance == pytest.approx(frechet_by_scipy(first, second), rel=1e-6)


def test_the_frechet_distance_of_known_gaussians() -> None:
    """Of independent numbers it is the sum of (m1 - m2)^2 + (s1 - s2)^2."""
    grid = torch.cartesian_prod(*2 * [torch.linspace(-1, 1, 31, dtype=torch.float64)])
    grid = grid / grid.std(dim=0)
    other = torch.stack([3 * grid[:, 0] + 5, grid[:, 1] / 2], dim=1)
    assert frechet_distance(grid, other) == pytest.approx(25 + 4 + 0.25)
    assert frechet_distance(grid, grid) == pytest.approx(0, abs=1e-9)


def test_fewer_points_than_dimensions_give_a_finite_distance_and_a_greater_one() -> None:
    one, other = (torch.from_numpy(cloud(800, 16, seed)).float() for seed in (0, 1))
    by_num = [frechet_distance(one[:num], other[:num]) for num in (4, 50, 800)]
    assert by_num[0] > 2 * by_num[1] > 4 * by_num[2] > 0


def test_pairs_and_neighbours_are_those_of_brute_force() -> None:
    points, others = cloud(61, 5, 0), cloud(1203, 5, 1)
    between = [np.linalg.norm(points[i] - points[j]) for i in range(len(points)) for j in range(i)]
    assert mean_pairwise_distance(torch.from_numpy(points)) == pytest.approx(np.mean(between))
    apart = np.linalg.norm(points[:, None] - others[None], axis=-1)
    distances, indices = nearest(torch.from_numpy(points), torch.from_numpy(others))
    assert indices.tolist() == apart.argmin(axis=1).tolist()
    assert distances.numpy() == pytest.approx(apart.min(axis=1), rel=1e-6)
