"""Manifests: exact statistics, round trips, and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import UserError
from pipeline.manifest import (
    SPLITS,
    CategoryManifest,
    Counts,
    Manifest,
    PartManifest,
    Shard,
    Statistics,
    merge,
    to_json,
    write,
)


def random_points(seed: int, num: int = 1000) -> np.ndarray[Any, np.dtype[np.int16]]:
    points = np.random.default_rng(seed).integers(-1500, 1500, (num, 3)).astype(np.int16)
    points[:, 2] = 1
    return points


def statistics_of(points: np.ndarray[Any, np.dtype[np.int16]]) -> Statistics:
    values = np.clip(points[:, :2].astype(int), -1000, 1000)
    return Statistics(values.size, int(values.sum()), int((values**2).sum()))


def make_part(category: str, seed: int, **changes: Any) -> CategoryManifest:
    shard = Shard(
        path="00000-1a2b3c4d/train-00000.arrow",
        category=category,
        split="train",
        num_sketches=10,
        num_points=1000,
        recordbatch_rows=16,
        size_bytes=7000 + seed,
        sha256=f"{seed:064x}",
        ends=[6000],
        crc32=[123],
        footer_crc32=456,
    )
    part = CategoryManifest(
        category=category,
        generated=False,
        source={"name": "local", "root": "/somewhere", "quantum": 0.0},
        files=[{"path": f"full/simplified/{category}.ndjson"}],
        ingest={"N_max": 250},
        fingerprint="0",
        counts=Counts(
            lines=14,
            drawings={"train": 10, "valid": 1, "test": 0},
            filtered={"longer_than_N_max": 2},
            rejected={"not valid JSON": 1},
        ),
        longest=100 + seed,
        statistics={split: statistics_of(random_points(seed)) for split in SPLITS},
        near_duplicates={"valid": seed, "test": 0},
        shards=[shard],
    )
    return replace(part, **changes)


def test_offset_scale_is_the_pooled_population_deviation_of_clipped_offsets() -> None:
    parts = [random_points(seed) for seed in range(3)]
    merged = sum((statistics_of(part) for part in parts), Statistics())
    pooled = np.clip(np.concatenate(parts)[:, :2], -1000, 1000).astype(np.float64)
    assert merged.offset_scale == pytest.approx(pooled.std(ddof=0), rel=1e-12)
    assert merged == statistics_of(np.concatenate(parts))


def test_statistics_are_exact_where_floats_are_not() -> None:
    billions = Statistics(2 * 10**10, 10**13 + 1, 10**16 + 1)
    doubled = billions + billions
    assert doubled == Statistics(4 * 10**10, 2 * 10**13 + 2, 2 * 10**16 + 2)
    assert doubled.offset_scale == billions.offset_scale
    # A large mean beside a small spread, which a float64 sum of squares would lose.
    far = Statistics(2, 2 * 10**12 + 1, 10**24 + (10**12 + 1) ** 2)
    assert far.offset_scale == 0.5


def test_merge_pools_the_train_splits() -> None:
    parts = [make_part("cat", 1), make_part("sun", 2)]
    manifest = merge("zoo", parts, "../shards")
    pooled = np.concatenate([random_points(1), random_points(2)])[:, :2].clip(-1000, 1000)
    assert manifest.offset_scale == pytest.approx(pooled.astype(np.float64).std(), rel=1e-12)
    assert manifest.categories == ["cat", "sun"]
    assert [manifest.num_drawings(split) for split in SPLITS] == [20, 2, 0]
    assert manifest.empty_splits == ["test"]
    assert (manifest.longest, manifest.N_max, manifest.generated) == (102, 250, False)
    assert [shard.path for shard in manifest.shards] == [
        "cat/00000-1a2b3c4d/train-00000.arrow",
        "sun/00000-1a2b3c4d/train-00000.arrow",
    ]
    assert manifest.shards_root == "../shards"
    assert manifest.near_duplicates["sun"] == {"valid": 2, "test": 0}


def test_the_fingerprint_is_of_the_content() -> None:
    def fingerprint(*parts: CategoryManifest, name: str = "zoo", root: str = "a") -> str:
        return merge(name, parts, root).fingerprint

    cat, sun = make_part("cat", 1), make_part("sun", 2)
    same = fingerprint(cat, sun)
    elsewhere = {"name": "quickdraw", "root": "gs://somewhere"}
    assert fingerprint(replace(cat, source=elsewhere), sun, name="other", root="gs://b") == same
    moved = replace(sun, shards=[replace(sun.shards[0], path="00000-0/train-00000.arrow")])
    assert fingerprint(cat, moved) == same
    changed = replace(sun, shards=[replace(sun.shards[0], sha256="f" * 64)])
    others = [(sun, cat), (cat, changed), (cat, replace(sun, ingest={"N_max": 100}))]
    assert len({same, *[fingerprint(*parts) for parts in others[:2]]}) == 3


def test_generated_drawings_are_never_unmarked() -> None:
    parts = [make_part("cat", 1), make_part("sun", 2, generated=True)]
    assert merge("zoo", parts, "a").generated


def test_an_empty_train_split_is_an_error() -> None:
    counts = Counts(lines=1, drawings={"train": 0, "valid": 1, "test": 0}, filtered={}, rejected={})
    statistics = {split: Statistics() for split in SPLITS}
    part = make_part("cat", 1, counts=counts, statistics=statistics)
    with pytest.raises(UserError, match="the train split of cat has 0 drawings"):
        merge("zoo", [part], "a")
    still = {split: statistics_of(np.zeros((5, 3), dtype=np.int16)) for split in SPLITS}
    with pytest.raises(UserError, match=r"offset scale of 0\.0"):
        merge("zoo", [make_part("cat", 1, statistics=still)], "a")


def test_counts_that_do_not_add_up_are_our_bug() -> None:
    with pytest.raises(AssertionError, match="5 lines, 4 accounted for"):
        Counts(lines=5, drawings={"train": 3}, filtered={}, rejected={"not valid JSON": 1})


def test_totals_of_counts() -> None:
    one = Counts(lines=4, drawings={"train": 3}, filtered={"b": 1}, rejected={})
    two = Counts(lines=7, drawings={"test": 2}, filtered={"b": 1, "a": 3}, rejected={"c": 1})
    assert Counts.total([one, two]) == Counts(
        lines=11,
        drawings={"train": 3, "valid": 0, "test": 2},
        filtered={"a": 3, "b": 2},
        rejected={"c": 1},
    )


def test_long_lists_stand_on_one_line() -> None:
    text = to_json(make_part("cat", 1)).decode()
    assert '"ends": [ 6000 ]' in text
    assert max(map(len, text.splitlines())) < 200


def test_manifests_survive_a_round_trip(tmp_path: Path) -> None:
    part = make_part("hot air balloon", 1)
    manifest = merge("zoo", [part], "../shards")
    write(manifest, tmp_path / "manifests" / "zoo.json")
    assert CategoryManifest.parse(to_json(part), "category.json") == part
    of_part = PartManifest(
        fingerprint="1",
        counts=part.counts,
        longest=part.longest,
        statistics=part.statistics,
        shards=part.shards,
    )
    assert PartManifest.parse(to_json(of_part), "part.json") == of_part
    assert Manifest.read(tmp_path / "manifests" / "zoo.json") == manifest


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", "\xff", '"schema_version"'])
def test_what_is_not_a_manifest_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "zoo.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"zoo\.json is not a manifest .*pipeline.prepare"):
        Manifest.read(path)
    for kind in (CategoryManifest, PartManifest):
        with pytest.raises(UserError, match=r"zoo\.json is not a manifest .*run ingest again"):
            kind.parse(content.encode("latin-1"), "zoo.json")


def test_another_version_and_other_fields_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "zoo.json"
    good = asdict(merge("zoo", [make_part("cat", 1)], "../shards"))
    cases = [
        (good | {"schema_version": 1}, "has schema version 1, this program reads 2"),
        (good | {"surprise": 1}, "does not hold what a manifest holds .*surprise"),
        ({k: v for k, v in good.items() if k != "shards"}, "does not hold what .*'shards'"),
        (good | {"counts": []}, "does not hold what"),
        (good | {"offset_scale": good["offset_scale"] + 1e-9}, "damaged: its fingerprint is"),
        (good | {"fingerprint": ""}, "damaged: its fingerprint is"),
    ]
    for content, message in cases:
        path.write_text(json.dumps(content))
        with pytest.raises(UserError, match=message):
            Manifest.read(path)


@pytest.mark.real_data
def test_offset_scale_of_aaron_sheep(quickdraw_root: Path) -> None:
    """Known from the reference implementation's own preparation of this file."""
    path = quickdraw_root / "sketchrnn" / "aaron_sheep.npz"
    with np.load(path, allow_pickle=True, encoding="latin1") as splits:
        train = statistics_of(np.concatenate(list(splits["train"])))
    assert train.offset_scale == pytest.approx(18.5198, abs=5e-5)
    assert math.isfinite(train.offset_scale)
