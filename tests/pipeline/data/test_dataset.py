"""Sketches gathered from shards, against the lines they came from; and flipped bits."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import Config, IngestConfig, SourceConfig, UserError
from pipeline.data import local, recordbatch
from pipeline.data.dataset import ShardedSketches
from pipeline.data.recordbatch import Bytes, RecordBatch
from pipeline.ingest.driver import ingest_category
from pipeline.manifest import SPLITS
from pipeline.prepare import prepare
from sketch_model.strokes import polylines_to_stroke3
from tests.pipeline.data.flips import flip_and_serve, path_of

ROWS = 16
NUM = {"cat": 300, "sun": 100}


@pytest.fixture
def manifest_path(tmp_path: Path, make_source: Callable[..., SourceConfig]) -> Path:
    config = Config(
        name="zoo",
        categories=["sun", "cat"],
        source=make_source(NUM),
        ingest=IngestConfig(recordbatch_rows=ROWS, shard_rows=4 * ROWS, fractions=[0.8, 0.1, 0.1]),
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


def first_shard(manifest_path: Path) -> Path:
    sketches = ShardedSketches(manifest_path, "train")
    return path_of(manifest_path, next(s for s in sketches.manifest.shards if s.split == "train"))


def each_sketch(sketches: ShardedSketches, indices: np.ndarray) -> Iterator[list[list[int]]]:
    batch = sketches.gather(indices)
    for start, end in zip(batch.offsets[:-1].tolist(), batch.offsets[1:].tolist(), strict=True):
        yield batch.points[start:end].tolist()


def test_all_splits_together_are_the_drawings_in_order(
    manifest_path: Path, make_lines: Callable[[str, int], list[bytes]]
) -> None:
    left = {name: [json.loads(line) for line in make_lines(name, num)] for name, num in NUM.items()}
    for split in SPLITS:
        sketches = ShardedSketches(manifest_path, split)
        assert sketches.manifest.categories == ["sun", "cat"]
        assert np.all(np.diff(sketches.categories) >= 0)
        everything = list(each_sketch(sketches, np.arange(len(sketches))))
        assert [len(sketch) for sketch in everything] == sketches.lengths.tolist()
        for sketch, category in zip(everything, sketches.categories.tolist(), strict=True):
            drawings = left[sketches.manifest.categories[category]]
            for place, drawing in enumerate(drawings):
                strokes = [np.array(stroke).T for stroke in drawing["drawing"]]
                if polylines_to_stroke3(strokes).tolist() == sketch:
                    del drawings[place]
                    break
            else:
                pytest.fail(f"{sketch} is none of the drawings that are left")
    assert left == {"cat": [], "sun": []}


def test_sketches_come_in_the_order_asked(train: ShardedSketches) -> None:
    everything = list(each_sketch(train, np.arange(len(train))))
    indices = np.random.default_rng(0).integers(0, len(train), 200)
    batch = train.gather(indices)
    assert list(each_sketch(train, indices)) == [everything[i] for i in indices]
    assert batch.categories.tolist() == train.categories[indices].tolist()
    assert batch.positions.tolist() == indices.tolist()
    assert [str(x.dtype) for x in (batch.points, batch.offsets, batch.categories)] == [
        "torch.int16",
        "torch.int32",
        "torch.int16",
    ]
    positions = np.arange(200) + 10**12
    assert train.gather(indices, positions).positions.tolist() == positions.tolist()


def test_shards_are_touched_in_the_order_of_addresses(
    train: ShardedSketches, monkeypatch: pytest.MonkeyPatch
) -> None:
    touched = []
    verify = RecordBatch.verify

    def verify_and_note(self: RecordBatch, content: Bytes) -> None:
        touched.append((self.shard.category == "cat", self.location, self.index))
        verify(self, content)

    monkeypatch.setattr(RecordBatch, "verify", verify_and_note)
    train.gather(np.random.default_rng(0).permutation(len(train)))
    assert len(touched) == len(train.category_of_recordbatch)
    assert touched == sorted(touched)


def test_a_mapped_shard_holds_no_file_open(train: ShardedSketches) -> None:
    before = len(os.listdir("/proc/self/fd"))
    train.gather(np.arange(len(train)))
    assert len(os.listdir("/proc/self/fd")) == before


def test_lengths_of_some_sketches_are_those_of_all(train: ShardedSketches) -> None:
    some = np.random.default_rng(0).integers(0, len(train), 50)
    assert train.lengths_of(some).tolist() == train.lengths[some].tolist()


def test_an_empty_batch_and_indices_out_of_bounds(train: ShardedSketches) -> None:
    assert train.gather(np.array([], dtype=np.int64)).num_sketches == 0
    for index in (-1, len(train)):
        with pytest.raises(IndexError, match=rf"must lie in \[0, {len(train)}\), got {index} to"):
            train.gather(np.array([index]))


def test_a_record_batch_is_verified_when_first_touched_and_only_then(
    train: ShardedSketches, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified = []
    compare = recordbatch.compare_crc32

    def compare_and_note(content: Bytes, expected: int, location: str, part: str) -> None:
        verified.append(part)
        compare(content, expected, location, part)

    for module in (recordbatch, local):
        monkeypatch.setattr(module, "compare_crc32", compare_and_note)
    for rows in ([0, ROWS - 1], [1], [ROWS], [0, ROWS]):
        train.gather(np.array(rows))
    assert verified == ["footer", "record batch 0", "record batch 1"]


def test_any_flipped_bit_is_found_before_it_is_served(manifest_path: Path) -> None:
    """Guarantee G5, for every byte of a shard in turn (a random bit of each)."""
    rng = random.Random(0)
    [shard] = [
        shard
        for shard in ShardedSketches(manifest_path, "test").manifest.shards
        if shard.split == "test" and shard.category == "sun"
    ]
    path = path_of(manifest_path, shard)
    intact = path.read_bytes()
    for place in rng.sample(range(len(intact)), 300):
        flipped = bytearray(intact)
        flipped[place] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        sketches = ShardedSketches(manifest_path, "test")
        with pytest.raises(UserError, match=rf"{path.name}, (record batch 0|footer) is damaged"):
            sketches.gather(np.arange(len(sketches)))
    path.write_bytes(intact)
    sketches = ShardedSketches(manifest_path, "test")
    assert sketches.gather(np.arange(len(sketches))).num_sketches == len(sketches)


def test_a_flipped_bit_in_any_shard_never_reaches_a_batch(manifest_path: Path) -> None:
    """Guarantee G5 in the order of training: batches before the damage are served, and right."""
    assert flip_and_serve(manifest_path, 1000, seed=1) == 1000


def test_only_the_damaged_record_batch_is_refused(manifest_path: Path) -> None:
    train = ShardedSketches(manifest_path, "train")
    shard = next(shard for shard in train.manifest.shards if shard.split == "train")
    path = path_of(manifest_path, shard)
    content = bytearray(path.read_bytes())
    content[shard.ends[1] + 1000] ^= 4  # within the third record batch
    path.write_bytes(content)
    assert train.gather(np.arange(2 * ROWS)).num_sketches == 2 * ROWS
    for _ in range(2):  # and again: a failed check is not forgotten
        with pytest.raises(UserError) as caught:
            train.gather(np.array([0, 2 * ROWS]))
        message = str(caught.value)
        assert f"{path}, record batch 2 is damaged: its CRC-32 is " in message
        assert f"the manifest has {shard.crc32[2]:08x}" in message
        assert f"delete {path.parent}, then run ingest and prepare again" in message


def test_damage_is_found_after_lengths_were_read_without_checks(manifest_path: Path) -> None:
    path = first_shard(manifest_path)
    content = bytearray(path.read_bytes())
    content[1500] ^= 1
    path.write_bytes(content)
    train = ShardedSketches(manifest_path, "train")
    assert len(train.lengths) == len(train)
    with pytest.raises(UserError, match="record batch 0 is damaged"):
        train.gather(np.array([0]))


def test_a_missing_or_shortened_shard_is_found_at_once(manifest_path: Path) -> None:
    path = first_shard(manifest_path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=rf"{path.name} has \d+ bytes, the manifest has \d+ bytes"):
        ShardedSketches(manifest_path, "train")
    path.unlink()
    with pytest.raises(UserError, match=f"{path.name} does not exist, .*run ingest and prepare"):
        ShardedSketches(manifest_path, "train")
    assert len(ShardedSketches(manifest_path, "valid")) > 0


def test_no_data_names_the_commands_that_make_them(tmp_path: Path) -> None:
    path = tmp_path / "data" / "doodles" / "manifests" / "cat.json"
    with pytest.raises(UserError) as caught:
        ShardedSketches(path, "train")
    for module in ("ingest", "prepare"):
        command = f"`python -m pipeline.{module} +experiment=cat source=doodles`"
        assert command in str(caught.value)


def test_an_unknown_split_is_an_error(manifest_path: Path) -> None:
    with pytest.raises(ValueError, match="split 'dev' must be one of train, valid, test"):
        ShardedSketches(manifest_path, "dev")
