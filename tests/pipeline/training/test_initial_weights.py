"""A run that begins with the weights of another."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.config import Config, UserError
from pipeline.results import publish
from pipeline.training.checkpoint_files import read_checkpoint
from pipeline.training.fit import fit
from pipeline.training.run import Run
from sketch_model.config import Cell, Condition
from tests.experiments import changed, read_csv


@pytest.fixture
def teacher(config: Config) -> Run:
    return fit(config).run


def first_loss(run: Run) -> float:
    return float(read_csv(run.curves)[0]["train/L_R"])


@pytest.mark.parametrize("kind", ["run", "checkpoint", "model"])
def test_training_begins_with_the_best_weights_of_another_run(
    config: Config, teacher: Run, kind: str
) -> None:
    publish(config, teacher.best_checkpoint, teacher.curves, {})
    places = {
        "run": teacher.folder,
        "checkpoint": teacher.best_checkpoint,
        "model": config.model_dir,
    }
    standing = changed(config, "train", max_steps=2, learning_rate=1e-12, min_learning_rate=0.0)
    run = fit(replace(standing, init_from=str(places[kind]))).run
    weights = read_checkpoint(run.last_checkpoint)["state_dict"]
    for name, tensor in read_checkpoint(teacher.best_checkpoint)["state_dict"].items():
        torch.testing.assert_close(weights[name], tensor, rtol=0, atol=1e-9)
    assert first_loss(run) < first_loss(fit(standing).run), "it begins with what was learnt"


def test_it_is_a_run_of_its_own_that_goes_on_as_any(config: Config, teacher: Run) -> None:
    tuned = replace(changed(config, "train", max_steps=4), init_from=str(teacher.folder))
    run = fit(tuned).run
    assert run.folder != teacher.folder
    longer = fit(changed(tuned, "train", max_steps=8)).run
    assert longer.folder == run.folder
    at_once = fit(
        replace(changed(tuned, "train", max_steps=8), runs_dir=f"{config.runs_dir}-2")
    ).run
    assert longer.curves.read_text() == at_once.curves.read_text()

    other = fit(changed(config, "train", seed=1)).run
    shutil.copyfile(other.best_checkpoint, teacher.best_checkpoint)
    assert fit(tuned).run.folder != run.folder, "other weights under the same name: another run"


def test_weights_that_do_not_fit_are_an_error_with_both_sides(
    config: Config, teacher: Run, tmp_path: Path
) -> None:
    begun = replace(config, init_from=str(teacher.folder))
    with pytest.raises(UserError, match=r"is \[32\] there and \[40\] here .*model\.\*"):
        fit(changed(begun, "model", decoder_size=10))
    publish(config, teacher.best_checkpoint, teacher.curves, {})
    of_model = replace(begun, init_from=str(config.model_dir))
    with pytest.raises(UserError, match=r"cells and sizes: model\.decoder_size=8$"):
        fit(changed(of_model, "model", decoder_size=10, recurrent_dropout=0.2))
    with pytest.raises(UserError, match=r"missing"):
        fit(changed(begun, "model", encoder_cell=Cell.layer_norm))
    told = changed(config, "model", condition=Condition.category)
    publish(told, fit(told).run.best_checkpoint, teacher.curves, {})
    with pytest.raises(UserError, match=r"told the same categories.*does not say them"):
        fit(replace(told, init_from=str(fit(told).run.folder)))
    assert fit(replace(told, init_from=str(told.model_dir))).run.num_steps == 8
    for nothing in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError, match="holds no weights: give the folder of a run"):
            fit(replace(config, init_from=str(nothing)))
    (tmp_path / "text").write_text("no weights")
    with pytest.raises(UserError, match="cannot be read"):
        fit(replace(config, init_from=str(tmp_path / "text")))
