"""A process is killed: the others end soon, and say why and how to go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config import Config
from tests.experiments import changed, command_line

pytestmark = pytest.mark.dist


def children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("killed", [0, 1])
def test_the_others_end_with_a_message(tiny: Config, tmp_path: Path, killed: int) -> None:
    config = changed(tiny, "train", max_steps=10**6, validate_every=10)
    overrides = [*command_line(config), "trainer.num_processes=2", f"runs_dir={tmp_path}"]
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline.train", *overrides],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as command:
        assert command.stdout is not None
        for line in command.stdout:
            if line.startswith("step 10/"):
                break
        # Its own child is the process of rank 1; there may be others, of libraries.
        (other,) = [
            child
            for child in children(command.pid)
            if b"RANK=1" in Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        ]
        os.kill([command.pid, other][killed], signal.SIGKILL)
        # Both ends of the pipes are closed when both processes have ended.
        _, errors = command.communicate(timeout=60)
    assert command.returncode == (1 if killed == 1 else -signal.SIGKILL)
    survivor = 1 - killed
    assert f"error: process {survivor} of 2 ends because another one has ended" in errors
    assert "the same command goes on from it" in errors
    assert "Traceback" not in errors
    (run,) = tmp_path.iterdir()
    assert (run / "last.ckpt").exists()
