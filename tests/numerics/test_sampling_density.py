"""What is drawn follows the density that the NumPy program gives the next row.

Draws are put through the distribution functions of that density, dx first and then dy given dx
(Rosenblatt 1952): if they follow it, the two results are uniform and independent of each other and
of the pen. There are about a hundred statistics; each exceeds its threshold by chance once in ten
thousand. The seed is fixed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sketch_model import DataSpec, ModelConfig, SketchRNN, TemperatureRule
from sketch_model.config import Cell, Condition
from tests.numerics.sketch_rnn_numpy import (
    Array,
    Parameters,
    cdf_of_dx,
    cdf_of_dy_given_dx,
    read_output,
)
from tests.numerics.torch_weights import decode_numpy, to_numpy

NUM_DRAWS = 20_000
SCALE = 20.0
N_Z = 4
PREFIX = np.array([[13, -7, 0], [-20, 31, 1], [5, 2, 0]], np.int16)
CATEGORIES = ("a", "b")

MAX_KOLMOGOROV = 2.23  # times 1 / sqrt(n)
MAX_CHI_SQUARE = {2: 18.4, 9: 33.7, 99: 160.1}  # by degrees of freedom


def make_model(**changes: Any) -> SketchRNN:
    config = ModelConfig(encoder_size=6, decoder_size=8, N_z=N_Z, M=4, **changes)
    data = DataSpec(offset_scale=SCALE, N_max=30, categories=CATEGORIES, source="random")
    torch.manual_seed(3)
    model = SketchRNN(config, data).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    with torch.no_grad():  # no pen state is rare, or few draws would show a row
        model.decoder.output.weight[:3] *= 0.1
        model.decoder.output.bias[:3] = torch.tensor([0.0, -0.2, -0.4])
    return model


def density(
    model: SketchRNN, z: torch.Tensor | None, prefix: Array, temperature: float, magenta: bool
) -> Parameters:
    """Of the row after `prefix`."""
    rows = np.zeros((len(prefix) + 1, 5))
    rows[0, 2] = 1.0
    rows[1:, :2] = prefix[:, :2] / SCALE
    rows[1:, 2], rows[1:, 3] = 1.0 - prefix[:, 2], prefix[:, 2]
    output = decode_numpy(model, rows, None if z is None else to_numpy(z), category=1)
    return read_output(output[-1], temperature, magenta=magenta)


def chi_square(counts: Array, shares: Array | float) -> float:
    expected = counts.sum() * shares
    return float(((counts - expected) ** 2 / expected).sum())


def kolmogorov(values: Array) -> float:
    """Largest distance from the uniform distribution, times sqrt(n)."""
    values, steps = np.sort(values), np.arange(len(values) + 1) / len(values)
    return float(max(np.abs(values - steps[1:]).max(), np.abs(values - steps[:-1]).max())) * (
        len(values) ** 0.5
    )


@pytest.mark.parametrize(
    ("temperature", "rule"),
    [(1.0, TemperatureRule.paper), *((0.3, rule) for rule in TemperatureRule)],
)
@pytest.mark.parametrize(
    ("changes", "prefix"),
    [
        ({}, PREFIX[:0]),
        ({"decoder_cell": Cell.layer_norm}, PREFIX),
        ({"decoder_cell": Cell.hyper, "conditional": False}, PREFIX),
        ({"condition": Condition.category}, PREFIX[:1]),
    ],
    ids=["lstm", "layer_norm-prefix", "hyper-decoder_only-prefix", "category-prefix"],
)
def test_draws_follow_the_density(
    changes: dict[str, Any], prefix: Array, temperature: float, rule: TemperatureRule
) -> None:
    model = make_model(**changes)
    z = torch.linspace(-1.0, 1.0, N_Z) if model.config.conditional else None
    drawn = model.sample(
        NUM_DRAWS,
        z=z,
        category="b" if "condition" in changes else None,
        prefix=prefix if len(prefix) else None,
        max_length=len(prefix) + 1,
        temperature=temperature,
        temperature_rule=rule,
        seed=11,
    )
    # A drawing that ends at once shows no row, only that it did.
    shown = np.array([sketch[-1] for sketch in drawn if len(sketch) > len(prefix)], np.float64)
    dx, dy, lifted = shown[:, 0] / SCALE, shown[:, 1] / SCALE, shown[:, 2] == 1
    p = density(model, z, prefix, temperature, magenta=rule is TemperatureRule.magenta)

    pens = np.array([(~lifted).sum(), lifted.sum(), NUM_DRAWS - len(shown)])
    assert min(p.pen) > 0.02
    assert chi_square(pens, p.pen) < MAX_CHI_SQUARE[2]
    u, v = cdf_of_dx(p, dx), cdf_of_dy_given_dx(p, dx, dy)
    assert kolmogorov(u) < MAX_KOLMOGOROV
    assert kolmogorov(v) < MAX_KOLMOGOROV
    squares, _, _ = np.histogram2d(u, v, bins=10, range=[[0, 1], [0, 1]])
    assert chi_square(squares, 1 / 100) < MAX_CHI_SQUARE[99]
    for coordinate in (u, v):
        tenths, _ = np.histogram(coordinate[lifted], bins=10, range=(0, 1))
        assert chi_square(tenths, 1 / 10) < MAX_CHI_SQUARE[9]

    if temperature != 1.0:  # the other rule's density is far off, so the comparison can tell
        other = density(model, z, prefix, temperature, magenta=rule is TemperatureRule.paper)
        assert kolmogorov(cdf_of_dx(other, dx)) > 5 * MAX_KOLMOGOROV
