"""What an experiment delivers: whole, of the best checkpoint, and refused where it does not fit."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sketch_model
from pipeline.config import Config, UserError
from pipeline.manifest import Manifest
from pipeline.results import load_published, publish
from pipeline.training.fit import fit
from pipeline.training.run import Run
from tests.experiments import changed, make_config, make_data, write_drawings


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Run]:
    folder = tmp_path_factory.mktemp("results")
    config = make_config(write_drawings(folder / "bucket"), folder, max_steps=4)
    make_data(config)
    return config, fit(config).run


@pytest.fixture
def published(trained: tuple[Config, Run], tmp_path: Path) -> Config:
    config = replace(trained[0], results_dir=str(tmp_path / "results"))
    publish(config, trained[1].best_checkpoint, trained[1].curves, {"num_steps": 4})
    return config


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_model_is_that_of_the_best_checkpoint(
    published: Config, trained: tuple[Config, Run]
) -> None:
    checkpoint = torch.load(trained[1].best_checkpoint, weights_only=True)
    model, training = load_published(published)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, checkpoint["state_dict"][f"model.{name}"])
    assert training["best_step"] == checkpoint["global_step"]
    assert training["validation"] == checkpoint["validation"]
    assert training["num_steps"] == 4
    assert training["data_fingerprint"] == Manifest.read(published.manifest_path).fingerprint
    assert training["config"]["model"]["M"] == 3
    assert published.curves_path.read_bytes() == trained[1].curves.read_bytes()


def test_three_lines_of_python_do_the_same(published: Config) -> None:
    model = sketch_model.load(published.model_dir)
    drawings = model.sample(3, temperature=0.5, seed=0)
    z = model.encode(np.array([[5, 0, 0], [0, 5, 1]]))
    assert len(drawings) == 3
    assert z.shape == (4,)


def test_publishing_again_gives_the_same_bytes(
    published: Config, trained: tuple[Config, Run]
) -> None:
    before = files(published.model_dir)
    publish(published, trained[1].best_checkpoint, trained[1].curves, {"num_steps": 4})
    assert files(published.model_dir) == before


def test_a_full_disk_leaves_the_model_before(
    published: Config, trained: tuple[Config, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(published.model_dir)

    def no_space(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pipeline.results.weights.save", no_space)
    with pytest.raises(UserError, match="free some space"):
        publish(published, trained[1].best_checkpoint, trained[1].curves, {"num_steps": 5})
    assert files(published.model_dir) == before
    assert [path.name for path in published.model_dir.parent.iterdir()].count("model") == 1
    load_published(published)


def test_no_model_is_an_error_that_names_the_command(published: Config, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pipeline\.train \+experiment=tiny source=local"):
        load_published(replace(published, results_dir=str(tmp_path / "nothing")))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "training.json"])
def test_a_damaged_model_is_an_error_that_names_the_command(published: Config, name: str) -> None:
    path = published.model_dir / name
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match=r"run `python -m pipeline\.train"):
        load_published(published)


def test_a_model_of_other_data_is_an_error_with_both_sides(
    published: Config, tmp_path: Path
) -> None:
    other = changed(replace(published, data_dir=str(tmp_path / "data")), "ingest", N_max=77)
    make_data(other)
    with pytest.raises(UserError, match=r"N_max=64.*N_max=77.*pipeline\.train"):
        load_published(other)


def test_training_json_says_where_the_model_comes_from(published: Config) -> None:
    content = json.loads((published.model_dir / "training.json").read_text())
    assert content["config"]["source"]["name"] == "local"
    assert content["config"]["categories"] == published.categories
