"""Which cells of the table there are, and what the ordinary commands are told for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from pipeline.config import Config, UserError
from pipeline.entry import CONF, OF_AN_ENCODER, compose
from pipeline.reproduction.paper import Column

_OURS = {
    "+experiment": "use --experiments",
    "name": "use --experiments",
    "categories": "use --experiments, which takes any file of conf/experiment",
    "loss.w_KL": "use --columns",
    "model.conditional": "use --columns",
    "results_dir": "use --out",
    "shards_dir": "use data_dir, in which each row has a folder: the same category may have another"
    " N_max in another row",
}
"""Overrides that the table itself makes."""


@dataclass(frozen=True)
class _Planned:
    experiment: str
    overrides: tuple[str, ...]
    """Of all its commands."""
    config: Config
    """That they give."""

    def with_N_max(self, N_max: int) -> Self:
        """The same for sketches of fewer than N_max points."""
        kept = (item for item in self.overrides if not item.startswith("ingest.N_max="))
        config = replace(self.config, ingest=replace(self.config.ingest, N_max=N_max))
        return replace(self, overrides=(*kept, f"ingest.N_max={N_max}"), config=config)


@dataclass(frozen=True)
class Cell(_Planned):
    """One training, with its figures of the test split."""

    column: Column

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.experiment}, {self.column.heading}"


@dataclass(frozen=True)
class DataSet(_Planned):
    """A row of the paper's table: an experiment, whatever the column."""

    def cell(self, column: Column, out: Path) -> Cell:
        """A column of it, whose results go into a folder of `out`."""
        given = self.overrides
        if column is Column.decoder_only:  # which reads none of these, and says so
            given = tuple(item for item in given if not item.startswith(OF_AN_ENCODER))
        folder = out / self.experiment / column
        overrides = (*given, column.override, f"results_dir={folder}")
        return Cell(self.experiment, overrides, compose(list(overrides)), column)


def data_set(experiment: str, given: Sequence[str]) -> DataSet:
    """A row of the table, with overrides that all its commands get.

    Its data have a folder of their own: the same category may have another N_max in another row.

    Raises:
        UserError: for an experiment that is not there, and an override that the table makes.
    """
    if not (CONF / "experiment" / f"{experiment}.yaml").exists():
        known = ", ".join(sorted(path.stem for path in (CONF / "experiment").glob("*.yaml")))
        raise UserError(f"there is no experiment {experiment!r}; there are {known}")
    for override in given:
        if remedy := _OURS.get(override.partition("=")[0]):
            raise UserError(f"{override} is what the rows and columns differ in: {remedy}")
    overrides = [f"+experiment={experiment}", *given]
    config = compose(overrides)
    data_dir = f"{config.data_dir}/reproduction/{experiment}"
    kept = (item for item in overrides if not item.startswith("data_dir="))
    return DataSet(experiment, (*kept, f"data_dir={data_dir}"), replace(config, data_dir=data_dir))
