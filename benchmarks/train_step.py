"""How fast the default model trains, beside plain PyTorch; prints tables in Markdown.

    python -m benchmarks.train_step [--rounds 5] [--narrow-rounds 3] [--json FILE] [--only WORDS]

Encoder 2 x 256, decoder 512, M 20, N_z 128, batches of 100, N_max 250; recurrent dropout, but for
`nn.LSTM`, which has none. Every contender (benchmarks/contenders.py) is a process of its own on one
thread, all on the same core with denormals flushed; some at a time take turns with plain `nn.LSTM`,
which their ratios are to. Rates are per second of processor time. Before anything is timed, each
peer is given the weights of `SketchRNN` and has to give its loss and gradients
(benchmarks/equality.py).

Drawings are cats and suns from $QUICKDRAW_ROOT; without it doodles, as the output then says.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import shards, timing
from benchmarks.contenders import Contender
from benchmarks.equality import TOLERANCE, differ
from benchmarks.models import Way
from benchmarks.workers import Worker
from pipeline.data.dataset import ShardedSketches
from sketch_model.batch import to_stroke5
from sketch_model.config import Cell

WARM_UP_TURNS = {Way.script: 2}
"""TorchScript watches a first step and compiles in the second; one is enough for all others."""
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "8000000000"}
"""With it glibc keeps large blocks, which it else gives back and faults in again at every step."""
CHECKED_SKETCHES = 4
GROUP_SIZE = 4
"""Contenders that are there at a time, beside the first: a loop over a HyperLSTM holds some GB."""


@dataclass(frozen=True)
class Section:
    """Contenders that are compared with each other.

    Attributes:
        title: of its table.
        word: category that is trained on.
        contenders: the first is what the others are divided by.
        targets: ratios to the first that are asked for, by name.
    """

    title: str
    word: str
    contenders: list[Contender]
    targets: dict[str, float] = field(default_factory=dict)


def list_sections(sizes: dict[str, Any]) -> list[Section]:
    """All that is measured, of models of these sizes."""
    return [
        _compare_padded(sizes),
        _compare_narrow("cat", 9.0, sizes),
        _compare_narrow("sun", 12.0, sizes),
    ]


def _compare_padded(sizes: dict[str, Any]) -> Section:
    pairs = [*((cell, cell) for cell in Cell), (Cell.lstm, Cell.hyper)]
    loops = [
        Contender(way=way, encoder=encoder, decoder=decoder, sizes=sizes)
        for way in (Way.loop, Way.script)
        for encoder, decoder in pairs
    ]
    own = [
        Contender(encoder=encoder, decoder=decoder, bf16=bf16, sizes=sizes)
        for bf16 in (False, True)
        for encoder, decoder in pairs
    ]
    targets = dict(zip([each.name for each in own[:5]], (1.2, 1.0, 0.5, 0.5, 3.0), strict=True))
    contenders = [
        Contender(way=Way.library, sizes=sizes),
        Contender(way=Way.library, keeps_memory=True, sizes=sizes),
        Contender(way=Way.library, bf16=True, sizes=sizes),
        Contender(way=Way.packed, sizes=sizes),
        *loops,
        *own,
        *(Contender(bf16=bf16, keeps_memory=True, sizes=sizes) for bf16 in (False, True)),
    ]
    return Section("Padded to N_max, cat", "cat", contenders, targets)


def _compare_narrow(word: str, target: float, sizes: dict[str, Any]) -> Section:
    own = Contender(bf16=True, narrow=True, sizes=sizes)
    contenders = [
        Contender(way=Way.library, sizes=sizes),
        Contender(way=Way.library, narrow=True, sizes=sizes),
        Contender(way=Way.library, bf16=True, narrow=True, sizes=sizes),
        Contender(narrow=True, sizes=sizes),
        own,
        Contender(bf16=True, narrow=True, keeps_memory=True, sizes=sizes),
        *(
            Contender(encoder=cell, decoder=cell, bf16=True, narrow=True, sizes=sizes)
            for cell in (Cell.layer_norm, Cell.hyper)
        ),
    ]
    return Section(f"As training has its batches, {word}", word, contenders, {own.name: target})


def check_peers(contenders: Sequence[Contender], manifest: Path) -> float:
    """The largest difference of a peer from `SketchRNN`, on some drawings.

    Raises:
        ArithmeticError: if one computes another function.
    """
    train = ShardedSketches(manifest, "train")
    packed = train.gather(train.lengths.argsort()[: 50 * CHECKED_SKETCHES : 50])
    batch = to_stroke5(packed, offset_scale=train.manifest.offset_scale)
    worst = 0.0
    for contender in contenders:
        if contender.way is None:
            continue
        difference = differ(contender, batch, train.manifest.N_max)
        timing.report(f"{contender.name} differs by {difference:.1e}")
        if not difference <= TOLERANCE:
            raise ArithmeticError(
                f"{contender.name} differs from SketchRNN by {difference}, more than {TOLERANCE}"
            )
        worst = max(worst, difference)
    return worst


def measure(section: Section, manifest: Path, num_rounds: int) -> dict[str, Any]:
    """Medians over the rounds, and what stands beside them in the table."""
    first, *others = section.contenders
    num_groups = -(-len(others) // GROUP_SIZE)
    rows: list[dict[str, Any]] = []
    for number in range(num_groups):
        group = [first, *others[number::num_groups]]
        rows += measure_group(group, section.targets, manifest, num_rounds)
    by_name = {row["name"]: row for row in reversed(rows)}  # the first contender's first figure
    return {
        "title": section.title,
        "num_rounds": num_rounds,
        "rows": [by_name[each.name] for each in section.contenders],
    }


def measure_group(
    group: Sequence[Contender], targets: dict[str, float], manifest: Path, num_rounds: int
) -> list[dict[str, Any]]:
    """A row for each of some contenders, who take turns; ratios are to the first."""
    turns: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        contenders: dict[str, Callable[[], float]] = {}
        for contender in group:
            worker = Worker(
                ["-m", "benchmarks.trainers", contender.to_json(), str(manifest)],
                KEEP_MEMORY if contender.keeps_memory else {},
            )
            contenders[contender.name] = _ask(stack.enter_context(worker), contender.name, turns)
            for _ in range(WARM_UP_TURNS.get(contender.way, 1)):
                timing.report(f"{contender.name} warms up: {contenders[contender.name]():,.0f}")
        rates = timing.medians(timing.alternate(contenders, num_rounds))
    return [
        {
            "name": name,
            "sketches_per_s": round(rate, 1),
            "rows_per_sketch": round(turns[name]["rows_per_sketch"], 1),
            "share_of_core": round(turns[name]["share_of_core"], 2),
            "peak_gb": round(turns[name]["peak_bytes"] / 1e9, 1),
            **_judge(rate / rates[group[0].name], targets.get(name)),
        }
        for name, rate in rates.items()
    ]


def _ask(worker: Worker, name: str, turns: dict[str, dict[str, Any]]) -> Callable[[], float]:
    def take_turn() -> float:
        turns[name] = worker.ask()
        return float(turns[name]["sketches_per_s"])

    return take_turn


def _judge(ratio: float, target: float | None) -> dict[str, Any]:
    judgement = {} if target is None else {"target": target, "met": ratio >= target}
    return {"ratio": round(ratio, 2), **judgement}


def format_section(section: dict[str, Any]) -> str:
    """A table in Markdown."""
    lines = [
        f"{section['title']}; medians of {section['num_rounds']} rounds.",
        "",
        "| | sketches/s | rows a sketch | memory, GB | ÷ nn.LSTM fp32 | asked for |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in section["rows"]:
        name = f"**{row['name']}**" if row["name"].startswith("SketchRNN") else row["name"]
        target = f"{row['target']}{'' if row['met'] else ' — missed'}" if "target" in row else ""
        lines.append(
            f"| {name} | {row['sketches_per_s']:,.1f} | {row['rows_per_sketch']:.1f}"
            f" | {row['peak_gb']:.1f} | {row['ratio']:.2f} | {target} |"
        )
    return "\n".join(lines)


def select(section: Section, words: Sequence[str]) -> Section:
    """The first contender, and those whose names contain one of the words; all if there is none."""
    first, *others = section.contenders
    chosen = [each for each in others if any(word in each.name for word in words or [""])]
    return replace(section, contenders=[first, *chosen])


def run(
    sizes: dict[str, Any], num_rounds: int, num_narrow_rounds: int, words: Sequence[str] = ()
) -> dict[str, Any]:
    """All figures."""
    torch.set_num_threads(1)
    timing.pin_to_one_core()
    sections = []
    with tempfile.TemporaryDirectory() as folder:
        listed = [select(section, words) for section in list_sections(sizes)]
        configs = {word: shards.write_shards(Path(folder), word) for word in ("cat", "sun")}
        manifests = {word: config.manifest_path for word, config in configs.items()}
        worst = check_peers(listed[0].contenders, manifests["cat"])
        for section in listed:
            rounds = num_rounds if section is listed[0] else num_narrow_rounds
            if len(section.contenders) == 1 or rounds == 0:
                continue
            sections.append(measure(section, manifests[section.word], rounds))
    return {
        "benchmark": "train_step",
        "machine": timing.describe_machine(),
        "torch": torch.__version__,
        "drawings": shards.whose(),
        "sizes": sizes,
        "peers_differ_by": worst,
        "sections": sections,
    }


def main() -> None:
    """Prints the tables, and writes the figures to a file if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of a step each, padded to N_max")
    parser.add_argument(
        "--narrow-rounds", type=int, default=3, help="of 20 steps each, of narrow batches; 0: none"
    )
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument(
        "--sizes", type=json.loads, default={}, help='of another model: {"decoder_size": 256}'
    )
    parser.add_argument("--only", nargs="+", default=[], help="words of the contenders' names")
    options = parser.parse_args()
    figures = run(options.sizes, options.rounds, options.narrow_rounds, options.only)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    machine = figures["machine"]
    print(
        f"{machine['cpu']}, one core of {machine['cores']}, torch {figures['torch']},"
        f" {machine['date']}; {figures['drawings']}; peers equal SketchRNN to"
        f" {figures['peers_differ_by']:.0e}.\n"
    )
    print("\n\n".join(format_section(section) for section in figures["sections"]))


if __name__ == "__main__":
    main()
