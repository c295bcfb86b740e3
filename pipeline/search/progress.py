"""What a terminal shows of a search, and what a job's log does."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipeline.search.outcome import Goal, Status, Trial, pareto_front
from pipeline.search.space import Space

_NUM_SHOWN = 12


class Progress:
    """A table on a terminal, and a line per trial that ends anywhere else.

    The table has the trials that run, and the best so far.
    """

    def __init__(self, num_trials: int, space: Space, goal: Goal) -> None:
        self._num_trials, self._space, self._goal = num_trials, space, goal
        self._live: Live | None = None
        if sys.stdout.isatty():
            self._live = Live(console=Console(), refresh_per_second=2)

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    def update(self, trials: Sequence[Trial], ended: Trial | None) -> None:
        """Shows all trials as they are now."""
        if self._live:
            self._live.update(self._table(trials))
        elif ended:
            print(self._line(trials, ended), flush=True)

    def _line(self, trials: Sequence[Trial], trial: Trial) -> str:
        values = ", ".join(f"{path} {_short(value)}" for path, value in trial.values.items())
        num_ended = sum(t.status is not Status.unfinished for t in trials)
        what = trial.error if trial.error else ", ".join(self._figures(trial, named=True))
        return (
            f"[{num_ended}/{self._num_trials}] trial {trial.number} {trial.status} at step"
            f" {trial.step}, {trial.duration_s:.0f} s ({values}): {what}"
        )

    def _table(self, trials: Sequence[Trial]) -> Table:
        counts = Counter(trial.status.value for trial in trials)
        told = ", ".join(f"{num} {status}" for status, num in sorted(counts.items()))
        table = Table(title=f"{told or 'no trial yet'}, of {self._num_trials}")
        names = [path.rpartition(".")[2] for path in self._space]
        for name in ("trial", *names, "step", *self._goal.names, "status"):
            table.add_column(name, justify="right")
        best = pareto_front(trials, self._goal)[:_NUM_SHOWN]
        running = [trial for trial in trials if trial.status is Status.unfinished]
        for trial in running[:_NUM_SHOWN] + best:
            is_best = trial.status is Status.finished
            values = [_short(trial.values.get(path)) for path in self._space]
            status = "best so far" if is_best else "running" if trial.step else "begins"
            row = (str(trial.number), *values, str(trial.step), *self._figures(trial), status)
            table.add_row(*row, style="bold" if is_best else "")
        return table

    def _figures(self, trial: Trial, named: bool = False) -> list[str]:
        found = trial.figures
        return [
            (f"{name} " if named else "") + (f"{found[name]:.3f}" if name in found else "-")
            for name in self._goal.names
        ]


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
