"""The whole way over buckets: drawings read from one, shards written to one and trained from."""

from __future__ import annotations

import json
import random
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import gcsfs  # noqa: F401  # as Lightning does: importing it registers a class that asks over gRPC
import pytest
import torch

from pipeline.config import (
    ALL_CATEGORIES,
    CacheConfig,
    IngestConfig,
    Source,
    SourceConfig,
    TrainOrder,
    UserError,
)
from pipeline.ingest import part
from pipeline.ingest.driver import ingest_category
from pipeline.manifest import CategoryManifest
from pipeline.prepare import prepare
from pipeline.training.fit import fit
from tests.experiments import changed, make_config
from tests.pipeline import buckets
from tests.pipeline.buckets import Bucket, drop, fail, hang_up, lose_answer, truncate

CONFIG = IngestConfig(recordbatch_rows=64, shard_rows=256, part_bytes=40_000)
WORD = "hot air balloon"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with buckets.serving_bucket() as bucket:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", bucket.url)
        yield bucket


def upload(bucket: Bucket, name: str, content: bytes) -> None:
    address = f"{bucket.url}/upload/storage/v1/b/{buckets.NAME}/o"
    url = f"{address}?uploadType=media&name={quote(name)}"
    request = urllib.request.Request(url, data=content, method="POST")
    request.add_header("Content-Type", "application/x-ndjson")
    with urllib.request.urlopen(request) as response:
        assert response.status == 200


def make_lines(num: int) -> bytes:
    rng = random.Random(0)
    drawings = [[[rng.choices(range(256), k=9) for _ in "xy"]] for _ in range(num)]
    lines = [{"key_id": str(i), "drawing": drawing} for i, drawing in enumerate(drawings)]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


@pytest.fixture
def folder(tmp_path: Path) -> SourceConfig:
    root = tmp_path / "folder"
    for word, num in ((WORD, 1500), ("cat", 20)):
        path = root / "full" / "simplified" / f"{word}.ndjson"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make_lines(num))
    return SourceConfig(name=Source.local, root=str(root))


def hashes(manifest: CategoryManifest) -> list[str]:
    return [shard.sha256 for shard in manifest.shards]


def test_a_bucket_gives_the_same_shards_as_a_folder(
    tmp_path: Path, bucket: Bucket, folder: SourceConfig
) -> None:
    for path in Path(folder.root).rglob("*.ndjson"):
        upload(bucket, str(path.relative_to(folder.root)), path.read_bytes())
    source = SourceConfig(
        name=Source.quickdraw, root=f"gs://{buckets.NAME}", endpoint_url=bucket.url
    )
    bucket.reads += [fail(503), drop, truncate]
    done = ingest_category(WORD, source, CONFIG, str(tmp_path / "gs"))
    assert not bucket.reads
    local = ingest_category(WORD, folder, CONFIG, str(tmp_path / "local"))
    assert done.manifest.counts.lines == 1500
    assert len(done.manifest.files) > 2
    assert hashes(done.manifest) == hashes(local.manifest)
    assert ingest_category(WORD, source, CONFIG, str(tmp_path / "gs")).unchanged

    with pytest.raises(UserError, match=r"has no category 'cats'; the nearest of its 2: cat, "):
        ingest_category("cats", source, CONFIG, str(tmp_path / "gs"))
    nowhere = replace(source, root="gs://nowhere")
    with pytest.raises(UserError, match="gs://nowhere"):
        ingest_category("cat", nowhere, CONFIG, str(tmp_path))


def test_shards_are_written_to_a_bucket_and_an_ingest_goes_on_there(
    tmp_path: Path, bucket: Bucket, folder: SourceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards_dir = f"gs://{buckets.NAME}/some/shards"
    local = ingest_category(WORD, folder, CONFIG, str(tmp_path / "local")).manifest
    put, num_left, finished = part.storage.put, 9, list[str]()

    def put_until_killed(file: Path, location: str) -> None:
        nonlocal num_left
        num_left -= 1
        if num_left == 0:
            raise KeyboardInterrupt
        put(file, location)
        finished.extend([location] if file.name == part.PART_NAME else [])

    monkeypatch.setattr(part.storage, "put", put_until_killed)
    with pytest.raises(KeyboardInterrupt):
        ingest_category(WORD, folder, CONFIG, shards_dir)
    assert len(finished) == 1
    bucket.writes += [fail(503), hang_up, lose_answer]
    done = ingest_category(WORD, folder, CONFIG, shards_dir)
    assert not bucket.writes
    assert hashes(done.manifest) == hashes(local)
    assert ingest_category(WORD, folder, CONFIG, shards_dir).unchanged
    bucket.reads += [fail(403)]
    with pytest.raises(UserError, match=r"cannot read gs://.*category\.json: .*Forbidden"):
        ingest_category(WORD, folder, CONFIG, shards_dir)  # what is there is not made again
    for shard in local.shards:
        stored = bucket.content(f"some/shards/{WORD}/{shard.path}")
        assert stored == (tmp_path / "local" / WORD / shard.path).read_bytes()
    assert len(finished) == len(set(finished)) == len(local.files), "a part was made again"


def test_training_from_a_bucket_gives_the_same_model(
    tmp_path: Path, bucket: Bucket, folder: SourceConfig
) -> None:
    weights = []
    for name, shards_dir in (("near", ""), ("far", f"gs://{buckets.NAME}/shards")):
        config = make_config(folder, tmp_path / name)
        config = replace(
            changed(config, "train", order=TrainOrder.blocks, max_steps=4),
            categories=ALL_CATEGORIES,
            data_dir=str(tmp_path / name / "data"),
            shards_dir=shards_dir,
            cache=CacheConfig(dir=str(tmp_path / "cache")),
        )
        for word in (WORD, "cat"):
            ingest_category(word, folder, config.ingest, config.shards_location)
        assert prepare(config).categories == ["cat", WORD]
        run = fit(config).run
        weights.append(torch.load(run.last_checkpoint, weights_only=True)["state_dict"])
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        assert value.equal(weights[1][name]), name
