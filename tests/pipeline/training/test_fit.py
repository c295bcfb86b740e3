"""Whole trainings, short ones: what they leave, and that stopping them changes nothing."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow.entities import Run as MlflowRun

from pipeline.config import Config, Precision, Source, SourceConfig, UserError
from pipeline.data.dataset import ShardedSketches
from pipeline.training.callbacks import Figures, Pictures
from pipeline.training.checkpoints import Checkpoints
from pipeline.training.fit import FitResult, fit
from pipeline.training.module import SketchModule
from pipeline.training.run import Run
from sketch_model.config import Cell, Condition
from tests.experiments import (
    NUM_DRAWINGS,
    changed,
    command_line,
    image_steps,
    make_config,
    make_data,
    new_store,
    read_csv,
    runs,
    steps_of,
    tracked,
)

NUM_STEPS, VALIDATE_EVERY = 8, 2
VALIDATIONS = list(range(VALIDATE_EVERY, NUM_STEPS + 1, VALIDATE_EVERY))
STEPS = list(range(1, NUM_STEPS + 1))


class PowerCut(Exception):
    """Stops a training where nothing is prepared for it."""


@dataclass(frozen=True)
class Trained:
    """An uninterrupted training, to compare others with."""

    config: Config
    result: FitResult

    @property
    def record(self) -> MlflowRun:
        (record,) = runs(self.config.tracking.uri)
        return record


@pytest.fixture(scope="session")
def uninterrupted(source: SourceConfig, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("uninterrupted")
    config = tracked(make_config(source, folder), new_store(folder, tmp_path_factory))
    return Trained(config, fit(config))


@pytest.fixture
def recorded(config: Config, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    return tracked(config, new_store(tmp_path, tmp_path_factory))


def load(checkpoint: Path) -> dict[str, Any]:
    return dict(torch.load(checkpoint, weights_only=True))


def assert_same_training(run: Run, expected: Run) -> None:
    """Weights, optimizer, place in the data and every figure, bit for bit."""
    assert run.curves.read_text() == expected.curves.read_text()
    assert run.num_steps == expected.num_steps
    for name in ("last_checkpoint", "best_checkpoint"):
        one, two = load(getattr(run, name)), load(getattr(expected, name))
        assert one["global_step"] == two["global_step"]
        assert one["validation"] == two["validation"]
        assert one["loops"]["fit_loop"]["state_dict"] == two["loops"]["fit_loop"]["state_dict"]
        assert one["lr_schedulers"] == two["lr_schedulers"]
        assert one["state_dict"].keys() == two["state_dict"].keys()
        for key, tensor in one["state_dict"].items():
            assert torch.equal(tensor, two["state_dict"][key]), key
        states = [content["optimizer_states"][0]["state"] for content in (one, two)]
        for number, state in states[0].items():
            for key, value in state.items():
                assert torch.equal(value, states[1][number][key])


def assert_same_record(config: Config, expected: Trained) -> None:
    """One run that is finished, each figure of each step once, and the same values."""
    (record,) = runs(config.tracking.uri)
    assert record.info.status == "FINISHED"
    steps = steps_of(expected.config.tracking.uri, expected.record)
    assert steps_of(config.tracking.uri, record) == steps
    assert image_steps(config.tracking.uri, record) == [0, *VALIDATIONS]
    names = [name for name in steps if name.partition("/")[0] in ("train", "valid", "epoch")]
    names.remove("train/sketches_per_s")
    assert {name: record.data.metrics[name] for name in names} == {
        name: expected.record.data.metrics[name] for name in names
    }


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


def test_training_leaves_curves_checkpoints_and_a_record(uninterrupted: Trained) -> None:
    config, run = uninterrupted.config, uninterrupted.result.run
    assert not uninterrupted.result.was_finished
    assert run.folder.parent == Path(config.runs_dir)
    curves = read_csv(run.curves)
    assert [int(line["step"]) for line in curves] == VALIDATIONS
    objectives = [float(line["valid/objective"]) for line in curves]
    best = load(run.best_checkpoint)
    assert best["global_step"] == VALIDATIONS[objectives.index(min(objectives))]
    assert best["validation"]["objective"] == min(objectives)
    assert load(run.last_checkpoint)["global_step"] == NUM_STEPS
    assert float(curves[-1]["valid/L_R"]) < float(curves[0]["valid/L_R"]), "it learns nothing"


def test_the_record_has_each_step_once_and_what_a_reviewer_asks_for(uninterrupted: Trained) -> None:
    config, run, record = uninterrupted.config, uninterrupted.result.run, uninterrupted.record
    steps = steps_of(config.tracking.uri, record)
    of_steps = {"loss", "L_R", "L_s", "L_p", "L_KL", "w", "learning_rate", "gradient_norm"}
    of_steps |= {"sketches_per_s", "epoch"}
    of_validations = {"L_R", "L_s", "L_p", "L_KL", "bound_nats", "objective"}
    assert {name: steps[f"train/{name}"] for name in of_steps} == dict.fromkeys(of_steps, STEPS)
    assert {name: steps[f"valid/{name}"] for name in of_validations} == dict.fromkeys(
        of_validations, VALIDATIONS
    )
    assert image_steps(config.tracking.uri, record) == [0, *VALIDATIONS]
    assert record.info.status == "FINISHED"
    assert record.info.run_id == run.mlflow_run_id
    assert record.data.params["model.N_z"] == "4"
    assert record.data.params["train.augmentation.drop_probability"] == "0.1"
    assert record.data.tags["source"] == "local"
    assert record.data.tags["generated"] == "false"
    assert record.data.tags["data.fingerprint"] == run.identity["data"]
    assert "command" in record.data.tags


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


@pytest.mark.parametrize("has_instructions", [True, False])
def test_a_device_that_is_slow_in_bf16_is_said_once(
    config: Config,
    has_instructions: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has_instructions})
    note = "this device has no instructions for train.precision=bf16"
    for precision in (Precision.fp32, Precision.bf16):
        fit(changed(config, "train", max_steps=2, precision=precision))
        is_slow = precision is Precision.bf16 and not has_instructions
        assert capsys.readouterr().out.count(note) == is_slow


def test_a_finished_run_is_left_alone(config: Config) -> None:
    short = changed(config, "train", max_steps=2)
    folder = fit(short).run.folder
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
    result = fit(short)
    assert result.was_finished
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.iterdir()} == before


def objectives(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> None:
    """Makes validations come out as they are told, by step."""
    original = SketchModule.on_validation_epoch_end

    def told(module: SketchModule) -> None:
        original(module)
        module.validation["objective"] = values[module.global_step // VALIDATE_EVERY - 1]
        module.log("objective", module.validation["objective"], logger=False)

    monkeypatch.setattr(SketchModule, "on_validation_epoch_end", told)


@pytest.mark.parametrize("moved", [False, True])
def test_the_best_model_survives_a_resume(
    config: Config, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    """Also in a project that was moved to another folder meanwhile."""
    objectives(monkeypatch, [5.0, 1.0, 4.0, 3.0])
    run = fit(changed(config, "train", max_steps=4)).run
    if moved:
        shutil.move(config.runs_dir, f"{config.runs_dir} elsewhere")
        config = replace(config, runs_dir=f"{config.runs_dir} elsewhere")
    run = fit(config).run
    assert run.num_steps == 8
    best = load(run.best_checkpoint)
    assert (best["global_step"], best["validation"]["objective"]) == (4, 1.0)
    assert load(run.last_checkpoint)["global_step"] == 8
    assert sorted(path.name for path in run.folder.glob("*.ckpt")) == [
        "best.ckpt",
        "last.ckpt",
        "previous.ckpt",
    ]


def test_patience_ends_a_run_and_more_patience_goes_on(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    objectives(monkeypatch, [1.0, 2.0, 3.0, 0.5, 4.0, 5.0, 6.0])
    config = changed(config, "train", patience=2, max_steps=14)
    run = fit(config).run
    assert run.num_steps == 6
    assert fit(config).was_finished
    run = fit(changed(config, "train", patience=3)).run
    assert run.num_steps == 14
    assert load(run.best_checkpoint)["global_step"] == 8
    assert fit(changed(config, "train", patience=0)).was_finished


@pytest.mark.parametrize(
    ("group", "changes", "same"),
    [
        ("train", {"seed": 1}, False),
        ("train", {"batch_size": 4}, False),
        ("train", {"pool": 3}, False),
        ("loss", {"w_KL": 0.25}, False),
        ("loss", {"pen_weights": [1.0, 10.0, 100.0]}, False),
        ("train", {"precision": Precision.bf16}, False),
        ("model", {"M": 2}, False),
        ("train", {"max_steps": 4}, True),
        ("train", {"validate_every": 4, "patience": 3, "checkpoint_every": 7}, True),
        ("trainer", {"num_threads": 2, "num_processes": 2, "accumulate": 5}, True),
        ("evaluate", {"latent_samples": 9}, True),
        ("tracking", {"log_every": 3}, True),
    ],
)
def test_what_defines_a_result_names_its_folder(
    config: Config, uninterrupted: Trained, group: str, changes: dict[str, Any], same: bool
) -> None:
    from pipeline.manifest import Manifest
    from pipeline.training.run import open_run

    folder = open_run(changed(config, group, **changes), Manifest.read(config.manifest_path)).folder
    assert (folder.name == uninterrupted.result.run.folder.name) is same


def assert_is_batch_of_step(kept: Path, config: Config, step: int) -> None:
    """The rows name the very drawings that the file holds, ten of the fourth ten positions."""
    split = ShardedSketches(config.manifest_path, "train")
    with np.load(kept) as content:
        again = split.gather(content["rows"])
        assert np.array_equal(content["points"], again.points.numpy())
        assert np.array_equal(content["offsets"], again.offsets.numpy())
        pool = step * 10 // 20 * 20
        assert set(content["positions"]) <= set(range(pool, pool + 20))
        assert len(content["rows"]) == len(content["positions"]) == 10


@pytest.mark.parametrize("place", ["training", "saving"])
def test_a_loss_that_is_not_finite_stops_the_run_before_it_is_saved(
    recorded: Config, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """G15. Poisoned weights show in the next loss, or before they are saved."""
    original = SketchModule.on_before_zero_grad

    def poison(module: SketchModule, optimizer: torch.optim.Optimizer) -> None:
        if module.global_step == (2 if place == "training" else 3):
            module.model.decoder.output.bias.data.fill_(math.nan)
        original(module, optimizer)

    monkeypatch.setattr(SketchModule, "on_before_zero_grad", poison)
    with pytest.raises(UserError) as caught:
        fit(recorded)
    message = str(caught.value)
    at = "step 3" if place == "training" else "step 4"
    for part in ("nan", at, "train.learning_rate", "0.01"):
        assert part in message
    (record,) = runs(recorded.tracking.uri)
    assert record.info.status == "FAILED"
    (folder,) = Path(recorded.runs_dir).iterdir()
    if place == "training":
        (kept,) = folder.glob("failed-*.npz")
        assert str(kept) in message
        assert_is_batch_of_step(kept, recorded, step=3)
    for name in ("last.ckpt", "best.ckpt"):
        content = load(folder / name)
        assert all(tensor.isfinite().all() for tensor in content["state_dict"].values())
        assert content["global_step"] == 2


def test_data_that_are_not_there_are_an_error_that_names_the_commands(config: Config) -> None:
    elsewhere = replace(config, data_dir=str(Path(config.runs_dir).parent / "data" / "local"))
    with pytest.raises(UserError) as caught:
        fit(elsewhere)
    for stage in ("ingest", "prepare"):
        assert f"python -m pipeline.{stage} +experiment=tiny source=local" in str(caught.value)
    assert not Path(config.runs_dir).exists()


@pytest.fixture
def own_data(config: Config, tmp_path: Path) -> Callable[..., Config]:
    def make(**ingest: Any) -> Config:
        own = changed(replace(config, data_dir=str(tmp_path / "data")), "ingest", **ingest)
        make_data(own)
        return own

    return make


def test_an_empty_validation_split_is_an_error(own_data: Callable[..., Config]) -> None:
    config = own_data(fractions=[0.9, 0.0, 0.1])
    with pytest.raises(UserError, match=r"valid split .* has 0 drawings.*ingest\.fractions"):
        fit(config)
    assert not Path(config.runs_dir).exists()


def test_data_of_another_config_are_an_error_with_both_sides(config: Config) -> None:
    first, second = NUM_DRAWINGS
    other_data = {
        r"categories was .*'cat'.* and is \['cat'\]": replace(config, categories=[first]),
        r"categories was .* and is \[\"dog's": replace(config, categories=[second, first]),
        r"ingest\.N_max was 64 and is 99": changed(config, "ingest", N_max=99),
        r"ingest\.split_seed was 0 and is 1": changed(config, "ingest", split_seed=1),
        r"source\.name was 'local' and is 'doodles'.*num_drawings was 0 and is 5": replace(
            config, source=SourceConfig(name=Source.doodles, num_drawings=5)
        ),
    }
    for message, other in other_data.items():
        with pytest.raises(UserError, match=message):
            fit(other)
    assert not Path(config.runs_dir).exists()


def test_a_store_that_cannot_be_written_stops_training_before_it_begins(config: Config) -> None:
    with pytest.raises(UserError, match=r"tracking\.enabled=false"):
        fit(tracked(config, "sqlite:////dev/null/x.db"))
    assert not Path(config.runs_dir).exists()


def test_a_run_goes_on_in_a_new_store_when_its_own_is_gone(
    recorded: Config, uninterrupted: Trained, tmp_path: Path, tmp_path_factory: Any
) -> None:
    fit(changed(recorded, "train", max_steps=4))
    new_store(tmp_path, tmp_path_factory)
    result = fit(recorded)
    assert_same_training(result.run, uninterrupted.result.run)
    (record,) = runs(recorded.tracking.uri)
    assert record.info.run_id == result.run.mlflow_run_id
    assert steps_of(recorded.tracking.uri, record)["train/loss"] == [5, 6, 7, 8]
