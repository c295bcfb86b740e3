"""A search for drawings that are good to a recogniser's eye has one that can judge them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Config, SearchConfig, UserError
from pipeline.search import judgement
from pipeline.search.space import Choice, Space
from sketch_model.config import Condition
from tests.experiments import changed, make_config, make_data, write_drawings
from tests.pipeline.search.recognisers import save_untrained

SPACE: Space = {"loss.w_KL": Choice((0.1, 1.0))}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("judgement")
    config = changed(
        make_config(write_drawings(folder / "bucket"), folder),
        "quality",
        temperatures=[0.5],
        recogniser=str(folder / "recogniser"),
    )
    make_data(config)
    return config


@pytest.fixture
def recogniser(base: Config) -> Any:
    """Another one in each test."""
    yield lambda *categories: save_untrained(base, list(categories) or None)
    shutil.rmtree(base.recogniser_dir, ignore_errors=True)


def sought(config: Config, name: str, **model: Any) -> Config:
    search = SearchConfig(minimize=[name])
    return changed(changed(config, "model", **model), "search", **vars(search))


@pytest.mark.parametrize("name", ["reconstructions_0.5/recognised", "samples_0.5/frechet"])
def test_what_every_trial_has_can_be_looked_for(base: Config, recogniser: Any, name: str) -> None:
    recogniser()
    config = sought(base, f"quality/{name}")
    assert judgement.is_wanted(config)
    judgement.check(config, SPACE)
    identity = judgement.identity(config)
    recogniser("cat", "dog's house", "sun")
    assert judgement.identity(config) != identity, "figures of another one do not compare"


@pytest.mark.parametrize(
    ("name", "varied", "message"),
    [
        ("samples_0.25/frechet", {}, r"there are {reconstructions_0\.5}/{recognised,"),
        ("samples_0.5/recognised", {}, "not every trial has"),
        ("people/frechet", {}, "not every trial has"),
        ("reconstructions_0.5/near", {"model.conditional": Choice((True, False))}, "not every"),
    ],
)
def test_what_some_trial_has_not_is_refused(
    base: Config, recogniser: Any, name: str, varied: Space, message: str
) -> None:
    recogniser()
    with pytest.raises(UserError, match=message):
        judgement.check(sought(base, f"quality/{name}"), SPACE | varied)


def test_a_model_that_is_told_what_to_draw_is_held_to_it(base: Config, recogniser: Any) -> None:
    recogniser()
    told = sought(base, "quality/samples_0.5/recognised", condition=Condition.category)
    judgement.check(told, SPACE)
    varied = SPACE | {"model.condition": Choice(tuple(Condition))}
    with pytest.raises(UserError, match="not every trial has"):
        judgement.check(told, varied)


def test_without_a_recogniser_of_these_categories_no_trial_begins(
    base: Config, recogniser: Any
) -> None:
    config = sought(base, "quality/samples_0.5/diversity")
    with pytest.raises(UserError, match=r"no recogniser in .*: to have one, run"):
        judgement.check(config, SPACE)
    recogniser("cat", "sun")
    with pytest.raises(UserError, match=r"does not know dog's house: to have one"):
        judgement.check(config, SPACE)


def test_the_recogniser_is_found_from_anywhere(base: Config) -> None:
    from pipeline.search.record import settle_paths

    config = settle_paths(changed(base, "quality", recogniser="somewhere"))
    assert Path(config.quality.recogniser).is_absolute()
