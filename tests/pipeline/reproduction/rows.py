"""Rows of the table with figures of one's own choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from pipeline.config import Source
from pipeline.identity import to_dict
from pipeline.manifest import Counts, Manifest
from pipeline.reproduction.cells import Cell, data_set
from pipeline.reproduction.outcome import Outcome
from pipeline.reproduction.paper import Column
from pipeline.reproduction.table import Row, Table

OFFICIAL = ("source=quickdraw", "source.format=npz", "ingest.splits=own")
OURS = {
    Column.w_KL_100: (-0.50, 0.10),
    Column.w_KL_050: (-0.75, 0.30),
    Column.w_KL_025: (-1.25, 0.90),
    Column.decoder_only: (-0.25, 0.0),
}
"""L_R and L_KL, in the paper's order; the differences are exact."""


def make_manifest(cell: Cell) -> Manifest:
    """Of seven, two and three drawings, the longest of 98 points."""
    config = cell.config
    filtered = {"beyond_limit": 4} if config.ingest.limit else {}
    drawings = {"train": 7, "valid": 2, "test": 3}
    lines = 12 + sum(filtered.values())
    counts = Counts(lines=lines, drawings=drawings, filtered=filtered, rejected={})
    return Manifest(
        name=config.name,
        generated=config.source.name is Source.doodles,
        source=to_dict(config.source),
        categories=list(config.categories),
        ingest=to_dict(config.ingest),
        counts={config.categories[0]: counts},
        empty_splits=[],
        offset_scale=20.0,
        longest=config.ingest.N_max - 1,
        near_duplicates={},
        shards_root="shards",
        shards=[],
        fingerprint="f" * 64,
    )


@cache
def _make_cell(experiment: str, overrides: tuple[str, ...]) -> Cell:
    return data_set(experiment, overrides).cell(Column.w_KL_050, Path("out")).with_N_max(99)


def make_rows(
    experiment: str,
    figures: Mapping[Column, tuple[float, float]] = OURS,
    overrides: Sequence[str] = OFFICIAL,
) -> list[Row]:
    """A data set's rows, as if they had been trained."""
    cell = _make_cell(experiment, tuple(overrides))
    manifest = make_manifest(cell)
    return [
        Row(
            replace(cell, column=column),
            manifest,
            Outcome(
                fingerprint="",
                L_R=L_R,
                L_KL=L_KL,
                bound_nats=50.0,
                num_steps=400,
                best_step=300,
                run_folder="runs/x",
                mlflow_run_id=None,
            ),
        )
        for column, (L_R, L_KL) in figures.items()
    ]


def make_table(*groups: Sequence[Row]) -> Table:
    """All of them in one table."""
    return Table("python -m pipeline.reproduce", [row for rows in groups for row in rows])
