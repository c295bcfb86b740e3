"""Figures of models with known faults: they copy, repeat themselves, or draw something else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import Config, UserError
from pipeline.data.dataset import ShardedSketches
from pipeline.manifest import Manifest
from pipeline.prepare import prepare
from pipeline.quality.assessment import (
    LEFT_OUT,
    cut_in_halves,
    nearest_samples,
    quality_of,
    sets_of,
    summarise,
    tags_of,
    tracked,
)
from pipeline.quality.making import make_recogniser
from pipeline.quality.recogniser import WEIGHTS_NAME, fingerprint_of
from pipeline.quality.section import quality_section
from pipeline.report.page import Markup
from pipeline.results import data_spec
from sketch_model.config import Condition, ModelConfig

Sketch = np.ndarray


@dataclass
class Drawer:
    """Stands for a model: gives some drawings in turn."""

    config: ModelConfig
    data: Any
    drawings: Sequence[Sketch]

    def sample(self, num: int, **options: Any) -> list[Sketch]:
        self.told = options["category"]
        return [self.drawings[index % len(self.drawings)] for index in range(num)]

    def reconstruct(self, sketches: Sequence[Sketch], **options: Any) -> list[Sketch]:
        return list(sketches)


def drawer(config: Config, drawings: Sequence[Sketch], **changes: Any) -> Any:
    spec = data_spec(config, Manifest.read(config.manifest_path))
    return Drawer(replace(config.model, **changes), spec, drawings)


def drawings(config: Config, split: str, category: str) -> list[Sketch]:
    sketches = ShardedSketches(config.manifest_path, split)
    index = sketches.manifest.categories.index(category)
    return list(sketches.gather(np.flatnonzero(sketches.categories == index)).sketches())


@pytest.fixture(scope="module")
def test_split(config: Config) -> ShardedSketches:
    return ShardedSketches(config.manifest_path, "test")


def assess(config: Config, test: ShardedSketches, model: Any) -> dict[str, Any]:
    quality = quality_of(model, config, test)
    assert LEFT_OUT not in quality
    return quality


def test_people_are_recognised_and_halves_share_no_drawing(
    config: Config, test_split: ShardedSketches
) -> None:
    quality = assess(config, test_split, drawer(config, drawings(config, "valid", "sun")))
    people = quality["people"]
    assert people["recognised"] > 0.9
    assert people["near"] == pytest.approx(0.05, abs=0.02), "by its definition"
    halves = cut_in_halves(test_split, 60, config.train.seed)
    assert len(halves.reference) == len(halves.others) == quality["num_drawings"] == 60
    assert not {s.tobytes() for s in halves.reference} & {s.tobytes() for s in halves.others}
    for kind in ("samples", "reconstructions"):
        assert quality[kind].keys() == {"0.5", "1.0"}
    # This "model" reconstructs without a fault: what is said of it is what is said of people.
    assert quality["reconstructions"]["0.5"] == people


def test_one_drawing_again_and_again_is_no_diversity(
    config: Config, test_split: ShardedSketches
) -> None:
    quality = assess(config, test_split, drawer(config, drawings(config, "valid", "sun")[:1]))
    samples, people = quality["samples"]["1.0"], quality["people"]
    assert samples["diversity"] == pytest.approx(0, abs=1e-4)
    assert samples["frechet"] > 5 * people["frechet"]
    assert samples["recognised"] is None, "nothing says which of the two it was to be"
    assert samples["recognised_as_any"] == 1


def test_other_things_are_not_recognised(
    config: Config, recogniser_config: Config, test_split: ShardedSketches
) -> None:
    houses = drawings(recogniser_config, "test", "house")
    samples = assess(config, test_split, drawer(config, houses))["samples"]["0.5"]
    assert samples["recognised_as_any"] < 0.1


def test_a_model_that_is_told_is_held_to_it(config: Config, test_split: ShardedSketches) -> None:
    cats = drawings(config, "valid", "cat")
    model = drawer(config, cats, condition=Condition.category)
    quality = assess(config, test_split, model)
    halves = cut_in_halves(test_split, 60, config.train.seed)
    assert model.told == halves.categories
    share = np.mean([name == "cat" for name in halves.categories])
    assert quality["samples"]["1.0"]["recognised"] == pytest.approx(share, abs=0.1)


def test_copies_are_found_though_they_are_drawn_with_another_hand(
    config: Config, test_split: ShardedSketches
) -> None:
    random = np.random.default_rng(0)
    train = ShardedSketches(config.manifest_path, "train")
    copied = random.permutation(len(train))[:60]
    copies = []
    for sketch in train.gather(copied).sketches():
        copies.append(sketch.astype(np.float64))
        copies[-1][:, :2] += random.normal(0, 1, (len(sketch), 2))
    model = drawer(config, copies)
    quality = assess(config, test_split, model)
    samples, people = quality["samples"]["0.5"], quality["people"]
    assert samples["near"] > 10 * people["near"]
    assert samples["nearest_quantiles"][1] < people["nearest_quantiles"][0]
    shown, known = nearest_samples(model, quality, test_split, train)
    originals = train.gather(copied[quality["nearest_samples"]["samples"]]).sketches()
    assert len(shown) == 8
    for sketch, neighbour, original in zip(shown, known, originals, strict=True):
        assert len(sketch) == len(original)
        np.testing.assert_array_equal(neighbour, original)


def test_a_decoder_alone_and_a_model_of_blanks_have_figures_too(
    config: Config, test_split: ShardedSketches
) -> None:
    blank = np.zeros((0, 3), dtype=np.float32)
    quality = assess(config, test_split, drawer(config, [blank], conditional=False))
    assert quality["reconstructions"] == {}
    assert quality["samples"]["1.0"]["recognised_as_any"] == 0
    assert quality["nearest_samples"]["samples"] == []


def test_charts_tags_and_lines(config: Config, test_split: ShardedSketches) -> None:
    quality = assess(config, test_split, drawer(config, drawings(config, "valid", "sun")))
    charts = tracked(quality)
    assert charts["quality/people/recognised"] == quality["people"]["recognised"]
    assert charts["quality/samples_0.5/frechet"] == quality["samples"]["0.5"]["frechet"]
    assert "quality/samples_0.5/recognised" not in charts
    fingerprint = fingerprint_of(config.recogniser_dir)
    assert tags_of(quality) == {"recogniser": fingerprint}
    lines = list(summarise(quality))
    assert fingerprint[:12] in lines[0]
    assert len(lines) == 2 + len(list(sets_of(quality))) == 7


def test_the_page_has_the_figures_and_pairs_of_pictures(
    config: Config, test_split: ShardedSketches
) -> None:
    model = drawer(config, drawings(config, "valid", "sun"))
    quality = assess(config, test_split, model)
    train = ShardedSketches(config.manifest_path, "train")
    markup = quality_section(model, quality, test_split, train)
    assert markup.count("<svg") == 16
    for part in (fingerprint_of(config.recogniser_dir)[:12], "samples, τ = 0.5", "100.0%*"):
        assert part in markup
    reason = {LEFT_OUT: "there is <none>"}
    left_out: Markup = quality_section(model, reason, test_split, train)
    assert "Left out: there is &lt;none&gt;." in left_out
    assert "evaluate writes them" in quality_section(model, None, test_split, train)


def left_out(config: Config) -> str:
    test = ShardedSketches(config.manifest_path, "test")
    quality = quality_of(drawer(config, []), config, test)
    assert quality.keys() == {LEFT_OUT}
    assert tracked(quality) == tags_of(quality) == {}
    (line,) = summarise(quality)
    assert line.startswith("quality   left out: ")
    return str(quality[LEFT_OUT])


def test_without_a_recogniser_that_knows_the_run_the_figures_are_left_out_and_it_is_said(
    config: Config, recogniser_config: Config, tmp_path: Path
) -> None:
    quality = replace(config.quality, recogniser=str(tmp_path / "nowhere"))
    reason = left_out(replace(config, quality=quality))
    assert "nowhere" in reason
    assert "+experiment=recogniser source=doodles" in reason

    quality = replace(config.quality, recogniser=str(tmp_path / "other"), num_steps=1)
    other = replace(config, name="other", categories=["sun", "house"], quality=quality)
    prepare(other)
    make_recogniser(other)
    reason = left_out(replace(config, quality=quality))
    assert "does not know cat" in reason
    assert "'categories=[sun,house,cat]'" in reason


def test_a_recogniser_that_may_have_seen_the_test_drawings_does_not_judge(
    config: Config, tmp_path: Path
) -> None:
    folder = tmp_path / "seen"
    shutil.copytree(config.recogniser_dir, folder)
    facts = json.loads((folder / "recogniser.json").read_text())
    changes: list[tuple[str, Any, str]] = [
        ("ingest", facts["ingest"] | {"split_seed": 7}, "split_seed is 7 there and 0 here"),
        ("generated", False, "knows drawings by people, and these are generated drawings"),
    ]
    of_folder = replace(config, quality=replace(config.quality, recogniser=str(folder)))
    for field, value, words in changes:
        (folder / "recogniser.json").write_text(json.dumps(facts | {field: value}))
        assert words in left_out(of_folder)
    (folder / WEIGHTS_NAME).unlink()
    with pytest.raises(UserError, match="holds no recogniser that can be read"):
        left_out(of_folder)
