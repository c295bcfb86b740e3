"""The table: our figures beside the paper's, and what they were made of."""

from __future__ import annotations

import csv
import io
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.atomic import replacing_file
from pipeline.config import Format, Source, SplitRule
from pipeline.manifest import SPLITS, Manifest
from pipeline.reproduction.cells import Cell
from pipeline.reproduction.outcome import Outcome
from pipeline.reproduction.paper import Column, Figures, paper_figures

NAME = "table1.csv"
ABSENT = "-"
_OFFICIAL = {"name": Source.quickdraw, "root": "gs://quickdraw_dataset", "format": Format.npz}


@dataclass(frozen=True)
class Row:
    """A cell of the paper's table that is finished."""

    cell: Cell
    manifest: Manifest
    outcome: Outcome

    @property
    def is_conditional(self) -> bool:
        """Whether there is a latent vector."""
        return self.cell.column is not Column.decoder_only

    @property
    def ours(self) -> Figures:
        """Of the test split."""
        return Figures(self.outcome.L_R, self.outcome.L_KL if self.is_conditional else None)

    @property
    def paper(self) -> Figures | None:
        """None for a data set that the paper's table does not have."""
        return paper_figures().get((self.cell.experiment, self.cell.column))

    def tracked(self) -> dict[str, float]:
        """For MLflow's charts."""
        where = f"{self.cell.experiment}/{self.cell.column}"
        figures = {f"L_R/{where}": self.ours.L_R}
        return figures | ({} if self.ours.L_KL is None else {f"L_KL/{where}": self.ours.L_KL})

    def summary(self) -> str:
        """In one line."""
        return f"{self.cell.title}: L_R {show(self.ours.L_R)}, L_KL {show(self.ours.L_KL)}" + (
            f"; the paper's {show(self.paper.L_R)}, {show(self.paper.L_KL)}" if self.paper else ""
        )

    def as_dict(self) -> dict[str, Any]:
        """All that is known of it, a column of the CSV each."""
        config, ours, paper = self.cell.config, self.ours, self.paper
        L_R, L_KL = (paper.L_R, paper.L_KL) if paper else (None, None)
        return {
            "experiment": self.cell.experiment,
            "column": self.cell.column.value,
            "L_R": ours.L_R,
            "L_R_paper": L_R,
            "L_R_difference": _difference(ours.L_R, L_R),
            "L_KL": ours.L_KL,
            "L_KL_paper": L_KL,
            "L_KL_difference": _difference(ours.L_KL, L_KL),
            "bound_nats": self.outcome.bound_nats,
            "num_steps": self.outcome.num_steps,
            "best_step": self.outcome.best_step,
            "batch_size": config.train.batch_size,
            "KL_min": config.loss.KL_min,
            "data": describe_data(self.manifest),
            "is_official": is_official(self.manifest),
            **{f"num_{split}": self.manifest.num_drawings(split) for split in SPLITS},
            "N_max": self.manifest.N_max,
            "data_fingerprint": self.manifest.fingerprint,
            "run_folder": self.outcome.run_folder,
            "mlflow_run_id": self.outcome.mlflow_run_id,
        }


def is_official(manifest: Manifest) -> bool:
    """Whether these are the paper's: all of the bucket's npz files, with their own splits."""
    return (
        manifest.source.items() >= _OFFICIAL.items()
        and manifest.ingest["splits"] == SplitRule.own
        and not any(counts.filtered for counts in manifest.counts.values())
    )


def describe_data(manifest: Manifest) -> str:
    """Where the drawings are from, in a few words."""
    if is_official(manifest):
        return "official npz"
    if manifest.generated:
        return "generated doodles"
    source, splits = manifest.source, manifest.ingest["splits"]
    return f"{source['name']} {source['format']}, splits: {splits}"


def _difference(ours: float | None, paper: float | None) -> float | None:
    return None if ours is None or paper is None else ours - paper


def show(value: float | None, *, signed: bool = False) -> str:
    """Three digits; a dash for what there is not."""
    if value is None:
        return ABSENT
    return f"{value:+.3f}" if signed else f"{value:.3f}"


@dataclass
class Table:
    """Rows as they are finished."""

    command: str
    rows: list[Row] = field(default_factory=list)

    def by_experiment(self) -> list[list[Row]]:
        """The rows of each data set."""
        groups = itertools.groupby(self.rows, key=lambda row: row.cell.experiment)
        return [list(rows) for _, rows in groups]

    def write(self, folder: Path) -> Path:
        """Writes table1.csv, and returns its path."""
        with replacing_file(folder / NAME) as path:
            path.write_text(self.as_csv(), encoding="utf-8")
        return folder / NAME

    def as_csv(self) -> str:
        """A line per cell."""
        text = io.StringIO()
        dicts = [row.as_dict() for row in self.rows]
        writer = csv.DictWriter(text, list(dicts[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(dicts)
        return text.getvalue()
