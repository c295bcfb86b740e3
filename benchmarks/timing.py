"""What the benchmarks share: on what they ran, on one core, and in turns."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
)


def describe_machine() -> dict[str, Any]:
    """What the figures belong to: processor, cores, memory and date."""
    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "python": platform.python_version(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def pin_to_one_core() -> None:
    """Keeps this process, and those it starts from now on, on one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def alternate(
    contenders: Mapping[str, Callable[[], float]], num_rounds: int
) -> dict[str, list[float]]:
    """The figures of each contender; all take their turn in every round."""
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(num_rounds):
        for name, measure in contenders.items():
            figures[name].append(measure())
            report(f"round {number + 1} of {num_rounds}: {name} {figures[name][-1]:,.0f}")
    return figures


def medians(figures: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The middle figure of each contender."""
    return {name: statistics.median(values) for name, values in figures.items()}


def report(message: str) -> None:
    """A line for who waits; stdout is for the result alone."""
    print(message, file=sys.stderr, flush=True)


def run_child(arguments: Sequence[str], *, python: str = sys.executable) -> dict[str, Any]:
    """Runs a Python process, each of its libraries on one thread; the JSON that it ends with.

    Raises:
        subprocess.CalledProcessError: if the child fails; what it said is on stderr.
    """
    done = subprocess.run(
        [python, *arguments],
        stdout=subprocess.PIPE,
        env={**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")},
        cwd=ROOT,
        check=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))
