"""Ingest of categories: every line accounted for, the same bytes each time, whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import (
    IngestConfig,
    Source,
    SourceConfig,
    SplitRule,
    UserError,
    check_category,
)
from pipeline.ingest import files, shards
from pipeline.ingest.driver import Advance, ingest_categories, ingest_category
from pipeline.ingest.engine import Workers
from pipeline.ingest.formats import ndjson
from pipeline.manifest import SPLITS, Statistics
from tests.pipeline.ingest.shard_files import read_bytes, read_split

MakeSource = Callable[..., SourceConfig]
CONFIG = IngestConfig(
    N_max=45, recordbatch_rows=16, shard_rows=64, fractions=[0.6, 0.2, 0.2], max_reject_share=0.1
)
IN_PARTS = replace(CONFIG, part_bytes=10_000)


def count_points(line: bytes) -> int:
    strokes = json.loads(line)["drawing"]
    return sum(len(stroke[0]) for stroke in strokes) - 1 + (len(strokes[0][0]) == 1)


@pytest.mark.parametrize("part_bytes", [1 << 20, 10_000, 777])
def test_every_line_is_accounted_for(
    tmp_path: Path,
    make_source: MakeSource,
    make_lines: Callable[[str, int], list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    part_bytes: int,
) -> None:
    """Guarantee G3."""
    monkeypatch.setattr(files, "BLOCK_BYTES", 500)
    monkeypatch.setattr(ndjson, "SCAN_BYTES", 2000)
    lines = make_lines("cat", 400)
    for number in (7, 200, 399):
        lines[number] = lines[number][:30]
    partial = [b'{"drawing":[[[1,2],[3,4]]]}'] * 20 + [b'{"drawing":[]}']
    folder = tmp_path / "data" / "cat"
    done = ingest_category(
        "cat",
        make_source({"cat": lines}, {"cat": partial}),
        replace(CONFIG, part_bytes=part_bytes),
        str(folder.parent),
    )

    good = [line for number, line in enumerate(lines) if number not in (7, 200, 399)]
    fits = [line for line in good if count_points(line) <= CONFIG.N_max - 1]
    counts = done.manifest.counts
    assert counts.lines == 421
    assert counts.filtered == {"longer_than_N_max": len(good) - len(fits)}
    size_bytes = sum(len(line) + 1 for line in lines)
    assert len(done.manifest.files) == -(-size_bytes // part_bytes) + 1
    assert 0 < len(good) - len(fits) < 100
    assert sum(counts.drawings.values()) == len(fits) + 20
    assert min(counts.drawings.values()) > 30
    assert done.manifest.longest == max(map(count_points, fits))

    rows = {split: read_split(folder, done.manifest, split) for split in SPLITS}
    assert {split: len(rows[split]) for split in SPLITS} == counts.drawings
    found = Counter(row["id"] for split in SPLITS for row in rows[split])
    assert sorted(found.values())[-2:] == [1, 20]  # equal strokes, equal id, and one split
    expected = {int(json.loads(line)["key_id"]) for line in fits}
    assert expected == {key for key, times in found.items() if times == 1}
    for split in SPLITS:
        points = np.array([point for row in rows[split] for point in row["points"]])
        offsets = points[:, :2]
        assert done.manifest.statistics[split] == Statistics(
            offsets.size, int(offsets.sum()), int((offsets**2).sum())
        )

    rejects = [json.loads(line) for line in (folder / "rejects.jsonl").read_text().splitlines()]
    assert [(reject["file"], reject["line"]) for reject in rejects] == [
        *[("full/simplified/cat.ndjson", number) for number in (8, 201, 400)],
        ("partial/simplified/cat.ndjson", 21),
    ]
    assert Counter(reject["reason"] for reject in rejects) == counts.rejected


def test_the_longest_kept_sketch_leaves_room_for_an_end_token(
    tmp_path: Path, make_source: MakeSource
) -> None:
    strokes = [[list(range(num)), list(range(num))] for num in (CONFIG.N_max, CONFIG.N_max + 1)]
    source_config = make_source({"cat": [json.dumps({"drawing": [s]}).encode() for s in strokes]})
    manifest = ingest_category("cat", source_config, CONFIG, tmp_path).manifest
    assert manifest.longest == CONFIG.N_max - 1
    assert manifest.counts.filtered == {"longer_than_N_max": 1}


def test_the_same_source_and_config_give_the_same_bytes(
    tmp_path: Path, make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guarantee G4."""
    config = make_source({"cat": 300})
    ingest_category("cat", config, CONFIG, str(tmp_path / "a"))
    monkeypatch.setattr(files, "BLOCK_BYTES", 1000)
    ingest_category("cat", config, CONFIG, str(tmp_path / "b"))
    assert read_bytes(tmp_path / "a") == read_bytes(tmp_path / "b")


def test_progress_adds_up(tmp_path: Path, make_source: MakeSource) -> None:
    config, advances = make_source({"cat": 300, "sun": 50}), list[Advance]()
    done = ingest_categories(
        ["cat", "sun"], config, IN_PARTS, str(tmp_path), Workers(), advances.append
    )
    assert [each.manifest.category for each in done] == ["cat", "sun"]
    assert sum(each.num_records for each in advances) == 350
    assert {each.total_bytes for each in advances} == {sum(each.size_bytes for each in advances)}
    assert len(advances) > 5


def test_filters_say_what_they_took(
    tmp_path: Path, make_source: MakeSource, make_lines: Callable[[str, int], list[bytes]]
) -> None:
    lines = make_lines("cat", 400)
    settings = replace(
        CONFIG, min_strokes=3, recognized_only=True, countries=["DE", "BR"], limit=50
    )
    manifest = ingest_category("cat", make_source({"cat": lines}), settings, str(tmp_path)).manifest
    expected: Counter[str] = Counter()
    for line in lines:
        drawing = json.loads(line)
        if count_points(line) >= CONFIG.N_max:
            expected["longer_than_N_max"] += 1
        elif len(drawing["drawing"]) < 3:
            expected["fewer_than_min_strokes"] += 1
        elif not drawing["recognized"]:
            expected["not_recognized"] += 1
        elif drawing["countrycode"] not in settings.countries:
            expected["of_another_country"] += 1
    expected["beyond_limit"] = 350 - expected.total()
    assert manifest.counts.filtered == expected
    assert sum(manifest.counts.drawings.values()) == 50
    rows = [row for split in SPLITS for row in read_split(tmp_path / "cat", manifest, split)]
    assert {row["countrycode"] for row in rows} == {"DE", "BR"}
    assert {row["recognized"] for row in rows} == {True}


def test_the_paper_rule_counts_what_is_left_over(
    tmp_path: Path, make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.ingest.split.PAPER", (140, 5, 5))
    settings = replace(IN_PARTS, N_max=250, splits=SplitRule.paper, fractions=[0.9, 0.05, 0.05])
    config = make_source({"cat": 200, "sun": 75})
    done = ingest_categories(["cat", "sun"], config, settings, str(tmp_path))
    cat, sun = (each.manifest.counts for each in done)
    assert cat.drawings == {"train": 140, "valid": 5, "test": 5}
    assert cat.filtered == {"more_than_the_paper_uses": 50}
    assert sum(sun.drawings.values()) == 75
    assert sun.drawings["train"] == 70


def test_near_duplicates_across_splits_are_counted(tmp_path: Path, make_source: MakeSource) -> None:
    rng = random.Random(0)
    house = [[20, 20, 120, 220, 236, 20], [230, 120, 20, 124, 236, 230]]
    lines = []
    for _ in range(300):
        moved = [[value + rng.choice([-1, 0, 1]) for value in axis] for axis in house]
        lines.append(json.dumps({"drawing": [moved]}).encode())
    manifest = ingest_category("cat", make_source({"cat": lines}), CONFIG, str(tmp_path)).manifest
    counts = manifest.counts.drawings
    for split in ("valid", "test"):
        assert 0.8 * counts[split] <= manifest.near_duplicates[split] <= counts[split]
    various = ingest_category("sun", make_source({"sun": 300}), CONFIG, str(tmp_path)).manifest
    assert sum(various.near_duplicates.values()) < 30


def test_a_split_does_not_depend_on_other_drawings(
    tmp_path: Path, make_source: MakeSource, make_lines: Callable[[str, int], list[bytes]]
) -> None:
    lines = make_lines("cat", 200)
    splits = []
    for chosen in (lines, lines[::-3]):
        done = ingest_category("cat", make_source({"cat": chosen}), CONFIG, tmp_path / "data")
        folder = tmp_path / "data" / "cat"
        split_of = {
            row["id"]: split for split in SPLITS for row in read_split(folder, done.manifest, split)
        }
        splits.append(split_of)
    assert len(splits[1]) > 40
    assert splits[1].items() < splits[0].items()


def test_a_finished_category_is_left_alone_until_something_changes(
    tmp_path: Path, make_source: MakeSource
) -> None:
    config = make_source({"cat": 100})
    folder = tmp_path / "data" / "cat"

    def ingest(settings: IngestConfig = CONFIG) -> bool:
        return ingest_category("cat", config, settings, folder.parent).unchanged

    assert [ingest(), ingest()] == [False, True]
    [train] = folder.glob("00000-*/train-00000.arrow")
    before = train.stat().st_mtime_ns
    assert ingest()
    assert train.stat().st_mtime_ns == before
    assert not ingest(replace(CONFIG, N_max=30))
    assert not train.exists()
    assert not ingest()
    train.write_bytes(train.read_bytes()[:-1])
    assert [ingest(), ingest()] == [False, True]
    train.unlink()
    assert [ingest(), ingest()] == [False, True]
    (folder / "category.json").write_text('{"schema_version": 0}')
    assert [ingest(), ingest()] == [False, True]
    make_source({"cat": 101})
    assert [ingest(), ingest()] == [False, True]


def test_shards_that_no_longer_belong_are_gone(tmp_path: Path, make_source: MakeSource) -> None:
    folder = tmp_path / "data" / "cat"
    ingest_category("cat", make_source({"cat": 300}), IN_PARTS, folder.parent)
    assert len(list(folder.glob("0*"))) > 5
    done = ingest_category("cat", make_source({"cat": 20}), IN_PARTS, folder.parent)
    parts = {shard.path.split("/")[0] for shard in done.manifest.shards}
    assert {path.name for path in folder.iterdir()} == parts | {"category.json", "rejects.jsonl"}
    assert [path.name for path in folder.parent.iterdir()] == ["cat"]


def test_raising_the_share_of_rejects_does_not_read_again(
    tmp_path: Path, make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_source({"cat": [b"{", *[b'{"drawing":[[[1,2],[3,4]]]}'] * 3]})
    with pytest.raises(UserError, match="1 of 4 lines"):
        ingest_category("cat", config, CONFIG, str(tmp_path))
    monkeypatch.setattr("pipeline.ingest.driver.ingest_part", None)
    settings = replace(CONFIG, max_reject_share=0.3)
    assert ingest_category("cat", config, settings, str(tmp_path)).manifest.counts.lines == 4


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "category 'cat' is empty"),
        ([b"{", *[b'{"drawing":[[[1,2],[3,4]]]}'] * 8], r"1 of 9 lines .* line 1: not valid JSON"),
        ([b'{"drawing":[[%a,%a]]}' % (list(range(50)), list(range(50)))], "no drawing .* is left"),
    ],
)
def test_a_category_that_cannot_be_used_has_no_manifest(
    tmp_path: Path, make_source: MakeSource, lines: list[bytes], message: str
) -> None:
    config = make_source({"cat": lines})
    with pytest.raises(UserError, match=message.replace(" .*", "(?s: .*)")):
        ingest_category("cat", config, CONFIG, tmp_path / "data")
    assert not list((tmp_path / "data").rglob("category.json"))


def test_a_failed_ingest_leaves_the_older_folder_as_it_was(
    tmp_path: Path, make_source: MakeSource
) -> None:
    data = tmp_path / "data"
    ingest_category("cat", make_source({"cat": 100}), CONFIG, data)
    before = read_bytes(data / "cat")
    with pytest.raises(UserError, match="cannot be read"):
        ingest_category("cat", make_source({"cat": [b"{"] * 9}), CONFIG, data)
    assert before.items() <= read_bytes(data / "cat").items()


@pytest.mark.parametrize("room_bytes", [0, 3000, 20_000])
def test_a_full_disk_is_one_clear_error_and_leaves_nothing(
    tmp_path: Path, make_source: MakeSource, monkeypatch: pytest.MonkeyPatch, room_bytes: int
) -> None:
    write = shards._ChecksummedFile.write
    left = room_bytes

    def write_while_there_is_room(self: Any, data: bytes) -> int:
        nonlocal left
        left -= len(data)
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, data)

    config = make_source({"cat": 300})
    monkeypatch.setattr(shards._ChecksummedFile, "write", write_while_there_is_room)
    with pytest.raises(UserError, match=r"data/cat/0\S+ \(No space left on device\): free"):
        ingest_category("cat", config, CONFIG, tmp_path / "data")
    assert read_bytes(tmp_path / "data") == {}


@pytest.mark.parametrize("limit_bytes", [100, 5000])
def test_a_write_that_the_kernel_refuses_leaves_nothing(
    tmp_path: Path, make_source: MakeSource, limit_bytes: int
) -> None:
    """As above, with a real limit: on the size of files."""
    config = make_source({"cat": 300})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        with pytest.raises(UserError, match=r"data/cat/0\S+ \(File too large\): free some space"):
            ingest_category("cat", config, CONFIG, tmp_path / "data")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_bytes(tmp_path / "data") == {}


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path, make_source: MakeSource) -> None:
    config = make_source({"cat": 10})
    (tmp_path / "data").write_text("a file")
    with pytest.raises(UserError, match=r"cannot write .*data/cat.* \(Not a directory\)"):
        ingest_category("cat", config, CONFIG, tmp_path / "data")


HOSTILE_NAMES = ["../../x", "/etc/passwd", "a/b", "..", ".", "", "a\0b", "a\nb", "x" * 300, " a"]


@pytest.mark.parametrize("name", [*HOSTILE_NAMES, "a\\b", "*", "gs://x", ".cat"])
def test_hostile_names_touch_no_file(tmp_path: Path, make_source: MakeSource, name: str) -> None:
    """Guarantee G6."""
    config = make_source({"cat": 10, "../../x": 10, ".cat": 10})
    before = sorted(tmp_path.rglob("*"))
    for read_from in (config, SourceConfig(name=Source.doodles, num_drawings=10)):
        with pytest.raises(UserError):
            ingest_category(name, read_from, CONFIG, tmp_path / "data")
    assert sorted(tmp_path.rglob("*")) == before


def test_the_names_of_quick_draw_are_allowed() -> None:
    for name in ("The Eiffel Tower", "t-shirt", "hot air balloon", "see saw", "see-saw", "cat"):
        assert check_category(name) == name


@pytest.mark.real_data
@pytest.mark.parametrize("category", ["cat", "car", "The Eiffel Tower"])
def test_all_real_lines_are_accounted_for(
    tmp_path: Path, quickdraw_root: Path, category: str
) -> None:
    paths = [
        quickdraw_root / kind / "simplified" / f"{category}.ndjson" for kind in ("full", "partial")
    ]
    lines = [line for path in paths for line in path.read_bytes().splitlines()]
    settings = SourceConfig(name=Source.local, root=str(quickdraw_root))
    counts = ingest_category(category, settings, IngestConfig(), tmp_path).manifest.counts
    num_fit = sum(count_points(line) < 250 for line in lines)
    assert counts.lines == len(lines)
    assert counts.rejected == {}
    assert sum(counts.filtered.values()) == len(lines) - num_fit
    assert sum(counts.drawings.values()) == num_fit
