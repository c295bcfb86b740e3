from __future__ import annotations

import math

import pytest
import torch

from sketch_model.randomness import DROP, LATENT, SCALE, keyed_normal, keyed_uniform

MASK = 2**64 - 1


def splitmix64_finaliser(bits: int) -> int:
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & MASK
    return bits ^ (bits >> 31)


def uniform_in_python(seed: int, stream: int, key: int, counter: int) -> float:
    golden = 0x9E3779B97F4A7C15
    offset = splitmix64_finaliser((seed + golden) & MASK)
    offset = splitmix64_finaliser((offset + stream + golden) & MASK)
    mixed_key = splitmix64_finaliser((key * golden + offset) & MASK)
    return (splitmix64_finaliser((mixed_key + counter * golden) & MASK) >> 40) / 2**24


def test_bits_are_those_of_python_integers():
    """int64 tensors have no logical shift and no unsigned product; both are emulated."""
    keys = torch.tensor([0, 1, 2**40 + 3, 2**62, -5])
    counters = torch.tensor([0, 1, 249, 2**31])
    for seed in (0, 17, 2**63 + 11, -1):
        drawn = keyed_uniform(seed, DROP, keys[:, None], counters)
        expected = [
            [uniform_in_python(seed, DROP, key, counter) for counter in counters.tolist()]
            for key in keys.tolist()
        ]
        assert drawn.dtype == torch.float32
        assert drawn.tolist() == expected


def test_uniform_numbers_fill_the_unit_interval_evenly():
    uniform = keyed_uniform(3, SCALE, torch.arange(4000)[:, None], torch.arange(50))
    assert uniform.min() >= 0
    assert uniform.max() < 1
    counts = torch.histc(uniform, bins=64, min=0, max=1)
    expected = uniform.numel() / 64
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    assert chi_squared < 63 + 5 * math.sqrt(2 * 63)  # five standard deviations


@pytest.mark.parametrize("axis", ["key", "counter", "seed", "stream"])
def test_neighbours_are_uncorrelated(axis: str):
    keys, counters = torch.arange(2000)[:, None], torch.arange(50)
    neighbour = {"seed": 5, "stream": SCALE, "keys": keys, "counters": counters}
    changed = {"key": "keys", "counter": "counters"}.get(axis, axis)
    neighbour[changed] = neighbour[changed] + 1
    pair = torch.stack([keyed_uniform(5, SCALE, keys, counters), keyed_uniform(**neighbour)])
    correlation = float(torch.corrcoef(pair.flatten(1))[0, 1])
    assert abs(correlation) < 5 / math.sqrt(100_000)


def test_a_key_draws_the_same_whatever_is_drawn_beside_it():
    together = keyed_normal(7, LATENT, torch.tensor([4, 9, 123_456_789_012]), 5)
    alone = keyed_normal(7, LATENT, torch.tensor([9]), 5)
    assert torch.equal(together[1:2], alone)


def test_normal_numbers_have_the_moments_and_tails_of_a_normal():
    normal = keyed_normal(11, LATENT, torch.arange(5000), 64).double().flatten()
    standard_error = 1 / math.sqrt(len(normal))
    assert torch.isfinite(normal).all()
    assert abs(float(normal.mean())) < 5 * standard_error
    assert abs(float((normal**2).mean()) - 1) < 5 * math.sqrt(2) * standard_error
    assert abs(float((normal**4).mean()) - 3) < 5 * math.sqrt(96) * standard_error
    beyond_two = float((normal.abs() > 2).double().mean())
    assert beyond_two == pytest.approx(math.erfc(math.sqrt(2)), abs=5 * 0.21 * standard_error)


def test_normal_numbers_of_one_key_are_uncorrelated():
    normal = keyed_normal(0, LATENT, torch.arange(20_000), 6)
    off_diagonal = torch.corrcoef(normal.T) - torch.eye(6)
    assert float(off_diagonal.abs().max()) < 5 / math.sqrt(20_000)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_draws_the_same_bits():
    keys, counters = torch.arange(1000)[:, None], torch.arange(250)
    here = keyed_uniform(1, DROP, keys, counters)
    there = keyed_uniform(1, DROP, keys.cuda(), counters.cuda())
    assert torch.equal(here, there.cpu())
