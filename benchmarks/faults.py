"""Proves that a training survives what happens to it; `make prove` runs it.

    python -m benchmarks.faults [--kills 20] [--signals 20] [--positions 50] [--processes 1 2 4 1]

A tiny model is trained by the real command and tracked in a local store of MLflow. The command is
killed, asked to stop, and gone on with by other numbers of processes, at moments that a seed
decides; the end must be that of a training that nothing happened to. 0 leaves a proof out.

Writes benchmarks/faults_<hardware>_<date>.md, and ends with 1 if something differs.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from benchmarks import timing
from benchmarks.proofs import (
    Laboratory,
    Proof,
    prove_positions,
    prove_processes,
    prove_signals,
)

NUM_DRAWINGS = 300


def prove(options: argparse.Namespace, folder: Path) -> Iterator[Proof]:
    """All that is asked for, one after the other."""
    laboratory = Laboratory(folder, options.steps, NUM_DRAWINGS)
    took_s = laboratory.undisturbed_attempt.times_s
    timing.report(f"undisturbed: begins after {took_s[0]:.1f} s, ends after {took_s[-1]:.1f} s")
    if options.positions:
        yield prove_positions(laboratory, options.positions)
    if options.kills:
        yield prove_signals(laboratory, options.kills, [signal.SIGKILL], options.seed)
    if options.signals:
        numbers = [signal.SIGTERM, signal.SIGUSR1]
        yield prove_signals(laboratory, options.signals, numbers, options.seed + 1)
    if len(options.processes) > 1:
        yield prove_processes(laboratory, options.processes, options.seed + 2)


def format_page(proofs: Sequence[Proof], duration_s: float) -> str:
    """The table, and what it belongs to."""
    machine = timing.describe_machine()
    lines = [
        f"# What training survives: {machine['cpu']}, {machine['date']}",
        "",
        f"`{' '.join(['python -m benchmarks.faults', *sys.argv[1:]])}`: {machine['cores']} cores,"
        f" load {os.getloadavg()[2]:.1f}, Python {machine['python']}, torch {torch.__version__},"
        f" {duration_s / 60:.0f} minutes.",
        "",
        "| | went on as it should | | |",
        "|---|---:|---|---|",
    ]
    for proof in proofs:
        verdict = "ok" if proof.holds else f"**FAILED** {'; '.join(proof.faults)}"
        held = f"{proof.num_held} of {proof.num}"
        lines.append(f"| {proof.what} | {held} | {'; '.join(proof.remarks)} | {verdict} |")
    return "\n".join(lines) + "\n"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="with SIGKILL; 0 or at least 2")
    parser.add_argument("--signals", type=int, default=20, help="SIGTERM and SIGUSR1 in turns")
    parser.add_argument("--positions", type=int, default=50, help="steps to stop after")
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2, 4, 1])
    parser.add_argument("--steps", type=int, default=200, help="of the training, a multiple of 10")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="of the page")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options, begun_s = parse(arguments), time.monotonic()
    options.folder.mkdir(parents=True, exist_ok=True)
    proofs = []
    with tempfile.TemporaryDirectory() as folder:
        for proof in prove(options, Path(folder)):
            proofs.append(proof)
            timing.report(f"{proof.what}: {proof.num_held} of {proof.num} {proof.faults or ''}")
    page = format_page(proofs, time.monotonic() - begun_s)
    machine = timing.describe_machine()
    hardware = "-".join(machine["cpu"].lower().split())
    path = options.folder / f"faults_{hardware}_{machine['date']}.md"
    path.write_text(page)
    print(page)
    sys.exit(0 if all(proof.holds for proof in proofs) else 1)


if __name__ == "__main__":
    main()
