from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from pipeline.config import IngestConfig, Source, SourceConfig
from pipeline.ingest.driver import ingest_category

NUM = 60


def test_files_of_doodles_are_read_like_real_ones_and_give_the_same_shards(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline.doodle", "name=x", "categories=[sun]"]
    command += [f"source.num_drawings={NUM}", "source.seed=3", f"data_dir={tmp_path}"]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2], capture_output=True)

    root = tmp_path / "ndjson" / "full"
    simplified, raw = (
        [json.loads(line) for line in (root / form / "sun.ndjson").read_text().splitlines()]
        for form in ("simplified", "raw")
    )
    assert [d["key_id"] for d in simplified] == [d["key_id"] for d in raw]
    assert len(simplified) == NUM
    assert {len(stroke) for d in simplified for stroke in d["drawing"]} == {2}  # x, y
    assert {len(stroke) for d in raw for stroke in d["drawing"]} == {3}  # x, y, milliseconds

    local = SourceConfig(name=Source.local, root=str(tmp_path / "ndjson"))
    doodles = SourceConfig(name=Source.doodles, num_drawings=NUM, seed=3)
    of_files, of_generator = (
        ingest_category("sun", source, IngestConfig(), str(tmp_path / source.name)).manifest
        for source in (local, doodles)
    )
    assert [shard.sha256 for shard in of_files.shards] == [
        shard.sha256 for shard in of_generator.shards
    ]
    assert (of_files.generated, of_generator.generated) == (False, True)
