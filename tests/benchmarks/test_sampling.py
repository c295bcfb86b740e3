"""Peers of the sampling benchmark compute what the package does, and all draw the same number."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks import google_reader, sampling, timing
from benchmarks.sampling import Task
from sketch_model.config import Cell

TINY = {"encoder_size": 6, "decoder_size": 8, "N_z": 3, "M": 20}
TASK = Task(num=5, num_points=4)


@pytest.fixture(autouse=True)
def _be_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "TURN_S", 0.0)
    monkeypatch.setattr(timing, "pin_to_one_core", lambda: None)  # not the other tests


def figures_of(section: dict[str, Any]) -> dict[str, float]:
    return {row["name"]: row["sketches_per_s"] for row in section["rows"]}


@pytest.mark.parametrize("cell", list(Cell))
def test_the_plain_loop_computes_what_the_package_does(cell: Cell) -> None:
    model, plain = sampling.build_models(cell, True, TINY)
    assert plain is not None
    assert sampling.differ_from_plain(model, plain) < 2e-6
    with torch.no_grad():
        next(model.decoder.cell.parameters())[0, 0] += 0.1
    assert sampling.differ_from_plain(model, plain) > 1e-4
    rows = sampling.draw_plainly(plain, torch.zeros(1, 3), 7)
    assert rows.shape == (7, 5)
    assert (rows[:, 2:4].sum(dim=1) == 1).all()


def test_a_peer_with_another_function_stops_the_comparison(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampling, "differ_from_plain", lambda *_: float("nan"))
    with pytest.raises(ArithmeticError, match=r"plain loop, lstm differs .* more than 0\.0001"):
        sampling.compare_cell(Cell.lstm, TINY, TASK, 1)


def test_all_are_measured_and_what_is_missing_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(google_reader, "find_lack", lambda: "there is no Node")
    figures = sampling.run(TINY, TASK, 1)
    assert figures["left_out"] == "there is no Node"
    assert "LEFT OUT, NOT MEASURED: @magenta/sketch; there is no Node" in capsys.readouterr().err
    assert len(figures["sections"]) == len(Cell)
    for section in figures["sections"]:
        assert list(figures_of(section)) == [sampling.PLAIN, sampling.ONE, sampling.BATCH]
        assert all(figure > 0 for figure in figures_of(section).values())
        assert [row.get("target") for row in section["rows"]] == [None, 2.0, 12.0]


def test_google_s_reader_draws_from_the_same_file() -> None:
    if lack := google_reader.find_lack():
        pytest.skip(lack)
    section = sampling.compare_google(TINY, TASK, 1)
    assert list(figures_of(section)) == [sampling.GOOGLE, sampling.ONE, sampling.BATCH]
    assert all(figure > 0 for figure in figures_of(section).values())


def test_the_table_marks_what_is_missed() -> None:
    rows = [
        {"name": "plain", "sketches_per_s": 10.0, "ratio": 1.0},
        {"name": sampling.ONE, "sketches_per_s": 15.0, "ratio": 1.5, "target": 2.0, "met": False},
    ]
    table = sampling.format_section({"title": "lstm", "num_rounds": 3, "rows": rows})
    assert "| plain | 10.00 | 100.00 | 1.0 |  |" in table
    assert "| **SketchRNN, one** | 15.00 | 66.67 | 1.5 | 2 — missed |" in table
