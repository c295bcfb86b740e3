"""The picture has every figure of the table where it belongs, the paper's and ours apart."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.reproduction.paper import WEIGHTS, Column, paper_figures
from pipeline.reproduction.picture import draw, write_picture
from tests.pipeline.reproduction.rows import OURS, make_rows, make_table

LOCAL = ("source=local", "source.root=folder")


def curves(axes: Any) -> list[list[tuple[float, float]]]:
    return [
        list(map(tuple, line.get_xydata().tolist()))
        for line in axes.lines
        if line.get_marker() not in ("None", "")
    ]


def levels(axes: Any) -> list[float]:
    return [line.get_ydata()[0] for line in axes.lines if line.get_marker() in ("None", "")]


def test_both_curves_and_both_levels_are_the_figures() -> None:
    (axes,) = draw(make_table(make_rows("table1_cat"))).axes
    paper = [paper_figures()["table1_cat", column] for column in WEIGHTS]
    ours = [(L_KL, L_R) for L_R, L_KL in (OURS[column] for column in WEIGHTS)]
    assert sorted(curves(axes)) == sorted([[(f.L_KL, f.L_R) for f in paper], ours])
    assert sorted(levels(axes)) == [-0.57, OURS[Column.decoder_only][0]]


def names(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_names_of_points_in_one_place_are_in_one_line() -> None:
    (axes,) = draw(make_table(make_rows("table1_cat"))).axes
    assert names(axes) == [*WEIGHTS, *WEIGHTS]
    together = make_rows("table1_cat", dict.fromkeys(OURS, (0.42, 0.2)))
    (axes,) = draw(make_table(together)).axes
    assert names(axes) == [*WEIGHTS, ", ".join(WEIGHTS)]


def test_a_data_set_of_ours_has_no_points_of_the_paper() -> None:
    rows = make_rows("aaron_sheep", overrides=LOCAL)
    figure = draw(make_table(rows))
    (axes,) = figure.axes
    assert len(curves(axes)) == len(levels(axes)) == 1
    assert not any("Ha & Eck" in text.get_text() for text in figure.legends[0].get_texts())


def test_ours_and_theirs_differ_without_colours() -> None:
    (axes,) = draw(make_table(make_rows("table1_cat"))).axes
    looks = {(line.get_linestyle(), line.get_marker(), line.get_fillstyle()) for line in axes.lines}
    assert len(looks) == 4


@pytest.mark.parametrize("num", [1, 3])
def test_every_data_set_has_a_panel(tmp_path: Path, num: int) -> None:
    names = ["table1_cat", "table1_pig", "table1_owl"][:num]
    table = make_table(*(make_rows(name, overrides=LOCAL) for name in names))
    titles = [axes.get_title(loc="left") for axes in draw(table).axes]
    assert titles == names
    image = Image.open(io.BytesIO(write_picture(table, tmp_path).read_bytes()))
    assert image.width > 500 * num
