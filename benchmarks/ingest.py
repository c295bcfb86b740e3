"""How fast drawings become shards, beside parsers that only parse; prints one JSON line.

    python -m benchmarks.ingest [--drawings 400000] [--rounds 5] [--folder /tmp]

All contenders take turns, each in a process of its own on the same one core. Parsers go as far as
arrays of points and strokes (benchmarks/parsers.py), the ingest to shards on disk with checksums.
All read the same file, of jittered doodles (benchmarks/drawings.py); raw lines come from
$QUICKDRAW_ROOT where it is set, else from the generator. The peers' Python is made by
`make bench-env`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import orjson

from benchmarks import memory, timing
from benchmarks.drawings import write_binary, write_simplified
from benchmarks.parsers import LOOP, PARSERS
from pipeline.config import Config, Format, Source, SourceConfig, UserError
from pipeline.doodles import CATEGORIES, generate_raw
from pipeline.ingest.driver import ingest

WORD = "mixed"
SMALL_DRAWINGS = 4096
"""Ingested first, so that nothing is loaded or compiled while the clock runs."""
RAW_DRAWINGS = 20_000
GENERATED_RAW_DRAWINGS = 280
"""Of each kind; repeated up to RAW_DRAWINGS, as the real ones are."""
LONGER = 10
TARGETS = {
    "simplified_over_fastest_parser": 0.7,
    "simplified_over_orjson_loop": 3.0,
    "binary_over_simplified": 2.0,
    "raw_drawings_per_s": 20_000.0,
}
MAX_PEAK_MB = 600
FLAT = 1.15
"""Memory that grows by less, for a file ten times as long, is called the same."""


def ingest_once(form: Format, root: Path) -> dict[str, Any]:
    """Ingests the category below `root`; drawings, seconds and memory."""
    with tempfile.TemporaryDirectory(dir=root) as folder:
        list(ingest(_configure(form, root / "small", f"{folder}/small")))
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        (done,) = ingest(_configure(form, root, f"{folder}/whole"))
        duration_s, cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    counts = done.manifest.counts
    return {
        "num_drawings": sum(counts.drawings.values()) + sum(counts.filtered.values()),
        "num_rejected": sum(counts.rejected.values()),
        "duration_s": duration_s,
        "cpu_s": cpu_s,
        "peak_bytes": memory.measure_peak_bytes(),
    }


def _configure(form: Format, root: Path, data_dir: str) -> Config:
    return Config(
        name="ingest",
        categories=[WORD],
        source=SourceConfig(name=Source.local, root=str(root), format=form),
        data_dir=data_dir,
        results_dir=data_dir,
        num_workers=1,
    )


def write_raw(root: Path, num: int) -> str:
    """Writes `num` raw lines of all kinds as one category; says whose they are."""
    real = os.environ.get("QUICKDRAW_ROOT")
    lines = _read_raw(Path(real)) if real else _generate_raw()
    renamed = [orjson.dumps(orjson.loads(line) | {"word": WORD}) + b"\n" for line in lines]
    path = root / "full" / "raw" / f"{WORD}.ndjson"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.writelines(islice(cycle(renamed), num))
    return "Quick, Draw!" if real else "doodles"


def _read_raw(root: Path) -> Iterator[bytes]:
    for path in sorted((root / "full" / "raw").glob("*.ndjson")):
        yield from path.read_bytes().splitlines()


def _generate_raw() -> Iterator[bytes]:
    for kind in CATEGORIES:
        yield from generate_raw(kind, GENERATED_RAW_DRAWINGS, seed=0)


def write_sources(root: Path, num: int) -> str:
    """The same drawings simplified and binary, and raw ones; small ones of each to warm up."""
    for folder, size in ((root, num), (root / "small", SMALL_DRAWINGS)):
        write_simplified(folder, WORD, size)
        write_binary(folder, WORD, size)
        whose = write_raw(folder, min(RAW_DRAWINGS, size))
    return whose


def ingest_in_child(form: Format, root: Path) -> dict[str, Any]:
    """What `ingest_once` says, in a process of its own."""
    arguments = ["-m", "benchmarks.ingest", "--only", str(form), "--folder", str(root)]
    return timing.run_child(arguments)


class Contenders:
    """Functions that give drawings/s; beside that they note drawings per second of CPU time.

    The two are alike on a quiet machine, where only writing to disk is waited for.
    """

    def __init__(self, root: Path, num: int, peer_python: str) -> None:
        self._root, self._num, self._peer_python = root, num, peer_python
        forms = (Format.simplified, Format.binary, Format.raw)
        self.functions: dict[str, Callable[[], float]] = {
            **{name: partial(self._parse, name) for name in (*PARSERS, LOOP)},
            **{f"ingest_{form}": partial(self._ingest, form) for form in forms},
        }
        self.per_cpu_s: dict[str, list[float]] = {name: [] for name in self.functions}

    def _parse(self, name: str) -> float:
        script = str(timing.ROOT / "benchmarks" / "parsers.py")
        path = str(self._root / "full" / "simplified" / f"{WORD}.ndjson")
        found = timing.run_child([script, name, path], python=self._peer_python)
        return self._rate(name, found, self._num)

    def _ingest(self, form: Format) -> float:
        num = min(self._num, RAW_DRAWINGS) if form is Format.raw else self._num
        return self._rate(f"ingest_{form}", ingest_in_child(form, self._root), num)

    def _rate(self, name: str, found: dict[str, Any], num: int) -> float:
        if found["num_drawings"] + found.get("num_rejected", 0) != num:
            raise AssertionError(f"{name} found {found} of {num} drawings")
        self.per_cpu_s[name].append(found["num_drawings"] / found["cpu_s"])
        return float(found["num_drawings"] / found["duration_s"])


def compare(rates: dict[str, float]) -> dict[str, Any]:
    """The ratios that are promised, beside what is promised."""
    fastest = max(PARSERS, key=lambda name: rates[name])
    simplified = rates["ingest_simplified"]
    found = {
        "simplified_over_fastest_parser": simplified / rates[fastest],
        "simplified_over_orjson_loop": simplified / rates[LOOP],
        "binary_over_simplified": rates["ingest_binary"] / simplified,
        "raw_drawings_per_s": rates["ingest_raw"],
    }
    return {"fastest_parser": fastest} | {
        name: {"value": round(value, 2), "target": TARGETS[name], "met": value >= TARGETS[name]}
        for name, value in found.items()
    }


def measure_memory(folder: Path, num: int) -> dict[str, Any]:
    """Peak memory of an ingest of `num` drawings, and of one of ten times as many."""
    peaks_mb = {}
    for size in (num, LONGER * num):
        root = folder / f"memory-{size}"
        write_simplified(root, WORD, size)
        write_simplified(root / "small", WORD, SMALL_DRAWINGS)
        found = ingest_in_child(Format.simplified, root)
        peaks_mb[size] = round(found["peak_bytes"] / 1e6)
        timing.report(f"peak memory with {size:,} drawings: {peaks_mb[size]} MB")
        shutil.rmtree(root)
    low, high = peaks_mb.values()
    return {
        "peak_mb": peaks_mb,
        "target_mb": MAX_PEAK_MB,
        "growth": round(high / low, 2),
        "met": high <= MAX_PEAK_MB and high <= FLAT * low,
    }


def measure(num: int, num_rounds: int, parent: str | None, peer_python: str) -> dict[str, Any]:
    """All figures."""
    with tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        raw_source = write_sources(folder, num)
        size_bytes = (folder / "full" / "simplified" / f"{WORD}.ndjson").stat().st_size
        timing.pin_to_one_core()
        contenders = Contenders(folder, num, peer_python)
        rates = timing.medians(timing.alternate(contenders.functions, num_rounds))
        per_cpu_s = timing.medians(contenders.per_cpu_s)
        return {
            "benchmark": "ingest",
            "machine": timing.describe_machine(),
            "num_drawings": num,
            "bytes_per_line": round(size_bytes / num, 1),
            "num_rounds": num_rounds,
            "raw_source": raw_source,
            "drawings_per_s": {name: round(rate) for name, rate in rates.items()},
            "drawings_per_cpu_s": {name: round(rate) for name, rate in per_cpu_s.items()},
            **compare(rates),
            "memory": measure_memory(folder, num // 4),
        }


def find_peer_python() -> str:
    """The Python that has the parsers.

    Raises:
        UserError: if there is none.
    """
    for name in (".venv-bench-parsers", ".venv-bench"):
        python = timing.ROOT / name / "bin" / "python"
        if python.exists():
            return str(python)
    raise UserError(
        "there is no Python with the parsers that the ingest is compared with: run `make bench-env`"
    )


def main() -> None:
    """Prints the figures as one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drawings", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where some GB of data may lie for a while")
    parser.add_argument("--only", type=Format, help="ingest what is in --folder, once")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(ingest_once(options.only, Path(options.folder))))
        return
    figures = measure(options.drawings, options.rounds, options.folder, find_peer_python())
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
