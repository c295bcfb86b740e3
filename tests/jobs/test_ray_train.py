"""Ray on two nodes, one of which may be killed and replaced: the training of one process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.config import Config
from pipeline.training.fit import fit
from tests.experiments import (
    changed,
    command_line,
    make_config,
    make_data,
    read_csv,
    write_drawings,
)

TOLERANCE = 1e-4
"""Of weights (absolute) and figures (relative), as of two processes without Ray: see test_ddp.py.
The rate falls to its minimum within the first 60 steps, so that a hundred more add little."""

STEPS = {"max_steps": 200, "validate_every": 20, "checkpoint_every": 10, "batch_size": 30}
HANG_S = 240
SETTINGS = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 3000,
    "health_check_failure_threshold": 3,
    "enable_metrics_collection": False,
}
"""That a node is dead is known in seconds: until then Ray waits for a worker on it. The metrics,
which nobody reads here, take more of the CPUs from then on than the training."""
ENVIRONMENT = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "15"}
"""As long as Ray waits for a worker on a node whose end it has not noticed yet."""
NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}
STARTED = "Started training worker group of size "
GROWN = "Deciding to resize the worker group from 1 -> 2 workers"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Some seconds of training, with twenty checkpoints."""
    config = make_config(write_drawings(tmp_path / "bucket"), tmp_path, **STEPS)
    make_data(config)
    return changed(config, "model", recurrent_dropout=0.0)


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head and another node with a CPU each, as if they were machines."""
    from ray.cluster_utils import Cluster

    head = {**NODE, "include_dashboard": False, "_system_config": SETTINGS}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        cluster.add_node(**NODE)
        yield cluster
    finally:
        cluster.shutdown()


@contextmanager
def training(
    config: Config, address: str, log: Path, *options: str
) -> Iterator[subprocess.Popen[bytes]]:
    """The command, which does not outlive a test that fails."""
    command = [sys.executable, "-m", "jobs.ray.train", "--folder", config.runs_dir, *options]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, *command_line(config), "trainer.num_threads=1"],
            env=os.environ | ENVIRONMENT | {"RAY_ADDRESS": address},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(is_there: Callable[[], object], process: subprocess.Popen[bytes], log: Path) -> None:
    end_s = time.monotonic() + HANG_S
    while not is_there():
        assert process.poll() is None, f"training ended before it was disturbed: {log.read_text()}"
        assert time.monotonic() < end_s, log.read_text()
        time.sleep(0.1)


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """So that training does not end before Ray has noticed something, however fast it is."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.dist
def test_workers_on_two_nodes_train_as_one_process(
    config: Config, cluster: Any, tmp_path: Path
) -> None:
    config = changed(config, "train", max_steps=20)
    log = tmp_path / "log.txt"
    with training(config, cluster.address, log, "--num-workers", "2") as process:
        assert process.wait(HANG_S) == 0, log.read_text()
    assert f"{STARTED}2" in log.read_text()
    (folder,) = Path(config.runs_dir).glob("tiny-*")
    assert_close(folder, fit(replace(config, runs_dir=str(tmp_path / "one"))).run.folder)


@pytest.mark.dist
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_lost_node_is_done_without_until_another_comes(
    config: Config, cluster: Any, tmp_path: Path
) -> None:
    log, runs = tmp_path / "log.txt", Path(config.runs_dir)
    workers = ("--num-workers", "2", "--min-workers", "1", "--look-every-s", "1")
    with training(config, cluster.address, log, *workers) as process:
        wait_for(lambda: list(runs.glob("tiny-*/last.ckpt")), process, log)
        (lost,) = cluster.worker_nodes
        cluster.remove_node(lost, allow_graceful=False)
        wait_for(lambda: f"{STARTED}1" in log.read_text(), process, log)
        (last,) = runs.glob("tiny-*/last.ckpt")
        before = last.stat().st_mtime_ns
        wait_for(lambda: last.exists() and last.stat().st_mtime_ns > before, process, log)
        with paused(int(re.findall(r"pid=(\d+)\) world_rank=0", log.read_text())[-1])):
            cluster.add_node(**NODE)
            wait_for(lambda: GROWN in log.read_text(), process, log)
        assert process.wait(HANG_S) == 0, log.read_text()
    output = log.read_text()
    assert re.findall(f"{STARTED}(.)", output) == ["2", "1", "2"], output
    assert output.count("training is done: 200 steps") == 1
    (folder,) = runs.glob("tiny-*")
    undisturbed = fit(replace(config, runs_dir=str(tmp_path / "one"))).run.folder
    assert_close(folder, undisturbed)


def assert_close(folder: Path, expected_folder: Path) -> None:
    weights, expected = (
        torch.load(run / "last.ckpt", weights_only=True)["state_dict"]
        for run in (folder, expected_folder)
    )
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=TOLERANCE)
    lines, expected_lines = (read_csv(run / "curves.csv") for run in (folder, expected_folder))
    for line, expected_line in zip(lines, expected_lines, strict=True):
        values = {name: float(value) for name, value in expected_line.items()}
        assert {n: float(v) for n, v in line.items()} == pytest.approx(values, rel=TOLERANCE)
