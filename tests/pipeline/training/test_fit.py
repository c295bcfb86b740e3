"""Whole trainings, short ones: what they leave, what they are named by, what stops them."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.config import Config, Precision, Source, SourceConfig, UserError
from pipeline.data.dataset import ShardedSketches
from pipeline.training.fit import fit
from pipeline.training.module import SketchModule
from tests.experiments import (
    NUM_DRAWINGS,
    changed,
    image_steps,
    make_data,
    new_store,
    read_csv,
    runs,
    steps_of,
    tracked,
)
from tests.pipeline.training.trainings import (
    NUM_STEPS,
    STEPS,
    VALIDATE_EVERY,
    VALIDATIONS,
    Trained,
    assert_same_training,
    load,
)


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
