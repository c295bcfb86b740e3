"""How training steps scale with batch, sequence length and size; prints a table in Markdown.

    python -m benchmarks.growth [--turn-s 5] [--limit-s 40] [--json FILE] [--plot FILE.png]

From the default model (decoder 512, encoder half of it, batches of 100) one quantity changes at a
time, on one core. The batch and the size change at N_max = 50, because the largest of them would
take minutes a step at 250. Contenders take turns of a step, up to three of them within --turn-s
seconds, and the fastest counts; what is expected to take more than --limit-s seconds is left out,
and the table says so. All rows of a sketch are real ones, so nobody saves work on padding.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks import timing
from benchmarks.contenders import Contender
from benchmarks.models import Way
from sketch_model.batch import SketchBatch
from sketch_model.config import DataSpec

AXES = {
    "batch": (32, 128, 512, 1024, 4096),
    "N_max": (50, 100, 250, 500),
    "decoder_size": (256, 512, 1024, 2048),
}
CONTENDERS = (
    Contender(way=Way.library),
    Contender(way=Way.library, bf16=True),
    Contender(),
    Contender(bf16=True),
)
NUM_STEPS = 3


class Point(NamedTuple):
    """What one measurement is of."""

    batch: int = 100
    N_max: int = 50
    decoder_size: int = 512

    @property
    def cost(self) -> float:
        """About in proportion to the arithmetic of a step."""
        return self.batch * self.N_max * self.decoder_size * (self.decoder_size + 100)


def list_points(axis: str) -> Iterator[Point]:
    """Those along an axis, the least first."""
    for value in AXES[axis]:
        yield Point()._replace(**{axis: value})


def draw_batch(point: Point) -> SketchBatch:
    """Random sketches, all as long as fit."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.zeros(point.batch, point.N_max + 1, 5)
    rows[:, 1:, :2] = torch.randn(point.batch, point.N_max, 2, generator=generator)
    rows[:, :, 2], rows[:, ::8, 2], rows[:, ::8, 3] = 1.0, 0.0, 1.0
    rows[:, 0] = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0])
    rows[:, -1] = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0])
    return SketchBatch(
        stroke5=rows,
        lengths=torch.full((point.batch,), point.N_max - 1),
        categories=torch.zeros(point.batch, dtype=torch.int64),
        positions=torch.arange(point.batch),
    )


def prepare_step(contender: Contender, point: Point, batch: SketchBatch) -> Callable[[], float]:
    """A function that takes an optimizer step and gives its seconds of processor time."""
    sizes = {"decoder_size": point.decoder_size, "encoder_size": point.decoder_size // 2}
    sized = Contender(way=contender.way, bf16=contender.bf16, sizes=sizes)
    data = DataSpec(offset_scale=1.0, N_max=point.N_max, categories=("any",), source="benchmark")
    model, compute_loss = sized.build(data)
    optimizer = torch.optim.Adam(model.parameters())

    def step() -> float:
        start_s = time.process_time()
        optimizer.zero_grad()
        compute_loss(batch, 0).backward()
        torch.nn.utils.clip_grad_value_(model.parameters(), 1.0)
        optimizer.step()
        return time.process_time() - start_s

    return step


def measure_point(point: Point, names: list[str], turn_s: float) -> dict[str, float]:
    """Seconds that the fastest step of each contender named took."""
    batch = draw_batch(point)
    steps = {
        each.name: prepare_step(each, point, batch) for each in CONTENDERS if each.name in names
    }
    fastest = dict.fromkeys(steps, float("inf"))
    spent = dict.fromkeys(steps, 0.0)
    for _ in range(NUM_STEPS):
        for name, step in steps.items():
            if spent[name] < turn_s:
                duration_s = step()
                spent[name] += duration_s
                fastest[name] = min(fastest[name], duration_s)
    gc.collect()
    return fastest


def measure_axis(axis: str, turn_s: float, limit_s: float) -> list[dict[str, Any]]:
    """Sketches/s along an axis; None for what would take longer than the limit."""
    lines: list[dict[str, Any]] = []
    expected = {each.name: 0.0 for each in CONTENDERS}
    before: Point | None = None
    for point in list_points(axis):
        growth = point.cost / before.cost if before else 1.0
        expected = {name: growth * duration_s for name, duration_s in expected.items()}
        names = [name for name, duration_s in expected.items() if duration_s <= limit_s]
        measured = measure_point(point, names, turn_s)
        rates = {
            n: round(point.batch / measured[n], 1) if n in measured else None for n in expected
        }
        lines.append({"axis": axis, **point._asdict(), "sketches_per_s": rates})
        timing.report(f"{axis} {getattr(point, axis)}: {rates}")
        expected, before = expected | measured, point
    return lines


def format_lines(lines: list[dict[str, Any]], limit_s: float) -> str:
    """A table in Markdown."""
    names = [each.name for each in CONTENDERS]
    titles = ["batch", "N_max", "decoder", *names, "fp32 ÷ nn.LSTM fp32", "bf16 ÷ nn.LSTM fp32"]
    table = [f"| {' | '.join(titles)} |", "|" + "---:|" * len(titles)]
    for line in lines:
        rates = line["sketches_per_s"]
        cells = [str(line[name]) for name in Point._fields]
        cells += [f"> {limit_s:g} s a step" if rates[n] is None else f"{rates[n]:,}" for n in names]
        for own in names[2:]:
            known = rates[own] is not None and rates[names[0]] is not None
            cells.append(f"{rates[own] / rates[names[0]]:.2f}" if known else "")
        table.append(f"| {' | '.join(cells)} |")
    return "\n".join(table)


def plot(lines: list[dict[str, Any]], title: str, path: Path) -> None:
    """One panel per axis, both scales logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), layout="constrained")
    figure.suptitle(title, fontsize=10)
    for panel, axis in zip(figure.subplots(1, len(AXES)), AXES, strict=True):
        of_axis = [line for line in lines if line["axis"] == axis]
        for contender in CONTENDERS:
            rates = [(line[axis], line["sketches_per_s"][contender.name]) for line in of_axis]
            known = [(value, rate) for value, rate in rates if rate is not None]
            style = {"marker": "o", "linestyle": "--" if contender.way else "-"}
            panel.loglog(*zip(*known, strict=True), label=contender.name, **style)
        panel.set_xticks(AXES[axis], labels=[str(value) for value in AXES[axis]], minor=False)
        panel.minorticks_off()
        panel.set(xlabel=axis, ylabel="sketches/s")
        panel.grid(alpha=0.3)
        panel.legend(fontsize=7)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Prints the table; writes figures and plot where it is told to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turn-s", type=float, default=5.0)
    parser.add_argument("--limit-s", type=float, default=40.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    timing.pin_to_one_core()
    lines = [line for axis in AXES for line in measure_axis(axis, options.turn_s, options.limit_s)]
    machine = timing.describe_machine()
    title = f"{machine['cpu']}, one core of {machine['cores']}, {machine['date']}"
    if options.json:
        figures = {"benchmark": "growth", "machine": machine, "lines": lines}
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    if options.plot:
        plot(lines, title, options.plot)
    print(f"{title}\n\n{format_lines(lines, options.limit_s)}")


if __name__ == "__main__":
    main()
