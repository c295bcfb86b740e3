"""A space is read, and refused before any trial begins where a trial would fail."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline.config import Algorithm, Config, SearchConfig, UserError
from pipeline.entry import compose
from pipeline.search.record import of_a_trial
from pipeline.search.space import Choice, Range, grid, read_space

SEARCH: dict[str, Any] = {"algorithm": "random", "num_trials": 3, "minimize": ["bound_nats"]}


def with_space(space: dict[str, Any], *overrides: str, **search: Any) -> Config:
    config = compose(["+experiment=smoke", *overrides])
    return replace(config, search=SearchConfig(space=space, **(SEARCH | search)))


def test_lists_are_choices_and_bounds_are_ranges() -> None:
    space = {
        "loss": {"w_KL": {"low": 0.1, "high": 2.0, "log": True}},
        "model": {"M": [5, 10], "N_z": {"low": 8, "high": 32, "step": 8}},
        "train": {"seed": {"low": 0, "high": 9}},
    }
    assert read_space(with_space(space)) == {
        "loss.w_KL": Range(0.1, 2.0, log=True),
        "model.M": Choice((5, 10)),
        "model.N_z": Range(8, 32, step=8),
        "train.seed": Range(0, 9),
    }


def test_a_grid_has_every_combination_once() -> None:
    space = {
        "loss": {"w_KL": {"low": 0.1, "high": 0.7, "step": 0.3}},
        "model": {"M": [5, 10]},
    }
    config = with_space(space, algorithm=Algorithm.grid, num_trials=None)
    rows = [(row["loss.w_KL"], row["model.M"]) for row in grid(read_space(config))]
    assert rows == [(pytest.approx(w), M) for w in (0.1, 0.4, 0.7) for M in (5, 10)]


@pytest.mark.parametrize("name", ["rate_distortion", "paper_grid", "bound"])
def test_every_file_of_conf_is_a_space(name: str) -> None:
    assert read_space(compose(["+experiment=smoke", f"+search={name}"]))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, r"search\.space is empty"),
        ({"loss": {"w_kl": [0.5]}}, r"did you mean loss\.w_KL\?"),
        ({"model": {"M": [5, 0]}}, r"model\.M=0 must be at least 1"),
        ({"model": {"M": ["many"]}}, r"'many'"),
        ({"model": {"M": [5, 5]}}, "each once"),
        ({"model": {"M": []}}, "at least one value"),
        ({"loss": {"pen_weights": [[1.0, 1.0, 1.0]]}}, "not lists"),
        ({"loss": {"w_KL": 0.5}}, "is one value"),
        ({"loss": {"w_KL": {"low": 2.0, "high": 0.1}}}, "low below high"),
        ({"loss": {"w_KL": {"low": 0.1}}}, "without high"),
        ({"loss": {"w_KL": {"low": "a", "high": 1}}}, "must have numbers"),
        ({"loss": {"w_KL": {"low": 0.0, "high": 1.0, "log": True}}}, "low above 0"),
        ({"loss": {"w_KL": {"low": -1.0, "high": 1.0}}}, r"w_KL=-1\.0 must be at least 0"),
        ({"loss": {"w_KL": {"low": 0.1, "high": 1.0, "step": 2.0}}}, "a step above 0"),
        ({"train": {"max_steps": [10, 20]}}, "how far or how fast"),
        ({"ingest": {"N_max": [100, 250]}}, "is not searched"),
    ],
)
def test_what_is_wrong_is_said(space: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_space(with_space(space))


def test_a_grid_over_a_range_has_no_end() -> None:
    space = {"loss": {"w_KL": {"low": 0.1, "high": 1.0}}}
    with pytest.raises(UserError, match="no end of values"):
        read_space(with_space(space, algorithm=Algorithm.grid, num_trials=None))


def test_a_decoder_only_model_does_not_read_the_weight_of_its_latent_vector() -> None:
    with pytest.raises(UserError, match="has no encoder"):
        read_space(with_space({"loss": {"w_KL": [0.5, 1.0]}}, "model.conditional=false"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minimize": ["recognised"]}, "there are rate_nats, .*quality/samples_0.5/frechet"),
        ({"minimize": ["train/loss"]}, "by which no trials compare"),
        ({"minimize": ["test/L_R"]}, "by which no trials compare"),
        ({"asha": True, "asha_figure": "quality/samples_0.5/near"}, "not reported at each"),
        ({"minimize": ["objective"]}, "another quantity at each"),
        ({"asha": True, "asha_figure": "objective"}, "another quantity at each"),
        ({"minimize": []}, "at least one figure"),
        ({"minimize": ["L_R"], "maximize": ["valid/L_R"]}, "each of them once"),
        ({"num_trials": None}, "goes on for ever"),
        ({"num_trials": 0}, "must be at least 1"),
        ({"algorithm": Algorithm.grid}, "tries every combination"),
        ({"asha_reduction": 2}, "with search.asha=true alone"),
        ({"cpus_per_process": 0.0}, "must be above 0"),
        ({"gpus_per_process": -0.5}, "must be at least 0"),
        ({"gpus_per_process": 2.0}, "must be at most 1"),
    ],
)
def test_settings_that_would_fail_every_trial_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises((UserError, ValueError), match=message):
        with_space({"loss": {"w_KL": [0.5, 1.0]}}, **(SEARCH | changes))


@pytest.mark.parametrize(
    ("overrides", "search", "message"),
    [
        (["trainer=ddp"], {}, "has to say it"),
        (["trainer.num_processes=2"], {"gpus_per_process": 0.5}, "takes a GPU for each"),
        ([], {"max_steps": 10, "validate_every": 20}, r"of search\.max_steps"),
    ],
)
def test_trials_that_cannot_be_trained_are_refused(
    overrides: list[str], search: dict[str, Any], message: str
) -> None:
    config = with_space({"model": {"M": [5, 10]}}, *overrides, **search)
    with pytest.raises(UserError, match=message):
        of_a_trial(config)


def test_a_figure_of_the_valid_split_may_be_named_as_mlflow_names_it() -> None:
    search = with_space({"model": {"M": [5, 10]}}, minimize=["valid/L_s"]).search
    assert search.minimize == ["L_s"]
