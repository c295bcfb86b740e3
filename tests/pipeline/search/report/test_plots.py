"""Pictures have each trial once, where its figures are, and the front as comparing gives it."""

from __future__ import annotations

import io
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from PIL import Image

from pipeline.search.outcome import Goal, Status
from pipeline.search.report.importance import Importance, Share
from pipeline.search.report.marks import Marks
from pipeline.search.report.plots import picture_importance, picture_trials, to_png, to_svg
from tests.pipeline.search.trials import BOUND, RATE_DISTORTION, make_trials, on_front

TRIALS = make_trials()


@pytest.fixture(scope="module")
def pareto() -> Figure:
    (figure,) = picture_trials(TRIALS, RATE_DISTORTION).values()
    return figure


def points(figure: Figure, *, is_hollow: bool) -> list[tuple[float, float]]:
    """Where the trials are drawn, without the winner's ring."""
    scatters: list[PathCollection] = [
        drawn
        for drawn in figure.axes[0].collections
        if isinstance(drawn, PathCollection) and drawn.get_sizes()[0] < 300
    ]
    found = [scatter for scatter in scatters if (scatter.get_facecolor().size == 0) is is_hollow]
    return sorted(tuple(map(float, scatter.get_offsets()[0])) for scatter in found)


def expected(status: Status) -> list[Any]:
    return sorted(
        (trial.figures["rate_nats"], trial.figures["distortion_nats"])
        for trial in TRIALS
        if trial.status is status
    )


def test_every_finished_trial_is_a_point_and_every_stopped_one_a_hollow_one(pareto: Figure) -> None:
    assert points(pareto, is_hollow=False) == expected(Status.finished)
    assert points(pareto, is_hollow=True) == expected(Status.stopped)
    title = pareto.axes[0].get_title(loc="left")
    for text in ("18 finished", "3 stopped early (hollow", "3 failed (not drawn)", "3 unfinished"):
        assert text in title


def test_the_line_is_the_front(pareto: Figure) -> None:
    (line,) = pareto.axes[0].lines
    front = on_front(TRIALS, "rate_nats", "distortion_nats")
    drawn = sorted(map(tuple, np.array(line.get_xydata()).tolist()))
    assert drawn == sorted(
        (TRIALS[number].figures["rate_nats"], TRIALS[number].figures["distortion_nats"])
        for number in front
    )
    assert {text.get_text() for text in pareto.axes[0].texts} == set(map(str, front))


def test_axes_are_named_as_in_the_paper_with_their_units(pareto: Figure) -> None:
    axes = pareto.axes[0]
    assert axes.get_xlabel() == r"rate $N_z\,L_\mathrm{KL}$ (nats per sketch)"
    assert axes.get_ylabel() == r"distortion $N_\mathrm{max}\,L_R$ (nats per sketch)"


def test_the_frame_is_of_the_finished_and_says_what_it_leaves_out() -> None:
    far = make_trials()
    far[6].figures["distortion_nats"] = 1e6  # stopped early
    (figure,) = picture_trials(far, RATE_DISTORTION).values()
    assert figure.axes[0].get_ylim()[1] < 1e3
    assert "1 beyond the frame" in figure.axes[0].get_title(loc="left")
    del far[6].figures["distortion_nats"]
    (figure,) = picture_trials(far, RATE_DISTORTION).values()
    assert "(hollow; 1 without the figures)" in figure.axes[0].get_title(loc="left")


def test_colour_shape_and_size_are_of_three_fields() -> None:
    marks = Marks.of(TRIALS)
    coded = (marks.colour, marks.shape, marks.size)
    assert [each and each.field for each in coded] == ["loss.w_KL", "model.N_z", "model.M"]
    without = Marks.of(TRIALS, without="loss.w_KL")
    assert without.colour is not None
    assert without.colour.field == "model.N_z"
    assert without.size is None


def test_one_figure_is_shown_against_each_field_and_three_in_pairs() -> None:
    one = picture_trials(TRIALS, BOUND)
    assert list(one) == ["bound_nats-loss.w_KL", "bound_nats-model.M", "bound_nats-model.N_z"]
    three = picture_trials(TRIALS, Goal(("distortion_nats", "rate_nats"), ("L_KL",)))
    assert list(three) == ["rate_nats-distortion_nats", "rate_nats-L_KL", "distortion_nats-L_KL"]
    assert not any(figure.axes[0].lines for figure in three.values())


def test_nothing_finished_is_no_picture() -> None:
    assert picture_trials([t for t in TRIALS if t.status is Status.failed], RATE_DISTORTION) == {}
    assert picture_trials([], BOUND) == {}


def test_svg_takes_the_page_s_colours_and_asks_for_nothing(pareto: Figure) -> None:
    svg = to_svg(pareto)
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    assert "#1f1e1c" not in svg
    assert "var(--ink)" in svg
    links = [v for e in root.iter() for k, v in e.attrib.items() if k.endswith("href")]
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    (again,) = picture_trials(TRIALS, RATE_DISTORTION).values()
    assert to_svg(again) == svg


def test_png_is_a_picture(pareto: Figure) -> None:
    image = Image.open(io.BytesIO(to_png(pareto)))
    assert image.size == (840, 810)
    assert len(image.convert("RGB").getcolors(2**20) or []) > 50


def test_bars_have_the_lengths_of_the_shares() -> None:
    shares = {"loss.w_KL": Share(0.7, 0.6, 0.8, 0.3), "model.M": Share(0.1, 0.0, 0.2, 0.3)}
    figure = picture_importance(Importance("rate_nats", 18, shares))
    bars = figure.axes[0].patches
    assert [bar.get_width() for bar in bars] == [0.7, 0.1]  # type: ignore[attr-defined]
    assert figure.axes[0].get_title(loc="left") == "18 trials"
    with pytest.raises(ValueError, match="there are no shares to draw: too few"):
        picture_importance(Importance("rate_nats", 3, reason="too few"))
