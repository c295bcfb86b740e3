"""What a search leaves behind: table, pictures, page, and the winner under an alias in MLflow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from pipeline.atomic import replacing_file
from pipeline.config import Algorithm, Config
from pipeline.data.dataset import ShardedSketches
from pipeline.permutation import permute
from pipeline.registration import register
from pipeline.results import data_spec, load_published
from pipeline.search.outcome import Goal, Trial, find_winner
from pipeline.search.promotion import training_command, write_outcome
from pipeline.search.record import ParentRun
from pipeline.search.report.importance import Importance, importances
from pipeline.search.report.page import SearchFacts, search_html
from pipeline.search.report.plots import picture_importance, picture_trials, to_png
from pipeline.search.report.table import write_table
from pipeline.search.space import Space
from pipeline.search.trial import Trials
from pipeline.tracking import Tracker

PAGE_NAME = "search.html"
_ALIAS = "search-winner"
_NUM_CANDIDATES = 50


@dataclass(frozen=True)
class Results:
    """Writes what came of a search's trials into the folder of its results.

    Attributes:
        config: of the search, with absolute paths.
        num_steps: of a trial.
        overrides: that the commands begin with which train a trial in full.
    """

    config: Config
    space: Space
    goal: Goal
    num_steps: int
    overrides: Sequence[str]

    @property
    def folder(self) -> Path:
        """Beside what the experiment itself delivers."""
        return Path(self.config.results_dir) / "search" / self.config.search.name

    def conclude(
        self, of_search: Trials, trials: Sequence[Trial], parent: ParentRun
    ) -> Trial | None:
        """Records what ended, writes everything, registers the winner and gives it.

        Raises:
            UserError: if the folder cannot be written.
        """
        parent.settle(trials)
        recorded = [replace(trial, mlflow_run_id=parent.run_id(trial)) for trial in trials]
        winner = self.write(recorded, parent.tracker)
        if winner:
            of_winner = of_search.config_of(winner.values)
            register(of_winner, load_published(of_winner)[1], _ALIAS)
            command = training_command(self.overrides, winner.values)
            parent.tracker.set_tags({"winner": str(winner.number), "winner.in_full": command})
        return winner

    def write(self, trials: Sequence[Trial], tracker: Tracker) -> Trial | None:
        """Writes everything, records it, and gives the winner.

        Raises:
            UserError: if the folder cannot be written.
        """
        winner = find_winner(trials, self.goal)
        paths = write_table(trials, self.goal, self.folder)
        write_outcome(self.folder, trials, winner, self.overrides, self.config.categories)
        found = importances(trials, self.goal, seed=self.config.search.seed)
        paths += [*self._write_pictures(trials, found), self._write_page(trials, found)]
        for path in paths:
            tracker.log_file(path)
        return winner

    def _write_pictures(
        self, trials: Sequence[Trial], found: Sequence[Importance]
    ) -> Iterator[Path]:
        pictures = picture_trials(trials, self.goal)
        for importance in found:
            if importance.shares:
                pictures[f"importance-{importance.figure}"] = picture_importance(importance)
        for figures, figure in pictures.items():
            name = figures.replace("/", "-")
            with replacing_file(self.folder / f"{name}.png") as path:
                path.write_bytes(to_png(figure))
            yield self.folder / f"{name}.png"

    def _write_page(self, trials: Sequence[Trial], found: Sequence[Importance]) -> Path:
        torch.set_flush_denormal(True)
        valid = ShardedSketches(self.config.manifest_path, "valid", self.config.cache)
        shown = permute(np.arange(min(_NUM_CANDIDATES, len(valid))), len(valid), key=0)
        packed = valid.gather(shown)
        data = data_spec(self.config, valid.manifest)
        page = search_html(
            trials,
            self.goal,
            facts=SearchFacts(
                name=f"{self.config.search.name} of {self.config.name}",
                space=self.space,
                method=self._method(),
                num_steps=self.num_steps,
                num_steps_in_full=self.config.train.max_steps,
                overrides=self.overrides,
                data=data,
            ),
            importances=found,
            sketches=packed.sketches(),
            categories=[data.categories[index] for index in packed.categories],
            seed=self.config.train.seed,
        )
        path = self.folder / PAGE_NAME
        with replacing_file(path) as writing:
            writing.write_text(page, encoding="utf-8")
        return path

    def _method(self) -> str:
        search = self.config.search
        method = {
            Algorithm.grid: "Every combination",
            Algorithm.random: f"{search.num_trials} points at random, seed {search.seed}",
            Algorithm.optuna: (
                f"{search.num_trials} points by Optuna's TPE sampler, seed {search.seed}"
            ),
        }[search.algorithm]
        return method + ("; ASHA stops trials that are behind." if search.asha else ".")
