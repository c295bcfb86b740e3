"""All trials of a search as one table, for people (CSV) and for programs (Parquet)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet

from pipeline.atomic import replacing_file
from pipeline.search.outcome import Goal, Trial, find_winner, pareto_front

CSV_NAME, PARQUET_NAME = "trials.csv", "trials.parquet"


def tabulate(trials: Sequence[Trial], goal: Goal) -> pa.Table:
    """A row per trial: what was tried, what came of it, and where it is.

    Figures and fields are columns of their own names; what a trial does not have is null. A field
    with values of several types, as 0.5 and "none", is a column of text.
    """
    front = {trial.folder for trial in pareto_front(trials, goal)}
    winner = find_winner(trials, goal)
    columns = {
        "number": _column([trial.number for trial in trials], pa.int64()),
        **{
            field: _column([trial.values.get(field) for trial in trials])
            for field in _union(trial.values for trial in trials)
        },
        "status": _column([trial.status.value for trial in trials], pa.string()),
        "step": _column([trial.step for trial in trials], pa.int64()),
        **{
            figure: _column([trial.figures.get(figure) for trial in trials], pa.float64())
            for figure in _union(trial.figures for trial in trials)
        },
        "duration_s": _column([trial.duration_s for trial in trials], pa.float64()),
        "on_front": _column([trial.folder in front for trial in trials], pa.bool_()),
        "is_winner": _column([trial is winner for trial in trials], pa.bool_()),
        "error": _column([trial.error or None for trial in trials], pa.string()),
        "mlflow_run_id": _column([trial.mlflow_run_id for trial in trials], pa.string()),
        "folder": _column([str(trial.folder) for trial in trials], pa.string()),
    }
    return pa.table(columns)


def write_table(trials: Sequence[Trial], goal: Goal, folder: Path) -> list[Path]:
    """Writes trials.csv and trials.parquet, each whole or not at all, and returns their paths.

    Raises:
        UserError: if the folder cannot be written.
    """
    table = tabulate(trials, goal)
    paths = [folder / CSV_NAME, folder / PARQUET_NAME]
    with replacing_file(paths[0]) as path:
        csv.write_csv(table, path)
    with replacing_file(paths[1]) as path:
        parquet.write_table(table, path)
    return paths


def _union(mappings: Any) -> list[str]:
    """All keys, in the order in which they first appear."""
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def _column(values: list[Any], kind: pa.DataType | None = None) -> pa.Array:
    types = {type(value) for value in values if value is not None}
    if len(types) > 1 and kind is None and types != {int, float}:
        values = [value if value is None else str(value) for value in values]
    return pa.array(values, kind)
