"""How long many drawings take, together and one by one; prints a table in Markdown.

    python -m benchmarks.drawing --model results/doodles/doodles/model [--num 10000] [--rounds 3]

Both draw what `pipeline.draw sample` draws, on one core, in turns; rates are the medians of the
rounds. One by one takes a small share of them, each with a call of its own. The whole command, from
its start to its npz file, is timed once.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks import timing
from pipeline.drawing import operations
from pipeline.drawing.artist import Artist
from pipeline.drawing.models import load_model

TOGETHER, ONE_BY_ONE = "together", "one by one"
TEMPERATURE = 0.4
ONE_OF = 50
"""One by one draws a share of 1 in so many."""


def make_contenders(artist: Artist, num: int) -> dict[str, Callable[[], float]]:
    """Each gives its drawings per second."""
    few = max(1, num // ONE_OF)

    def together() -> int:
        return len(list(operations.sample(artist, num, []).drawn()))

    def one_by_one() -> int:
        sheets = [operations.sample(replace(artist, seed=n), 1, []) for n in range(few)]
        return sum(len(list(sheet.drawn())) for sheet in sheets)

    def rate(draw: Callable[[], int]) -> float:
        begin_s = time.perf_counter()
        num_drawn = draw()
        return num_drawn / (time.perf_counter() - begin_s)

    return {TOGETHER: lambda: rate(together), ONE_BY_ONE: lambda: rate(one_by_one)}


def time_command(model: str, num: int) -> float:
    """Seconds of the whole command."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pipeline.draw", "sample", "--model", model, "--seed", "0"]
        command += ["--num", str(num), "--out", str(Path(folder) / "drawings.npz")]
        begin_s = time.perf_counter()
        subprocess.run(command, check=True, cwd=timing.ROOT, stdout=subprocess.DEVNULL)
        return time.perf_counter() - begin_s


def format_table(rates: dict[str, float], num: int, command_s: float) -> str:
    """Rates, their ratio, and the command."""
    rows = [f"| {name}, drawings/s | {rate:,.0f} |" for name, rate in rates.items()]
    rows.append(f"| ratio | {rates[TOGETHER] / rates[ONE_BY_ONE]:.1f} |")
    rows.append(f"| the command, {num:,} drawings to npz | {command_s:.1f} s |")
    return "\n".join(["| on one core | |", "|---|---:|", *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--num", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    timing.pin_to_one_core()
    model = str(Path(arguments.model).resolve())
    artist = Artist(load_model(model).model, model, TEMPERATURE, seed=0)
    operations.sample(artist, 2, [])  # compiles
    figures = timing.alternate(make_contenders(artist, arguments.num), arguments.rounds)
    table = format_table(timing.medians(figures), arguments.num, time_command(model, arguments.num))
    print(f"{timing.describe_machine()}\n\n{table}")


if __name__ == "__main__":
    main()
