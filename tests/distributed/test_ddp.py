"""Two processes that share each batch, through the real command: the training of one process."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.config import Config
from pipeline.training.fit import fit
from tests.experiments import (
    changed,
    command_line,
    image_steps,
    make_config,
    make_data,
    new_store,
    read_csv,
    runs,
    steps_of,
    tracked,
    write_drawings,
)

TOLERANCE = 1e-4
"""Of figures (relative) and weights (absolute), after 6 steps at a rate of 0.01: two sums of five
gradients each are rounded differently from one sum of ten, and Adam enlarges that."""

KL_MIN = 0.0015


@pytest.fixture
def config(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    source = write_drawings(tmp_path / "bucket")
    config = make_config(source, tmp_path, max_steps=4)
    make_data(config)
    config = changed(changed(config, "model", recurrent_dropout=0.0), "loss", KL_min=KL_MIN)
    return tracked(config, new_store(tmp_path, tmp_path_factory))


def train(config: Config) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.train", *command_line(config)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)


@pytest.mark.dist
def test_two_processes_train_as_one_and_record_once(config: Config, tmp_path: Path) -> None:
    """Sketches of unequal length, and a KL floor that is crossed on the way."""
    one = fit(replace(config, runs_dir=str(tmp_path / "one"))).run
    two = changed(config, "trainer", num_processes=2)
    result = train(two)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout.count("training is done: 4 steps") == 1

    (folder,) = Path(two.runs_dir).iterdir()
    assert folder.name == one.folder.name, "the number of processes does not define the result"
    assert_close(folder, one.folder)
    assert_recorded_alike(config, [1, 2, 3, 4])

    # The run of two processes goes on with one.
    longer = changed(config, "train", max_steps=6)
    assert fit(longer).run.folder == folder
    fit(replace(longer, runs_dir=str(tmp_path / "one")))
    assert_close(folder, one.folder)
    assert_recorded_alike(config, [1, 2, 3, 4, 5, 6])


def assert_close(folder: Path, expected_folder: Path) -> None:
    weights, expected = (
        torch.load(run / "last.ckpt", weights_only=True)["state_dict"]
        for run in (folder, expected_folder)
    )
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=TOLERANCE)
    lines, expected_lines = (read_csv(run / "curves.csv") for run in (folder, expected_folder))
    assert float(lines[0]["train/L_KL"]) < KL_MIN < float(lines[1]["train/L_KL"])
    for line, expected_line in zip(lines, expected_lines, strict=True):
        assert line.keys() == expected_line.keys()
        values = {name: float(value) for name, value in expected_line.items()}
        assert {n: float(v) for n, v in line.items()} == pytest.approx(values, rel=TOLERANCE)


def assert_recorded_alike(config: Config, steps: list[int]) -> None:
    """One run each, with every figure of a step once and a picture per validation."""
    record, alone = runs(config.tracking.uri)
    assert record.info.status == alone.info.status == "FINISHED"
    recorded = steps_of(config.tracking.uri, record)
    # The command registers its model, with the figures of the best validation; `fit` does not.
    best = {name for name in recorded if name.startswith("best/")}
    assert {recorded.pop(name)[0] for name in best} <= set(steps)
    assert recorded == steps_of(config.tracking.uri, alone)
    assert recorded["train/loss"] == steps
    assert image_steps(config.tracking.uri, record) == [0, *steps[1::2]]
