"""torchrun, which starts the processes of the command itself."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import Config
from tests.distributed.conftest import overrides
from tests.experiments import changed


@pytest.mark.dist
def test_the_command_takes_as_many_processes_as_torchrun_starts(
    tiny: Config, tmp_path: Path
) -> None:
    config = replace(changed(tiny, "train", max_steps=25), runs_dir=str(tmp_path))
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    result = subprocess.run(
        [sys.executable, "-m", *launcher, "pipeline.train", *overrides(config, num_processes=2)],
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("training is done: 25 steps") == 1
    assert "Warning" not in result.stderr
    (run,) = tmp_path.iterdir()
    assert (run / "last.ckpt").exists()
