"""What a training shows and records on the way."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config import Config
from pipeline.data.dataset import ShardedSketches
from pipeline.permutation import permute
from pipeline.tracking import Tracker
from pipeline.training.callbacks import PICTURES, Pictures, append_csv, write_csv
from pipeline.training.fit import fit
from pipeline.training.module import SketchModule
from sketch_model.config import Condition
from sketch_model.model import SketchRNN
from tests.experiments import (
    NUM_DRAWINGS,
    changed,
    image_steps,
    new_store,
    read_csv,
    runs,
    steps_of,
    tracked,
)


@pytest.fixture
def recorded(config: Config, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    return tracked(config, new_store(tmp_path, tmp_path_factory))


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The loss of each step, as the module gave it."""
    seen: list[float] = []

    def note(module: SketchModule, _: torch.optim.Optimizer) -> None:
        seen.append(float(module.figures["loss"]))

    monkeypatch.setattr(SketchModule, "on_before_zero_grad", note)
    return seen


def test_curves_hold_means_since_the_validation_before(config: Config, losses: list[float]) -> None:
    lines = read_csv(fit(changed(config, "train", validate_every=4)).run.curves)
    assert [float(line["train/loss"]) for line in lines] == pytest.approx(
        [math.fsum(losses[:4]) / 4, math.fsum(losses[4:]) / 4]
    )


def test_steps_are_recorded_as_often_as_asked_and_epochs_at_their_ends(
    recorded: Config, losses: list[float]
) -> None:
    fit(changed(recorded, "tracking", log_every=3))
    (record,) = runs(recorded.tracking.uri)
    steps = steps_of(recorded.tracking.uri, record)
    assert steps["train/loss"] == steps["train/gradient_norm"] == [3, 6]
    assert record.data.metrics["train/loss"] == pytest.approx(losses[5])
    num_train = len(ShardedSketches(recorded.manifest_path, "train"))
    last_of_epoch = math.ceil(num_train / 10)
    assert steps["epoch/loss"] == [last_of_epoch]
    assert record.data.metrics["epoch/loss"] == pytest.approx(
        math.fsum(losses[:last_of_epoch]) / last_of_epoch
    )
    assert image_steps(recorded.tracking.uri, record) == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("condition", list(Condition))
@pytest.mark.parametrize("conditional", [True, False])
def test_a_picture_changes_as_the_model_learns(
    config: Config, monkeypatch: pytest.MonkeyPatch, conditional: bool, condition: Condition
) -> None:
    pictures: list[tuple[str, int, Image.Image]] = []
    monkeypatch.setattr(
        Tracker, "log_image", lambda _, image, key, step: pictures.append((key, step, image))
    )
    config = changed(config, "model", conditional=conditional, condition=condition)
    fit(changed(config, "train", max_steps=4))
    assert [(key, step) for key, step, _ in pictures] == [(PICTURES, n) for n in (0, 2, 4)]
    assert len({picture.size for _, _, picture in pictures}) == 1, "a slider would jump"
    assert len({picture.tobytes() for _, _, picture in pictures}) == 3


@pytest.mark.parametrize("conditional", [True, False])
def test_a_picture_s_columns_are_of_the_categories_of_its_drawings(
    config: Config, monkeypatch: pytest.MonkeyPatch, conditional: bool
) -> None:
    told: list[object] = []
    sample = SketchRNN.sample

    def listening(model: SketchRNN, *arguments: Any, category: Any = None, **options: Any) -> Any:
        told.append(category)
        return sample(model, *arguments, category=category, **options)

    monkeypatch.setattr(SketchRNN, "sample", listening)
    config = changed(config, "model", conditional=conditional, condition=Condition.category)
    fit(changed(config, "train", max_steps=2))
    valid = ShardedSketches(config.manifest_path, "valid")
    shown = valid.gather(permute(np.arange(6), len(valid), key=0))
    names = [list(NUM_DRAWINGS)[index] for index in shown.categories]
    assert len(set(names)) == 2
    # At the start and after the validation: what is redrawn at once or completed one by one.
    expected = [names, names] if conditional else [*names, names]
    assert told == 2 * expected


def test_pictures_do_not_disturb_training(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    short = changed(config, "train", max_steps=4)
    with_pictures = fit(short).run.curves.read_text()
    monkeypatch.setattr(Pictures, "_log", lambda *_: None)
    other = changed(short, "train")
    other.runs_dir += " without"
    assert fit(other).run.curves.read_text() == with_pictures


def test_the_progress_lines_explain_and_count_down(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(changed(config, "train", max_steps=4))
    shown = capsys.readouterr().out
    assert "Training to step 4, from step 0." in shown
    assert "below zero is normal" in " ".join(shown.split())
    assert "floor, 0.01" in shown
    for step in (2, 4):
        assert f"step {step}/4: L_R " in shown
    assert "0.0 min of training left" in shown
    fit(config)
    assert "Training to step 8, from step 4." in capsys.readouterr().out


def test_lines_of_a_csv_are_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    for step in (1, 2, 3):
        append_csv(path, {"step": step, "loss": step / 3})
    lines = read_csv(path)
    assert [float(line["loss"]) for line in lines] == [1 / 3, 2 / 3, 1.0], "digits were lost"
    write_csv(path, lines[:2])
    assert read_csv(path) == lines[:2]
    write_csv(path, [])
    assert list(tmp_path.iterdir()) == []
