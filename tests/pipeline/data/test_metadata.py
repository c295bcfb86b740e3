"""Single drawings, from where their shards lie, with all that the source says of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import storage
from pipeline.config import Config, IngestConfig, SourceConfig, UserError
from pipeline.data import metadata
from pipeline.data.dataset import ShardedSketches
from pipeline.data.metadata import Place, StoredDrawing, find, locate, read
from pipeline.ingest import shards
from pipeline.ingest.driver import ingest_category
from pipeline.manifest import SPLITS, Manifest, write
from pipeline.prepare import prepare

NUM = 100
FIRST_ID = 4503626191994880
UNKNOWN = 2
"""Index of a drawing of which nothing is known but its strokes."""
WITHOUT_COUNTRY = 3

MakeDrawing = Callable[[str, int], dict[str, Any]]


def open_manifest(path: Path) -> tuple[Manifest, str]:
    manifest = Manifest.read(path)
    return manifest, manifest.locate_shards(path)


@pytest.fixture
def lines(make_drawing: MakeDrawing) -> dict[str, list[dict[str, Any]]]:
    """Drawings of two categories; ids occur in both, and the last ten of sun have the first's."""
    drawings = {word: [make_drawing(word, i) for i in range(NUM)] for word in ("cat", "sun")}
    drawings["cat"][UNKNOWN] = {"drawing": drawings["cat"][UNKNOWN]["drawing"]}
    del drawings["cat"][WITHOUT_COUNTRY]["countrycode"]
    for drawing in drawings["sun"][90:]:
        drawing["key_id"] = str(FIRST_ID)
    drawings["sun"][5]["key_id"] = str(2**64 - 1)
    return drawings


@pytest.fixture
def path(
    tmp_path: Path,
    make_source: Callable[..., SourceConfig],
    lines: dict[str, list[dict[str, Any]]],
) -> Path:
    """A manifest of many small record batches."""
    texts = {word: [json.dumps(d).encode() for d in drawings] for word, drawings in lines.items()}
    config = Config(
        name="zoo",
        categories=["sun", "cat"],
        source=make_source(texts),
        ingest=IngestConfig(recordbatch_rows=8, shard_rows=24, fractions=[0.6, 0.2, 0.2]),
        data_dir=str(tmp_path / "data"),
        results_dir=str(tmp_path / "results"),
    )
    for category in config.categories:
        ingest_category(category, config.source, config.ingest, config.shards_location)
    prepare(config)
    return config.manifest_path


def stroke3(strokes: list[list[list[int]]]) -> list[list[int]]:
    """Stroke-3 rows, point by point, as Google's npz files have them."""
    points = [
        (x, y, int(i == len(xs) - 1))
        for xs, ys in strokes
        for i, (x, y) in enumerate(zip(xs, ys, strict=True))
    ]
    rows = [[0, 0, 1]] if points[0][2] else []
    for (x0, y0, _), (x, y, lifted) in pairwise(points):
        rows.append([x - x0, y - y0, lifted])
    return rows


def read_all(manifest: Manifest, root: str) -> list[tuple[Place, StoredDrawing]]:
    places = [
        locate(manifest, root, split, row)
        for split in SPLITS
        for row in range(manifest.num_drawings(split))
    ]
    return [(place, read(place)) for place in places]


def test_the_schema_is_that_of_the_writer() -> None:
    assert metadata.SCHEMA == shards.SCHEMA


def test_every_drawing_is_there_with_all_that_is_known(
    path: Path, lines: dict[str, list[dict[str, Any]]]
) -> None:
    found = {}
    for place, drawing in read_all(*open_manifest(path)):
        category = place.recordbatch.shard.category
        found[category, json.dumps(drawing.points.tolist())] = drawing
    assert len(found) == 2 * NUM
    for category, drawings in lines.items():
        for line in drawings:
            drawing = found[category, json.dumps(stroke3(line["drawing"]))]
            if "key_id" in line:
                assert drawing.id == int(line["key_id"])
                assert f"{drawing.timestamp:%Y-%m-%d %H:%M:%S.%f}" == line["timestamp"].replace(
                    ".12757 UTC", ".127570"
                )
            else:
                assert drawing.id
                assert drawing.timestamp is None
            assert drawing.countrycode == line.get("countrycode")
            assert drawing.recognized is line.get("recognized")


def test_rows_are_those_that_training_counts(path: Path) -> None:
    manifest, root = open_manifest(path)
    for split in SPLITS:
        sketches = ShardedSketches(path, split)
        batch = sketches.gather(np.arange(len(sketches)))
        for row, points in enumerate(batch.sketches()):
            place = locate(manifest, root, split, row)
            assert np.array_equal(read(place).points, points)
            category = manifest.categories[int(batch.categories[row])]
            assert place.recordbatch.shard.category == category
        with pytest.raises(IndexError, match=rf"\[0, {len(sketches)}\), got {len(sketches)}"):
            locate(manifest, root, split, len(sketches))
        with pytest.raises(IndexError, match="got -1"):
            locate(manifest, root, split, -1)


def test_every_drawing_is_found_by_its_id(path: Path) -> None:
    manifest, root = open_manifest(path)
    everything = read_all(manifest, root)
    for drawing_id in {drawing.id for _, drawing in everything}:
        expected = [place for place, drawing in everything if drawing.id == drawing_id]
        assert list(find(manifest, root, drawing_id)) == expected
    assert len(list(find(manifest, root, FIRST_ID))) == 12
    assert len(list(find(manifest, root, 2**64 - 1))) == 1
    assert list(find(manifest, root, 1)) == []


def test_remote_shards_are_read_like_local_ones(path: Path) -> None:
    manifest, root = open_manifest(path)
    address = "memory://metadata/shards"
    for shard in manifest.shards:
        storage.write_bytes(
            storage.read_bytes(storage.join(root, shard.path)), storage.join(address, shard.path)
        )
    remote = replace(manifest, shards_root=address)
    write(replace(remote, fingerprint=remote.computed_fingerprint()), path)
    assert open_manifest(path)[1] == address
    local = {json.dumps(d.points.tolist()): d.id for _, d in read_all(manifest, root)}
    found = {json.dumps(d.points.tolist()): d.id for _, d in read_all(remote, address)}
    assert found == local
    assert len(list(find(remote, address, FIRST_ID))) == 12
    place = locate(remote, address, "train", 0)
    storage.remove(place.recordbatch.location)
    with pytest.raises(UserError, match=r"memory://metadata/shards/sun/.* does not exist; delete"):
        read(place)


def test_a_flipped_bit_is_found_before_anything_is_shown(path: Path) -> None:
    manifest, root = open_manifest(path)
    place = locate(manifest, root, "train", 10)
    batch = place.recordbatch
    shard = Path(batch.location)
    good = shard.read_bytes()
    random = np.random.default_rng(0)
    for byte in random.integers(batch.start, batch.stop, 100):
        bad = bytearray(good)
        bad[byte] ^= 1 << random.integers(8)
        shard.write_bytes(bad)
        with pytest.raises(UserError, match=f"record batch {batch.index} is damaged"):
            read(place)


def test_a_search_of_damaged_shards_ends(path: Path) -> None:
    """Nothing is verified, so it may find too little; it must not read beyond what is there."""
    manifest, root = open_manifest(path)
    shard = Path(locate(manifest, root, "train", 0).recordbatch.location)
    good = shard.read_bytes()
    random = np.random.default_rng(0)
    outcomes = set()
    for _ in range(200):
        bad = bytearray(good)
        bad[random.integers(1000)] ^= 1 << random.integers(8)
        shard.write_bytes(bad)
        try:
            outcomes.add(len(list(find(manifest, root, FIRST_ID))))
        except UserError as error:
            assert "damaged" in str(error)  # noqa: PT017
            outcomes.add(-1)
    assert {-1, 12} <= outcomes


@pytest.mark.parametrize("size_bytes", [0, 1000, None])
def test_a_shard_that_is_not_whole_is_an_error(path: Path, size_bytes: int | None) -> None:
    manifest, root = open_manifest(path)
    place = locate(manifest, root, "train", 10)
    assert place.recordbatch.index == 1
    location = place.recordbatch.location
    if size_bytes is None:
        os.remove(location)
    else:
        os.truncate(location, size_bytes)
    with pytest.raises(UserError, match=r"delete .*, then run ingest and prepare again") as caught:
        read(place)
    assert location in str(caught.value)
    with pytest.raises(UserError, match=r"delete .*, then run ingest and prepare again"):
        list(find(manifest, root, FIRST_ID))


def test_a_missing_manifest_names_the_commands_that_make_it(tmp_path: Path) -> None:
    path = tmp_path / "local" / "manifests" / "smoke.json"
    with pytest.raises(UserError, match=r"pipeline.ingest \+experiment=smoke source=local"):
        open_manifest(path)
