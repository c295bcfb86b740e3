"""The table for people: figures, data, settings, and what they show."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.atomic import replacing_file
from pipeline.manifest import SPLITS
from pipeline.reproduction.paper import KL_MIN, WEIGHTS, Column, Figures
from pipeline.reproduction.table import ABSENT, Row, Table, describe_data, is_official, show
from sketch_model.losses import kl_weight

NAME = "table1.md"


def write_markdown(table: Table, folder: Path) -> Path:
    """Writes table1.md, and returns its path."""
    with replacing_file(folder / NAME) as path:
        path.write_text(as_markdown(table), encoding="utf-8")
    return folder / NAME


def as_markdown(table: Table) -> str:
    """The whole page."""
    groups = table.by_experiment()
    return "\n".join(
        [
            "# Table 1 of Ha & Eck (2017), and the same from here",
            "",
            f"    {table.command}",
            "",
            *_notes(table),
            "",
            *_grid(_FIGURES, map(_figures_of, table.rows)),
            "",
            "What was trained on:",
            "",
            *_grid(_DATA, (_data_of(rows[0]) for rows in groups)),
            "",
            "What was trained:",
            "",
            *_grid(_SETTINGS, map(_settings_of, groups)),
            "",
            "What it shows:",
            "",
            *_grid(_SHOWN, map(shown_by, groups)),
            "",
        ]
    )


def _notes(table: Table) -> Iterator[str]:
    yield (
        "L_R and L_KL of the test split, in nats per row of N_max and per latent dimension."
        " A difference is ours minus the paper's: of L_R, one below zero is better here."
    )
    others = [rows[0].cell.experiment for rows in table.by_experiment() if not _is_paper_s(rows[0])]
    if others:
        yield (
            f"Not the paper's data: {', '.join(others)}. Their figures compare with each other,"
            " and not with the paper's."
        )
    floors = {row.cell.config.loss.KL_min for row in table.rows if row.is_conditional}
    if floors - {KL_MIN}:
        yield (
            f"KL_min is {', '.join(f'{floor:g}' for floor in sorted(floors))} here; the paper"
            f" trained with a floor of {KL_MIN:g} nats, which hides w_KL while L_KL is below."
        )


def _is_paper_s(row: Row) -> bool:
    return row.paper is not None and is_official(row.manifest)


_FIGURES = ("data set", "column", "L_R", "paper", "difference", "L_KL", "paper", "difference")
_DATA = ("data set", "drawings", *SPLITS, "longest", "N_max", "fingerprint")
_SETTINGS = (
    "data set",
    "encoder",
    "decoder",
    "N_z",
    "M",
    "KL_min",
    "share of w_KL at the end",
    "learning rate",
    "batch",
    "steps",
    "best at",
    "precision",
)
_SHOWN = (
    "data set",
    "L_R falls as w_KL falls",
    "L_KL rises",
    "L_R below decoder-only",
    "in the paper",
)


def _figures_of(row: Row) -> list[str]:
    content = row.as_dict()
    names = ("", "_paper", "_difference")
    return [
        row.cell.experiment,
        row.cell.column.heading,
        *(show(content[f"L_R{name}"], signed="diff" in name) for name in names),
        *(show(content[f"L_KL{name}"], signed="diff" in name) for name in names),
    ]


def _data_of(row: Row) -> list[str]:
    manifest = row.manifest
    return [
        row.cell.experiment,
        describe_data(manifest),
        *(f"{manifest.num_drawings(split):,}" for split in SPLITS),
        str(manifest.longest),
        str(manifest.N_max),
        manifest.fingerprint[:12],
    ]


def _settings_of(rows: Sequence[Row]) -> list[str]:
    conditional = [row for row in rows if row.is_conditional]
    config = (conditional or rows)[0].cell.config
    model, loss, train = config.model, config.loss, config.train
    best = [f"{row.outcome.best_step:,}" for row in rows]
    steps = sorted({row.outcome.num_steps for row in rows})
    return [
        rows[0].cell.experiment,
        f"{model.encoder_cell} {model.encoder_size}",
        f"{model.decoder_cell} {model.decoder_size}",
        str(model.N_z),
        str(model.M),
        f"{loss.KL_min:g}",
        f"{kl_weight(steps[-1], w_KL=1.0, eta_min=loss.eta_min, R=loss.R):.1%}",
        f"{train.learning_rate:g} to {train.min_learning_rate:g} by {train.decay:g}",
        str(train.batch_size),
        ", ".join(f"{num:,}" for num in steps),
        ", ".join(best),
        str(train.precision),
    ]


def shown_by(rows: Sequence[Row]) -> list[str]:
    """Whether the paper's findings are there too, by data set."""
    ours = {row.cell.column: row.ours for row in rows}
    paper = {row.cell.column: row.paper for row in rows if row.paper}
    return [
        rows[0].cell.experiment,
        _in_order([ours[column].L_R for column in WEIGHTS if column in ours], falling=True),
        _in_order([ours[column].L_KL for column in WEIGHTS if column in ours], falling=False),
        _gains(ours),
        _gains(paper),
    ]


def _in_order(values: Sequence[float | None], *, falling: bool) -> str:
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return ABSENT
    pairs = [(b < a) if falling else (b > a) for a, b in itertools.pairwise(known)]
    answer = "yes" if all(pairs) else "no" if not any(pairs) else "in part"
    return f"{answer}: {'; '.join(map(show, known))}"


def _gains(figures: Mapping[Column, Figures]) -> str:
    """By how much L_R is below that of the decoder alone, in the order of the columns."""
    alone = figures.get(Column.decoder_only)
    gains = [alone.L_R - figures[column].L_R for column in WEIGHTS if column in figures and alone]
    return "; ".join(map(show, gains)) or ABSENT


def _grid(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'|'.join('---' for _ in header)}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
