"""The front has the trials that no other beats, and the winner is on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.search.outcome import Goal, Status, Trial, find_winner, pareto_front

GOAL = Goal(("rate_nats", "distortion_nats"))


def trial(number: int, rate: float, distortion: float, status: Status = Status.finished) -> Trial:
    figures = {"rate_nats": rate, "distortion_nats": distortion}
    return Trial(number, {}, status, Path(f"trial-{number}"), figures=figures)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_a_trial_is_on_the_front_if_no_other_is_better(points: list[tuple[int, int]]) -> None:
    trials = [trial(number, *point) for number, point in enumerate(points)]
    expected = {
        number
        for number, (rate, distortion) in enumerate(points)
        if not any(
            r <= rate and d <= distortion and (r, d) != (rate, distortion) for r, d in points
        )
    }
    front = pareto_front(trials, GOAL)
    assert {found.number for found in front} == expected
    assert [t.figures["rate_nats"] for t in front] == sorted(t.figures["rate_nats"] for t in front)
    winner = find_winner(trials, GOAL)
    assert (winner in front) if points else (winner is None)


def test_only_finished_trials_with_finite_figures_count() -> None:
    good = trial(1, 10, 10)
    others = [
        trial(2, 1, 1, Status.stopped),
        trial(3, 1, 1, Status.failed),
        trial(4, np.nan, 1),
        Trial(5, {}, Status.finished, Path("5")),
    ]
    assert pareto_front([good, *others], GOAL) == [good]


def test_trials_of_equal_values_share_a_folder_and_count_once() -> None:
    first = trial(1, 1, 1)
    again = Trial(2, {}, Status.finished, first.folder, figures=first.figures)
    assert pareto_front([first, again], GOAL) == [first]


def test_the_winner_is_the_knee_whatever_the_units() -> None:
    points = [(0, 100), (1, 40), (2, 30), (10, 0)]
    for unit in (1.0, 1000.0):
        trials = [trial(number, rate, unit * d) for number, (rate, d) in enumerate(points)]
        winner = find_winner(trials, GOAL)
        assert winner is not None
        assert winner.number == 2


def test_of_two_as_good_the_one_that_uses_its_latent_vector_wins() -> None:
    winner = find_winner([trial(1, 0, 90), trial(2, 20, 40)], GOAL)
    assert winner is not None
    assert winner.number == 2


def test_of_one_figure_the_best_wins_and_large_may_be_good() -> None:
    trials = [trial(1, 5, 0), trial(2, 3, 0), trial(3, 9, 0)]
    assert [t.number for t in pareto_front(trials, Goal(("rate_nats",)))] == [2]
    largest = find_winner(trials, Goal((), ("rate_nats",)))
    assert largest is not None
    assert largest.number == 3
