"""The search: what it costs beside its trials, what ASHA saves, what a killed driver loses.

    python -m benchmarks.search                                         # all four
    python -m benchmarks.search overhead --steps 1000 --rounds 3        # or some of them

Trains small models of generated doodles; prints what it finds, and writes it into --folder as
search_<cpu>_<date>.md.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks import timing
from pipeline.entry import compose
from pipeline.search import tuner
from pipeline.search.outcome import Goal, Trial
from pipeline.search.record import of_a_trial, settle_paths
from pipeline.search.space import read_space
from pipeline.search.trial import IS_FINAL, STEP, Trials, train_and_publish
from pipeline.training.interruption import Interruption

GOAL = Goal(("rate_nats", "distortion_nats"))
DATA = ["+experiment=smoke", "source.num_drawings=600", "tracking.enabled=false"]
SPACE = ["search.minimize=[rate_nats,distortion_nats]", "search.algorithm=random"]
WHAT = ("overhead", "asha", "kills", "dummies")
LINES: list[str] = []
_LOOP = "--loop"
"""How this program calls itself."""


@dataclass(frozen=True)
class Dummies:
    """Trials that train nothing."""

    config: Any
    folder: Path

    def folder_of(self, values: Any) -> Path:
        return self.folder

    def run(self, values: Any, report: Callable[[dict[str, Any]], None], train: Any) -> None:
        for step in range(1, 6):
            figures = {"rate_nats": values["loss.w_KL"] / step, "distortion_nats": 1.0}
            report({STEP: step, IS_FINAL: step == 5} | figures)


def say(line: str) -> None:
    LINES.append(line)
    timing.report(line)


def run(module: str, *overrides: str, folder: Path) -> str:
    """A command of this project, and what it printed."""
    command = [sys.executable, "-m", f"pipeline.{module}", *DATA, *overrides]
    done = subprocess.run(
        command, cwd=folder, env=_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return done.stdout


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}


def read_trials(folder: Path, name: str) -> list[dict[str, str]]:
    path = folder / "results" / "doodles" / "smoke" / "search" / name / "trials.csv"
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def dummies(folder: Path, num: int) -> None:
    """Many trials, and the memory of the driver meanwhile."""
    overrides = [*DATA, *SPACE, f"search.num_trials={num}", "search.name=dummies"]
    overrides.append("+search.space.loss.w_KL={low:0.1,high:1.0}")
    config = of_a_trial(settle_paths(compose(overrides)))
    tuner.prepare(config)
    resident: dict[int, float] = {}
    begun_s = time.monotonic()

    def watch(trials: list[Trial], ended: Trial | None) -> None:
        num_ended = sum(trial.status.value == "finished" for trial in trials)
        resident[num_ended] = psutil.Process().memory_info().rss / 2**20

    tuner.run(
        Dummies(config, folder), read_space(config), GOAL, folder / "tune", watch, Interruption()
    )
    quarter = resident[num // 4]
    say(
        f"{num} dummy trials of 5 reports: all finished: {max(resident) == num}, in"
        f" {time.monotonic() - begun_s:.0f} s; memory of the driver {quarter:.0f} MiB after"
        f" {num // 4} trials, {resident[num]:.0f} MiB after {num}"
    )


def kills(folder: Path, num: int, seed: int) -> None:
    """SIGKILL of the driver, and the same command again; the result beside an undisturbed one."""
    search = [
        *SPACE,
        *("search.num_trials=6", "search.max_concurrent=2", "search.max_steps=40"),
        "+search.space.loss.w_KL={low:0.1,high:1.0}",
    ]
    begun_s = time.monotonic()
    run("search", *search, "search.name=undisturbed", folder=folder)
    duration_s = time.monotonic() - begun_s
    moments = random.Random(seed)
    command = [sys.executable, "-m", "pipeline.search", *DATA, *search, "search.name=killed"]
    num_killed = 0
    while num_killed < num:
        driver = subprocess.Popen(
            command, cwd=folder, env=_environment(), stdout=subprocess.DEVNULL
        )
        try:
            driver.wait(moments.uniform(0.3, 0.9) * duration_s)
            break  # it finished before its moment
        except subprocess.TimeoutExpired:
            os.kill(driver.pid, signal.SIGKILL)
            driver.wait()
            num_killed += 1
            timing.report(f"killed {num_killed} of {num}")
    run("search", *search, "search.name=killed", folder=folder)
    columns = ("number", "loss.w_KL", "status", "step", "rate_nats", "distortion_nats")
    undisturbed, killed = (
        [[row[column] for column in columns] for row in read_trials(folder, name)]
        for name in ("undisturbed", "killed")
    )
    logs = [*folder.glob("runs/search-smoke-killed-*/trials/*/log.txt")]
    begun = [log.read_text().count("from step 0") for log in logs]
    say(
        f"SIGKILL of the driver at {num_killed} moments: table equal to that of an undisturbed"
        f" search: {undisturbed == killed}; {len(logs)} trials, begun anew {sum(begun) - len(logs)}"
        " times (killed before their first checkpoint)"
    )


def overhead(folder: Path, num_trials: int, rounds: int, steps: int) -> None:
    """One search, and a loop over the same trials in one process, in turns.

    Where a machine's speed changes from one minute to the next, a search beside its own trials'
    durations says more than a search beside a loop.
    """
    values = [0.1 + 0.8 * index / num_trials for index in range(num_trials)]
    listed = "[" + ",".join(map(str, values)) + "]"
    grid = [
        f"+search.space.loss.w_KL={listed}",
        *("search.algorithm=grid", "search.max_concurrent=1", f"search.max_steps={steps}"),
        *("search.minimize=[rate_nats,distortion_nats]", f"search.validate_every={min(50, steps)}"),
    ]
    table = [
        "| round | search, s | its trials, s | loop, s | search ÷ trials | search ÷ loop |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    shares, ratios = [], []
    for number in range(rounds):
        begun_s = time.monotonic()
        run("search", *grid, f"search.name=o{number}", folder=folder)
        search_s, begun_s = time.monotonic() - begun_s, time.monotonic()
        command = [sys.executable, "-m", "benchmarks.search", _LOOP, str(folder / f"l{number}")]
        subprocess.run(
            [*command, *grid], cwd=folder, env=_environment(), check=True, capture_output=True
        )
        loop_s = time.monotonic() - begun_s
        trials_s = sum(float(row["duration_s"]) for row in read_trials(folder, f"o{number}"))
        shares.append(search_s / trials_s)
        ratios.append(search_s / loop_s)
        table.append(
            f"| {number + 1} | {search_s:.1f} | {trials_s:.1f} | {loop_s:.1f}"
            f" | {shares[-1]:.3f} | {ratios[-1]:.3f} |"
        )
        timing.report(table[-1])
    say(
        f"{num_trials} trials of {steps} steps one after another: a search takes"
        f" {statistics.median(shares):.3f} times its own trials, and"
        f" {statistics.median(ratios):.3f} times a loop in one process, start, table and page"
        " included\n\n" + "\n".join(table) + "\n"
    )


def loop(folder: Path, overrides: Sequence[str]) -> None:
    """What a person would write without a search."""
    config = of_a_trial(settle_paths(compose([*DATA, *overrides])))
    trials = Trials(config, folder, {})
    for value in config.search.space["loss"]["w_KL"]:
        trials.run({"loss.w_KL": value}, lambda report: None, train_and_publish)


def asha(folder: Path, num_trials: int, steps: int) -> None:
    """The same values with and without ASHA: the best figure, and the steps that it took."""
    search = [
        *("search.algorithm=random", f"search.num_trials={num_trials}"),
        *("search.minimize=[bound_nats]", f"search.max_steps={steps}", "search.validate_every=20"),
        "+search.space.train.learning_rate={low:1e-4,high:3e-2,log:true}",
        "+search.space.model.M=[5,10,20]",
    ]
    found = {}
    for name, more in (("whole", []), ("asha", ["search.asha=true"])):
        run("search", *search, *more, f"search.name={name}", folder=folder)
        rows = read_trials(folder, name)
        best = min(float(row["bound_nats"]) for row in rows if row["status"] == "finished")
        found[name] = best, sum(int(row["step"]) for row in rows)
    (best, all_steps), (best_asha, asha_steps) = found["whole"], found["asha"]
    say(
        f"ASHA, {num_trials} trials of {steps} steps: {asha_steps} steps instead of {all_steps}"
        f" ({asha_steps / all_steps:.2f}), best bound {best_asha:.2f} beside {best:.2f} nats"
    )


def measure(options: argparse.Namespace, folder: Path) -> None:
    """What is asked for."""
    run("ingest", folder=folder)
    run("prepare", folder=folder)
    if "overhead" in options.what:
        overhead(folder, options.trials, options.rounds, options.steps)
    if "asha" in options.what:
        asha(folder, 16, 180)
    if "kills" in options.what:
        kills(folder, options.kills, options.seed)
    if "dummies" in options.what:
        os.chdir(folder)
        dummies(folder, options.dummies)


def main() -> None:
    if sys.argv[1:2] == [_LOOP]:
        return loop(Path(sys.argv[2]), sys.argv[3:])
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", help=f"of {', '.join(WHAT)}; all without any")
    parser.add_argument(
        "--folder", type=Path, default=Path(__file__).parent.absolute(), help="of the page"
    )
    parser.add_argument(
        "--steps", type=int, default=300, help="of a trial of overhead, a multiple of 50"
    )
    parser.add_argument("--trials", type=int, default=6, help="of overhead")
    parser.add_argument("--rounds", type=int, default=3, help="of overhead")
    parser.add_argument("--dummies", type=int, default=200, help="trials")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of kills")
    options = parser.parse_args()
    options.what = options.what or WHAT
    if unknown := [what for what in options.what if what not in WHAT]:
        parser.error(f"{', '.join(unknown)}: choose from {', '.join(WHAT)}")
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        measure(options, Path(folder))
    machine = timing.describe_machine()
    hardware = "-".join(machine["cpu"].lower().split())
    path = options.folder.absolute() / f"search_{hardware}_{machine['date']}.md"
    page = "\n".join(f"- {line}" for line in LINES)
    path.write_text(page + "\n")
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['date']}\n\n{page}\n{path}")
    return None


if __name__ == "__main__":
    main()
