"""A search from its config to its results: checks, trials, table, pictures, parent run."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.config import Config, UserError
from pipeline.search import judgement, tuner
from pipeline.search.outcome import Goal, Trial
from pipeline.search.progress import Progress
from pipeline.search.promotion import overrides_for_training, training_command
from pipeline.search.record import ParentRun, find_folders, of_a_trial, settle_paths
from pipeline.search.report.table import CSV_NAME
from pipeline.search.space import Space, read_space
from pipeline.search.trial import FAILURE, Trials
from pipeline.tracking import redact
from pipeline.training.interruption import Interrupted, Interruption

if TYPE_CHECKING:
    from pipeline.search.results import Results


def run_search(config: Config, arguments: Sequence[str]) -> None:
    """Runs the trials of a config, or goes on with them, and writes what came of them.

    Args:
        config: with a space.
        arguments: of the command line that gave it, for the commands that train the best in full.

    Raises:
        UserError: for a space, a figure, steps, data or resources that would fail every trial; if
            every trial failed.
        Interrupted: at SIGTERM, SIGUSR1 or Ctrl-C, when what has ended is saved.
    """
    config = settle_paths(config)
    of_trials, space = of_a_trial(config), read_space(config)
    goal = Goal(tuple(config.search.minimize), tuple(config.search.maximize))
    if judgement.is_wanted(config):
        judgement.check(of_trials, space)
    base = overrides_for_training(arguments, space)
    folders = find_folders(of_trials)
    if config.search.retry_failed:
        for failure in folders.trials.glob(f"*/{FAILURE}"):
            failure.unlink()
    interruption = Interruption()
    with interruption.watching():
        tuner.prepare(of_trials)
        parent = ParentRun(config, folders, arguments)
        status = "FAILED"
        try:
            of_search = Trials(of_trials, folders.trials, parent.tags)
            trials = _run_trials(of_search, space, goal, parent, interruption)
            from pipeline.search.results import Results  # torch, matplotlib, a model's server

            results = Results(config, space, goal, of_trials.train.max_steps, base)
            winner = results.conclude(of_search, trials, parent)
            status = "FINISHED"
        except SystemExit:
            if interruption.requested is None:
                raise
            status = "KILLED"
            # In the midst of a wait of Ray's the handler's error comes out as another one.
            raise _explained(Interrupted(interruption.requested)) from None
        finally:
            parent.tracker.finish(status)
    _say(results, trials, winner, parent)


def _run_trials(
    of_search: Trials, space: Space, goal: Goal, parent: ParentRun, interruption: Interruption
) -> list[Trial]:
    search = of_search.config.search
    found: list[Trial] = []
    num_trials = tuner.num_trials(search, space)
    with Progress(num_trials, space, goal) as progress:

        def watch(trials: list[Trial], ended: Trial | None) -> None:
            found[:] = trials
            progress.update(trials, ended)

        folder = parent.folders.tune(num_trials)
        tuner.run(
            of_search,
            space,
            goal,
            folder,
            watch,
            interruption,
            retry=search.retry_failed,
        )
    return found


def _explained(signal: Interrupted) -> Interrupted:
    print(
        f"interrupted by {signal}: what has ended is kept, and the same command goes on"
        f" (exit code {signal.code})",
        file=sys.stderr,
        flush=True,
    )
    return signal


def _say(
    results: Results, trials: Sequence[Trial], winner: Trial | None, parent: ParentRun
) -> None:
    from pipeline.search.results import PAGE_NAME

    counts = Counter(trial.status.value for trial in trials)
    told = ", ".join(f"{num} {status}" for status, num in counts.items())
    if winner is None:
        raise UserError(
            f"no trial finished ({told}): {results.folder / CSV_NAME} has each one's error"
        )
    run_id = parent.tracker.run_id
    uri = redact(results.config.tracking.uri)
    print(
        f"search is done: {told}; the winner is trial {winner.number}\n"
        f"page      {results.folder / PAGE_NAME}\n"
        f"table     {results.folder / CSV_NAME}\n"
        + (f"MLflow    {run_id} in {uri}\n" if run_id else "")
        + f"in full   {training_command(results.overrides, winner.values)}\n"
        f"as an experiment  python -m pipeline.promote {results.folder} NAME"
    )
