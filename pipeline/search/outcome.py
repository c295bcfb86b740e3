"""What became of a search: its trials, the front of those that no other beats, and the winner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = "rate_nats"
"""N_z L_KL: what a drawing's latent vector tells, in nats per drawing, without a floor."""
DISTORTION = "distortion_nats"
"""N_max L_R: what is left to tell once z is known, in nats per drawing (Ha & Eck 2017, eq. 9)."""


class Status(StrEnum):
    """What became of a trial."""

    finished = "finished"
    stopped = "stopped"
    """By the scheduler, before its last step: its figures are of where it stopped."""
    failed = "failed"
    unfinished = "unfinished"


@dataclass(frozen=True)
class Trial:
    """One point of the space: a training with its values."""

    number: int
    """From 1, in the order of their beginnings."""
    values: dict[str, Any]
    """By field, as `{"loss.w_KL": 0.5, "model.M": 20}`."""
    status: Status
    folder: Path
    """Of its run and, in `results`, of its model; trials of equal values share one."""
    step: int = 0
    """Of its figures."""
    figures: dict[str, float] = field(default_factory=dict)
    """Of the valid split at the best validation; empty before the first."""
    duration_s: float = 0.0
    error: str = ""
    """Why it failed, in one line."""
    mlflow_run_id: str | None = None

    @property
    def model_dir(self) -> Path:
        """The trained model, once it is finished."""
        return self.folder / "results" / "model"


@dataclass(frozen=True)
class Goal:
    """The figures that a search makes small and those that it makes large."""

    minimize: tuple[str, ...]
    maximize: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of all of them, those to be made small first."""
        return self.minimize + self.maximize

    @property
    def is_rate_distortion(self) -> bool:
        """Whether it is the trade-off of the paper's Figure 4."""
        return set(self.names) == {RATE, DISTORTION}

    def costs(self, trials: Sequence[Trial]) -> NDArray[np.float64]:
        """`[len(trials), len(names)]`, each the smaller the better."""
        signs = [1.0] * len(self.minimize) + [-1.0] * len(self.maximize)
        rows = [[trial.figures[name] for name in self.names] for trial in trials]
        return np.array(rows, np.float64).reshape(len(trials), len(signs)) * signs


def comparable(trials: Sequence[Trial], goal: Goal) -> list[Trial]:
    """Those that finished and have all figures of the goal, trials of equal values once."""
    found: dict[Path, Trial] = {}
    for trial in trials:
        values = [trial.figures.get(name, math.nan) for name in goal.names]
        if trial.status is Status.finished and all(map(math.isfinite, values)):
            found.setdefault(trial.folder, trial)
    return list(found.values())


def pareto_front(trials: Sequence[Trial], goal: Goal) -> list[Trial]:
    """The comparable trials that no other one equals or beats in every figure and beats in one.

    In the order of the goal's first figure, best first.
    """
    candidates = comparable(trials, goal)
    costs = goal.costs(candidates)
    no_worse = (costs[:, None] <= costs[None]).all(-1)
    better = (costs[:, None] < costs[None]).any(-1)
    is_beaten = (no_worse & better).any(0)
    front = np.flatnonzero(~is_beaten)
    return [candidates[index] for index in front[np.argsort(costs[front, 0], kind="stable")]]


def find_winner(trials: Sequence[Trial], goal: Goal) -> Trial | None:
    """The best trial; of several figures, the one nearest to the best of each on the front.

    Each figure is scaled by its range on the front, so that units do not matter: with two figures
    this is the front's knee. Of several as near, that of the worst first figure: at the front's
    other end is a model that does without its latent vector. None if no trial is comparable.
    """
    front = pareto_front(trials, goal)
    if not front:
        return None
    costs = goal.costs(front)
    low, high = costs.min(0), costs.max(0)
    scaled = (costs - low) / np.where(high > low, high - low, 1.0)
    distances = np.linalg.norm(scaled, axis=1)
    nearest = np.flatnonzero(np.isclose(distances, distances.min()))
    return front[int(nearest[-1])]
