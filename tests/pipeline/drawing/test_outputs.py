"""Every form of file holds the drawings, and says how they came about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from pipeline.config import UserError
from pipeline.drawing import outputs
from pipeline.drawing.inputs import larger_side, read_drawing
from pipeline.drawing.outputs import Look, check_path, write_sheet
from pipeline.drawing.sheet import Sheet, Tile

SCRIPT = "</title></svg><script>document.title='bad'</script>"
BEGUN = np.array([[85.4, 0, 0], [0, 170.4, 0], [-40.4, 0, 1]], np.float32)
DRAWN = np.array([[0.4, 0, 0]] * 200 + [[0, 20, 1], [5, 5, 0], [5, 5, 1]], np.float32)
NOTHING = np.zeros((0, 3), np.float32)
LOOK = Look(cell_size=60)


@pytest.fixture
def sheet() -> Sheet:
    """A given drawing, and three that were drawn: the second empty, the third begun by a person."""
    tiles = [
        Tile(BEGUN, 3, SCRIPT, is_drawn=False),
        Tile(DRAWN, 0, SCRIPT),
        Tile(NOTHING, 0, "sun"),
        Tile(BEGUN, 2, "sun"),
    ]
    return Sheet(rows=[tiles], title=SCRIPT, row_captions=[SCRIPT], column_captions=[SCRIPT] * 4)


def test_svg_files_are_well_formed_whatever_is_written_in_them(
    sheet: Sheet, tmp_path: Path
) -> None:
    write_sheet(sheet, tmp_path / "a.svg", LOOK)
    svg = ElementTree.parse(tmp_path / "a.svg").getroot()
    tags = {element.tag.rpartition("}")[2] for element in svg.iter()}
    assert tags == {"svg", "title", "style", "rect", "text", "path"}
    assert svg[0].text == SCRIPT
    assert not list(tmp_path.glob(".*"))


@pytest.mark.browser
def test_planted_scripts_do_not_run(sheet: Sheet, tmp_path: Path, browser: Any) -> None:
    write_sheet(sheet, tmp_path / "a.svg", LOOK)
    (tmp_path / "page.html").write_text((tmp_path / "a.svg").read_text())
    page = browser.new_page()
    page.goto(f"file://{tmp_path}/page.html")
    assert page.evaluate("document.querySelectorAll('script').length") == 0
    assert page.evaluate("document.querySelectorAll('svg svg').length") == 4


def test_png_files_have_a_description(sheet: Sheet, tmp_path: Path) -> None:
    write_sheet(sheet, tmp_path / "a.png", LOOK)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.text["Description"] == SCRIPT  # type: ignore[attr-defined]
        assert picture.height < 2 * 60 + 40


def test_a_png_too_large_for_memory_is_not_begun(
    sheet: Sheet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "MAX_PNG_PIXELS", 4 * 60**2 - 1)
    with pytest.raises(UserError, match=r"14,400 pixels.*smaller --cell-size, or another form"):
        write_sheet(sheet, tmp_path / "a.png", LOOK)
    assert not list(tmp_path.iterdir())


def test_ndjson_is_what_quick_draw_has(sheet: Sheet, tmp_path: Path) -> None:
    write_sheet(sheet, tmp_path / "a.ndjson", LOOK)
    lines = [json.loads(line) for line in (tmp_path / "a.ndjson").read_text().splitlines()]
    assert [line["word"] for line in lines] == [SCRIPT, "sun"]
    assert lines[1]["drawing"] == [[[0, 128, 128, 67], [0, 0, 255, 255]]]
    assert lines[0]["made_by"] == SCRIPT
    for number in (1, 2):
        given = read_drawing(f"{tmp_path}/a.ndjson:{number}", None)
        assert (larger_side(given.sketch), given.remarks) == (255, [])


def test_npz_is_what_magenta_reads_and_errors_do_not_add_up(sheet: Sheet, tmp_path: Path) -> None:
    write_sheet(sheet, tmp_path / "a.npz", LOOK)
    with np.load(tmp_path / "a.npz", allow_pickle=True, encoding="latin1") as content:
        assert [len(content[split]) for split in ("train", "valid", "test")] == [2, 0, 0]
        drawn, begun = content["train"]
        assert str(content["made_by"]) == SCRIPT
    assert drawn.dtype == begun.dtype == np.int16
    assert begun.tolist() == [[85, 0, 0], [0, 170, 0], [-40, 0, 1]]
    assert drawn[:, 0].sum() == 80 + 10  # 200 times 0.4; each rounded alone is 0
    assert read_drawing(f"{tmp_path}/a.npz:2", None).sketch.tolist() == begun.tolist()


def test_sketches_of_one_length_are_an_array_of_objects_too(tmp_path: Path) -> None:
    write_sheet(Sheet(rows=[[Tile(BEGUN), Tile(BEGUN)]], title="two"), tmp_path / "a.npz", LOOK)
    with np.load(tmp_path / "a.npz", allow_pickle=True) as content:
        assert [sketch.shape for sketch in content["train"]] == [(3, 3), (3, 3)]


def test_names_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    check_path(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"must end in one of \.svg, \.png, \.ndjson, \.npz"):
        check_path(tmp_path / "a.gif")
    with pytest.raises(UserError, match=r"there is no folder .*nowhere; make it first"):
        check_path(tmp_path / "nowhere" / "a.png")


@pytest.mark.browser
def test_a_drawing_grows_from_what_was_given_to_the_whole(tmp_path: Path, browser: Any) -> None:
    sheet = Sheet(rows=[[Tile(BEGUN, 1), Tile(DRAWN)]], title="growing")
    write_sheet(sheet, tmp_path / "still.svg", Look(300))
    write_sheet(sheet, tmp_path / "moving.svg", Look(300, draws_itself=True))

    def ink(page: Any, name: str = "page.png") -> int:
        page.screenshot(path=tmp_path / name)
        with Image.open(tmp_path / name) as picture:
            return int((np.asarray(picture.convert("L")) < 128).sum())

    still = browser.new_page(viewport={"width": 600, "height": 300})
    still.goto(f"file://{tmp_path}/still.svg")
    whole = ink(still)
    with browser.new_page(viewport={"width": 600, "height": 300}) as page:
        # It must not be over before it is looked at.
        page.context.new_cdp_session(page).send("Animation.setPlaybackRate", {"playbackRate": 0})
        page.goto(f"file://{tmp_path}/moving.svg")
        page.evaluate("window.motion = document.getAnimations()")
        amounts = []
        for time_ms in (0, 400, 800, 60_000):
            page.evaluate("time => motion.forEach(m => m.currentTime = time)", time_ms)
            amounts.append(ink(page))
        assert page.evaluate("motion.length") == 3
    assert amounts[0] < amounts[1] < amounts[2] < amounts[3]
    assert amounts[0] < 0.4 * whole
    assert amounts[3] == pytest.approx(whole, rel=0.01)
    with browser.new_page(viewport={"width": 600, "height": 300}, reduced_motion="reduce") as page:
        page.goto(f"file://{tmp_path}/moving.svg")
        assert page.evaluate("document.getAnimations().length") == 0
        assert ink(page) == pytest.approx(whole, rel=0.01)
