"""Shards in a bucket are served as local ones are, from a cache that keeps within its bound."""

from __future__ import annotations

import gc
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline import manifest as manifests
from pipeline import storage
from pipeline.config import (
    Balance,
    CacheConfig,
    Config,
    IngestConfig,
    SourceConfig,
    TrainConfig,
    TrainOrder,
    UserError,
)
from pipeline.data.cache import PieceCache
from pipeline.data.dataset import ShardedSketches, check_cache
from pipeline.data.loader import EvaluationLoader, TrainingLoader
from pipeline.data.order import Order
from pipeline.data.stream import BlockStream, Stream, make_stream
from pipeline.ingest.driver import ingest_category
from pipeline.manifest import Manifest
from pipeline.prepare import prepare
from sketch_model.batch import PackedBatch
from tests.pipeline import buckets
from tests.pipeline.buckets import Bucket, drop, fail, flip, hang_up, truncate

ROWS = 16
NUM = {"cat": 300, "sun": 100}
ROOT = f"gs://{buckets.NAME}/all shards"


@pytest.fixture(scope="module")
def server() -> Iterator[Bucket]:
    with buckets.serving_bucket() as bucket:
        yield bucket


@pytest.fixture
def config(tmp_path: Path, make_source: Callable[..., SourceConfig]) -> Config:
    config = Config(
        name="zoo",
        categories=["sun", "cat"],
        source=make_source(NUM),
        ingest=IngestConfig(recordbatch_rows=ROWS, shard_rows=4 * ROWS, fractions=[0.8, 0.1, 0.1]),
        cache=CacheConfig(dir=str(tmp_path / "cache")),
        data_dir=str(tmp_path / "data"),
        results_dir=str(tmp_path / "results"),
    )
    for category in config.categories:
        ingest_category(category, config.source, config.ingest, config.shards_location)
    prepare(config)
    return config


@pytest.fixture
def bucket(server: Bucket, config: Config, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Holds the shards of the manifest `far`, which are those of `zoo`."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    server.reset()
    local = Manifest.read(config.manifest_path)
    for shard in local.shards:
        storage.put(Path(config.shards_location) / shard.path, storage.join(ROOT, shard.path))
    manifests.write(replace(local, shards_root=ROOT), far(config))
    server.requests.clear()
    return server


def far(config: Config) -> Path:
    return config.manifest_path.with_name("far.json")


def opened(config: Config, split: str = "train", size_bytes: int = 1 << 30) -> ShardedSketches:
    return ShardedSketches(far(config), split, replace(config.cache, size_bytes=size_bytes))


def piece_files(config: Config) -> list[Path]:
    return sorted(Path(config.cache.dir).iterdir())


def total_bytes(config: Config) -> int:
    return sum(path.stat().st_size for path in piece_files(config))


def assert_equal(batch: PackedBatch, expected: PackedBatch) -> None:
    for name in ("points", "offsets", "categories", "positions"):
        assert getattr(batch, name).equal(getattr(expected, name)), name


@pytest.mark.parametrize("split", ["train", "valid"])
def test_remote_shards_are_served_as_local_ones(bucket: Bucket, config: Config, split: str) -> None:
    local, sketches = ShardedSketches(config.manifest_path, split), opened(config, split)
    assert not bucket.requests  # none before a sketch is asked for
    assert sketches.starts.tolist() == local.starts.tolist()
    rng = np.random.default_rng(0)
    for _ in range(3):
        rows = rng.integers(0, len(local), 50)
        assert_equal(sketches.gather(rows, rows + 7), local.gather(rows, rows + 7))
    assert sketches.lengths.tolist() == local.lengths.tolist()
    num_pieces = len(local.category_of_recordbatch)
    assert len(bucket.downloads()) == len(piece_files(config)) == num_pieces
    bucket.requests.clear()
    again = opened(config, split)
    assert_equal(again.gather(rows), local.gather(rows))
    assert not bucket.requests  # a later run finds them there


def test_pieces_arrive_over_a_bad_network(bucket: Bucket, config: Config) -> None:
    local, sketches = ShardedSketches(config.manifest_path, "train"), opened(config)
    bucket.reads = [fail(503), drop, truncate, hang_up, flip, fail(429), truncate, drop]
    rows = np.arange(len(local))
    assert_equal(sketches.gather(rows), local.gather(rows))
    assert not bucket.reads


def test_a_damaged_or_missing_shard_is_an_error(bucket: Bucket, config: Config) -> None:
    sketches = opened(config)
    shard = next(each for each in sketches.manifest.shards if each.split == "train")
    place = storage.join(ROOT, shard.path)
    content = bytearray(storage.read_bytes(place))
    content[shard.ends[0] + 1000] ^= 4  # of the second record batch
    storage.write_bytes(bytes(content), place)
    assert sketches.gather(np.arange(ROWS)).num_sketches == ROWS
    for _ in range(2):
        with pytest.raises(UserError, match=rf"{place}, record batch 1 is damaged: its CRC-32 is"):
            sketches.gather(np.array([0, ROWS]))
    assert len(piece_files(config)) == 1
    storage.remove(place)
    folder = place.rpartition("/")[0]
    with pytest.raises(UserError, match=f"{place} does not exist; delete {folder}, then run"):
        sketches.gather(np.array([ROWS]))
    assert sketches.gather(np.arange(ROWS)).num_sketches == ROWS


def test_a_piece_that_rots_in_the_cache_is_fetched_again(bucket: Bucket, config: Config) -> None:
    """Guarantee G5 for the pieces of an earlier run, for a random bit of each in turn."""
    rng = random.Random(0)
    rows = np.arange(len(opened(config)))
    expected = ShardedSketches(config.manifest_path, "train").gather(rows)
    opened(config).gather(rows)
    for path in piece_files(config):
        content = bytearray(path.read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.unlink()
        path.write_bytes(content)
    piece_files(config)[0].write_bytes(b"")
    bucket.requests.clear()
    assert_equal(opened(config).gather(rows), expected)
    assert len(bucket.downloads()) == len(piece_files(config))


def test_the_cache_keeps_within_its_bound(bucket: Bucket, config: Config) -> None:
    local = ShardedSketches(config.manifest_path, "train")
    bound = local.most_bytes(5)
    sketches = opened(config, size_bytes=bound)
    rng = np.random.default_rng(0)
    for _ in range(40):
        rows = rng.choice(len(local.starts) - 1, 3)[:, None] * ROWS + rng.integers(0, 9, (3, 4))
        rows = np.minimum(rows.ravel(), len(local) - 1)
        assert_equal(sketches.gather(rows), local.gather(rows))
        assert total_bytes(config) <= bound
        mapped = sketches._shards.addresses[:, 0] != 0
        assert mapped.sum() <= len(piece_files(config))
    assert mapped.any()


def test_what_was_not_used_for_longest_makes_room(bucket: Bucket, config: Config) -> None:
    local = ShardedSketches(config.manifest_path, "train")
    sketches = opened(config, size_bytes=local.most_bytes(5))
    first = np.array([0])
    for piece in range(1, 15):
        sketches.gather(first)
        bucket.requests.clear()
        sketches.gather(np.array([piece * ROWS]))
        assert len(bucket.downloads()) == 1
    bucket.requests.clear()
    sketches.gather(first)
    assert not bucket.requests


def test_a_batch_that_the_cache_has_no_room_for_is_an_error(bucket: Bucket, config: Config) -> None:
    sketches = opened(
        config, size_bytes=ShardedSketches(config.manifest_path, "train").most_bytes(3)
    )
    with pytest.raises(UserError, match=r"cache.size_bytes=\d+ has no room for the \d+ bytes of 9"):
        sketches.gather(np.arange(9) * ROWS)
    assert sketches.gather(np.arange(2) * ROWS).num_sketches == 2


def test_what_a_batch_is_copied_from_stays(
    bucket: Bucket, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = ShardedSketches(config.manifest_path, "train")
    sketches = opened(config, size_bytes=local.most_bytes(3))
    copy = sketches._copy

    def copy_after_others(batches: np.ndarray, *rest: np.ndarray) -> tuple[np.ndarray, ...]:
        monkeypatch.setattr(sketches, "_copy", copy)
        for piece in range(2, 14):
            sketches.gather(np.array([piece * ROWS]))
        assert sketches._shards.addresses[batches].all()
        return copy(batches, *rest)

    monkeypatch.setattr(sketches, "_copy", copy_after_others)
    rows = np.array([0, ROWS])
    assert_equal(sketches.gather(rows), local.gather(rows))


def test_threads_that_gather_at_once_never_lose_what_they_use(
    bucket: Bucket, config: Config
) -> None:
    local = ShardedSketches(config.manifest_path, "train")
    sketches = opened(config, size_bytes=local.most_bytes(9))
    failures: list[BaseException] = []

    def serve(seed: int) -> None:
        rng = np.random.default_rng(seed)
        try:
            for _ in range(25):
                rows = rng.integers(0, len(local), 3)
                assert_equal(sketches.gather(rows), local.gather(rows))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=serve, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert not sketches._shards._num_holds.any()  # type: ignore[union-attr]


def test_splits_and_runs_share_a_folder_and_its_bound(bucket: Bucket, config: Config) -> None:
    bound = ShardedSketches(config.manifest_path, "train").most_bytes(6)
    train, valid = opened(config, size_bytes=bound), opened(config, "valid", bound)
    Path(config.cache.dir, "mine.txt").write_text("not a piece")
    for step in range(0, len(train), ROWS):
        train.gather(np.array([step]))
        valid.gather(np.arange(len(valid)))
        assert total_bytes(config) - len("not a piece") <= bound
    other = PieceCache(replace(config.cache, size_bytes=bound // 2))  # another process's
    other.add(f"{'0' * 64}-0", b"x")
    assert total_bytes(config) <= bound // 2 + len("not a piece")
    assert Path(config.cache.dir, "mine.txt").exists()
    rows = np.arange(len(valid))
    assert_equal(valid.gather(rows), ShardedSketches(config.manifest_path, "valid").gather(rows))


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / f".{'0' * 64}-7.123.partial"
    left.write_bytes(b"half")
    PieceCache(CacheConfig(dir=str(tmp_path)))
    assert left.exists()  # it may still be at work
    os.utime(left, (1, 1))
    PieceCache(CacheConfig(dir=str(tmp_path)))
    assert not left.exists()


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot write to cache.dir=.*choose another folder"):
        PieceCache(CacheConfig(dir=str(tmp_path / "file")))


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_prefetched_pieces_need_no_wait(bucket: Bucket, config: Config) -> None:
    sketches = opened(config)
    rows = np.arange(0, 10 * ROWS, ROWS)
    sketches.prefetch(rows)
    wait_for(lambda: len(piece_files(config)) == 10)
    bucket.requests.clear()
    sketches.prefetch(rows)
    sketches.gather(rows)
    assert not bucket.requests


def test_a_prefetch_that_fails_harms_nobody(bucket: Bucket, config: Config) -> None:
    sketches = opened(config)
    bucket.reads = [fail(403)]
    sketches.prefetch(np.array([0]))
    wait_for(lambda: not bucket.reads)
    wait_for(lambda: not sketches._shards._fetcher._jobs)  # who comes meanwhile shares the failure
    assert sketches.gather(np.array([0])).num_sketches == 1


def make_order(sketches: ShardedSketches, stream: Stream) -> Order:
    return Order(stream, sketches.lengths_of, 12, 4, 0)


@pytest.mark.parametrize("balance", list(Balance))
def test_training_on_remote_shards(bucket: Bucket, config: Config, balance: Balance) -> None:
    served = []
    for path in (config.manifest_path, far(config)):
        train = ShardedSketches(path, "train", config.cache)
        stream = make_stream(
            train.starts,
            train.category_of_recordbatch,
            order=TrainOrder.blocks,
            balance=balance,
            seed=0,
        )
        batches = iter(TrainingLoader(train, make_order(train, stream)))
        served.append([next(batches) for _ in range(60)])
        valid = ShardedSketches(path, "valid", config.cache)
        served[-1] += list(EvaluationLoader(valid, batch_size=7))
    for batch, expected in zip(*served, strict=True):
        assert_equal(batch, expected)


def test_windows_follow_each_other_without_a_wait(
    bucket: Bucket, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.data.loader._ANNOUNCED", 12)
    train = opened(config)
    stream = BlockStream(train.starts, 0, window=4)
    batches = iter(TrainingLoader(train, make_order(train, stream)))
    for _ in range(4 * ROWS // 12 - 1):
        next(batches)
    first, second = stream.upcoming(0)[:4], stream.upcoming(0)[4:]
    wait_for(lambda: len(piece_files(config)) == 8)
    bucket.requests.clear()
    train.gather(np.concatenate([first, second]))
    assert not bucket.requests


def test_a_cache_that_training_would_thrash_is_refused(bucket: Bucket, config: Config) -> None:
    train, valid = opened(config), opened(config, "valid")
    everything = total = train.most_bytes(10**9) + valid.most_bytes(10**9)
    blocks = train.most_bytes(8) + valid.most_bytes(10**9)
    full = make_stream(
        train.starts,
        train.category_of_recordbatch,
        order=TrainOrder.full,
        balance=Balance.natural,
        seed=0,
    )
    for order, stream, needed in (
        (TrainOrder.full, full, everything),
        (TrainOrder.blocks, BlockStream(train.starts, 0, window=4), blocks),
    ):
        wanted = replace(config, train=TrainConfig(order=order))
        wanted.cache.size_bytes = needed
        check_cache(train, valid, stream, wanted)
        wanted.cache.size_bytes = needed - 1
        advice = "train.order=blocks, which" if order is TrainOrder.full else "Set it higher$"
        with pytest.raises(
            UserError, match=rf"size_bytes={needed - 1} must be at least {needed}.*"
        ):
            check_cache(train, valid, stream, wanted)
        with pytest.raises(UserError, match=advice):
            check_cache(train, valid, stream, wanted)
    local = ShardedSketches(config.manifest_path, "train")
    check_cache(local, local, full, wanted)
    assert total > blocks


def test_threads_end_with_what_they_fetch_for(bucket: Bucket, config: Config) -> None:
    before = set(threading.enumerate())
    sketches = opened(config)
    sketches.gather(np.array([0]))
    started = set(threading.enumerate()) - before  # others may be ending, those of earlier tests
    assert started
    del sketches
    gc.collect()
    wait_for(lambda: not any(thread.is_alive() for thread in started))
