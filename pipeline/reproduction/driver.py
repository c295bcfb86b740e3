"""The cells of the table one after another, and what is written of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Config
from pipeline.identity import fingerprint
from pipeline.manifest import Manifest
from pipeline.reproduction.cells import Cell, DataSet, data_set
from pipeline.reproduction.data import settle_N_max
from pipeline.reproduction.markdown import write_markdown
from pipeline.reproduction.outcome import Outcome, collect_outcome, read_outcome, record_outcome
from pipeline.reproduction.paper import Column
from pipeline.reproduction.picture import write_picture
from pipeline.reproduction.process import run_command
from pipeline.reproduction.table import Row, Table
from pipeline.tracking import JOURNAL, Tracker, git_tags, open_tracker, redact, reopen_tracker
from pipeline.training.interruption import Interrupted, Interruption

_PARENT = "mlflow.parentRunId"
_WAIT_S = 30.0


@dataclass(frozen=True)
class Reproduction:
    """A command line: which cells, and what all of them are told."""

    experiments: Sequence[str]
    columns: Sequence[Column]
    overrides: Sequence[str]
    out: Path | None
    """Folder of the table; None is results/SOURCE/reproduction."""
    command: str
    """That gives all this."""

    def run(self) -> list[Path]:
        """Trains what is not trained, writes table and picture after each cell, and gives them.

        Raises:
            UserError: for what no cell would accept, before the first one; as ingest.
            CommandFailed: if a command of a cell ends otherwise than well.
            Interrupted: if it was stopped; the same command goes on.
        """
        with Interruption().watching():
            return self._run()

    def _run(self) -> list[Path]:
        data_sets = [data_set(name, self.overrides) for name in self.experiments]
        config = data_sets[0].config
        out = self.out or Path("results") / config.source.name / "reproduction"
        plans = [(data, [data.cell(column, out) for column in self.columns]) for data in data_sets]
        tracker = self._open_tracker(config, out)
        table, paths, status = Table(self.command), list[Path](), "FAILED"
        try:
            for data, cells in plans:
                for row in _finish(data, cells, tracker):
                    table.rows.append(row)
                    paths = [
                        table.write(out),
                        write_markdown(table, out),
                        write_picture(table, out),
                    ]
                    print(f"== {row.summary()}", flush=True)
                    tracker.log_metrics(row.tracked(), 0)
            status = "FINISHED"
        except Interrupted:
            status = "KILLED"
            raise
        finally:
            for path in paths:
                tracker.log_file(path)
            tracker.finish(status)
        return paths

    def _open_tracker(self, config: Config, out: Path) -> Tracker:
        """The parent run: one for all commands that differ in nothing but their cells."""
        name = f"reproduction-{fingerprint([*self.overrides, str(out)])[:10]}"
        folder = Path(config.runs_dir) / name / JOURNAL
        tracker = open_tracker(config.tracking, folder=folder, run_name=name)
        tracker.set_tags({"command": redact(self.command)} | git_tags())
        tracker.log_params({"overrides": " ".join(self.overrides)})
        return tracker


def _finish(data: DataSet, cells: Sequence[Cell], tracker: Tracker) -> Iterator[Row]:
    """Trains and evaluates what is not there yet, and gives each cell when it is."""
    data = settle_N_max(data)
    cells = [cell.with_N_max(data.config.ingest.N_max) for cell in cells]
    if not all(map(read_outcome, cells)):
        for name in ("ingest", "prepare"):
            run_command(name, data.overrides)
    manifest = Manifest.read(data.config.manifest_path)
    for cell in cells:
        outcome = read_outcome(cell)
        if outcome is None:
            print(f"\n== {cell.title}", flush=True)
            for name in ("train", "evaluate"):
                run_command(name, cell.overrides)
            outcome = collect_outcome(cell)
            _adopt(cell, outcome, tracker)
            record_outcome(cell, outcome)
        yield Row(cell, manifest, outcome)


def _adopt(cell: Cell, outcome: Outcome, parent: Tracker) -> None:
    """Makes the cell's run in MLflow a child of the table's."""
    if not cell.config.tracking.enabled:
        return
    until_s = time.monotonic() + _WAIT_S
    while parent.run_id is None and time.monotonic() < until_s:
        time.sleep(0.05)
    if parent.run_id is None:
        address = redact(cell.config.tracking.uri)
        print(
            f"{address} has not answered in {_WAIT_S:g} s: there, {cell.title} is no child",
            flush=True,
        )
        return
    journal = Path(outcome.run_folder) / JOURNAL
    child = reopen_tracker(cell.config.tracking, journal, outcome.mlflow_run_id)
    child.set_tags({_PARENT: parent.run_id, "column": cell.column})
    child.finish()
