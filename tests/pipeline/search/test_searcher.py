"""What chooses values does not choose the same ones again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Algorithm
from pipeline.search.outcome import Goal
from pipeline.search.searcher import NewValues, domains
from pipeline.search.space import Choice

GOAL = Goal(("bound_nats",))
SPACE = {"model.M": Choice((5, 10, 20)), "model.N_z": Choice((16, 32, 64, 128))}


def new(goal: Goal = GOAL) -> NewValues:
    searcher = NewValues(goal, seed=0)
    searcher.set_search_properties(None, None, domains(SPACE, Algorithm.optuna))
    return searcher


def ask(searcher: NewValues, numbers: range) -> list[dict[str, Any]]:
    """Trials one after another, each the better the larger its M."""
    found = []
    for number in numbers:
        values = searcher.suggest(f"trial-{number}")
        assert values is not None
        searcher.on_trial_result(f"trial-{number}", {"L_R": 1.0})
        searcher.on_trial_complete(f"trial-{number}", {"bound_nats": -values["model.M"]})
        found.append(values)
    return found


def test_no_values_come_twice_while_there_are_others() -> None:
    found = ask(searcher := new(), range(10))
    assert len({tuple(values.items()) for values in found}) == 10
    ask(searcher, range(10, 14))  # goes on where there are no others


def test_what_was_asked_for_is_known_after_a_restart(tmp_path: Path) -> None:
    found = ask(before := new(), range(6))
    before.save(str(tmp_path / "state"))
    after = new()
    after.restore(str(tmp_path / "state"))
    again = ask(after, range(6, 10))
    assert len({tuple(values.items()) for values in found + again}) == 10


@pytest.mark.parametrize("goal", [GOAL, Goal(("bound_nats",), ("quality/samples_0.5/near",))])
def test_a_trial_without_its_figures_is_no_example(goal: Goal) -> None:
    """As one that was stopped before its drawings were judged."""
    searcher = new(goal)
    searcher.suggest("stopped")
    searcher.on_trial_complete("stopped", {"L_R": 1.0})
    searcher.suggest("next")
    assert not [t for t in searcher._ot_study.trials if t.values]
