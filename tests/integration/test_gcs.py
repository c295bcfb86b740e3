"""The public bucket's way: HTTP, no account, the same shards as from a folder."""

from __future__ import annotations

import json
import logging
import random
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import gcsfs  # noqa: F401  # as Lightning does: importing it registers a class that asks over gRPC
import pytest

from pipeline.config import IngestConfig, Source, SourceConfig, UserError
from pipeline.ingest.driver import ingest_category

server = pytest.importorskip("gcp_storage_emulator.server")

BUCKET = "quickdraw_dataset"
CONFIG = IngestConfig(recordbatch_rows=64, shard_rows=256)


@pytest.fixture
def endpoint_url() -> Iterator[str]:
    """A storage server in memory, on a free port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    logging.getLogger("gcp_storage_emulator").setLevel(logging.ERROR)
    emulator = server.create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET)
    emulator.start()
    yield f"http://127.0.0.1:{port}"
    emulator.stop()


def upload(endpoint_url: str, name: str, content: bytes) -> None:
    url = f"{endpoint_url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={quote(name)}"
    request = urllib.request.Request(url, data=content, method="POST")
    request.add_header("Content-Type", "application/x-ndjson")
    with urllib.request.urlopen(request) as response:
        assert response.status == 200


def make_lines(num: int) -> bytes:
    rng = random.Random(0)
    drawings = [[[rng.choices(range(256), k=9) for _ in "xy"]] for _ in range(num)]
    lines = [{"key_id": str(i), "drawing": drawing} for i, drawing in enumerate(drawings)]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def test_a_bucket_gives_the_same_shards_as_a_folder(tmp_path: Path, endpoint_url: str) -> None:
    folder = SourceConfig(name=Source.local, root=str(tmp_path / "folder"))
    for word, num in (("hot air balloon", 1500), ("cat", 20)):
        path = Path(folder.root) / "full" / "simplified" / f"{word}.ndjson"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make_lines(num))
        upload(endpoint_url, str(path.relative_to(folder.root)), path.read_bytes())
    bucket = SourceConfig(name=Source.quickdraw, root=f"gs://{BUCKET}", endpoint_url=endpoint_url)

    done = ingest_category("hot air balloon", bucket, CONFIG, tmp_path / "gs")
    local = ingest_category("hot air balloon", folder, CONFIG, tmp_path / "local")
    assert done.manifest.counts.lines == 1500
    assert len(done.manifest.shards) == 8
    assert [shard.sha256 for shard in done.manifest.shards] == [
        shard.sha256 for shard in local.manifest.shards
    ]
    assert ingest_category("hot air balloon", bucket, CONFIG, tmp_path / "gs").unchanged

    with pytest.raises(UserError, match=r"has no category 'cats'; the nearest of its 2: cat, "):
        ingest_category("cats", bucket, CONFIG, tmp_path / "gs")


def test_a_bucket_that_is_not_there_is_an_error(tmp_path: Path, endpoint_url: str) -> None:
    bucket = SourceConfig(name=Source.quickdraw, root="gs://nowhere", endpoint_url=endpoint_url)
    with pytest.raises(UserError, match="gs://nowhere"):
        ingest_category("cat", bucket, CONFIG, tmp_path)
