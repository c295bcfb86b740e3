"""A short form of `make prove`, and that it would notice what it looks for."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import faults
from benchmarks.attempts import VALIDATION, WRITING, Attempt, Moment, Training, choose_moments
from benchmarks.sameness import differing
from benchmarks.served import read_batches

STATE = {"weights": [torch.tensor([1.0, 2.0]), torch.tensor([3.0])], "step": 7}


@pytest.mark.long
def test_a_training_survives_a_kill_and_a_stop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """G8, G13: through the real command, with a store of MLflow that is made on the way."""
    monkeypatch.setattr(faults, "NUM_DRAWINGS", 100)
    monkeypatch.setattr(torch, "set_num_threads", lambda num: None)  # the other tests' too
    options = "--kills 1 --signals 0 --positions 1 --steps 40 --processes"
    with pytest.raises(SystemExit) as ended:
        faults.main([*options.split(), "--folder", str(tmp_path / "new" / "pages")])
    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    (page,) = tmp_path.glob("new/pages/faults_*.md")
    rows = [row.split(" | ") for row in page.read_text().splitlines() if " of 1 " in row]
    assert [row[1] for row in rows] == ["1 of 1", "1 of 1"]
    assert "every figure in MLflow identical" in rows[1][2]
    assert page.read_text() in said.out


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda state: state["weights"][0].add_(torch.tensor([0.0, 1e-6])), "/weights/0"),
        (lambda state: state["weights"].pop(), "/weights"),
        (lambda state: state.update(step=8), "/step"),
        (lambda state: state.update(more=1), ""),
    ],
)
def test_any_difference_is_found(change: Callable[[Any], object], path: str) -> None:
    changed = {"weights": [each.clone() for each in STATE["weights"]], "step": 7}  # type: ignore[attr-defined]
    assert list(differing(STATE, changed)) == []
    change(changed)
    assert list(differing(STATE, changed)) == [path]


@pytest.mark.parametrize(
    ("code", "place", "expected"),
    [
        (os.EX_TEMPFAIL, "steps", True),
        (-signal.SIGKILL, "steps", True),
        (-signal.SIGTERM, "the start", True),
        (-signal.SIGTERM, "steps", False),
        (0, "the end", False),
    ],
)
def test_only_a_signal_outside_training_may_end_it_unsaved(
    code: int, place: str, expected: bool
) -> None:
    assert Attempt(code=code, place=place).ended_as_asked is expected


def test_moments_are_of_every_kind_and_the_seed_s(tmp_path: Path) -> None:
    training = Training(
        tmp_path, ("+experiment=smoke", "train.max_steps=200", "train.validate_every=10")
    )
    undisturbed = Attempt(times_s=[5.0, 6.0, 7.0, 9.0])
    moments, again, others = (choose_moments(20, training, undisturbed, seed) for seed in (0, 0, 1))
    assert moments == again != others
    assert [m.step for m in moments].count(None) == 4
    assert [m.place for m in moments].count(WRITING) == 4
    assert [m.place for m in moments].count(VALIDATION) == 4
    steps = [moment.step for moment in moments if moment.step is not None]
    assert steps == sorted(steps)
    assert steps[-1] == 200
    assert not Attempt(from_step=30, validated_step=90).is_at(Moment(100, 0.0))
    assert Attempt(from_step=30, validated_step=110).is_at(Moment(100, 0.0))
    assert Attempt(from_step=0).is_at(Moment(0, 0.0))
    assert not Attempt().is_at(Moment(0, 0.0))


def serve(folder: Path, step: int, *shares: list[int], missing: int = -1) -> None:
    for rank, positions in enumerate(shares):
        line = {"step": step, "rank": rank, "num_processes": len(shares), "positions": positions}
        if rank != missing:
            with (folder / f"{rank}.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")


def test_batches_are_put_together_from_shares(tmp_path: Path) -> None:
    serve(tmp_path, 0, [3, 1, 2, 0])
    serve(tmp_path, 1, [7, 4], [5, 6])
    assert read_batches(tmp_path) == {0: [[3, 1, 2, 0]], 1: [[7, 5, 4, 6]]}
    serve(tmp_path, 1, [7, 5, 4, 6])
    assert read_batches(tmp_path)[1] == [[7, 5, 4, 6], [7, 5, 4, 6]], "trained twice"
    serve(tmp_path, 2, [8, 9], [10, 11], missing=0)
    with pytest.raises(ValueError, match=r"step 2: ranks \[1\] of 2"):
        read_batches(tmp_path)
