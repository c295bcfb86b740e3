"""Shares of the variance are those of a known function, and chance is called chance."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.search.outcome import Status, Trial
from pipeline.search.report.importance import Importance, importances
from tests.pipeline.search.trials import BOUND

GRID = [
    {"model.M": M, "loss.w_KL": w_KL, "model.encoder_cell": cell}
    for M, w_KL, cell in itertools.product([5, 20], [0.25, 1.0], ["lstm", "hyper", "layer_norm"])
]


def measure(figure: Callable[[dict[str, Any]], float], points: list[dict[str, Any]]) -> Importance:
    trials = [
        Trial(number, values, Status.finished, Path(str(number)), figures={"bound_nats": reached})
        for number, values in enumerate(points)
        if (reached := figure(values)) is not None
    ]
    (found,) = importances(trials, BOUND)
    return found


def test_shares_are_those_of_the_function() -> None:
    """3 a + 1.5 b has variances 9/4 and 1/2 if a is half the time 1, and b a third of it."""
    found = measure(
        lambda v: 3.0 * (v["model.M"] == 20) + 1.5 * (v["model.encoder_cell"] == "hyper"), GRID
    )
    M, cell, w_KL = found.shares.values()
    assert list(found.shares) == ["model.M", "model.encoder_cell", "loss.w_KL"]
    assert M.value == pytest.approx(2.25 / 2.75, abs=0.07)
    assert cell.value == pytest.approx(0.5 / 2.75, abs=0.07)
    assert w_KL.value < 0.02
    assert M.is_more_than_chance
    assert not w_KL.is_more_than_chance
    assert M.low <= M.value <= M.high
    assert found.num_trials == 12


def test_noise_is_no_more_than_chance() -> None:
    dice = np.random.default_rng(1)
    found = measure(lambda values: float(dice.normal()), GRID)
    assert not any(share.is_more_than_chance for share in found.shares.values())
    assert max(share.value for share in found.shares.values()) > 0.1, "which looks like something"


def test_without_shares_there_is_a_reason() -> None:
    few = measure(lambda values: 1.0 * values["model.M"], GRID[:9])
    assert (few.num_trials, few.shares) == (9, {})
    assert "9 trials finished" in few.reason
    assert "fewer than 10" in few.reason
    alike = measure(lambda values: 1.0, 12 * [{"model.M": 20}])
    assert alike.reason == "Every finished trial had the same M."
    constant = measure(lambda values: 1.0, GRID)
    assert constant.reason == "The bound is the same in every finished trial."
