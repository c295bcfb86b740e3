"""The command and its page, in a browser: a drag of the mouse leads to suggestions."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sketch_model.config import Condition
from sketch_model.weights import save
from tests.pipeline.studio.conftest import endless

PLANTED = "<img src=x onerror=\"document.title='planted'\">"
SVG = "{http://www.w3.org/2000/svg}"
LINES = re.compile("^M.*L")


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Where the command serves two models; one has script as its name and as a category."""
    told = {"condition": Condition.category, "categories": ("sun", PLANTED)}
    save(endless(**told), tmp_path / PLANTED)
    save(endless(conditional=False), tmp_path / "plain")
    command = [sys.executable, "-m", "pipeline.studio", PLANTED, "plain", "--port", "0"]
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=tmp_path
        ) as server,
    ):
        assert server.stdout is not None
        try:
            line = ""
            while not line.startswith("open "):
                line = server.stdout.readline()
                assert line, (tmp_path / "log").read_text()
            yield line.split()[1]
        finally:
            server.terminate()
    assert (tmp_path / "log").read_text() == ""


@pytest.mark.browser
def test_a_drag_of_the_mouse_leads_to_suggestions(browser: Any, address: str) -> None:
    from playwright.sync_api import expect

    with browser.new_page(viewport={"width": 1280, "height": 900}) as page:
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        tiles = page.locator("#tiles .tile")
        page.locator("#status", has_text="What the model draws by itself").wait_for()
        assert tiles.count() == 6

        draw_arc(page)
        expect(page.locator("#ending")).to_have_attribute("d", LINES)  # while the pen is down
        page.mouse.up()
        page.locator("#status", has_text="The model goes on").wait_for()
        expect(page.locator("#tiles")).to_have_attribute("aria-busy", "false")
        endings = {tiles.nth(n).locator(".drawn").get_attribute("d") for n in range(6)}
        assert len(endings) == 6
        tiles.nth(3).click()
        chosen = tiles.nth(3).locator(".drawn").get_attribute("d")
        assert page.locator("#ending").get_attribute("d") == chosen

        check_saved(page, chosen)
        check_between(page)
        check_mistake(page)
        assert page.title() == "Studio · Sketch-RNN"
        assert set(complaints) == {REFUSED}


REFUSED = "Failed to load resource: the server responded with a status of 400 (Bad Request)"


def draw_arc(page: Any) -> None:
    """With the button held down, and not yet released."""
    box = page.locator("#paper").bounding_box()
    for n in range(20):
        angle = 0.25 * n
        x, y = 0.5 + 0.3 * math.cos(angle), 0.5 + 0.3 * math.sin(angle)
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        if n == 0:
            page.mouse.down()


def check_saved(page: Any, chosen: str) -> None:
    """The file has both colours, and says who drew it; script is text in it."""
    from playwright.sync_api import expect

    page.select_option("#category", PLANTED)
    expect(page.locator("#tiles")).to_have_attribute("aria-busy", "false")
    assert page.locator("#ending").get_attribute("d") != chosen
    with page.expect_download() as download:
        page.click("#save")
    root = ET.parse(download.value.path()).getroot()
    assert f"Completed by {PLANTED}, {PLANTED} · temperature 0.3" in root.findtext(f"{SVG}title")
    ending, ink = root.findall(f"{SVG}path")
    assert ending.get("d") == page.locator("#ending").get_attribute("d")
    assert ink.get("d") == page.locator("#ink").get_attribute("d")
    assert len(list(root.iter())) == 5


def check_between(page: Any) -> None:
    """Two drawings are kept, and the slider changes what is drawn between them."""
    from playwright.sync_api import expect

    page.click("#keep-first")
    page.click("#take")
    page.click("#keep-second")
    middle = page.locator("#way .tile .drawn").first
    expect(page.locator("#way")).to_have_attribute("aria-busy", "false")
    before = middle.get_attribute("d")
    page.locator("#share").fill("0.9")
    expect(middle).not_to_have_attribute("d", before)
    page.select_option("#model", "plain")
    page.get_by_text("This model has a decoder only").wait_for()
    assert not page.locator("#between").is_visible()


def check_mistake(page: Any) -> None:
    """More dots than the model has room for: the reason is on the page, and undo puts it right."""
    page.click("#clear")
    for n in range(13):
        page.locator("#paper").click(position={"x": 40 + 30 * n, "y": 60 + 20 * n})
    page.locator(".wrong", has_text="your drawing has 13 strokes, which take 25 points").wait_for()
    page.keyboard.press("Control+z")
    page.locator("#status", has_text="The model goes on").wait_for()
