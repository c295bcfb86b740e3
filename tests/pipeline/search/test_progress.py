"""What a person sees of a search while it runs, and what a job's log has of it."""

from __future__ import annotations

import sys

import pytest

from pipeline.search.progress import Progress
from pipeline.search.space import Choice
from tests.pipeline.search.trials import ERROR, RATE_DISTORTION, make_trials

SPACE = {"loss.w_KL": Choice((0.1, 2.0)), "model.M": Choice((5, 10, 20))}


def test_a_terminal_has_a_table_of_what_runs_and_what_is_best(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    trials = make_trials()
    with Progress(30, SPACE, RATE_DISTORTION) as progress:
        progress.update(trials, trials[0])
    shown = capsys.readouterr().out
    assert "3 failed, 18 finished, 3 stopped, 3 unfinished, of 30" in shown
    for word in ("w_KL", "rate_nats", "running", "best so far"):
        assert word in shown


def test_a_log_has_a_line_per_trial_that_ends(capsys: pytest.CaptureFixture[str]) -> None:
    trials = make_trials()
    with Progress(30, SPACE, RATE_DISTORTION) as progress:
        progress.update(trials, None)
        for trial in (trials[0], trials[4]):
            progress.update(trials, trial)
    finished, failed = capsys.readouterr().out.splitlines()
    assert finished.startswith("[24/30] trial 0 finished at step 200")
    assert failed.endswith(ERROR)
