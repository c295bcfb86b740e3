"""Sources: the parts they give, and what they say when they cannot."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import Format, Source, SourceConfig, UserError
from pipeline.ingest.source import LAYOUTS, DoodlePart, FilePart, Part, open_categories

MakeSource = Callable[..., SourceConfig]
WHOLE = 1 << 30


def open_one(source: SourceConfig, category: str, part_bytes: int = WHOLE) -> list[Part]:
    return open_categories(source, [category], part_bytes)[category]


def lines_of(part: Part) -> bytes:
    assert isinstance(part, FilePart)
    return b"".join(part._lines())


def test_the_partial_file_follows_the_full_one(make_source: MakeSource) -> None:
    source = make_source({"cat": [b"1", b"2"], "sun": [b"3"]}, {"cat": [b"4"], "owl": [b"5"]})
    parts = open_categories(source, ["owl", "cat", "sun"], WHOLE)
    found = {word: [(each.path, lines_of(each)) for each in of] for word, of in parts.items()}
    assert found == {
        "owl": [("partial/simplified/owl.ndjson", b"5\n")],
        "cat": [
            ("full/simplified/cat.ndjson", b"1\n2\n"),
            ("partial/simplified/cat.ndjson", b"4\n"),
        ],
        "sun": [("full/simplified/sun.ndjson", b"3\n")],
    }


@pytest.mark.parametrize("part_bytes", [1, 7, 100, WHOLE])
def test_parts_cover_a_file_of_lines(make_source: MakeSource, part_bytes: int) -> None:
    source = make_source({"cat": [b"x" * num for num in range(30)]})
    content = (Path(source.root) / "full/simplified/cat.ndjson").read_bytes()
    parts = open_one(source, "cat", part_bytes)
    assert b"".join(map(lines_of, parts)) == content
    assert len(parts) == -(-len(content) // part_bytes)
    assert sum(part.size_bytes for part in parts) == len(content)
    assert len({str(part.identity) for part in parts}) == len(parts)


@pytest.mark.parametrize(("format", "name"), [(f, f"x{LAYOUTS[f].suffixes[0]}") for f in Format])
def test_a_format_has_a_layout_of_its_own(tmp_path: Path, format: Format, name: str) -> None:
    folder = tmp_path / (*LAYOUTS[format].folders, "x")[0]
    folder.mkdir(parents=True)
    (folder / name).write_bytes(b"123\n")
    source = SourceConfig(name=Source.local, root=str(tmp_path), format=format)
    [part] = open_one(source, "x", 2 if format in (Format.binary, Format.npz) else WHOLE)
    assert part.size_bytes == 4
    assert pickle.loads(pickle.dumps(part)).identity == part.identity
    for other in set(Format) - {format, Format.svg}:
        with pytest.raises(UserError, match=f"there are no {other} drawings at .*<word>"):
            open_one(replace(source, format=other), "x")


def test_identity_changes_with_the_file(make_source: MakeSource) -> None:
    source = make_source({"cat": [b"1", b"2"]})
    before = open_one(source, "cat")[0].identity
    assert open_one(source, "cat")[0].identity == before
    os.utime(f"{source.root}/full/simplified/cat.ndjson", (1, 1))
    assert open_one(source, "cat")[0].identity != before


def test_a_file_that_changes_while_it_is_read_is_an_error(make_source: MakeSource) -> None:
    source = make_source({"cat": [b"1", b"2"]})
    [cat] = open_one(source, "cat")
    with open(f"{source.root}/full/simplified/cat.ndjson", "ab") as file:
        file.write(b"3")
    with pytest.raises(UserError, match="changed while it was read: it had 4 bytes"):
        lines_of(cat)


def test_unreadable_file_is_an_error(make_source: MakeSource) -> None:
    source = make_source({"cat": [b"1"]})
    [cat] = open_one(source, "cat")
    os.remove(f"{source.root}/full/simplified/cat.ndjson")
    with pytest.raises(UserError, match=r"cannot read .*cat\.ndjson at byte 0 .*FileNotFound"):
        lines_of(cat)


def test_unknown_category_names_the_nearest(make_source: MakeSource) -> None:
    source = make_source({"cat": [b"1"], "crab": [b"1"]}, {"sun": [b"1"]})
    with pytest.raises(UserError, match=r"no category 'cats'; the nearest of its 3: cat, "):
        open_one(source, "cats")


def test_doodles_are_generated_in_parts_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    source = SourceConfig(name=Source.doodles, num_drawings=700, seed=3)
    [whole] = open_one(source, "pig")
    monkeypatch.setattr("pipeline.ingest.source.GENERATED_PART", 300)
    parts = open_one(source, "pig")
    assert [part.num for part in parts if isinstance(part, DoodlePart)] == [300, 300, 100]
    ids = [key for part in (whole, *parts) for each in part.read() for key in each.drawings.ids]
    assert ids[:700] == ids[700:]
    assert whole.identity["generated"] is True
    [other, *_] = open_one(replace(source, seed=4), "pig")
    assert other.identity != parts[0].identity
    assert next(other.read()).drawings.ids[0] != ids[0]
    with pytest.raises(
        UserError, match=r"doodles has no category 'pigs'; the nearest of its 14: pig, "
    ):
        open_one(source, "pigs")


def test_missing_folder_empty_folder_and_no_folder(tmp_path: Path) -> None:
    for root in (f"{tmp_path}/nowhere", str(tmp_path), __file__):
        with pytest.raises(UserError, match=r"no simplified drawings at .*full/simplified/<word>"):
            open_one(SourceConfig(name=Source.local, root=root), "cat")
    with pytest.raises(UserError, match=r"source\.root is empty: set source.root=FOLDER"):
        open_one(SourceConfig(name=Source.local), "cat")
    with pytest.raises(UserError, match=r"cannot read the folder nosuch://x"):
        open_one(SourceConfig(name=Source.local, root="nosuch://x"), "cat")
