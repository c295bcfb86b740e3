"""Growth is measured along each axis as far as there is time, and drawn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import growth
from benchmarks.growth import Point


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "AXES", {"batch": (2, 4), "N_max": (6, 9), "decoder_size": (8, 12)})
    monkeypatch.setattr(growth.Point.__new__, "__defaults__", (3, 5, 8))


def test_one_quantity_changes_along_an_axis() -> None:
    assert list(growth.list_points("batch")) == [Point(2, 5, 8), Point(4, 5, 8)]
    assert list(growth.list_points("N_max")) == [Point(3, 6, 8), Point(3, 9, 8)]
    assert Point(6, 5, 8).cost == 2 * Point(3, 5, 8).cost


def test_batches_are_as_full_as_can_be() -> None:
    batch = growth.draw_batch(Point(2, 20, 8))
    assert batch.stroke5.shape == (2, 21, 5)
    assert batch.stroke5[0, 0].tolist() == [0, 0, 1, 0, 0]
    assert batch.stroke5[0, -1].tolist() == [0, 0, 0, 0, 1]
    assert torch.equal(batch.stroke5[..., 2:].sum(-1), torch.ones(2, 21))
    assert batch.lengths.tolist() == [19, 19]


def test_every_point_has_a_rate_and_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    lines = [line for axis in growth.AXES for line in growth.measure_axis(axis, 0.01, 10.0)]
    assert len(lines) == 6
    assert all(rate > 0 for line in lines for rate in line["sketches_per_s"].values())
    growth.plot(lines, "here", tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
    assert len(growth.format_lines(lines, 10.0).splitlines()) == 2 + 6


def test_what_would_take_too_long_is_left_out_and_said_so() -> None:
    first, second = growth.measure_axis("batch", 0.01, limit_s=0.0)
    assert all(first["sketches_per_s"].values())
    assert set(second["sketches_per_s"].values()) == {None}
    assert growth.format_lines([first, second], 0.0).count("> 0 s a step") == 4
