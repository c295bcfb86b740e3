"""Checkpoints that were damaged, cut short, or could not be written."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.config import Config, UserError
from pipeline.training.checkpoint_files import (
    BEST,
    LAST,
    PREVIOUS,
    DamagedCheckpoint,
    newest_checkpoint,
    read_checkpoint,
)
from pipeline.training.checkpoint_writer import CheckpointFiles
from pipeline.training.fit import fit
from tests.experiments import changed, command_line


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Checkpoints of steps 1 and 2, the second the last."""
    for step in (1, 2):
        CheckpointFiles().save_checkpoint(content_of(step), tmp_path / LAST)
    return tmp_path


def content_of(step: int) -> dict[str, Any]:
    weights = torch.arange(600, dtype=torch.float32).reshape(20, 30) * step
    return {"global_step": step, "state_dict": {"weight": weights}, "rates": [0.1 * step]}


def assert_is_of(content: dict[str, Any], step: int) -> None:
    expected = content_of(step)
    weights, expected_weights = (c.pop("state_dict")["weight"] for c in (content, expected))
    assert torch.equal(weights, expected_weights)
    assert content == expected


def test_the_last_two_are_kept(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [LAST, PREVIOUS]
    assert_is_of(read_checkpoint(folder / LAST), 2)
    assert_is_of(read_checkpoint(folder / PREVIOUS), 1)


def test_any_flipped_bit_is_found_or_harmless(folder: Path) -> None:
    """Padding and dates of the archive are in no checksum, and in no tensor either."""
    whole = (folder / LAST).read_bytes()
    dice = random.Random(0)
    num_found = 0
    for _ in range(300):
        bit = dice.randrange(8 * len(whole))
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        (folder / LAST).write_bytes(damaged)
        try:
            content = read_checkpoint(folder / LAST)
        except DamagedCheckpoint:
            num_found += 1
        else:
            assert_is_of(content, 2)
    assert num_found > 150, "most of the file is content"


CUTS: list[Callable[[bytes], bytes]] = [
    lambda whole: b"",
    lambda whole: whole[:100],
    lambda whole: whole[:-1],
    lambda whole: b"\0" * len(whole),
]


@pytest.mark.parametrize("cut", CUTS)
def test_a_damaged_one_falls_back_to_the_one_before_and_says_so(
    folder: Path, cut: Callable[[bytes], bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / LAST).write_bytes(cut((folder / LAST).read_bytes()))
    newest = newest_checkpoint(folder)
    assert newest is not None
    assert newest[0] == folder / PREVIOUS
    assert_is_of(newest[1], 1)
    note = capsys.readouterr().out
    assert str(folder / LAST) in note
    assert f"going on from {folder / PREVIOUS}, of step 1" in note

    (folder / PREVIOUS).write_bytes(cut((folder / PREVIOUS).read_bytes()))
    with pytest.raises(UserError, match=rf"{LAST} .*{PREVIOUS} .*Move {folder} away"):
        newest_checkpoint(folder)


def test_a_process_killed_between_two_renames_has_lost_nothing(folder: Path) -> None:
    (folder / LAST).unlink()
    newest = newest_checkpoint(folder)
    assert newest is not None
    assert_is_of(newest[1], 1)
    (folder / PREVIOUS).unlink()
    assert newest_checkpoint(folder) is None


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"hook": Path("x")}, tmp_path / LAST)
    with pytest.raises(DamagedCheckpoint, match="cannot be read"):
        read_checkpoint(tmp_path / LAST)


def test_a_run_goes_on_from_the_one_before_as_if_nothing_had_been(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = fit(changed(config, "train", max_steps=6)).run
    expected = read_checkpoint(whole.last_checkpoint)["state_dict"]
    config = changed(config, "train", max_steps=6, checkpoint_every=1)
    config.runs_dir = str(tmp_path / "again")
    run = fit(changed(config, "train", max_steps=4)).run
    run.last_checkpoint.write_bytes(run.last_checkpoint.read_bytes()[:20_000])
    capsys.readouterr()
    assert fit(config).run.num_steps == 6
    said = capsys.readouterr().out
    assert f"{run.last_checkpoint} cannot be read" in said
    assert "from step 4." in said, "the one before is of the same step, before its validation"
    assert (run.folder / f"{LAST}.damaged").stat().st_size == 20_000
    found = read_checkpoint(run.last_checkpoint)["state_dict"]
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert run.curves.read_text() == whole.curves.read_text()


def test_a_full_disk_is_one_error_and_leaves_the_last_whole(config: Config) -> None:
    """The limit is on the size of one file, below that of a checkpoint."""
    short = changed(config, "train", max_steps=2)
    run = fit(short).run
    before = {name: (run.folder / name).read_bytes() for name in (LAST, PREVIOUS, BEST)}
    limit = len(before[LAST]) // 2
    # `make coverage` would have a file that is too large, too.
    others = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    result = subprocess.run(
        [sys.executable, "-m", "pipeline.train", *command_line(config)],
        env=others,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: cannot write {run.folder / LAST} (File too large)")
    assert "free some space" in line
    assert {path.name for path in run.folder.iterdir() if path.suffix == ".ckpt"} == set(before)
    assert {name: (run.folder / name).read_bytes() for name in before} == before
    assert fit(config).run.num_steps == 8
