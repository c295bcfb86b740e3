"""The test split's figures against a program of their own, one drawing at a time."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import evaluate, gallery
from pipeline.config import Config
from pipeline.data.dataset import ShardedSketches
from pipeline.permutation import derive_key
from pipeline.results import data_spec, publish
from pipeline.scoring import score
from pipeline.training.fit import fit
from sketch_model.config import Condition
from sketch_model.model import SketchRNN
from sketch_model.randomness import LATENT, keyed_normal
from tests.experiments import (
    changed,
    command_line,
    make_config,
    make_data,
    new_store,
    runs,
    score_in_numpy,
    tracked,
    write_drawings,
)

SEED = 5
CATEGORIES = ["cat", "dog's house"]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("evaluation")
    config = make_config(write_drawings(folder / "bucket"), folder, max_steps=2)
    make_data(config)
    return config


@pytest.fixture(scope="module")
def test_split(config: Config) -> ShardedSketches:
    return ShardedSketches(config.manifest_path, "test")


def make_model(config: Config, test_split: ShardedSketches, **changes: Any) -> SketchRNN:
    torch.manual_seed(2)
    config = changed(config, "model", **changes)
    model = SketchRNN(config.model, data_spec(config, test_split.manifest)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def recomputed(model: SketchRNN, sketches: ShardedSketches, num_samples: int) -> dict[str, Any]:
    """Every figure from nats of single drawings; by category too."""
    rows = np.arange(len(sketches))
    nats = []
    for sample in range(num_samples):
        key = derive_key(SEED, 3, sample)
        noise = keyed_normal(key, LATENT, torch.from_numpy(rows), 4).double().numpy()
        for row, sketch in enumerate(sketches.gather(rows).sketches()):
            z = noise[row] if model.config.conditional else None
            category = int(sketches.categories[row])
            scores = score_in_numpy(model, sketch, z, category=category)
            nats.append(scores | {"category": category})

    def means(chosen: list[dict[str, Any]]) -> dict[str, float]:
        mean = {name: float(np.mean([each[name] for each in chosen])) for name in chosen[0]}
        bound = mean["offsets"] + mean["pen_to_end"] + mean["kl"]
        scale = 2 * math.log(model.data.offset_scale)
        return {
            "L_R": (mean["offsets"] + mean["pen"]) / 64,
            "L_s": mean["offsets"] / 64,
            "L_p": mean["pen"] / 64,
            "L_KL": mean["kl"] / 4,
            "L_R_masked": (mean["offsets"] + mean["pen_real"]) / 64,
            "bound_nats": bound,
            "nats_per_point": bound / mean["num_points"] + scale,
            "num_sketches": len(chosen) // num_samples,
        }

    return means(nats) | {
        "by_category": {
            name: means([each for each in nats if each["category"] == index])
            for index, name in enumerate(CATEGORIES)
        }
    }


@pytest.mark.parametrize("condition", list(Condition))
@pytest.mark.parametrize("conditional", [True, False])
def test_figures_are_means_over_every_drawing(
    config: Config, test_split: ShardedSketches, conditional: bool, condition: Condition
) -> None:
    assert len(test_split) % config.evaluate.batch_size != 0, "the last batch should be short"
    model = make_model(config, test_split, conditional=conditional, condition=condition)
    metrics = score(model, test_split, config.evaluate, SEED)
    expected = recomputed(model, test_split, 2 if conditional else 1)
    by_category, expected_by_category = metrics.pop("by_category"), expected.pop("by_category")
    assert by_category.keys() == expected_by_category.keys()
    for name in CATEGORIES:
        assert by_category[name] == pytest.approx(expected_by_category[name], rel=1e-4)
    facts = {"latent_samples": 2 if conditional else 1, "N_max": 64}
    facts["offset_scale"] = test_split.manifest.offset_scale
    assert metrics == pytest.approx(expected | facts, rel=1e-4)
    assert metrics["num_sketches"] == len(test_split)
    if not conditional:
        assert metrics["L_KL"] == 0.0


def test_figures_do_not_depend_on_the_batches(config: Config, test_split: ShardedSketches) -> None:
    model = make_model(config, test_split, conditional=True)
    by_size = [
        score(model, test_split, changed(config, "evaluate", batch_size=size).evaluate, SEED)
        for size in (1, 5, 1000)
    ]
    for name in ("L_R", "L_KL", "bound_nats", "nats_per_point", "L_R_masked"):
        values = [metrics[name] for metrics in by_size]
        assert values == pytest.approx([values[0]] * 3, rel=1e-5), name


def test_categories_make_up_the_whole(config: Config, test_split: ShardedSketches) -> None:
    metrics = score(
        make_model(config, test_split, conditional=True), test_split, config.evaluate, SEED
    )
    parts = metrics["by_category"].values()
    assert sum(part["num_sketches"] for part in parts) == metrics["num_sketches"]
    for name in ("L_R", "L_s", "L_p", "L_KL", "L_R_masked", "bound_nats"):
        weighted = sum(part[name] * part["num_sketches"] for part in parts)
        assert weighted / metrics["num_sketches"] == pytest.approx(metrics[name])


def test_more_draws_of_z_settle_what_one_draw_leaves_open(
    config: Config, test_split: ShardedSketches
) -> None:
    model = make_model(config, test_split, conditional=True)

    def bounds(num: int) -> list[float]:
        options = changed(config, "evaluate", latent_samples=num).evaluate
        return [score(model, test_split, options, seed)["bound_nats"] for seed in range(5)]

    assert 0 < np.std(bounds(12)) < 0.6 * np.std(bounds(1))


@pytest.mark.parametrize("condition", list(Condition))
def test_the_commands_write_and_record_their_results(
    config: Config,
    condition: Condition,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tracked(config, new_store(tmp_path, tmp_path_factory))
    config = changed(config, "model", condition=condition)
    run = fit(config).run
    origin = {"run_folder": str(run.folder), "mlflow_run_id": run.mlflow_run_id}
    publish(config, run.best_checkpoint, run.curves, origin)
    monkeypatch.setattr("sys.argv", ["command", *command_line(config)])
    evaluate.main()
    metrics = json.loads(config.metrics_path.read_text())
    assert metrics["num_sketches"] == len(ShardedSketches(config.manifest_path, "test"))
    gallery.main()
    assert "tiny" in config.gallery_path.read_text()
    (record,) = runs(config.tracking.uri)
    assert record.data.metrics["test/L_R"] == pytest.approx(metrics["L_R"])
    assert record.data.metrics["test_L_R/dog_s house"] == pytest.approx(
        metrics["by_category"]["dog's house"]["L_R"]
    )
    assert record.info.status == "FINISHED"
    assert list((tmp_path / "mlruns").rglob("gallery.html"))
