"""Commands as a shell starts them: exit codes, and errors without tracebacks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(folder: Path, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"pipeline.{command}", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["+experiment=smoke", "model.N_zz=3"],
            "model.N_zz is not a field: did you mean model.N_z?",
        ),
        (["+experiment=smoke"], "python -m pipeline.ingest +experiment=smoke source=doodles"),
    ],
)
def test_a_mistake_ends_a_command_with_one_message(
    tmp_path: Path, arguments: list[str], expected: str
) -> None:
    result = run(tmp_path, "train", *arguments)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert expected in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == [], "a refused command left something behind"


def test_a_command_shows_its_config(tmp_path: Path) -> None:
    result = run(tmp_path, "prepare", "+experiment=smoke", "model.M=7", "--cfg", "job")
    assert result.returncode == 0, result.stderr
    for line in ("name: smoke", "  M: 7", "  N_max: 250"):
        assert line in result.stdout.splitlines()
    assert list(tmp_path.iterdir()) == []


def test_a_command_has_help(tmp_path: Path) -> None:
    result = run(tmp_path, "prepare", "--help")
    assert result.returncode == 0, result.stderr
    for word in (
        "source: doodles, local, quickdraw",
        "multiclass",
        "model: base, paper, small, tiny",
    ):
        assert word in result.stdout
