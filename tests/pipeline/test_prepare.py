"""Prepare, from the folders that ingest made, and both from the command line."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import Config, IngestConfig, SourceConfig, UserError
from pipeline.entry import compose
from pipeline.ingest.driver import ingest_category
from pipeline.manifest import SPLITS, CategoryManifest, Manifest
from pipeline.prepare import ingest_command, prepare

MakeConfig = Callable[..., Config]


@pytest.fixture
def make_config(tmp_path: Path, make_source: Callable[..., SourceConfig]) -> MakeConfig:
    source = make_source({"cat": 60, "sun": 60, "hot air balloon": 60})

    def make(categories: list[str], **ingest: object) -> Config:
        return Config(
            name="zoo",
            categories=categories,
            source=source,
            ingest=IngestConfig(**ingest),  # type: ignore[arg-type]
            data_dir=str(tmp_path / "my data"),
            results_dir=str(tmp_path / "results"),
        )

    return make


def ingest(config: Config) -> list[CategoryManifest]:
    return [
        ingest_category(name, config.source, config.ingest, config.shards_location).manifest
        for name in config.categories
    ]


def test_the_manifest_holds_every_shard(make_config: MakeConfig) -> None:
    config = make_config(["sun", "cat"])
    parts = ingest(config)
    manifest = prepare(config)
    assert Manifest.read(config.manifest_path) == manifest
    assert manifest.categories == ["sun", "cat"]
    assert sum(map(manifest.num_drawings, SPLITS)) == 120
    assert [shard.sha256 for shard in manifest.shards] == [
        shard.sha256 for part in parts for shard in part.shards
    ]
    for shard in manifest.shards:
        path = config.manifest_path.parent / manifest.shards_root / shard.path
        assert path.stat().st_size == shard.size_bytes


def test_the_same_shards_give_the_same_bytes(make_config: MakeConfig) -> None:
    config = make_config(["sun", "cat"])
    ingest(config)
    prepare(config)
    before = config.manifest_path.read_bytes()
    prepare(config)
    assert config.manifest_path.read_bytes() == before


def test_a_missing_category_names_the_command_that_makes_it(make_config: MakeConfig) -> None:
    config = make_config(["cat", "hot air balloon"], N_max=100, fractions=[0.5, 0.25, 0.25])
    ingest(replace(config, categories=["cat"]))
    with pytest.raises(UserError, match="'hot air balloon' is not ingested") as caught:
        prepare(config)
    [command] = re.findall(r"run `(.*)`", str(caught.value))
    assert command == ingest_command(config, "hot air balloon")
    python, dash_m, module, *overrides = shlex.split(command)
    assert (python, dash_m, module) == ("python", "-m", "pipeline.ingest")
    commanded = compose(overrides)
    assert commanded.categories == ["hot air balloon"]
    assert (commanded.name, commanded.source, commanded.ingest, commanded.shards_location) == (
        config.name,
        config.source,
        config.ingest,
        config.shards_location,
    )


def test_another_ingest_config_is_refused_with_both_sides(make_config: MakeConfig) -> None:
    config = make_config(["cat", "sun"], N_max=100)
    ingest(make_config(["cat"], N_max=100))
    ingest(make_config(["sun"], N_max=80, split_seed=3))
    with pytest.raises(UserError) as caught:
        prepare(config)
    message = str(caught.value)
    assert "'sun' was ingested with another config" in message
    assert "ingest.N_max is 80 there and 100 here; ingest.split_seed is 3 there and 0" in message
    assert ingest_command(config, "sun") in message
    assert not config.manifest_path.exists()


def test_an_empty_split_is_said_and_an_empty_train_split_refused(make_config: MakeConfig) -> None:
    config = make_config(["cat"], fractions=[1.0, 0.0, 0.0])
    ingest(config)
    assert prepare(config).empty_splits == ["valid", "test"]
    config = make_config(["cat"], fractions=[1e-9, 0.5, 0.5 - 1e-9])
    ingest(config)
    with pytest.raises(UserError, match="the train split of cat has 0 drawings"):
        prepare(config)


def test_a_manifest_that_cannot_be_written_is_an_error(make_config: MakeConfig) -> None:
    config = make_config(["cat"])
    ingest(config)
    config.manifest_path.parent.write_text("a file")
    with pytest.raises(UserError, match=r"cannot write .*zoo\.json"):
        prepare(config)


def test_from_the_command_line(make_config: MakeConfig) -> None:
    config = make_config(["cat"])

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    overrides = shlex.split(ingest_command(config, "cat"))[3:]
    missing = run("-m", "pipeline.prepare", *overrides)
    assert missing.returncode == 1
    assert missing.stderr.startswith("error: category 'cat' is not ingested")
    assert "Traceback" not in missing.stderr
    done = run("-m", "pipeline.ingest", *overrides)
    assert (done.returncode, done.stderr) == (0, "")
    header, row, pace = done.stdout.splitlines()
    assert header.split()[:6] == ["category", "train", "valid", "test", "filtered", "rejected"]
    counts = row.split()
    assert counts[0] == "cat"
    assert sum(map(int, counts[1:4])) == 60
    assert counts[4:6] == ["0", "0"]
    assert pace.startswith("60 in ")
    done = run("-m", "pipeline.prepare", *overrides)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 categories, train" in done.stdout
    assert config.manifest_path.exists()
