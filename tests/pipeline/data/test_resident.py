"""A resident split serves, batch for batch, what the shards serve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch

from pipeline.config import Balance, Config, IngestConfig, SourceConfig, TrainOrder, UserError
from pipeline.data.dataset import ShardedSketches
from pipeline.data.loader import TrainingLoader
from pipeline.data.order import Order
from pipeline.data.resident import ResidentSketches
from pipeline.data.stream import make_stream
from pipeline.ingest.driver import ingest_category
from pipeline.prepare import prepare
from pipeline.training.fit import fit
from sketch_model.batch import PackedBatch
from tests.experiments import changed, make_config, make_data, write_drawings
from tests.pipeline.data.flips import path_of

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])]


@pytest.fixture
def manifest_path(tmp_path: Path, make_source: Callable[..., SourceConfig]) -> Path:
    config = Config(
        name="zoo",
        categories=["sun", "cat"],
        source=make_source({"cat": 300, "sun": 100}),
        ingest=IngestConfig(recordbatch_rows=16, shard_rows=64, fractions=[0.8, 0.1, 0.1]),
        data_dir=str(tmp_path / "data"),
        results_dir=str(tmp_path / "results"),
    )
    for category in config.categories:
        ingest_category(category, config.source, config.ingest, config.shards_location)
    prepare(config)
    return config.manifest_path


@pytest.fixture
def train(manifest_path: Path) -> ShardedSketches:
    return ShardedSketches(manifest_path, "train")


def make_resident(sketches: ShardedSketches, device: str = "cpu") -> ResidentSketches:
    return ResidentSketches(sketches, torch.device(device), report=lambda line: None)


def assert_equal(batch: PackedBatch, expected: PackedBatch, device: str) -> None:
    for name in ("points", "offsets", "categories", "positions"):
        found, wanted = getattr(batch, name), getattr(expected, name)
        assert found.device.type == device
        assert found.dtype == wanted.dtype
        assert found.cpu().equal(wanted), name


def test_record_batches_are_asked_for_before_they_are_loaded(
    train: ShardedSketches, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, gather = set[int](), train.gather

    def gather_asked(rows: np.ndarray) -> PackedBatch:
        assert rows[0] in asked
        return gather(rows)

    monkeypatch.setattr(train, "prefetch", lambda rows: asked.update(rows.tolist()))
    monkeypatch.setattr(train, "gather", gather_asked)
    make_resident(train)
    assert asked == set(train.starts[:-1].tolist())


@pytest.mark.parametrize("device", DEVICES)
def test_it_serves_what_the_shards_serve(train: ShardedSketches, device: str) -> None:
    """Guarantee G10."""
    resident = make_resident(train, device)
    assert len(resident) == len(train)
    assert resident.lengths.tolist() == train.lengths.tolist()
    rng = np.random.default_rng(0)
    for num in (0, 1, 100, 1000):
        rows = rng.integers(0, len(train), num)
        assert_equal(resident.gather(rows), train.gather(rows), device)
        assert_equal(
            resident.gather(rows, rows + 10**12), train.gather(rows, rows + 10**12), device
        )
        assert resident.lengths_of(rows).tolist() == train.lengths_of(rows).tolist()
    for index in (-1, len(train)):
        with pytest.raises(IndexError, match=rf"must lie in \[0, {len(train)}\), got {index} to"):
            resident.gather(np.array([index]))


@pytest.mark.parametrize("order", list(TrainOrder))
@pytest.mark.parametrize("balance", list(Balance))
def test_training_gets_the_same_batches(
    train: ShardedSketches, order: TrainOrder, balance: Balance
) -> None:
    served = []
    for sketches in (train, make_resident(train)):
        categories = sketches.category_of_recordbatch
        stream = make_stream(sketches.starts, categories, order=order, balance=balance, seed=0)
        loader = TrainingLoader(sketches, Order(stream, sketches.lengths_of, 12, 4, 0))
        served.append(list(islice(loader, 60)))
    for expected, batch in zip(*served, strict=True):
        assert_equal(batch, expected, "cpu")


def test_every_record_batch_is_verified(manifest_path: Path, train: ShardedSketches) -> None:
    shard = [each for each in train.manifest.shards if each.split == "train"][-1]
    path = path_of(manifest_path, shard)
    content = bytearray(path.read_bytes())
    content[shard.ends[-1] - 9] ^= 1
    path.write_bytes(content)
    last = len(shard.ends) - 1
    with pytest.raises(UserError, match=rf"{path}, record batch {last} is damaged"):
        make_resident(train)


def test_progress_is_told(train: ShardedSketches) -> None:
    lines: list[str] = []
    ResidentSketches(train, torch.device("cpu"), lines.append)
    assert 5 <= len(lines) <= 10
    assert lines[-1] == f"{len(train)} of {len(train)} drawings are in the memory of cpu"


def test_too_little_memory_is_an_error(
    train: ShardedSketches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    with pytest.raises(
        UserError, match=r"takes \d{5} bytes for \d+ drawings, and cpu has 1000 bytes left"
    ):
        make_resident(train)


def test_a_resident_split_trains_the_same_model(tmp_path: Path) -> None:
    config = make_config(write_drawings(tmp_path / "source"), tmp_path)
    make_data(config)
    apart = replace(config, runs_dir=str(tmp_path / "resident"))
    first, second = fit(config).run, fit(changed(apart, "trainer", resident=True)).run
    assert first.folder.name == second.folder.name
    weights = [torch.load(run.best_checkpoint)["state_dict"] for run in (first, second)]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])
