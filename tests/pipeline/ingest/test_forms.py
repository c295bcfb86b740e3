"""Every form of drawings, from its files to shards."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import (
    Format,
    IngestConfig,
    Source,
    SourceConfig,
    SplitRule,
    UserError,
)
from pipeline.ingest.driver import ingest_category
from pipeline.manifest import SPLITS
from tests.pipeline.ingest.formats.binary_files import encode_binary
from tests.pipeline.ingest.shard_files import read_split

MakeSource = Callable[..., SourceConfig]
CONFIG = IngestConfig(
    N_max=45, recordbatch_rows=16, shard_rows=64, fractions=[0.6, 0.2, 0.2], max_reject_share=0.1
)
IN_PARTS = replace(CONFIG, part_bytes=10_000)


def test_gzip_gives_the_same_drawings(tmp_path: Path, make_source: MakeSource) -> None:
    config = make_source({"cat": 300})
    plain = ingest_category("cat", config, CONFIG, str(tmp_path / "plain")).manifest
    path = Path(config.root) / "full/simplified/cat.ndjson"
    Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(UserError, match=r"there are both .*cat\.ndjson and .*cat\.ndjson\.gz"):
        ingest_category("cat", config, CONFIG, str(tmp_path / "both"))
    path.unlink()
    zipped = ingest_category("cat", config, CONFIG, str(tmp_path / "zipped")).manifest
    assert [shard.sha256 for shard in zipped.shards] == [shard.sha256 for shard in plain.shards]


def test_binary_files_give_the_same_sketches(
    tmp_path: Path, make_source: MakeSource, make_lines: Callable[[str, int], list[bytes]]
) -> None:
    config = make_source({"cat": 300})
    path = Path(config.root) / "full" / "binary" / "cat.bin"
    path.parent.mkdir()
    path.write_bytes(encode_binary(make_lines("cat", 300)))
    rows = []
    for form in (Format.simplified, Format.binary):
        folder = tmp_path / form
        done = ingest_category("cat", replace(config, format=form), CONFIG, str(folder))
        rows.append({split: read_split(folder / "cat", done.manifest, split) for split in SPLITS})
        for row in (row for split in SPLITS for row in rows[-1][split]):
            row["timestamp"] = row["timestamp"].replace(microsecond=0)
    assert rows[0] == rows[1]


def test_own_splits_of_npz_files_are_kept(tmp_path: Path) -> None:
    sketches = {
        split: [np.array([[seed, num, 0], [3, 4, 1]], dtype=np.int16) for num in range(seed)]
        for seed, split in enumerate(SPLITS, 4)
    }
    columns = {}
    for split, rows in sketches.items():
        columns[split] = np.empty(len(rows), dtype=np.object_)
        columns[split][:] = rows
    (tmp_path / "sketchrnn").mkdir()
    np.savez(tmp_path / "sketchrnn" / "x.npz", **columns)  # type: ignore[arg-type]
    config = SourceConfig(name=Source.local, root=str(tmp_path), format=Format.npz)
    settings = replace(CONFIG, splits=SplitRule.own, fractions=[0.9, 0.05, 0.05])
    manifest = ingest_category("x", config, settings, str(tmp_path / "data")).manifest
    for split in SPLITS:
        found = [row["points"] for row in read_split(tmp_path / "data" / "x", manifest, split)]
        assert found == [sketch.tolist() for sketch in sketches[split]]
    np.savez(tmp_path / "sketchrnn" / "x.npz", sketches=columns["train"])
    with pytest.raises(UserError, match=r"x\.npz does not say to which split"):
        ingest_category("x", config, settings, str(tmp_path / "data"))


def test_a_folder_of_svg_files_is_a_category(tmp_path: Path) -> None:
    folder = tmp_path / "my house"
    folder.mkdir()
    for num in range(20):
        line = f"<path d='M 0 0 L {num + 1} 7 L 3 20' stroke='black' fill='none'/>"
        text = f"<svg xmlns='http://www.w3.org/2000/svg'>{line}</svg>" if num != 7 else "<svg"
        (folder / f"{num:02d}.svg").write_text(text)
    config = SourceConfig(name=Source.local, root=str(tmp_path), format=Format.svg)
    manifest = ingest_category("my house", config, CONFIG, str(tmp_path / "data")).manifest
    assert sum(manifest.counts.drawings.values()) == 19
    [reject] = (tmp_path / "data" / "my house" / "rejects.jsonl").read_text().splitlines()
    assert json.loads(reject)["file"] == "my house/07.svg"
