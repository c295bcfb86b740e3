"""How long a person waits for the studio's first suggestion; prints a table in Markdown.

    python -m benchmarks.studio [MODEL ...] [--rounds 20]

Each round ends a stroke with the mouse, in headless Chromium (Debian's `chromium`, by Playwright),
on a paper that is empty but for it. `drawing` is what the server says that it took to read the
stroke and to draw, from when it has the question; `page` is the way there and back too, from when
the page begins to ask until what came is in the document. Medians, and the slowest round. All run
on the same cores, the browser included.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks import timing

CHROMIUM = "/usr/bin/chromium"


@contextmanager
def serve(models: list[str]) -> Iterator[str]:
    """Address of a studio with these models."""
    command = [sys.executable, "-m", "pipeline.studio", *models, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            lines = iter(server.stdout.readline, "") if server.stdout else iter(())
            yield next(line.split()[1] for line in lines if line.startswith("open "))
        finally:
            server.terminate()


def draw_circle(page: Any, radius: float) -> None:
    box = page.locator("#paper").bounding_box()
    for n in range(25):
        angle = 2 * math.pi * n / 24
        x, y = 0.5 + radius * math.cos(angle), 0.5 + radius * math.sin(angle)
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        if n == 0:
            page.mouse.down()
    settle(page)  # what was asked while the pen was down is no part of the round


def settle(page: Any) -> None:
    page.locator("#tiles[aria-busy=false]").wait_for()


def time_round(page: Any, number: int) -> tuple[float, float]:
    """Milliseconds of drawing, and until the page shows it."""
    if page.locator("#clear").is_enabled():
        page.click("#clear")
    settle(page)
    draw_circle(page, 0.2 + 0.01 * number)
    with page.expect_response("**/complete") as response:  # the first: one ending
        page.mouse.up()
    drawing_ms = float(response.value.header_value("server-timing").removeprefix("draw;dur="))
    settle(page)
    return drawing_ms, float(page.locator("#paper").get_attribute("data-milliseconds"))


def measure(page: Any, model: str, num_rounds: int) -> list[tuple[float, float]]:
    page.select_option("#model", model)
    settle(page)
    return [time_round(page, number) for number in range(num_rounds + 1)][1:]


def format_row(model: str, rounds: list[tuple[float, float]]) -> str:
    drawing, page = zip(*rounds, strict=True)
    figures = [f"{statistics.median(each):.0f} | {max(each):.0f}" for each in (drawing, page)]
    return f"| {model} | {' | '.join(figures)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with (
        serve(arguments.models) as address,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser,
    ):
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address)
        settle(page)
        names = page.locator("#model option").all_inner_texts()
        rows = [format_row(name, measure(page, name, arguments.rounds)) for name in names]
    header = (
        "| first suggestion, ms | drawing | slowest | page | slowest |\n|---|---:|---:|---:|---:|"
    )
    print(f"{timing.describe_machine()}\n\n{header}\n" + "\n".join(rows))


if __name__ == "__main__":
    main()
