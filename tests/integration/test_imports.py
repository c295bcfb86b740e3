"""A command that only says how it is used does not wait for what it would train with."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

SLOW = {"torch", "numpy", "numba", "pyarrow", "pytorch_lightning", "mlflow", "ray", "matplotlib"}


@pytest.mark.parametrize(
    "command",
    ["doodle", "ingest", "prepare", "quality", "train", "evaluate", "gallery", "search"],
)
def test_help_imports_nothing_slow(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", f"pipeline.{command}", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {name.split(".")[0] for name in re.findall(r"\| +([\w.]+)$", done.stderr, re.M)}
    assert "hydra" in imported
    assert not SLOW & imported
