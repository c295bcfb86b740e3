from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import sketch_model
from sketch_model.config import Cell, Condition
from tests.sketch_model.sketches import random_batch, small_model


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"conditional": False},
        {"encoder_cell": Cell.layer_norm, "decoder_cell": Cell.hyper, "hyper_size": 6},
        {"condition": Condition.category, "category_embedding_size": 3, "input_dropout": 0.2},
    ],
    ids=str,
)
def test_a_model_comes_back_whole(tmp_path: Path, changes: dict[str, Any]) -> None:
    model = small_model(**changes).train()
    sketch_model.save(model, tmp_path / "new" / "model")
    loaded = sketch_model.load(tmp_path / "new" / "model")
    assert not loaded.training
    assert loaded.config == model.config
    assert loaded.data == model.data
    batch = random_batch(3)
    expected = model.eval()(batch).mixture
    assert torch.equal(loaded(batch).mixture.mean_x, expected.mean_x)
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert sorted(path.name for path in (tmp_path / "new" / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]


@pytest.mark.parametrize("conditional", [True, False])
def test_a_model_of_version_1_is_read(tmp_path: Path, conditional: bool) -> None:
    """It named one cell for both parts, and none of the options that came later."""
    model = small_model(conditional=conditional)
    sketch_model.save(model, tmp_path)
    sizes = {"encoder_size": 7, "decoder_size": 9, "N_z": 5, "M": 3, "recurrent_dropout": 0.1}
    old = {"conditional": conditional, "cell": "lstm"} | sizes
    edit_config(lambda c: c.update(format_version=1, model=old))(tmp_path)
    loaded = sketch_model.load(tmp_path)
    assert loaded.config == model.config
    assert torch.equal(loaded.decoder.output.weight, model.decoder.output.weight)


def test_loading_draws_no_random_numbers(tmp_path: Path) -> None:
    sketch_model.save(small_model(), tmp_path)
    torch.manual_seed(0)
    sketch_model.load(tmp_path)
    got = torch.rand(())
    torch.manual_seed(0)
    assert got == torch.rand(())


def test_saving_again_replaces_the_model(tmp_path: Path) -> None:
    sketch_model.save(small_model(seed=0), tmp_path)
    model = small_model(seed=1, M=4)
    sketch_model.save(model, tmp_path)
    assert torch.equal(sketch_model.load(tmp_path).decoder.output.bias, model.decoder.output.bias)


def edit_config(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "config.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return edit


def drop_a_tensor(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["decoder.output.bias"]
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"config\.json is missing"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"model\.safetensors is missing"),
        (lambda folder: (folder / "config.json").write_text("{"), "is not JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "format_version None"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 20),
            "not a safetensors file",
        ),
        (edit_config(lambda c: c.update(format_version=7)), "format_version 7, .* reads 1"),
        (edit_config(lambda c: c["model"].update(decoder_cell="gru")), "gru"),
        (edit_config(lambda c: c["model"].update(M=0)), "M=0 must be at least 1"),
        (edit_config(lambda c: c["model"].update(hyper_size=9)), "hyper_size=9 is not read"),
        (edit_config(lambda c: c["model"].update(condition="mood")), "mood"),
        (
            edit_config(lambda c: c.update(format_version=1, model={"cell": "gru"})),
            "gru",
        ),
        (edit_config(lambda c: c["model"].pop("N_z")), r"missing \['N_z'\], unknown \[\]"),
        (edit_config(lambda c: c["data"].update(colour=1)), r"unknown \['colour'\]"),
        (
            edit_config(lambda c: c["model"].update(M=4)),
            r"decoder\.output\.bias of shape \[27\].* has \[21\]",
        ),
        (drop_a_tensor, r"decoder\.output\.bias of shape \[21\].* has None"),
    ],
)
def test_what_cannot_be_loaded_is_named(
    tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    sketch_model.save(small_model(), tmp_path)
    spoil(tmp_path)
    with pytest.raises(ValueError, match=message):
        sketch_model.load(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none holds no model"):
        sketch_model.load(tmp_path / "none")
