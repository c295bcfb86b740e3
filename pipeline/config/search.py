"""What a search varies, what it looks for, and on what it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pipeline.config.error import UserError
from sketch_model.config import at_least

FIGURES = (
    "rate_nats",
    "distortion_nats",
    "bound_nats",
    "objective",
    "L_R",
    "L_s",
    "L_p",
    "L_KL",
    "train/L_R",
    "train/L_s",
    "train/L_p",
    "train/L_KL",
)
"""What every trial reports at each validation: of the valid split, where MLflow has `valid/` before
the name, and means over the training steps since the one before. (The mean of train/loss is left
out: it is another quantity at each w_KL, N_z and step of the annealing.)"""
QUALITY = "quality/"
"""Begins what a recogniser says of a trial's model at its end, as quality/samples_0.5/frechet: the
names are MLflow's, the split is valid."""
_OF_ONE_WEIGHT = ("loss.w_KL", "loss.KL_min", "model.N_z")
"""Fields that make the training objective another quantity at each of their values."""
_VALID = "valid/"
_ASHA = ("asha_figure", "asha_grace_steps", "asha_reduction")


class Algorithm(StrEnum):
    """What chooses the values of the next trial."""

    grid = "grid"
    """Every combination, once."""
    random = "random"
    optuna = "optuna"
    """Its TPE sampler (Bergstra et al. 2011), for one figure or several (Ozaki et al. 2022)."""


@dataclass(kw_only=True)
class SearchConfig:
    """A search; each of its trials trains this config with other values in some fields."""

    name: str = ""
    """Of its results' folder, beside those of the experiment."""
    space: dict[str, Any] = field(default_factory=dict)
    """By field, a list of values to choose from, or the bounds of a range: {low: , high: }, with
    log: true for values that are even in their logarithm, and step: for every so manieth."""
    algorithm: Algorithm = Algorithm.optuna
    """What chooses the values of the next trial."""
    num_trials: int | None = None
    """null only with algorithm=grid, which tries every combination."""
    minimize: list[str] = field(default_factory=list)
    """Figures to make small; several give a front of trials that no other beats. valid/L_R is L_R
    here; rate_nats and distortion_nats are N_z L_KL and N_max L_R."""
    maximize: list[str] = field(default_factory=list)
    """Figures to make large."""
    max_steps: int | None = None
    """Of each trial; null is train.max_steps. The winner is trained in full afterwards."""
    validate_every: int | None = None
    """Of each trial; null is train.validate_every."""
    asha: bool = False
    """Stop trials early that are behind others at the same step (Li et al. 2020)."""
    asha_figure: str | None = None
    """What they are compared by; null is bound_nats. No figure here depends on the annealing."""
    asha_grace_steps: int | None = None
    """Steps that every trial is given; null is the first validation."""
    asha_reduction: int | None = None
    """One of so many goes on at each comparison; null is 3."""
    seed: int = 0
    """Of the values that are tried; train.seed is each trial's."""
    max_concurrent: int = 0
    """Trials at once; 0 is as many as there are resources for."""
    cpus_per_process: float = 1.0
    """CPU cores reserved for each process of a trial, trainer.num_processes of them."""
    gpus_per_process: float = 0.0
    """The same of GPUs, at most 1: a fraction lets several trials share one; 0 is on CPUs."""
    max_failures: int = 3
    """How often a trial is started again whose process has died."""
    retry_failed: bool = False
    """When a search is taken up again, begin anew with trials that failed."""
    ray_address: str = ""
    """Of a running cluster ("auto" finds one on this machine); empty starts one here."""

    def __post_init__(self) -> None:
        self.minimize = [name.removeprefix(_VALID) for name in self.minimize]
        self.maximize = [name.removeprefix(_VALID) for name in self.maximize]
        if self.asha_figure is not None:
            self.asha_figure = self.asha_figure.removeprefix(_VALID)
        self._check_numbers()
        if self.space:
            self._check_number_of_trials()
            self._check_figures()
        self._check_asha()

    def _check_numbers(self) -> None:
        for name, least in (("max_concurrent", 0), ("max_failures", 0), ("gpus_per_process", 0)):
            at_least(f"search.{name}", getattr(self, name), least)
        for name, least in (
            ("num_trials", 1),
            ("max_steps", 1),
            ("validate_every", 1),
            ("asha_grace_steps", 1),
            ("asha_reduction", 2),
        ):
            if (value := getattr(self, name)) is not None:
                at_least(f"search.{name}", value, least)
        if self.cpus_per_process <= 0:
            raise UserError(
                f"search.cpus_per_process={self.cpus_per_process} must be above 0: a process runs"
                " on something"
            )
        if self.gpus_per_process > 1:
            raise UserError(
                f"search.gpus_per_process={self.gpus_per_process} must be at most 1: a process"
                " trains on one GPU; for trials on several, give trainer.num_processes"
            )

    def _check_number_of_trials(self) -> None:
        is_grid = self.algorithm is Algorithm.grid
        if is_grid and self.num_trials is not None:
            raise UserError(
                f"search.num_trials={self.num_trials} is not read by search.algorithm=grid, which"
                " tries every combination: leave it null, or use random"
            )
        if not is_grid and self.num_trials is None:
            raise UserError(
                f"search.algorithm={self.algorithm} goes on for ever: give search.num_trials"
            )

    def _check_figures(self) -> None:
        names = [*self.minimize, *self.maximize]
        for name in names:
            if name not in FIGURES and not name.startswith(QUALITY):
                raise UserError(
                    f"search.minimize or maximize names {name!r}, by which no trials compare: there"
                    f" are {', '.join(FIGURES)}, and with a recogniser such as"
                    f" {QUALITY}samples_0.5/frechet"
                )
        if self.asha_figure is not None and self.asha_figure not in FIGURES:
            raise UserError(
                f"search.asha_figure={self.asha_figure!r} is not reported at each validation: there"
                f" are {', '.join(FIGURES)}"
            )
        if not names or len(set(names)) < len(names):
            raise UserError(
                f"search.minimize={list(self.minimize)} and search.maximize={list(self.maximize)}"
                " must name at least one figure, each of them once"
            )
        varied = [name for name in _OF_ONE_WEIGHT if _is_in(self.space, name)]
        if varied and "objective" in (*names, self.asha_figure):
            raise UserError(
                f"the objective is another quantity at each {' and '.join(varied)}, so that it"
                " compares no trials of this space: search for rate_nats and distortion_nats, or"
                f" leave {' and '.join(varied)} out of search.space"
            )

    def _check_asha(self) -> None:
        given = [name for name in _ASHA if getattr(self, name) is not None]
        if given and not self.asha:
            raise UserError(
                f"search.{given[0]}={getattr(self, given[0])} is read with search.asha=true alone"
            )


def _is_in(space: dict[str, Any], path: str) -> bool:
    node: Any = space
    for key in path.split("."):
        if not isinstance(node, dict) or key not in node:
            return False
        node = node[key]
    return True
