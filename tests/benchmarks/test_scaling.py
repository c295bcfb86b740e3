"""The model of scaling follows its formula; trainings of two processes are timed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import scaling, shards
from benchmarks.scaling import Network, efficiency, exchange_s

NETWORK = Network(per_machine=8, inner_bytes_per_s=100e9, outer_bytes_per_s=10e9, latency_s=10e-6)


@pytest.mark.parametrize(
    ("num_gpus", "num_bytes", "expected_ms"),
    [
        (1, 8_000_000, 0.0),
        (2, 8_000_000, 0.02 + 0.08),  # two hops; each link carries the whole once
        (8, 8_000_000, 0.14 + 0.14),
        (16, 8_000_000, 0.30 + 1.5),  # over the slow links
        (16, 0, 0.30),
    ],
)
def test_a_ring_takes_its_hops_and_its_bytes(
    num_gpus: int, num_bytes: int, expected_ms: float
) -> None:
    assert exchange_s(num_gpus, num_bytes, NETWORK) * 1e3 == pytest.approx(expected_ms)


def test_efficiency_is_what_the_exchanges_leave() -> None:
    step_s, num_bytes = 0.003, 8_000_000
    assert efficiency(1, step_s, num_bytes, NETWORK, beside=False) == 1.0
    after = efficiency(16, step_s, num_bytes, NETWORK, beside=False)
    assert after == pytest.approx(3 / (3 + 1.8 + 2 * 0.3))
    beside = efficiency(16, step_s, num_bytes, NETWORK, beside=True)
    assert beside == pytest.approx(3 / (3 + 2 * 0.3)), "2 ms of the backward pass hide 1.8 ms"


def test_gradients_are_float32_of_every_weight() -> None:
    assert scaling.gradient_bytes() == 4 * 2_186_107  # as conf/model/base.yaml has it
    assert scaling.format_model(Network()).count("\n| ") == 1 + len(scaling.NUM_GPUS)


def test_rates_are_compared_with_twice_one_process() -> None:
    table = scaling.format_rates({scaling.ONE: 100.0, scaling.SHARING: 150.0, scaling.APART: 160.0})
    assert f"| {scaling.SHARING} | 150.0 | 75% |" in table
    assert "6.2% of a step" in table


@pytest.mark.dist
@pytest.mark.long
def test_trainings_of_two_processes_and_two_trainings_are_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QUICKDRAW_ROOT", raising=False)
    monkeypatch.setattr(shards, "NUM_DOODLES", 200)
    overrides = [*scaling.describe_training(tmp_path), "model=tiny"]
    assert scaling.measure_rate(overrides, num_processes=2) > 0
    assert scaling.measure_rate(overrides, num_trainings=2) > 0
