"""Checks every path on a GPU against its reference, then times it; in nine minutes at most.

    python -m benchmarks.gpu            on a GPU; writes benchmarks/gpu_<hardware>_<date>.md
    python -m benchmarks.gpu --check    the checks alone, also without a GPU: Triton's kernels are
                                        then interpreted, and what needs CUDA is named

Needs torch, triton and numpy. Batches of resident drawings come from `pipeline`, if its libraries
are there. Exits with 1 if a check fails.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

TOTAL_S = 540.0
RESERVE_S = 20.0
"""Of it, for what a section may take beyond its time."""

SECTIONS_S = {"training": 260.0, "epoch": 70.0, "sampling": 30.0}
"""What each may take; growth gets what is left."""

TARGETS = (
    ("lstm, bf16", 100, 5_000.0),
    ("lstm, bf16", 4096, 100_000.0),
    ("paper, bf16", 1024, 5_000.0),
)
"""Sketches/s asked for on one H200."""

LAYER_NORM_RATIO = 1.5
"""The plain LSTM's rate may be so many times the layer-norm LSTM's."""


def check(device: torch.device) -> tuple[list[str], bool]:
    """A table of all checks, and whether none failed."""
    from benchmarks.gpu_checks import run_checks

    lines, passed = ["| check | error | tolerance | |", "|---|---:|---:|---|"], True
    start_s = time.perf_counter()
    for outcome in run_checks(device):
        error = "" if outcome.error is None else f"{outcome.error:.1e}"
        remark = outcome.remark or outcome.verdict
        lines.append(f"| {outcome.name} | {error} | {outcome.tolerance:.0e} | {remark} |")
        passed &= outcome.verdict != "FAILED"
        report(f"{time.perf_counter() - start_s:6.1f} s  {outcome.verdict:12s} {lines[-1]}")
    return lines, passed


def measure(device: torch.device, total: Any) -> list[str]:
    """All tables of timings."""
    from benchmarks import gpu_timings as timings
    from benchmarks.gpu_batches import NotHere

    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    found: dict[tuple[str, int], Any] = {}
    for name, batch_size, measurement in timings.time_training(
        device, total.part(SECTIONS_S["training"])
    ):
        found[name, batch_size] = measurement
        report(f"{name}, batch {batch_size}: {describe(measurement)}")
    lines = [*format_training(found), *format_targets(found)]
    for title, time_it, section in (
        ("Resident drawings, default model in bf16", timings.time_epoch, "epoch"),
        ("Sampling, default model, 250 points, sketches/s", timings.time_sampling, "sampling"),
    ):
        try:
            found_here = time_it(device, total.part(SECTIONS_S[section]))
        except (NotHere, RuntimeError) as error:
            lines += ["", f"{title}: not measured: {error}"]
        else:
            lines += format_pairs(title, found_here)
    lines += ["", "Growth, default model in bf16; batch 100, N_max 250, decoder 512 unless said:"]
    lines += ["", "| | sketches/s | peak memory |", "|---|---:|---:|"]
    for name, measurement in timings.time_growth(device, total):
        lines.append(f"| {name} | {describe(measurement)} |")
        report(lines[-1])
    return lines


def describe(measurement: Any) -> str:
    """Two cells of a table."""
    rate = measurement.remark if measurement.rate is None else f"{measurement.rate:,.0f}"
    return f"{rate} | {measurement.peak_bytes / 1e9:.2f} GB"


def format_training(found: dict[tuple[str, int], Any]) -> list[str]:
    """Forward, backward, clipping and Adam, without pooling."""
    sizes = sorted({size for _, size in found})
    lines = [
        "",
        "Training, sketches/s and peak memory, padded to 250, recurrent dropout where a way",
    ]
    lines += ["has it; medians over rounds in turns:", ""]
    lines.append("| | " + " | ".join(f"batch {size} | memory" for size in sizes) + " |")
    lines.append("|---|" + "---:|---:|" * len(sizes))
    for name in dict.fromkeys(name for name, _ in found):
        cells = [describe(found[name, size]) if (name, size) in found else " | " for size in sizes]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def format_targets(found: dict[tuple[str, int], Any]) -> list[str]:
    """What was asked for, and what was found."""
    lines = ["", "| | found | asked for on an H200 | |", "|---|---:|---:|---|"]
    for name, size, target in TARGETS:
        rate = found[name, size].rate
        verdict = "not measured" if rate is None else "met" if rate >= target else "missed"
        lines.append(f"| {name}, batch {size} | {rate or 0:,.0f} | {target:,.0f} | {verdict} |")
    for size in sorted({size for _, size in found}):
        pair = [found.get((f"{cell}, bf16", size)) for cell in ("lstm", "layer_norm")]
        plain, normed = (None if each is None else each.rate for each in pair)
        if plain and normed:
            verdict = "met" if plain <= LAYER_NORM_RATIO * normed else "missed"
            ratio = f"{plain / normed:.2f}"
            lines.append(f"| lstm ÷ layer_norm, batch {size} | {ratio} | 1.5 at most | {verdict} |")
    return lines


def format_pairs(title: str, values: dict[str, Any]) -> list[str]:
    """A table of names and numbers."""
    rows = [f"| {name} | {value:,.1f} |" for name, value in values.items()]
    return ["", f"{title}:", "", "| | |", "|---|---:|", *rows]


def describe_machine(device: torch.device) -> list[str]:
    """Hardware, date and versions."""
    import triton

    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    parts = [f"torch {torch.__version__}", f"triton {triton.__version__}"]
    if device.type == "cuda":
        parts += [f"CUDA {torch.version.cuda}", f"cuDNN {torch.backends.cudnn.version()}"]
    return [f"# {hardware}, {datetime.now(UTC):%Y-%m-%d}", "", ", ".join(parts) + ".", ""]


def write(folder: Path, device: torch.device, lines: Iterable[str]) -> Path:
    """The page of this machine and day."""
    hardware = torch.cuda.get_device_name(device).replace(" ", "-").lower()
    path = folder / f"gpu_{hardware}_{datetime.now(UTC):%Y-%m-%d}.md"
    path.write_text("\n".join(lines) + "\n")
    return path


def report(line: str) -> None:
    """To who waits; stdout is for the result."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Checks, times, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="no timings")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="of the page")
    options = parser.parse_args()
    has_gpu = torch.cuda.is_available()
    if not has_gpu and not options.check:
        parser.error("there is no CUDA device: only --check runs without one")
    if not has_gpu:
        os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported, which has yet to be
        torch.set_num_threads(1)
    device = torch.device("cuda:0" if has_gpu else "cpu")
    start_s = time.monotonic()
    lines, passed = check(device)
    lines = [*describe_machine(device), *lines]
    if not options.check:
        from benchmarks.gpu_timings import Budget

        lines += measure(device, Budget(TOTAL_S - RESERVE_S - (time.monotonic() - start_s)))
        report(f"written to {write(options.folder, device, lines)}")
    print("\n".join(lines))
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
