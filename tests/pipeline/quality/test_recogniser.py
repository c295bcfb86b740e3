"""That it recognises, that it is the same again, and that a damaged one is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config import Config, UserError
from pipeline.data.dataset import ShardedSketches
from pipeline.prepare import prepare
from pipeline.quality.making import make_recogniser
from pipeline.quality.pixels import rasterize
from pipeline.quality.recogniser import (
    FACTS_NAME,
    WEIGHTS_NAME,
    Recogniser,
    fingerprint_of,
    judge,
    load,
)
from pipeline.quality.training import read_drawings


def test_it_recognises_drawings_that_it_was_not_trained_on(recogniser_config: Config) -> None:
    network, facts = load(recogniser_config.recogniser_dir)
    valid = ShardedSketches(recogniser_config.manifest_path, "valid").gather(np.arange(60))
    found = judge(network, rasterize(valid.sketches())).category
    assert (found == valid.categories).double().mean() > 0.9
    assert facts.categories == ["cat", "sun", "house"]
    test = ShardedSketches(recogniser_config.manifest_path, "test")
    assert facts.data_fingerprint == test.manifest.fingerprint
    packed = test.gather(np.arange(len(test)))
    is_right = judge(network, rasterize(packed.sketches())).category == packed.categories
    for index, name in enumerate(facts.categories):
        share = is_right[packed.categories == index].double().mean().item()
        assert facts.accuracy_by_category[name] == pytest.approx(share)
    assert facts.accuracy == pytest.approx(np.mean(list(facts.accuracy_by_category.values())))


def test_nothing_is_recognised_in_an_empty_picture() -> None:
    torch.manual_seed(0)
    found = judge(Recogniser(4), rasterize([np.zeros((0, 3)), np.array([[9, 9, 1]])]))
    assert found.category[0] == -1
    assert found.category[1] >= 0


def test_the_drawings_to_learn_from_are_as_many_of_each_category_as_there_are(
    recogniser_config: Config,
) -> None:
    train = ShardedSketches(recogniser_config.manifest_path, "train")
    pixels, categories = read_drawings(train, 40, seed=0)
    assert categories.bincount().tolist() == [40, 40, 40]
    assert len(pixels.flatten(1).unique(dim=0)) == 120
    _, every = read_drawings(train, 10_000, seed=0)
    assert every.bincount().tolist() == np.bincount(train.categories).tolist()


def test_the_same_training_is_not_done_again_and_another_one_is(
    recogniser_config: Config, tmp_path: Path
) -> None:
    quality = replace(recogniser_config.quality, recogniser=str(tmp_path / "own"), num_steps=2)
    config = replace(recogniser_config, quality=quality)
    facts = make_recogniser(config)
    first, written = fingerprint_of(config.recogniser_dir), time_of(config.recogniser_dir)
    assert make_recogniser(config) == facts
    assert time_of(config.recogniser_dir) == written
    shutil.rmtree(config.recogniser_dir)
    make_recogniser(config)
    assert fingerprint_of(config.recogniser_dir) == first, "seeded"
    make_recogniser(replace(config, train=replace(config.train, seed=1)))
    assert fingerprint_of(config.recogniser_dir) != first


def time_of(folder: Path) -> int:
    return (folder / WEIGHTS_NAME).stat().st_mtime_ns


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (FACTS_NAME, b"{"),
        (FACTS_NAME, json.dumps({"format_version": 7}).encode()),
        (FACTS_NAME, b"[]"),
        (WEIGHTS_NAME, b"not weights"),
    ],
)
def test_a_damaged_one_is_refused(
    recogniser_config: Config, tmp_path: Path, name: str, content: bytes
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(recogniser_config.recogniser_dir, folder)
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=r"damaged holds no recogniser .* pipeline\.quality"):
        load(folder)


def test_one_category_is_nothing_to_tell_apart(config: Config) -> None:
    alone = replace(config, name="alone", categories=["sun"])
    prepare(alone)
    with pytest.raises(UserError, match=r"at least 2 apart; take \+experiment=recogniser"):
        make_recogniser(alone)
