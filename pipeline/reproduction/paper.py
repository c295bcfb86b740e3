"""The paper's own figures (Ha & Eck 2017, arXiv 1704.03477, Table 1), in table1.csv."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

KL_MIN = 0.20
"""The floor that the paper trains with: no L_KL of its table is below."""
_PATH = Path(__file__).with_name("table1.csv")


class Column(StrEnum):
    """A column of the table: a weight w_KL, or no encoder."""

    w_KL_100 = "1.00"
    w_KL_050 = "0.50"
    w_KL_025 = "0.25"
    decoder_only = "decoder_only"

    @property
    def heading(self) -> str:
        """For people."""
        return "decoder-only" if self is Column.decoder_only else f"w_KL {self}"

    @property
    def override(self) -> str:
        """What makes an experiment's model the column's."""
        if self is Column.decoder_only:
            return "model.conditional=false"
        return f"loss.w_KL={self}"


WEIGHTS = (Column.w_KL_100, Column.w_KL_050, Column.w_KL_025)
"""The columns with an encoder, from the least latent vector to the most."""


@dataclass(frozen=True)
class Figures:
    """Losses of the test split in nats: L_R per row of N_max, L_KL per latent dimension."""

    L_R: float
    L_KL: float | None
    """None without an encoder."""


@cache
def paper_figures() -> dict[tuple[str, Column], Figures]:
    """Of every cell that the paper has, by experiment and column."""
    with _PATH.open(newline="") as file:
        return {
            (row["experiment"], Column(row["column"])): Figures(
                float(row["L_R"]), float(row["L_KL"]) if row["L_KL"] else None
            )
            for row in csv.DictReader(file)
        }


def paper_experiments() -> list[str]:
    """Names of the ten data sets' experiments, in the table's order."""
    return list(dict.fromkeys(experiment for experiment, _ in paper_figures()))
