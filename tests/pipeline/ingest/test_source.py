"""Sources: what they give, and what they say when they cannot."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from pipeline.config import Source, SourceConfig, UserError
from pipeline.ingest.source import open_category


def read(source: SourceConfig, category: str) -> list[tuple[str, bytes]]:
    return [(each.path, b"".join(each.read_blocks())) for each in open_category(source, category)]


def test_the_partial_file_follows_the_full_one(make_source: Callable[..., SourceConfig]) -> None:
    source = make_source({"cat": [b"1", b"2"], "sun": [b"3"]}, {"cat": [b"4"], "owl": [b"5"]})
    assert read(source, "cat") == [
        ("full/simplified/cat.ndjson", b"1\n2\n"),
        ("partial/simplified/cat.ndjson", b"4\n"),
    ]
    assert read(source, "sun") == [("full/simplified/sun.ndjson", b"3\n")]
    assert read(source, "owl") == [("partial/simplified/owl.ndjson", b"5\n")]


def test_identity_changes_with_the_file(make_source: Callable[..., SourceConfig]) -> None:
    source = make_source({"cat": [b"1", b"2"]})
    before = open_category(source, "cat")[0].identity
    assert open_category(source, "cat")[0].identity == before
    path = f"{source.root}/full/simplified/cat.ndjson"
    os.utime(path, (1, 1))
    assert open_category(source, "cat")[0].identity != before


def test_a_file_that_changes_while_it_is_read_is_an_error(
    make_source: Callable[..., SourceConfig],
) -> None:
    source = make_source({"cat": [b"1", b"2"]})
    [cat] = open_category(source, "cat")
    with open(f"{source.root}/full/simplified/cat.ndjson", "ab") as file:
        file.write(b"3")
    with pytest.raises(UserError, match="gave 5 bytes instead of 4: it changed while it was read"):
        list(cat.read_blocks())


def test_unreadable_file_is_an_error(make_source: Callable[..., SourceConfig]) -> None:
    source = make_source({"cat": [b"1"]})
    [cat] = open_category(source, "cat")
    os.remove(f"{source.root}/full/simplified/cat.ndjson")
    with pytest.raises(UserError, match=r"cannot read .*cat\.ndjson: FileNotFoundError"):
        list(cat.read_blocks())


def test_unknown_category_names_the_nearest(make_source: Callable[..., SourceConfig]) -> None:
    source = make_source({"cat": [b"1"], "crab": [b"1"]}, {"sun": [b"1"]})
    with pytest.raises(UserError, match=r"no category 'cats'; the nearest of its 3: cat, "):
        open_category(source, "cats")


def test_doodles_are_generated_lines_and_say_so() -> None:
    source = SourceConfig(name=Source.doodles, num_drawings=700, seed=3)
    [pig] = open_category(source, "pig")
    lines = b"".join(pig.read_blocks()).splitlines()
    assert [json.loads(line)["word"] for line in lines] == ["pig"] * 700
    assert pig.identity["generated"] is True
    [other] = open_category(replace(source, seed=4), "pig")
    assert other.identity != pig.identity
    assert next(other.read_blocks()) != next(pig.read_blocks())
    with pytest.raises(
        UserError, match=r"doodles has no category 'pigs'; the nearest of its 14: pig, "
    ):
        open_category(source, "pigs")


def test_missing_folder_empty_folder_and_no_folder(tmp_path: os.PathLike[str]) -> None:
    for root in (f"{tmp_path}/nowhere", str(tmp_path), __file__):
        with pytest.raises(UserError, match=r"there are no drawings at .*full/simplified/<word>"):
            open_category(SourceConfig(name=Source.local, root=root), "cat")
    with pytest.raises(UserError, match=r"source\.root is empty: set source.root=FOLDER"):
        open_category(SourceConfig(name=Source.local), "cat")
    with pytest.raises(UserError, match=r"cannot read source\.root=nosuch://x"):
        open_category(SourceConfig(name=Source.local, root="nosuch://x"), "cat")
