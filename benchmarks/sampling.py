"""How fast sketches are drawn, beside plain loops and Google's reader; prints tables in Markdown.

    python -m benchmarks.sampling [--rounds 5] [--num 1000] [--points 200] [--json FILE]

Sketches of 200 points each, from a decoder of 512 units and M 20: told z (N_z 128) for each cell,
and on its own for the plain LSTM, which is all that Google's reader takes. A plain loop is what
public re-implementations draw with: a cell of PyTorch, a row at a time, one sketch after another.
All are on the same one core and take turns; rates are the medians of the rounds. Before anything is
timed, the peers have to give what SketchRNN does for the same rows and weights.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import google_reader, timing
from benchmarks.equality import copy_weights
from benchmarks.google_reader import GoogleReader
from benchmarks.models import PlainSketchRNN, Way
from sketch_model.config import Cell, DataSpec, ModelConfig
from sketch_model.magenta import load_google_json, save_google_json
from sketch_model.mixture import Mixture
from sketch_model.model import SketchRNN

TEMPERATURE = 0.5
TURN_S = 1.0
TOLERANCE = 1e-4
TARGETS = {"SketchRNN, one": 2.0, "SketchRNN, batch": 12.0}
NEVER = -1e4
"""Logit of the end, so that all draw the same number of points."""
PLAIN, GOOGLE = "plain loop, one", "@magenta/sketch, one"
ONE, BATCH = "SketchRNN, one", "SketchRNN, batch"


@dataclass(frozen=True)
class Task:
    """What is to be drawn: a batch of `num` sketches of `num_points` each."""

    num: int
    num_points: int


class PlainDecoder:
    """Cell and output of a peer, driven a row at a time."""

    def __init__(self, peer: PlainSketchRNN) -> None:
        self._peer = peer.eval()
        lstm = getattr(peer.decoder, "lstm", None)
        self._cell = peer.decoder.cell if lstm is None else _as_cell(lstm)
        self._is_library = lstm is not None

    def start(self, z: Tensor) -> list[Tensor]:
        """The state before the first row."""
        return self._peer.initial_state(z)

    def step(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Output and state after [row ; z]."""
        state = list(self._cell(x, tuple(state) if self._is_library else state))
        return self._peer.output(state[0]), state


def _as_cell(lstm: nn.LSTM) -> nn.LSTMCell:
    """The same as a cell: faster than `nn.LSTM` over a single row."""
    cell = nn.LSTMCell(lstm.input_size, lstm.hidden_size)
    weights = {name.removesuffix("_l0"): weight for name, weight in lstm.state_dict().items()}
    cell.load_state_dict(weights)
    return cell


@torch.no_grad()
def draw_plainly(decoder: PlainDecoder, z: Tensor, num_points: int) -> Tensor:
    """One sketch, [num_points, 5]; z is [1, N_z]."""
    state, row = decoder.start(z), torch.tensor([[0.0, 0.0, 1.0, 0.0, 0.0]])
    rows = []
    for _ in range(num_points):
        output, state = decoder.step(torch.cat([row, z], dim=1), state)
        pen, parameters = output[0, :3], output[0, 3:].view(6, -1)
        component = torch.multinomial(torch.softmax(parameters[0] / TEMPERATURE, dim=0), 1)
        state_of_pen = torch.multinomial(torch.softmax(pen / TEMPERATURE, dim=0), 1)
        x, y, log_x, log_y, rho_logit = parameters[1:, component].flatten().tolist()
        rho, spread = np.tanh(rho_logit), TEMPERATURE**0.5
        along, across = np.random.standard_normal(2)
        row = torch.zeros(1, 5)
        row[0, 0] = x + spread * np.exp(log_x) * along
        row[0, 1] = y + spread * np.exp(log_y) * (rho * along + (1 - rho**2) ** 0.5 * across)
        row[0, 2 + state_of_pen] = 1
        rows.append(row)
    return torch.cat(rows)


def build_models(
    cell: Cell, conditional: bool, sizes: dict[str, Any]
) -> tuple[SketchRNN, PlainDecoder | None]:
    """A model that never ends a sketch, and where it has a z a peer with its weights."""
    config = ModelConfig(
        encoder_cell=cell,
        decoder_cell=cell,
        conditional=conditional,
        recurrent_dropout=0.0,
        **sizes,
    )
    data = DataSpec(offset_scale=40.0, N_max=250, categories=("benchmark",), source="random")
    torch.manual_seed(0)
    model = SketchRNN(config, data).eval()
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
        model.decoder.output.bias[2] = NEVER
    if not conditional:
        return model, None
    peer = PlainSketchRNN(config, Way.library if cell is Cell.lstm else Way.loop)
    copy_weights(model, peer)
    return model, PlainDecoder(peer)


@torch.no_grad()
def differ_from_plain(model: SketchRNN, plain: PlainDecoder) -> float:
    """The largest difference of an output over some rows."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(1, model.config.N_z, generator=generator)
    state, own_state = plain.start(z), model.decoder.initial_state(z, 1)
    worst = 0.0
    for row in torch.randn(8, 1, 5, generator=generator):
        x = torch.cat([row, z], dim=1)
        output, state = plain.step(x, state)
        own_state = model.decoder.cell(x, own_state)
        own = model.decoder.output(own_state.h)
        worst = max(worst, float((output - own).abs().max()))
    return worst


@torch.no_grad()
def differ_from_google(model: SketchRNN, reader: GoogleReader) -> float:
    """The largest difference of a parameter of the first row."""
    start = [0.0, 0.0, 1.0, 0.0, 0.0]
    answer = reader.ask("pdf", rows=[start], temperature=1.0)
    state = model.decoder.initial_state(None, 1)
    state = model.decoder.cell(torch.tensor([start]), state)
    mixture = Mixture.from_output(model.decoder.output(state.h)[0])
    own = {
        "pi": torch.softmax(mixture.weight_logits, dim=0),
        "muX": mixture.mean_x,
        "muY": mixture.mean_y,
        "sigmaX": mixture.log_sigma_x.exp(),
        "corr": mixture.rho_logit.tanh(),
        "pen": torch.softmax(mixture.pen_logits, dim=0),
    }
    return max(
        float((torch.tensor(answer[name]) - parameter).abs().max())
        for name, parameter in own.items()
    )


def _expect_equal(name: str, difference: float) -> None:
    timing.report(f"{name} differs by {difference:.1e}")
    if not difference <= TOLERANCE:
        raise ArithmeticError(
            f"{name} differs from SketchRNN by {difference}, more than {TOLERANCE}"
        )


def rate(draw: Callable[[], Any], num: int) -> float:
    """Sketches per second; a call draws `num` of them."""
    start, calls = time.perf_counter(), 0
    while (seconds := time.perf_counter() - start) < TURN_S or calls == 0:
        draw()
        calls += 1
    return num * calls / seconds


def list_own(model: SketchRNN, task: Task) -> dict[str, Callable[[], float]]:
    """This project's contenders."""

    def draw(num: int) -> None:
        sketches = model.sample(num, seed=0, temperature=TEMPERATURE, max_length=task.num_points)
        assert {len(sketch) for sketch in sketches} == {task.num_points}

    return {
        ONE: partial(rate, partial(draw, 1), 1),
        BATCH: partial(rate, partial(draw, task.num), task.num),
    }


def compare_cell(cell: Cell, sizes: dict[str, Any], task: Task, num_rounds: int) -> dict[str, Any]:
    """With the plain loop, told z."""
    model, plain = build_models(cell, True, sizes)
    assert plain is not None
    _expect_equal(f"plain loop, {cell}", differ_from_plain(model, plain))
    z = torch.randn(1, model.config.N_z)
    contenders = {
        PLAIN: partial(rate, partial(draw_plainly, plain, z, task.num_points), 1),
        **list_own(model, task),
    }
    return _measure(f"{cell}, told z", contenders, TARGETS, num_rounds)


def compare_google(sizes: dict[str, Any], task: Task, num_rounds: int) -> dict[str, Any]:
    """With Google's reader: a plain LSTM on its own, from the same file."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = Path(folder) / "benchmark.gen.json"
        save_google_json(build_models(Cell.lstm, False, sizes)[0], path)
        reader = stack.enter_context(GoogleReader(path))
        model = load_google_json(path)
        _expect_equal("@magenta/sketch", differ_from_google(model, reader))
        with torch.no_grad():
            model.decoder.output.bias[2] = NEVER  # Google's reader goes on after an end

        def draw_by_google() -> float:
            request = {"num": task.num_points, "temperature": TEMPERATURE, "to_end": False}
            return 1.0 / float(reader.ask("draw", **request)["seconds"])

        contenders = {GOOGLE: draw_by_google, **list_own(model, task)}
        return _measure("lstm, decoder-only", contenders, {}, num_rounds)


def _measure(
    title: str,
    contenders: dict[str, Callable[[], float]],
    targets: dict[str, float],
    num_rounds: int,
) -> dict[str, Any]:
    """Ratios are to the first contender."""
    timing.report(title)
    timing.alternate(contenders, 1)  # to warm up, and to compile
    rates = timing.medians(timing.alternate(contenders, num_rounds))
    first = next(iter(rates.values()))
    rows = [
        {"name": name, "sketches_per_s": figure, **_judge(figure / first, targets.get(name))}
        for name, figure in rates.items()
    ]
    return {"title": title, "num_rounds": num_rounds, "rows": rows}


def _judge(ratio: float, target: float | None) -> dict[str, Any]:
    judgement = {} if target is None else {"target": target, "met": ratio >= target}
    return {"ratio": round(ratio, 2), **judgement}


def format_section(section: dict[str, Any]) -> str:
    """A table in Markdown."""
    first = section["rows"][0]["name"]
    lines = [
        f"{section['title']}; medians of {section['num_rounds']} rounds.",
        "",
        f"| | sketches/s | ms a sketch | ÷ {first} | asked for |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in section["rows"]:
        name = f"**{row['name']}**" if row["name"].startswith("SketchRNN") else row["name"]
        target = f"{row['target']:g}{'' if row['met'] else ' — missed'}" if "target" in row else ""
        figure = row["sketches_per_s"]
        lines.append(
            f"| {name} | {figure:,.2f} | {1e3 / figure:,.2f} | {row['ratio']:.1f} | {target} |"
        )
    return "\n".join(lines)


def run(sizes: dict[str, Any], task: Task, num_rounds: int) -> dict[str, Any]:
    """All figures."""
    torch.set_num_threads(1)
    timing.pin_to_one_core()
    sections = [compare_cell(cell, sizes, task, num_rounds) for cell in Cell]
    if lack := google_reader.find_lack():
        timing.report(f"LEFT OUT, NOT MEASURED: @magenta/sketch; {lack}")
    else:
        sections.append(compare_google(sizes, task, num_rounds))
    return {
        "benchmark": "sampling",
        "machine": timing.describe_machine(),
        "torch": torch.__version__,
        "num": task.num,
        "num_points": task.num_points,
        "sizes": sizes,
        "left_out": lack,
        "sections": sections,
    }


def main() -> None:
    """Prints the tables, and writes the figures to a file if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--num", type=int, default=1000, help="sketches of a batch")
    parser.add_argument("--points", type=int, default=200, help="of every sketch")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    figures = run({}, Task(options.num, options.points), options.rounds)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    machine = figures["machine"]
    print(
        f"{machine['cpu']}, one core of {machine['cores']}, torch {figures['torch']},"
        f" {machine['date']}; {figures['num_points']} points a sketch, {figures['num']} a batch.\n"
    )
    print("\n\n".join(format_section(section) for section in figures["sections"]))


if __name__ == "__main__":
    main()
