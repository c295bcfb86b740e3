"""What the command shows: a manifest, drawings by row and by id, and rejects; and its errors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline import inspect
from pipeline.config import Config, IngestConfig, Source, SourceConfig
from pipeline.ingest.driver import ingest_category
from pipeline.manifest import SPLITS, Manifest
from pipeline.prepare import prepare
from sketch_model.raster import grid
from sketch_model.svg import grid_to_svg

NUM = 60
FIRST_ID = 4503626191994880
BAD_LINES = [b"nonsense", b'{"drawing": []}', b"[1]", b"more nonsense", b"and more"]

Show = Callable[..., str]
"""What the command prints, or the error that it ends with."""
MakeDrawing = Callable[[str, int], dict[str, Any]]


@pytest.fixture
def config(
    tmp_path: Path,
    make_source: Callable[..., SourceConfig],
    make_lines: Callable[[str, int], list[bytes]],
) -> Config:
    """Two categories, one of them with rejects at its end."""
    source = make_source({"cat": [*make_lines("cat", NUM), *BAD_LINES], "sun": NUM})
    config = Config(
        name="zoo",
        categories=["cat", "sun"],
        source=source,
        ingest=IngestConfig(
            N_max=40, max_reject_share=0.1, recordbatch_rows=8, fractions=[0.6, 0.4, 0.0]
        ),
        data_dir=str(tmp_path / "data"),
        results_dir=str(tmp_path / "results"),
    )
    for category in config.categories:
        ingest_category(category, source, config.ingest, config.shards_location)
    prepare(config)
    return config


@pytest.fixture
def show(
    config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Show:
    """What the command prints."""

    def show(*overrides: str) -> str:
        arguments = ["name=zoo", "categories=[cat,sun]", "source=local"]
        arguments += [f"data_dir={config.data_dir}", *overrides]
        monkeypatch.setattr("sys.argv", ["inspect", *arguments])
        inspect.main()
        return capsys.readouterr().out

    return show


@pytest.fixture
def refuse(show: Show, capsys: pytest.CaptureFixture[str]) -> Show:
    """The error that the command ends with."""

    def refuse(*overrides: str) -> str:
        with pytest.raises(SystemExit) as caught:
            show(*overrides)
        assert caught.value.code == 1
        return capsys.readouterr().err

    return refuse


def fields(text: str) -> dict[str, str]:
    """`name   value` of each line."""
    return {line[:14].strip(): line[14:] for line in text.splitlines()}


def read_pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_the_manifest_is_shown_with_its_counts(config: Config, show: Show) -> None:
    manifest = Manifest.read(config.manifest_path)
    text = show()
    shown = fields(text)
    assert shown["name"] == "zoo"
    assert shown["source"] == f"local, simplified, {config.source.root}"
    assert shown["generated"] == "no"
    assert shown["fingerprint"] == manifest.fingerprint
    assert shown["offset scale"] == f"{manifest.offset_scale:.4f}"
    assert shown["longest"] == f"{manifest.longest} points, N_max 40"
    assert shown["quantum"] == "1"
    assert f" in {Path(config.shards_location)}, " in shown["shards"]
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines()}
    assert rows["category"][:5] == [*SPLITS, "filtered", "rejected"]
    for category, counts in manifest.counts.items():
        accounted = [int(number) for number in rows[category][:5]]
        assert sum(accounted) == counts.lines
        assert accounted[:3] == [counts.drawings[split] for split in SPLITS]
        assert accounted[4] == (len(BAD_LINES) if category == "cat" else 0)
    assert int(rows["all"][0]) == manifest.num_drawings("train")
    num_points = sum(shard.num_points for shard in manifest.shards)
    assert rows["all"][6] == f"{num_points:,}"
    [filtered] = [line for line in text.splitlines() if line.startswith("filtered")]
    assert filtered == f"filtered {rows['all'][3]}: longer_than_N_max"
    assert "rejected 3: not valid JSON" in text.splitlines()
    assert text.splitlines()[-1] == "without any drawing: test"


def test_generated_data_are_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = SourceConfig(name=Source.doodles, num_drawings=50)
    config = Config(
        name="doodled",
        categories=["cat"],
        source=source,
        data_dir=str(tmp_path),
        results_dir=str(tmp_path),
    )
    ingest_category("cat", source, config.ingest, config.shards_location)
    prepare(config)
    arguments = ["name=doodled", "categories=[cat]", "source=doodles", f"data_dir={tmp_path}"]
    monkeypatch.setattr("sys.argv", ["inspect", *arguments])
    inspect.main()
    shown = fields(capsys.readouterr().out)
    assert (shown["generated"], shown["source"]) == ("yes", "doodles, simplified")


def test_a_row_and_its_id_show_the_same_drawing(show: Show, make_drawing: MakeDrawing) -> None:
    text = show("inspect.row=12", "inspect.split=valid")
    shown = fields(text)
    drawing = make_drawing(shown["category"], int(shown["id"]) - FIRST_ID)
    assert shown["split"] == "valid, row 12"
    assert shown["country"] == drawing["countrycode"]
    assert shown["time"] == drawing["timestamp"].replace("12757", "127570")
    assert shown["recognized"] == ("yes" if drawing["recognized"] else "no")
    num_strokes = len(drawing["drawing"])
    num_points = sum(len(xs) for xs, _ in drawing["drawing"])
    rows = num_points - (len(drawing["drawing"][0][0]) > 1)
    assert shown["points"] == f"{rows} in {num_strokes} strokes"
    assert shown["shard"].endswith("valid-00000.arrow")
    assert Path(shown["shard"]).is_file()
    assert shown["record batch"] == "1, row 4 of it"
    assert text.strip() in show(f"inspect.id={shown['id']}").strip().split("\n\n")


def test_the_train_split_is_looked_at_first(show: Show) -> None:
    assert show("inspect.row=3") == show("inspect.row=3", "inspect.split=train")


def test_pictures_are_of_the_drawings(
    show: Show,
    tmp_path: Path,
    make_drawing: MakeDrawing,
) -> None:
    png, svg = tmp_path / "new" / "drawing.png", tmp_path / "drawing.svg"
    text = show(f"inspect.id={FIRST_ID + 7}", f"inspect.picture={png}")
    assert text.splitlines()[-1] == f"picture       {png}"
    show(f"inspect.id={FIRST_ID + 7}", f"inspect.picture={svg}")
    expected, captions = [], []
    for shown in map(fields, text.split("\n\n")):  # both categories may have a drawing of this id
        strokes = make_drawing(shown["category"], 7)["drawing"]
        points = np.concatenate([np.array(stroke).T for stroke in strokes])
        lifted = np.concatenate([np.arange(len(xs)) == len(xs) - 1 for xs, _ in strokes])
        offsets = np.diff(points, axis=0, prepend=points[:1])
        rows = np.column_stack([offsets, lifted])
        expected.append(rows if lifted[0] else rows[1:])
        split, row = shown["split"].split(", row ")
        captions.append(f"{shown['category']}, {split} {row}")
    assert 1 <= len(expected) <= 2
    picture = grid([expected], column_captions=captions, cell_size=384)
    assert np.array_equal(read_pixels(png), np.asarray(picture))
    assert svg.read_text() == grid_to_svg([expected], column_captions=captions, cell_size=384)


def test_drawings_of_one_id_are_all_listed_and_the_first_drawn(
    config: Config, show: Show, tmp_path: Path
) -> None:
    path = Path(config.source.root) / "full" / "simplified" / "cat.ndjson"
    lines = [json.loads(line) for line in path.read_bytes().splitlines()[:NUM]]
    path.write_text("".join(json.dumps(line | {"key_id": "7"}) + "\n" for line in lines))
    ingest_category("cat", config.source, config.ingest, config.shards_location)
    manifest = prepare(config)
    picture = tmp_path / "all.png"
    text = show("inspect.id=7", f"inspect.picture={picture}")
    assert text.count("category ") == sum(manifest.counts["cat"].drawings.values())
    assert text.splitlines()[-1].endswith("all.png, the first 8")
    assert read_pixels(picture).shape[1] == 8 * 384 + 2 * 8


def test_rejects_are_shown_by_reason(show: Show) -> None:
    lines = show("inspect.rejects=2").splitlines()
    reasons = [line for line in lines if not line.startswith(" ")]
    assert reasons == [
        "rejected 1: drawing missing, empty or not a list of strokes",
        "rejected 1: not a JSON object",
        "rejected 3: not valid JSON",
    ]
    first = [line.partition("cat.ndjson line ")[2].partition(":")[0] for line in lines]
    assert first[lines.index(reasons[2]) + 1 :] == [str(NUM + 1), str(NUM + 4)]
    assert first[lines.index(reasons[0]) + 1] == str(NUM + 2)
    assert all(line.partition(": ")[2] for line in lines)


def test_rejects_of_another_ingest_are_refused(config: Config, show: Show, refuse: Show) -> None:
    path = Path(config.shards_location) / "cat" / "rejects.jsonl"
    path.write_bytes(path.read_bytes().split(b"\n", 1)[1])
    assert "has 4 rejects that can be read, and the manifest counts 5" in refuse(
        "inspect.rejects=1"
    )
    path.unlink()
    assert "has 0 rejects" in refuse("inspect.rejects=1")


def test_no_rejects_are_said(config: Config, show: Show) -> None:
    prepare(Config(**vars(config) | {"categories": ["sun"]}))
    assert show("inspect.rejects=1") == f"none of {NUM} records was rejected\n"


MISTAKES = {
    "inspect.row=9999": [
        "inspect.row=9999 must be below ",
        "train split",
        "zoo.json",
        "inspect.sp",
    ],
    "inspect.row=0 inspect.split=test": ["inspect.row=0 must be below 0", "test split"],
    "inspect.row=-1": ["inspect.row=-1 must be at least 0"],
    "inspect.row=two": ["inspect.row", "'two'"],
    "inspect.row=0 inspect.split=dev": ["inspect.split", "'dev'", "train, valid, test"],
    "inspect.row=1 inspect.id=2": ["inspect.row and inspect.id", "give one"],
    "inspect.row=0 inspect.rejects=2": ["inspect.row and inspect.rejects", "give one"],
    "inspect.id=1": ["inspect.id=1 is none of the drawings", "zoo.json", "key_id", "inspect.row"],
    "inspect.id=-1": ["inspect.id=-1 must lie between 0 and 18446744073709551615"],
    "inspect.id=18446744073709551616": ["inspect.id=18446744073709551616 must lie between"],
    "inspect.split=valid": ["inspect.split=valid", "give inspect.row"],
    "inspect.id=1 inspect.split=valid": ["inspect.split=valid", "every split"],
    "inspect.picture=a.png": ["inspect.picture=a.png", "give inspect.row or inspect.id"],
    "inspect.rejects=1 inspect.picture=a.png": ["inspect.picture=a.png", "give inspect.row or"],
    "inspect.row=0 inspect.picture=a.gif": ["inspect.picture=a.gif", ".png or .svg"],
    "inspect.row=0 inspect.picture=/dev/null/a.png": ["cannot write /dev/null/a.png", "another"],
    "inspect.rejects=-1": ["inspect.rejects=-1 must be at least 0"],
    "inspect.rwo=1": ["inspect.rwo is not a field", "did you mean inspect.row?"],
    "name=zo": [
        "there are no data yet",
        "zo.json does not exist",
        "pipeline.ingest +experiment=zo",
        "if zo is a name= and no experiment, both with the arguments of this command",
    ],
}


def test_errors_say_what_to_do(refuse: Show) -> None:
    for mistake, parts in MISTAKES.items():
        error = refuse(*mistake.split())
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        for part in parts:
            assert part in error, mistake


def read_strokes(svg: str) -> list[NDArray[np.float64]]:
    """Points of each stroke of the only drawing."""
    [drawn] = re.findall(r'd="M(.*?)"', svg)
    strokes = [stroke.removesuffix("h0").replace("L", " ").split() for stroke in drawn.split("M")]
    return [np.array(stroke, dtype=float).reshape(-1, 2) for stroke in strokes]


@pytest.mark.real_data
def test_a_real_drawing_is_that_of_its_line(
    quickdraw_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = SourceConfig(name=Source.local, root=str(quickdraw_root))
    config = Config(
        name="real",
        categories=["face"],
        source=source,
        data_dir=str(tmp_path),
        results_dir=str(tmp_path),
    )
    ingest_category("face", source, config.ingest, config.shards_location)
    prepare(config)
    lines = (quickdraw_root / "full" / "simplified" / "face.ndjson").read_bytes().splitlines()
    for line in map(json.loads, lines[:3]):
        picture = tmp_path / "face.svg"
        arguments = [f"inspect.id={line['key_id']}", f"inspect.picture={picture}", "name=real"]
        arguments += ["categories=[face]", "source=local", f"data_dir={tmp_path}"]
        monkeypatch.setattr("sys.argv", ["inspect", *arguments])
        inspect.main()
        shown = fields(capsys.readouterr().out)
        assert (shown["id"], shown["country"]) == (line["key_id"], line["countrycode"])
        assert shown["time"][:19] == line["timestamp"][:19]
        strokes = line["drawing"]
        assert shown["points"].endswith(f" in {len(strokes)} strokes")
        drawn = read_strokes(picture.read_text())
        assert [len(stroke) for stroke in drawn] == [len(xs) for xs, _ in strokes]
        given = np.concatenate([np.array(stroke).T for stroke in strokes])
        scale = np.ptp(np.concatenate(drawn), axis=0).max() / np.ptp(given, axis=0).max()
        shift = (np.concatenate(drawn) - scale * given).mean(axis=0)
        assert np.allclose(np.concatenate(drawn), scale * given + shift, atol=1.5)
