"""Values lie where a reader looks for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.search.report.scale import Kind, Scale


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0.25, 0.5, 1.0], Kind.logarithmic),
        ([16, 32, 64, 128], Kind.logarithmic),
        (np.exp(np.random.default_rng(0).uniform(-2, 1, 24)).tolist(), Kind.logarithmic),
        (np.random.default_rng(0).uniform(0.05, 0.95, 24).tolist(), Kind.linear),
        ([0.0, 0.1, 1.0], Kind.linear),
        ([10, 20, 30], Kind.linear),
        (["lstm", "hyper"], Kind.names),
        ([True, False], Kind.names),
        ([0.5, None], Kind.names),
        ([3], Kind.linear),
    ],
)
def test_the_kind_follows_from_the_values(values: list[Any], kind: Kind) -> None:
    scale = Scale.of(values)
    assert scale.kind is kind
    positions = [scale.position(value) for value in scale.values]
    assert positions == sorted(positions)
    assert (positions[0], positions[-1]) == ((0.0, 1.0) if len(positions) > 1 else (0.5, 0.5))


def test_a_logarithmic_scale_spaces_ratios_evenly() -> None:
    scale = Scale.of([5, 20, 10, 5])
    assert [scale.position(value) for value in (5, 10, 20)] == pytest.approx([0, 0.5, 1])


def test_few_values_are_named_each_and_many_by_round_numbers_between_them() -> None:
    assert [label for _, label in Scale.of([20, 5, 10]).ticks()] == ["5", "10", "20"]
    many = Scale.of(np.geomspace(0.11, 1.9, 30).tolist())
    assert [label for _, label in many.ticks()] == ["0.2", "0.5", "1"]
    assert all(0 <= position <= 1 for position, _ in many.ticks())


def test_labels_that_would_overlap_are_left_out_and_dollars_are_no_tex() -> None:
    assert [label for _, label in Scale.of([1.0, 1.01, 2.0]).ticks()] == ["1", "2"]
    assert [label for _, label in Scale.of(["$a", "b"]).ticks()] == [r"\$a", "b"]
