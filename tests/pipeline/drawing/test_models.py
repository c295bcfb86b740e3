"""A model is found in its folder, in results, in a run, in Google's JSON, or in MLflow."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from pipeline import tracking
from pipeline.config import Config, TrackingConfig, UserError
from pipeline.drawing.models import load_model
from pipeline.results import load_published, publish
from pipeline.training.fit import fit
from sketch_model.magenta import save_google_json
from sketch_model.model import SketchRNN
from sketch_model.weights import save
from tests.experiments import make_config, make_data, write_drawings
from tests.sketch_model.sketches import small_model


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """An experiment that is trained, and its run's folder."""
    folder = tmp_path_factory.mktemp("models")
    config = make_config(write_drawings(folder / "bucket"), folder, max_steps=2)
    make_data(config)
    run = fit(config).run
    origin = {"run_folder": str(run.folder), "mlflow_run_id": None}
    publish(config, run.best_checkpoint, run.curves, origin)
    return config, run.folder


def same(one: SketchRNN, other: SketchRNN) -> bool:
    weights = [model.state_dict() for model in (one, other)]
    pairs = [(weights[0][name], weights[1][name]) for name in weights[0]]
    return one.data == other.data and all(torch.equal(*pair) for pair in pairs)


def test_results_and_run_hold_the_same_model(trained: tuple[Config, Path]) -> None:
    config, run = trained
    model, _ = load_published(config)
    for address in (config.model_dir, config.results_dir):
        found = load_model(str(address))
        assert same(found.model, model)
        assert (found.manifest, found.folder) == (config.manifest_path, config.model_dir)
    found = load_model(str(run), manifest=config.manifest_path)
    assert same(found.model, model)
    assert not found.model.training


def test_a_run_is_told_its_data_and_no_others(trained: tuple[Config, Path], tmp_path: Path) -> None:
    _, run = trained
    with pytest.raises(UserError, match=r"to pipeline\.draw, --data MANIFEST"):
        load_model(str(run))
    other = make_config(write_drawings(tmp_path / "bucket"), tmp_path)
    make_data(other.__class__(**vars(other) | {"categories": ["cat"]}))
    with pytest.raises(UserError, match=r"was trained on data with the fingerprint .* has "):
        load_model(str(run), manifest=other.manifest_path)
    broken = tmp_path / "run"
    broken.mkdir()
    (broken / "best.ckpt").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"best\.ckpt is not a checkpoint"):
        load_model(str(broken), manifest=other.manifest_path)


def test_googles_decoders_are_read(tmp_path: Path) -> None:
    model = small_model(conditional=False, M=20)
    save_google_json(model, tmp_path / "cat.gen.json")
    found = load_model(str(tmp_path / "cat.gen.json"))
    assert found.model.data == model.data
    assert (found.folder, found.manifest, found.is_run) == (None, None, False)


def test_mlflow_is_asked_for_what_looks_like_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, asked = small_model(), []

    def download(uri: str, folder: Path, config: TrackingConfig) -> Path:
        asked.append((uri, config.uri))
        save(model, folder / "weights")
        return folder / "weights"

    monkeypatch.setattr(tracking, "download_model", download)
    assert same(load_model("models:/sun@champion").model, model)
    load_model("runs:/abc/sun", TrackingConfig(uri="sqlite:///other.db"))
    assert asked == [
        ("models:/sun@champion", "sqlite:///mlflow.db"),
        ("runs:/abc/sun", "sqlite:///other.db"),
    ]


def test_what_is_no_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model at .*: give a model's folder .*gen\.json"):
        load_model(str(tmp_path))
    path = tmp_path / "other.json"
    path.write_text(json.dumps({"a": 1}))
    with pytest.raises(UserError, match=r"not one of Google's models"):
        load_model(str(path))
    save(small_model(), tmp_path / "model")
    content = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(content | {"format_version": 99}))
    with pytest.raises(UserError, match="format_version 99"):
        load_model(str(tmp_path / "model"))
    shutil.copy(path, tmp_path / "model" / "model.safetensors")
    (tmp_path / "model" / "config.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="not a safetensors file"):
        load_model(str(tmp_path))
