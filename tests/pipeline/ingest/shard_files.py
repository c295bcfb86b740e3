"""What lies in the folders that an ingest has made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.manifest import CategoryManifest


def read_split(folder: Path, manifest: CategoryManifest, split: str) -> list[dict[str, Any]]:
    paths = [folder / shard.path for shard in manifest.shards if shard.split == split]
    return [row for path in paths for row in pa.ipc.open_file(path).read_all().to_pylist()]


def read_bytes(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
