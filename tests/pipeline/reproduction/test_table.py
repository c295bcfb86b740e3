"""What the table says follows from its figures and from nothing else."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from pipeline.entry import CONF
from pipeline.reproduction.markdown import as_markdown, shown_by, write_markdown
from pipeline.reproduction.paper import WEIGHTS, Column, paper_experiments, paper_figures
from tests.pipeline.reproduction.rows import OFFICIAL, OURS, make_rows, make_table

LOCAL = ("source=local", "source.root=folder")


def test_the_paper_s_forty_cells_are_those_of_its_experiments() -> None:
    """Typed twice: in table1.csv, and in the headers of the experiments."""
    names = paper_experiments()
    assert len(names) == 10
    assert len(paper_figures()) == 40
    for name in names:
        text = (CONF / "experiment" / f"{name}.yaml").read_text()
        (line,) = re.findall(r"^# expect .* w_KL 1\.00; 0\.50; 0\.25: (.*)$", text, re.MULTILINE)
        *conditional, alone = line.split("; ")
        found = [paper_figures()[name, column] for column in WEIGHTS]
        assert [f"{each.L_R:.2f}/{each.L_KL:.2f}" for each in found] == conditional
        decoder_only = paper_figures()[name, Column.decoder_only]
        assert alone == f"decoder-only L_R {decoder_only.L_R:.2f}"
        assert decoder_only.L_KL is None


def test_differences_are_ours_minus_the_paper_s() -> None:
    lines = csv.DictReader(io.StringIO(make_table(make_rows("table1_cat")).as_csv()))
    by_column = {line["column"]: line for line in lines}
    line = by_column["0.50"]
    assert float(line["L_R_difference"]) == pytest.approx(-0.75 - -1.33)
    assert float(line["L_KL_difference"]) == pytest.approx(0.30 - 0.70)
    assert float(by_column["decoder_only"]["L_R_difference"]) == pytest.approx(-0.25 - -0.57)
    assert by_column["decoder_only"]["L_KL"] == "", "there is no latent vector"
    assert (line["num_train"], line["N_max"], line["is_official"]) == ("7", "99", "True")


def test_a_data_set_that_the_paper_does_not_have_stands_alone() -> None:
    markdown = as_markdown(make_table(make_rows("aaron_sheep", overrides=LOCAL)))
    assert "| aaron_sheep | w_KL 1.00 | -0.500 | - | - | 0.100 | - | - |" in markdown
    assert "Not the paper's data: aaron_sheep." in markdown


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (OFFICIAL, "official npz"),
        ([*OFFICIAL, "ingest.limit=9"], "quickdraw npz, splits: own"),
        ([*OFFICIAL, "source.root=gs://mine"], "quickdraw npz, splits: own"),
        (LOCAL, "local simplified, splits: fractions"),
        ([], "generated doodles"),
    ],
)
def test_only_the_paper_s_data_are_called_so(overrides: list[str], says: str) -> None:
    markdown = as_markdown(make_table(make_rows("table1_cat", overrides=overrides)))
    assert f"| table1_cat | {says} |" in markdown
    assert ("Not the paper's data: table1_cat" in markdown) == (says != "official npz")


def test_another_floor_than_the_paper_s_is_said() -> None:
    same, other = (
        make_table(make_rows("table1_cat", overrides=[*OFFICIAL, f"loss.KL_min={floor}"]))
        for floor in (0.2, 0)
    )
    assert "KL_min is" not in as_markdown(same)
    assert "KL_min is 0 here" in as_markdown(other)


ORDERS = {
    # Figures at w_KL 1.00, 0.50 and 0.25, and what they show.
    (-0.5, -0.7, -0.9): "yes",
    (-0.9, -0.7, -0.5): "no",
    (-0.5, -0.9, -0.7): "in part",
}


@pytest.mark.parametrize("values", ORDERS)
def test_whether_the_order_is_the_paper_s_is_read_from_the_figures(
    values: tuple[float, ...],
) -> None:
    figures = {column: (value, -value) for column, value in zip(WEIGHTS, values, strict=True)}
    _, L_R, L_KL, gains, _ = shown_by(make_rows("table1_cat", figures))
    assert L_R.startswith(f"{ORDERS[values]}: ")
    assert L_KL.startswith(f"{ORDERS[values]}: ")
    assert gains == "-", "without a decoder alone there is nothing to be below"


def test_gains_over_the_decoder_alone_stand_beside_the_paper_s() -> None:
    *_, ours, paper = shown_by(make_rows("table1_cat", OURS))
    assert ours == "0.250; 0.500; 1.000"
    assert paper == "0.410; 0.760; 0.890"


def test_the_files_hold_what_was_written(tmp_path: Path) -> None:
    table = make_table(make_rows("table1_cat"), make_rows("table1_pig"))
    assert write_markdown(table, tmp_path).read_text() == as_markdown(table)
    assert table.write(tmp_path).read_text() == table.as_csv()
