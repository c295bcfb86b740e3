"""Shards of many categories are fed from, and what should be flat is compared over sizes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks import drawings, scale, serving
from pipeline.config import Config
from pipeline.manifest import Manifest

NUM = 1500


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Config, dict[str, float]]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scale, "NUM_WORKERS", 1)
        patch.setattr(scale, "CATEGORY_DRAWINGS", 100)
        patch.setattr(drawings, "BANK_DRAWINGS", 20)
        patch.setattr(drawings, "_open_bank", drawings._open_bank.__wrapped__)  # keeps none
        yield scale.make_shards(NUM, tmp_path_factory.mktemp("scale"))


def test_all_categories_are_in_one_manifest_and_no_text_is_left(
    made: tuple[Config, dict[str, float]],
) -> None:
    config, cost = made
    manifest = Manifest.read(config.manifest_path)
    assert cost["num_categories"] == len(manifest.categories) == 15
    assert sum(counts.lines for counts in manifest.counts.values()) == cost["num_drawings"] == NUM
    assert not list(config.manifest_path.parents[2].rglob("*.ndjson"))


@pytest.mark.parametrize("what", serving.MEASUREMENTS)
def test_every_measurement_gives_a_figure(
    what: str, made: tuple[Config, dict[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, small in (("MEMORY_BATCHES", 20), ("WARM_BATCHES", 5), ("COLD_S", 0.1)):
        monkeypatch.setattr(serving, name, small)
    assert all(figure > 0 for figure in serving.MEASUREMENTS[what](made[0].manifest_path).values())


def test_figures_are_compared_over_sizes() -> None:
    small: dict[str, Any] = {
        "ingest_per_s": 500_000,
        "first_batch_s": 0.2,
        "private_mb": 200,
        "warm_per_s": 1_000_000,
        "cold_blocks_per_s": 100,
    }
    large = small | {"first_batch_s": 0.3, "warm_per_s": 500_000, "cold_blocks_per_s": 400_000}
    found = scale.compare([small, large])
    assert all(found["met"].values())
    assert found["warm_over_smallest"] == 0.5
    assert found["spread"] == {"ingest_per_s": 1.0, "private_mb": 1.0, "first_batch_s": 1.5}
    worse = large | {"ingest_per_s": 300_000, "private_mb": 301, "warm_per_s": 300_000}
    failed = {name for name, met in scale.compare([small, worse])["met"].items() if not met}
    assert failed == {"ingest_flat", "private_mb", "private_mb_flat", "warm_over_smallest"}
