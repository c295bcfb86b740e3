"""Peers compute what the package does; a contender's steps are those of training."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import equality, shards, train_step
from benchmarks.contenders import Contender
from benchmarks.models import Way
from benchmarks.trainers import open_trainer
from pipeline.config import Config, TrackingConfig, TrainConfig, TrainerConfig
from pipeline.training.fit import fit
from sketch_model.config import Cell
from tests.sketch_model.sketches import N_MAX, random_batch

TINY = {"encoder_size": 12, "decoder_size": 16, "N_z": 5, "M": 3}
HYPER = {"hyper_size": 8, "hyper_embedding_size": 4}
PEERS = [
    Contender(way=Way.library, sizes=TINY),
    Contender(way=Way.packed, sizes=TINY),
    *(
        Contender(
            way=way, encoder=cell, decoder=cell, sizes=TINY | (HYPER if cell is Cell.hyper else {})
        )
        for way in (Way.loop, Way.script)
        for cell in Cell
    ),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Config]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("QUICKDRAW_ROOT", raising=False)
        patch.setattr(shards, "NUM_DOODLES", 400)
        assert "NOT real" in shards.whose()
        yield shards.write_shards(tmp_path_factory.mktemp("shards"), "cat")


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_has_the_losses_and_gradients_of_the_package(peer: Contender) -> None:
    assert equality.differ(peer, random_batch(6), N_MAX) < 2e-5


@pytest.mark.parametrize("peer", PEERS[:2], ids=lambda peer: peer.name)
def test_a_peer_with_another_function_is_found(
    peer: Contender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(equality, "FORGET_BIAS", 0.99)
    assert equality.differ(peer, random_batch(6), N_MAX) > equality.TOLERANCE


def test_the_comparison_stops_at_a_peer_with_another_function(
    data: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    contenders = [Contender(sizes=TINY), PEERS[0]]
    assert 0 < train_step.check_peers(contenders, data.manifest_path) <= equality.TOLERANCE
    monkeypatch.setattr(equality, "FORGET_BIAS", 0.9)
    with pytest.raises(ArithmeticError, match="differs from SketchRNN by"):
        train_step.check_peers(contenders, data.manifest_path)


@pytest.mark.parametrize("narrow", [False, True])
def test_steps_are_those_of_training(data: Config, narrow: bool, tmp_path: Path) -> None:
    plain = {"pool": 1, "pad_every": 1}
    contender = Contender(narrow=narrow, sizes=TINY | {"recurrent_dropout": 0.0})
    config = replace(
        data,
        model=contender.model_config,
        train=TrainConfig(max_steps=2, validate_every=1, **({} if narrow else plain)),
        trainer=TrainerConfig(num_threads=1),
        tracking=TrackingConfig(enabled=False),
        runs_dir=str(tmp_path),
    )
    with fit(config).run.curves.open(newline="") as file:
        expected = [float(row["train/loss"]) for row in csv.DictReader(file)]
    trainer = open_trainer(contender, data.manifest_path)
    assert [trainer.step(), trainer.step()] == pytest.approx(expected, rel=1e-6)
    assert expected[1] != pytest.approx(expected[0], rel=1e-3)


def test_a_peer_is_as_wide_and_as_far_as_the_package(data: Config) -> None:
    turns = {}
    for way in (None, Way.library):
        for narrow in (False, True):
            contender = Contender(way=way, narrow=narrow, sizes=TINY)
            turns[way, narrow] = open_trainer(contender, data.manifest_path).take_turn()
    rows = {key: turn["rows_per_sketch"] for key, turn in turns.items()}
    assert rows[None, False] == rows[Way.library, False] == 250
    assert 50 < rows[Way.library, True] < 100
    assert 50 < rows[None, True] < 100
    assert all(0 < turn["share_of_core"] < 2 for turn in turns.values())


def test_contenders_reach_other_processes_unchanged() -> None:
    for section in train_step.list_sections(TINY):
        for contender in section.contenders:
            assert Contender.from_json(contender.to_json()) == contender


def test_targets_belong_to_contenders_and_names_are_unique() -> None:
    sections = train_step.list_sections({})
    for section in sections:
        names = [contender.name for contender in section.contenders]
        assert len(set(names)) == len(names)
        assert names[0] == "nn.LSTM, fp32"
        assert set(section.targets) <= set(names)
    assert sections[0].targets["SketchRNN, lstm, bf16"] == 3.0
    assert [list(section.targets.values()) for section in sections[1:]] == [[9.0], [12.0]]
    chosen = train_step.select(sections[0], ["packed"]).contenders
    assert [contender.name for contender in chosen] == [*names[:1], "nn.LSTM, packed encoder, fp32"]


def test_every_contender_has_a_row_beside_the_first_of_its_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def measure_group(group: Any, targets: Any, manifest: Any, num_rounds: int) -> Any:
        groups.append([each.name for each in group])
        return [{"name": each.name, "group": len(groups)} for each in group]

    groups: list[list[str]] = []
    monkeypatch.setattr(train_step, "measure_group", measure_group)
    section = train_step.list_sections({})[0]
    found = train_step.measure(section, Path(), 1)
    names = [each.name for each in section.contenders]
    assert [row["name"] for row in found["rows"]] == names
    assert {group[0] for group in groups} == {names[0]}
    assert max(map(len, groups)) == 1 + train_step.GROUP_SIZE
    for group in groups:  # each of these takes most of 8 GB
        assert sum("loop, hyper" in name for name in group) <= 1


def test_contenders_take_turns_in_processes_of_their_own(data: Config) -> None:
    contenders = [Contender(way=Way.library, sizes=TINY), Contender(keeps_memory=True, sizes=TINY)]
    own = contenders[1].name
    section = train_step.Section("tiny", "cat", contenders, {own: 1e9})
    found = train_step.measure(section, data.manifest_path, 1)
    first, second = found["rows"]
    assert (first["ratio"], first["rows_per_sketch"]) == (1.0, 250.0)
    assert not second["met"]
    assert second["peak_gb"] > 0.1
    ratio: Any = pytest.approx(second["sketches_per_s"] / first["sketches_per_s"], abs=0.01)
    assert second["ratio"] == ratio
    table = train_step.format_section(found).splitlines()
    assert table[-1].startswith(f"| **{own}** |")
    assert table[-1].endswith("| 1000000000.0 — missed |")
