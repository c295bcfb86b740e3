"""How much of a figure's variation each searched field explains, and how sure that is."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.search.outcome import Goal, Trial, comparable
from pipeline.search.report.scale import Kind, Scale
from pipeline.search.report.terms import name_of, short

MIN_TRIALS = 10
_NUM_TREES = 16
_NUM_RESAMPLED = 20
_NUM_SHUFFLED = 19  # one in twenty exceeds all of them by chance
_Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Share:
    """Of a figure's variance over the space, what a field explains by itself; 0 to 1."""

    value: float
    low: float
    """Of nine in ten resamplings of the trials, the lowest."""
    high: float
    by_chance: float
    """The highest of 19 shares that it had when the figures were dealt to the trials anew."""

    @property
    def is_more_than_chance(self) -> bool:
        """Whether chance alone would give as much in fewer than one search of twenty."""
        return self.value > self.by_chance


@dataclass(frozen=True)
class Importance:
    """Of all searched fields, for one figure."""

    figure: str
    num_trials: int
    """That finished; trials of equal values count once."""
    shares: dict[str, Share] = field(default_factory=dict)
    """By field, the largest first; empty if there is a reason."""
    reason: str = ""
    """Why there are no shares."""


def importances(trials: Sequence[Trial], goal: Goal, *, seed: int = 0) -> list[Importance]:
    """For each figure of the goal, by functional ANOVA over a random forest (Hutter et al. 2014).

    Shares need not add up to 1: what fields explain only together is nobody's.
    """
    compared = comparable(trials, goal)
    fields = list(dict.fromkeys(name for trial in compared for name in trial.values))
    scales = {name: Scale.of(trial.values.get(name) for trial in compared) for name in fields}
    varied = {name: scale for name, scale in scales.items() if len(scale.values) > 1}
    found = []
    for figure in goal.names:
        reached = np.array([trial.figures[figure] for trial in compared])
        if reason := _why_none(reached, varied, fields, figure):
            found.append(Importance(figure, len(compared), reason=reason))
        else:
            rows = [{name: _place(s, trial.values.get(name)) for name, s in varied.items()}
                    for trial in compared]  # fmt: skip
            shares = _shares(rows, reached, varied, seed)
            found.append(Importance(figure, len(compared), shares))
    return found


def _why_none(
    reached: NDArray[np.float64], varied: Mapping[str, Scale], fields: Sequence[str], figure: str
) -> str:
    if len(reached) < MIN_TRIALS:
        return (
            f"{len(reached)} trials finished, and shares of a variance from fewer than"
            f" {MIN_TRIALS} would be chance."
        )
    if not fields:
        return "The trials have no values."
    if not varied:
        return f"Every finished trial had the same {' and '.join(map(short, fields))}."
    if np.ptp(reached) == 0:
        return f"The {name_of(figure)} is the same in every finished trial."
    return ""


def _place(scale: Scale, value: Any) -> Any:
    """What the forest is told; a name stays one, so that it is not between two others."""
    return scale.values.index(value) if scale.kind is Kind.names else scale.position(value)


def _shares(
    rows: _Rows, reached: NDArray[np.float64], scales: Mapping[str, Scale], seed: int
) -> dict[str, Share]:
    dice = np.random.default_rng(seed)
    names = list(scales)
    num = len(rows)
    with _quiet_optuna():
        value = _explained(rows, reached, scales, seed)
        again = [
            _explained([rows[index] for index in drawn], reached[drawn], scales, seed)
            for drawn in (dice.integers(num, size=num) for _ in range(_NUM_RESAMPLED))
        ]
        by_chance = [
            _explained(rows, dice.permutation(reached), scales, seed) for _ in range(_NUM_SHUFFLED)
        ]
    low, high = np.quantile(again, (0.05, 0.95), axis=0)
    chance = np.max(by_chance, axis=0)
    shares = {
        name: Share(*(float(part[index]) for part in (value, low, high, chance)))
        for index, name in enumerate(names)
    }
    return dict(sorted(shares.items(), key=lambda item: -item[1].value))


def _explained(
    rows: _Rows, reached: NDArray[np.float64], scales: Mapping[str, Scale], seed: int
) -> NDArray[np.float64]:
    """Share of the variance by field, in their order; zeros if nothing varies."""
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

    if np.ptp(reached) == 0:  # of trials that were drawn again
        return np.zeros(len(scales))
    distributions: dict[str, BaseDistribution] = {
        name: CategoricalDistribution(range(len(scale.values)))
        if scale.kind is Kind.names
        else FloatDistribution(0.0, 1.0)
        for name, scale in scales.items()
    }
    study = optuna.create_study()
    study.add_trials(
        [
            optuna.trial.create_trial(params=row, distributions=distributions, value=value)
            for row, value in zip(rows, reached.tolist(), strict=True)
        ]
    )
    with warnings.catch_warnings():
        # Shares of the whole variance are `normalize=False`, an argument that may change its name.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        found = optuna.importance.get_param_importances(
            study,
            evaluator=optuna.importance.FanovaImportanceEvaluator(n_trees=_NUM_TREES, seed=seed),
            params=list(scales),
            normalize=False,
        )
    return np.array([found[name] for name in scales])


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Without a line for every study that is made in passing."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
