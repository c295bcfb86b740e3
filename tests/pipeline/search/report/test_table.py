"""The table has every trial with all that is known of it, with its type."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from pipeline.config import UserError
from pipeline.search.outcome import Status, Trial, find_winner
from pipeline.search.report.table import tabulate, write_table
from tests.pipeline.search.trials import ERROR, RATE_DISTORTION, make_trials, on_front


def test_parquet_keeps_types_values_and_what_is_missing(tmp_path: Path) -> None:
    trials = make_trials()
    _, path = write_table(trials, RATE_DISTORTION, tmp_path)
    table = parquet.read_table(path)
    kinds = {
        pa.int64(): ("number", "model.M", "model.N_z", "step"),
        pa.float64(): ("loss.w_KL", "rate_nats", "L_KL", "duration_s"),
        pa.string(): ("status", "error", "mlflow_run_id", "folder"),
        pa.bool_(): ("on_front", "is_winner"),
    }
    for kind, names in kinds.items():
        assert {table.schema.field(name).type for name in names} == {kind}
    for trial, row in zip(trials, table.to_pylist(), strict=True):
        assert {name: row[name] for name in trial.values} == trial.values
        assert row["rate_nats"] == trial.figures.get("rate_nats")
        assert row["status"] == trial.status.value
        assert row["error"] == (ERROR if trial.status is Status.failed else None)
        assert row["mlflow_run_id"] == trial.mlflow_run_id


def test_csv_says_the_same_to_the_last_digit(tmp_path: Path) -> None:
    trials = make_trials()
    path, _ = write_table(trials, RATE_DISTORTION, tmp_path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["number"]) for row in rows] == [trial.number for trial in trials]
    assert [float(row["loss.w_KL"]) for row in rows] == [t.values["loss.w_KL"] for t in trials]
    assert [row["error"] for row in rows] == [trial.error for trial in trials]


def test_front_and_winner_are_marked() -> None:
    trials = make_trials()
    again = replace(trials[0], number=99)  # of equal values: it shares the folder
    rows = tabulate([*trials, again], RATE_DISTORTION).to_pylist()
    front = on_front(trials, "rate_nats", "distortion_nats")
    assert {row["number"] for row in rows[:-1] if row["on_front"]} == front
    assert rows[-1]["on_front"] == rows[0]["on_front"]
    winner = find_winner(trials, RATE_DISTORTION)
    assert winner is not None
    assert [row["number"] for row in rows if row["is_winner"]] == [winner.number]


def test_values_of_several_types_are_text_and_none_is_null() -> None:
    def trial(number: int, value: object) -> Trial:
        return Trial(number, {"init_from": value}, Status.failed, Path(str(number)))

    def column(*values: object) -> list[object]:
        trials = [trial(*pair) for pair in enumerate(values)]
        return list(tabulate(trials, RATE_DISTORTION).column("init_from").to_pylist())

    assert column(0.5, "none", None) == ["0.5", "none", None]
    assert column(1, 0.5) == [1.0, 0.5]
    assert column(True, None) == [True, None]


def test_no_trials_are_an_empty_table(tmp_path: Path) -> None:
    _, path = write_table([], RATE_DISTORTION, tmp_path)
    assert parquet.read_table(path).num_rows == 0


def test_a_folder_that_cannot_be_written_is_an_error_for_people(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*trials\.csv"):
        write_table([], RATE_DISTORTION, tmp_path / "file")
