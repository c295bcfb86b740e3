"""Stopping, killing and going on change nothing: whole trainings, short ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Config, Precision
from pipeline.training.callbacks import Figures, Pictures
from pipeline.training.checkpoints import Checkpoints
from pipeline.training.fit import fit
from pipeline.training.module import SketchModule
from sketch_model.config import Cell, Condition
from tests.experiments import (
    changed,
    command_line,
    read_csv,
    runs,
)
from tests.pipeline.training.trainings import (
    VALIDATIONS,
    Trained,
    assert_same_record,
    assert_same_training,
    load,
)


class PowerCut(Exception):
    """Stops a training where nothing is prepared for it."""


def cut_power_at(monkeypatch: pytest.MonkeyPatch, step: int, place: str) -> None:
    """Raises in the midst of an update, before a validation, or before its checkpoint is saved."""
    owner, name, step_before = {
        "update": (SketchModule, "on_before_zero_grad", step - 1),
        "validation": (Pictures, "on_validation_start", step),
        "saving": (Checkpoints, "on_validation_end", step),
    }[place]
    original = getattr(owner, name)

    def cut(self: Any, *arguments: Any) -> None:
        if (self if place == "update" else arguments[0]).global_step == step_before:
            raise PowerCut
        original(self, *arguments)

    monkeypatch.setattr(owner, name, cut)


@pytest.mark.parametrize(
    ("step", "place", "saved_step"),
    [(1, "update", 0), (4, "update", 2), (5, "update", 4), (6, "validation", 6), (8, "saving", 8)],
)
def test_a_run_that_was_cut_off_ends_as_if_it_had_not_been(
    recorded: Config,
    uninterrupted: Trained,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    place: str,
    saved_step: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """G8, G13: also where figures of steps after the last checkpoint were recorded already."""
    with monkeypatch.context() as patch:
        cut_power_at(patch, step, place)
        with pytest.raises(PowerCut):
            fit(recorded)
    (record,) = runs(recorded.tracking.uri)
    assert record.info.status == "FAILED"
    capsys.readouterr()

    result = fit(recorded)
    assert f"from step {saved_step}." in capsys.readouterr().out, "it began anew"
    assert_same_training(result.run, uninterrupted.result.run)
    assert_same_record(recorded, uninterrupted)


KILLED = """
import os, signal, sys
from pipeline.train import main
from pipeline.training.module import SketchModule

def kill(module, optimizer):
    if module.global_step == {step} - 1:
        os.kill(os.getpid(), signal.SIGKILL)

SketchModule.on_before_zero_grad = kill
main()
"""


def test_a_run_that_was_killed_ends_as_if_it_had_not_been(
    recorded: Config, uninterrupted: Trained
) -> None:
    """SIGKILL between checkpoints, through the real command; then the same config once more."""
    command = [sys.executable, "-c", KILLED.format(step=4), *command_line(recorded)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    folder = Path(recorded.runs_dir) / uninterrupted.result.run.folder.name
    assert load(folder / "last.ckpt")["global_step"] == 2
    result = fit(recorded)
    assert_same_training(result.run, uninterrupted.result.run)
    assert_same_record(recorded, uninterrupted)


@pytest.mark.parametrize(
    ("number", "place", "steps"),
    [
        (signal.SIGTERM, "start", [1, 2, 3, 5, 7]),
        (signal.SIGUSR1, "update", [1, 3, 5]),
        (signal.SIGINT, "validation", VALIDATIONS),
    ],
)
def test_a_run_that_is_asked_to_stop_saves_its_step_and_ends_as_if_it_had_not_been(
    recorded: Config,
    uninterrupted: Trained,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    place: str,
    steps: list[int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One interruption after the other, of steps and of validations."""
    handler = signal.getsignal(number)
    owner, name = {
        "start": (Figures, "on_train_batch_start"),
        "update": (SketchModule, "on_before_zero_grad"),
        "validation": (SketchModule, "validation_step"),
    }[place]
    original = getattr(owner, name)
    for step in steps:

        def ask(self: Any, *arguments: Any, at: int = step) -> Any:
            done = (arguments[0] if place == "start" else self).global_step
            if done == (at if place == "validation" else at - 1):
                os.kill(os.getpid(), number)
            return original(self, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, ask)
            with pytest.raises(SystemExit) as caught:
                fit(recorded)
        assert caught.value.code == (130 if number == signal.SIGINT else 75)
        assert signal.getsignal(number) is handler
        assert f"interrupted by {number.name}: the run is saved" in capsys.readouterr().err
        (record,) = runs(recorded.tracking.uri)
        assert record.info.status == "KILLED"
        (folder,) = Path(recorded.runs_dir).iterdir()
        saved = load(folder / "last.ckpt")["global_step"]
        assert saved == step + (place == "update"), "too late for a step's losses: the next one"
    result = fit(recorded)
    assert_same_training(result.run, uninterrupted.result.run)
    assert_same_record(recorded, uninterrupted)


def test_training_further_equals_training_that_long_at_once(
    config: Config, uninterrupted: Trained
) -> None:
    assert fit(changed(config, "train", max_steps=4)).run.num_steps == 4
    assert_same_training(fit(config).run, uninterrupted.result.run)


def hyper_cells(**changes: Any) -> dict[str, Any]:
    cells = {"encoder_cell": Cell.hyper, "decoder_cell": Cell.hyper}
    return cells | {"hyper_size": 5, "hyper_embedding_size": 2} | changes


@pytest.mark.parametrize(
    ("model", "precision"),
    [
        ({"encoder_cell": Cell.layer_norm, "decoder_cell": Cell.layer_norm}, Precision.fp32),
        (hyper_cells(), Precision.fp32),
        ({"condition": Condition.category, "input_dropout": 0.1}, Precision.fp32),
        (hyper_cells(conditional=False, condition=Condition.category), Precision.bf16),
    ],
    ids=["layer_norm", "hyper", "category", "all-bf16"],
)
def test_every_kind_of_model_learns_and_goes_on_bit_for_bit(
    config: Config, model: dict[str, Any], precision: Precision
) -> None:
    config = changed(changed(config, "model", **model), "train", precision=precision)
    at_once = fit(replace(config, runs_dir=f"{config.runs_dir} at once")).run
    curves = read_csv(at_once.curves)
    assert float(curves[-1]["valid/L_R"]) < float(curves[0]["valid/L_R"]), "it learns nothing"
    assert fit(changed(config, "train", max_steps=4)).run.num_steps == 4
    assert_same_training(fit(config).run, at_once)
