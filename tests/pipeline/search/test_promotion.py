"""A trial becomes a command, and an experiment that composes to the same config."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import UserError
from pipeline.entry import compose
from pipeline.search.outcome import Status, Trial
from pipeline.search.promotion import (
    overrides_for_training,
    training_command,
    write_experiment,
    write_outcome,
)

VALUES = {"loss.w_KL": 0.3, "model.N_z": 32, "model.decoder_cell": "layer_norm"}
ARGUMENTS = [
    "+experiment=multiclass",
    "source=local",
    "+search=bound",
    "search.max_steps=20",
    "~search.space.model.M",
    "+search.space.train.seed=[1,2]",
    "loss.w_KL=0.7",
    "train.batch_size=50",
]
TRIAL = Trial(3, VALUES, Status.finished, Path("trial"), figures={"bound_nats": 51.23456})


def test_the_command_has_what_the_search_was_told_and_the_values_found() -> None:
    command = training_command(overrides_for_training(ARGUMENTS, VALUES), VALUES)
    assert shlex.split(command) == [
        *("python", "-m", "pipeline.train", "+experiment=multiclass", "source=local"),
        *("train.batch_size=50", "loss.w_KL=0.3", "model.N_z=32", "model.decoder_cell=layer_norm"),
    ]


@pytest.fixture
def search(tmp_path: Path) -> Path:
    base = overrides_for_training(ARGUMENTS, VALUES)
    write_outcome(tmp_path / "search", [TRIAL], TRIAL, base, compose(base).categories)
    return tmp_path / "search"


def test_the_experiment_is_the_command_under_another_name(search: Path, tmp_path: Path) -> None:
    path = tmp_path / "conf" / "experiment" / "promoted.yaml"
    write_experiment(search, path, None)
    promoted = compose(["+experiment=promoted", f"hydra.searchpath=[file://{tmp_path}/conf]"])
    command = shlex.split(training_command(overrides_for_training(ARGUMENTS, VALUES), VALUES))
    trained = compose(command[3:])
    assert promoted.name == "promoted"
    assert "\ncategories:\n- cat\n- sun\n" in path.read_text(), "stages of dvc.yaml read them"
    assert replace(promoted, name="multiclass", results_dir=trained.results_dir) == trained
    assert "Trial 3 of" in path.read_text()
    assert "bound_nats 51.23" in path.read_text()
    with pytest.raises(UserError, match="there already"):
        write_experiment(search, path, 3)


def test_what_is_not_there_is_said(search: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no trial 4: there are 3"):
        write_experiment(search, tmp_path / "new.yaml", 4)
    with pytest.raises(UserError, match="cannot be read"):
        write_experiment(tmp_path, tmp_path / "new.yaml", None)
