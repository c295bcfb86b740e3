"""What chooses the values of the next trial, in Ray Tune's terms."""

from __future__ import annotations

from typing import Any

from ray import tune
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter
from ray.tune.search.optuna import OptunaSearch

from pipeline.config import Algorithm, SearchConfig
from pipeline.search.outcome import Goal
from pipeline.search.space import Choice, Domain, Range, Space

_MOST_ASKED = 50
"""Times in a row that known values are refused: in the end a small space has no others, or none
that the sampler comes upon."""


def make_searcher(search: SearchConfig, goal: Goal, num_at_once: int) -> Any:
    """What Tune asks for values; 0 at once is as many as there are resources for."""
    if search.algorithm is not Algorithm.optuna:
        return BasicVariantGenerator(max_concurrent=num_at_once, random_state=search.seed)
    searcher = NewValues(goal, search.seed)
    return ConcurrencyLimiter(searcher, num_at_once) if num_at_once else searcher


class NewValues(OptunaSearch):
    """Optuna's TPE sampler; values that it has given already, it is asked to choose anew.

    It draws each field by itself, and where all of them are lists, combinations come again.
    """

    def __init__(self, goal: Goal, seed: int) -> None:
        modes = ["min"] * len(goal.minimize) + ["max"] * len(goal.maximize)
        is_single = len(modes) == 1
        super().__init__(
            metric=goal.names[0] if is_single else list(goal.names),
            mode=modes[0] if is_single else modes,
            seed=seed,
        )
        self._given: list[dict[str, Any] | None] = []
        self._asked_as: dict[str, str] = {}
        """By trial, what Optuna knows it as."""

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Values of a new trial; known ones once no others are found."""
        for number in range(_MOST_ASKED):
            asked_as = f"{trial_id}-{number}"
            values = super().suggest(asked_as)
            if values not in self._given:
                break
            if number < _MOST_ASKED - 1:
                super().on_trial_complete(asked_as, error=True)  # of no influence on what follows
        self._given.append(values)
        self._asked_as[trial_id] = asked_as
        return values

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: a figure may be there at the end alone, and Optuna stops no trial."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tells Optuna what came of a trial."""
        super().on_trial_complete(self._asked_as[trial_id], result, error)


def domains(space: Space, algorithm: Algorithm) -> dict[str, Any]:
    """A space as Tune has it."""
    if algorithm is Algorithm.grid:
        return {path: tune.grid_search(list(domain.values)) for path, domain in space.items()}
    return {path: _domain(domain) for path, domain in space.items()}


def _domain(domain: Domain) -> Any:
    match domain:
        case Choice(values):
            return tune.choice(list(values))
        case Range(low, high, log=True) if domain.is_whole:
            return tune.lograndint(int(low), int(high) + 1)
        case Range(low, high, log=True):
            return tune.loguniform(low, high)
        case Range(step=float() | int()):
            return tune.choice(list(domain.values))
        case Range(low, high) if domain.is_whole:
            return tune.randint(int(low), int(high) + 1)
        case Range(low, high):
            return tune.uniform(low, high)
