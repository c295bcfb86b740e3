"""From drawings to figures in metrics.json, in MLflow and on the page."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import evaluate, gallery
from pipeline.config import Config, EvaluateConfig, QualityConfig, TrackingConfig, TrainConfig
from pipeline.quality import __main__ as quality
from pipeline.quality.recogniser import fingerprint_of
from pipeline.results import publish
from pipeline.training.fit import fit
from sketch_model.config import ModelConfig
from tests.experiments import new_store, runs

Start = Callable[[Callable[[], None], Config], None]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    def start(main: Callable[[], None], config: Config) -> None:
        groups = {
            "quality": ("num_steps", "num_drawings", "temperatures"),
            "source": ("num_drawings",),
            "ingest": ("fractions",),
            "tracking": ("enabled", "uri"),
            "model": ("encoder_size", "decoder_size", "N_z", "M"),
            "train": ("batch_size", "max_steps", "validate_every"),
        }
        names = ("name", "categories", "data_dir", "runs_dir", "results_dir")
        overrides = {name: getattr(config, name) for name in names} | {
            f"{group}.{field}": getattr(getattr(config, group), field)
            for group, fields in groups.items()
            for field in fields
        }
        line = [f"{key}={value}".replace(" ", "") for key, value in overrides.items()]
        monkeypatch.setattr("sys.argv", ["command", *line])
        main()

    return start


def test_the_figures_go_where_the_others_go(
    config: Config,
    start: Start,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = replace(
        config,
        model=ModelConfig(encoder_size=8, decoder_size=8, N_z=4, M=2),
        train=TrainConfig(batch_size=10, max_steps=2, validate_every=2),
        evaluate=EvaluateConfig(latent_samples=1),
        tracking=TrackingConfig(uri=new_store(tmp_path, tmp_path_factory)),
        runs_dir=str(tmp_path / "runs"),
        results_dir=str(tmp_path / "results"),
    )
    run = fit(config).run
    origin = {"run_folder": str(run.folder), "mlflow_run_id": run.mlflow_run_id}
    publish(config, run.best_checkpoint, run.curves, origin)
    start(evaluate.main, config)
    fingerprint = fingerprint_of(config.recogniser_dir)
    assert f"judged by recogniser {fingerprint[:12]}" in capsys.readouterr().out
    found = json.loads(config.metrics_path.read_text())["quality"]
    assert found["recogniser"]["fingerprint"] == fingerprint
    (record,) = runs(config.tracking.uri)
    recognised = found["reconstructions"]["0.5"]["recognised"]
    assert record.data.metrics["quality/reconstructions_0.5/recognised"] == recognised
    assert record.data.tags["recogniser"] == fingerprint
    start(gallery.main, config)
    page = config.gallery_path.read_text()
    assert fingerprint[:12] in page
    num_shown = len(found["nearest_samples"]["samples"])
    assert page.count("<title>training drawing</title>") == num_shown > 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"temperatures": []}, r"temperatures=\[\] must be at least one number above 0"),
        ({"temperatures": [0.5, 0.5]}, "each of them once"),
        ({"temperatures": [0.0]}, "above 0"),
        ({"num_drawings": 1}, r"quality\.num_drawings"),
    ],
)
def test_values_out_of_bounds(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        QualityConfig(**changes)


def test_the_recogniser_says_what_it_is_worth(
    recogniser_config: Config, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    start(quality.main, recogniser_config)
    said = capsys.readouterr().out
    assert "recogniser of 3 categories" in said
    assert fingerprint_of(recogniser_config.recogniser_dir)[:12] in said
    with pytest.raises(SystemExit):
        start(quality.main, replace(recogniser_config, name="missing"))
    assert "pipeline.ingest +experiment=missing" in capsys.readouterr().err
