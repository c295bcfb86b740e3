"""A trial becomes a command, and an experiment that composes to the same config."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import promote
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


def test_the_command_writes_it_and_says_what_comes_next(
    search: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(promote, "_EXPERIMENTS", tmp_path)
    promote.main([str(search), "ours"])
    assert (tmp_path / "ours.yaml").exists()
    assert "python -m pipeline.train +experiment=ours" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        promote.main([str(search), "ours"])
    assert ended.value.code == 1
    assert "there already" in capsys.readouterr().err
