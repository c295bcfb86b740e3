"""The page says what was found, how to train it, and what the figures do not mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.search.outcome import Goal, Status, Trial, find_winner, pareto_front
from pipeline.search.report.front_drawings import MAX_MODELS, spread
from pipeline.search.report.importance import Importance, Share
from pipeline.search.report.page import SearchFacts, search_html
from pipeline.search.space import Choice, Range
from sketch_model import weights
from sketch_model.config import Condition
from tests.pipeline.report.test_gallery import drawings, read, tiny_model
from tests.pipeline.search.trials import BOUND, ERROR, RATE_DISTORTION, make_trials, on_front

FACTS = SearchFacts(
    name="cat_pig rate_distortion",
    space={
        "loss.w_KL": Range(0.1, 2.0, log=True),
        "model.M": Choice((5, 10, 20)),
        "model.N_z": Choice((16, 64)),
    },
    method="27 points by Optuna's TPE sampler.",
    num_steps=200,
    num_steps_in_full=12_000,
    overrides=["+experiment=cat_pig"],
    data=tiny_model().data,
)
IMPORTANCES = [
    Importance("rate_nats", 18, {"loss.w_KL": Share(0.9, 0.8, 0.95, 0.4)}),
    Importance("distortion_nats", 18, reason="Too few of them."),
]


def page_of(
    trials: Sequence[Trial],
    goal: Goal = RATE_DISTORTION,
    facts: SearchFacts = FACTS,
    importances: Sequence[Importance] = IMPORTANCES,
) -> str:
    return search_html(
        trials,
        goal,
        facts=facts,
        importances=importances,
        sketches=drawings(6),
        categories=["cat", "cat", "cat", "cat", "pig", "cat"],
    )


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    found = make_trials(folder=tmp_path_factory.mktemp("trials"))
    for trial in pareto_front(found, RATE_DISTORTION):
        weights.save(tiny_model(), trial.model_dir)
    return found


@pytest.fixture(scope="module")
def html(trials: list[Trial]) -> str:
    return page_of(trials)


def test_each_point_of_the_front_has_its_command_and_its_drawings(
    html: str, trials: list[Trial]
) -> None:
    text = read(html).text
    front = on_front(trials, "rate_nats", "distortion_nats")
    assert 2 <= len(front) <= MAX_MODELS
    for number in front:
        values = trials[number].values
        assert (
            f"python -m pipeline.train +experiment=cat_pig loss.w_KL={values['loss.w_KL']!r}"
            f" model.M={values['model.M']} model.N_z={values['model.N_z']}"
        ) in text
    assert text.count("python -m pipeline.train") == len(front)
    assert read(html).count("figure") == 4 + 8 * len(front)
    originals = re.findall("<figcaption>(.*?)</figcaption>", html)[:4]
    assert originals == ["cat", "pig", "cat", "cat"], "one of each before the second of any"


def test_the_page_says_what_was_searched_and_what_became_of_it(html: str) -> None:
    text = read(html).text.replace("\u00a0", " ")
    for fact in (
        "w_KL: 0.1 to 2, even in the logarithm; M: 5, 10, 20; N_z: 16, 64. 27 points by",
        "27: 18 finished, 3 stopped early, 3 failed and 3 unfinished",
        "200 of each trial; 12,000 in full",
        "small rate and small distortion",
        "have the figures of the step where it stopped them, and are not on the front",
        "generated doodles: cat and pig; N_max = 40",
    ):
        assert fact in text
    assert text.count(ERROR) == 3
    assert "distortion: Too few of them." in text


def test_the_page_says_what_the_figures_do_not_mean(html: str) -> None:
    text = read(html).text
    assert "it is another quantity at every w_KL and N_z" in text
    assert "The bound ranks M and N_z. Over w_KL it merely prefers w_KL near N_z / N_max" in text
    assert "from the front of rate and distortion, or by looking at drawings" in text


def test_every_trial_is_in_the_table(html: str, trials: list[Trial]) -> None:
    rows = re.search(r"<h2>All trials</h2>.*?<tbody>(.*?)</tbody>", html, re.DOTALL)
    assert rows is not None
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows[1].split("</tr>")[:-1]]
    assert [int(row[0]) for row in cells] == [trial.number for trial in trials]
    assert [row[4] for row in cells] == [trial.status.value for trial in trials]
    assert [row[-1] for row in cells] == [trial.mlflow_run_id or "–" for trial in trials]  # noqa: RUF001


def test_the_page_asks_for_nothing_outside_itself_and_escapes_what_is_from_outside(
    trials: list[Trial],
) -> None:
    hostile = "<script>alert(1)</script>\"'&$x$"
    bad = replace(trials[4], error=hostile, mlflow_run_id=hostile, values={"init_from": hostile})
    html = page_of(
        [*trials, bad],
        facts=replace(
            FACTS,
            name=hostile,
            overrides=[f"+experiment={hostile}"],
            data=tiny_model(categories=(hostile,)).data,
        ),
        importances=[Importance("rate_nats", 1, reason=hostile)],
    )
    page = read(html)
    assert page.count("script") == 0
    assert page.text.count(hostile) >= 5
    assert {tag for tag, _ in page.tags}.isdisjoint({"link", "img", "iframe", "object"})
    links = [
        value for _, attributes in page.tags for name, value in attributes.items()
        if name in {"src", "href", "xlink:href", "srcset"}
    ]  # fmt: skip
    assert all(str(link).startswith(("#", "data:image/png")) for link in links)
    assert not re.search(r"url\((?!#)|@import|@font-face", html)
    assert len(html) < 1_000_000


def test_one_figure_has_the_best_trials_instead_of_a_front(trials: list[Trial]) -> None:
    html = page_of(trials, BOUND, importances=[])
    text = read(html).text
    assert "The best trials" in text
    assert text.count("python -m pipeline.train") == 8
    winner = find_winner(trials, BOUND)
    assert winner is not None
    assert text.index(f"loss.w_KL={winner.values['loss.w_KL']!r}") == text.index("loss.w_KL=")


def test_the_training_objective_is_said_to_compare_within_the_search_alone() -> None:
    trial = Trial(0, {"model.M": 5}, Status.finished, Path("0"), figures={"objective": 1.0})
    text = read(page_of([trial], Goal(("objective",)), importances=[])).text
    assert "w_KL, KL_min and N_z are the same in all" in text
    assert "another quantity at every" not in text


def test_a_model_that_is_gone_is_missing_and_not_the_end_of_the_page(tmp_path: Path) -> None:
    text = read(page_of(make_trials(folder=tmp_path))).text
    assert "holds no model: config.json is missing" in text
    assert "All trials" in text


@pytest.mark.parametrize("statuses", [[], [Status.failed], [Status.stopped, Status.unfinished]])
def test_without_a_finished_trial_the_page_says_so(statuses: list[Status]) -> None:
    trials = [trial for trial in make_trials() if trial.status in statuses]
    text = read(page_of(trials, importances=[])).text
    assert "None of them has finished." in text
    assert "python -m pipeline.train" not in text


@pytest.mark.parametrize("conditional", [True, False])
def test_models_that_are_told_categories_or_have_no_encoder_draw_too(
    tmp_path: Path, conditional: bool
) -> None:
    trial = replace(make_trials(1)[0], folder=tmp_path)
    model = tiny_model(conditional=conditional, condition=Condition.category)
    weights.save(model, trial.model_dir)
    page = read(page_of([trial]))
    assert page.count("figure") == (4 + 4 + 4 if conditional else 4)
    assert ("originals" in page.text) is conditional


def test_a_long_front_is_drawn_in_part_with_both_ends_and_the_winner() -> None:
    front = make_trials(40)
    for winner in front:
        shown = spread(front, winner)
        assert len(shown) == MAX_MODELS
        assert winner in shown
        numbers = [trial.number for trial in shown]
        assert numbers == sorted(set(numbers))
    assert [t.number for t in spread(front, None)] == [0, 6, 11, 17, 22, 28, 33, 39]
    assert spread(front[:8], None) == front[:8]


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_wide_tables_scroll_in_themselves_and_the_page_does_not(
    browser: Any, html: str, width: int
) -> None:
    with browser.new_page(viewport={"width": width, "height": 800}) as page:
        page.set_content(html)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        boxes = page.eval_on_selector_all(
            ".scroll:has(table)", "all => all.map(e => [e.clientWidth, e.scrollWidth])"
        )
        assert (boxes[1][1] > boxes[1][0]) is (width == 390), "the table of all trials"
        (picture,) = page.eval_on_selector_all(
            ".picture svg:has(image)", "all => all.map(e => e.getBoundingClientRect().width)"
        )
        assert 330 <= picture <= 600


@pytest.mark.browser
def test_pictures_are_light_or_dark_as_the_reader_prefers(browser: Any, html: str) -> None:
    def brightness(page: Any, style: str) -> float:
        text = page.eval_on_selector(
            f".picture [style*='{style}: var(--ink)']", f"e => getComputedStyle(e).{style}"
        )
        return sum(int(number) for number in re.findall(r"\d+", text)[:3]) / 3

    for scheme, is_bright in (("light", False), ("dark", True)):
        with browser.new_page(color_scheme=scheme) as page:
            page.set_content(html)
            assert (brightness(page, "fill") > 200) is is_bright
            assert (brightness(page, "stroke") > 200) is is_bright
