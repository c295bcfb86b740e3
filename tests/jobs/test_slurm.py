"""The jobs of jobs/slurm on a cluster of two nodes: requeued in the middle, the same in the end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.config import Config
from tests.experiments import (
    changed,
    command_line,
    make_config,
    make_data,
    read_csv,
    write_drawings,
)
from tests.jobs.slurm_cluster import NODES, Cluster, missing_daemons, running_cluster, wait_until

JOBS = Path(__file__).parents[2] / "jobs" / "slurm"
LONG = {"max_steps": 240, "validate_every": 20}

PYTHON = f"""#!/usr/bin/env bash
if [ "$1" = -c ]; then exec {sys.executable} "$@"; fi
trap 'kill $!; exit 75' TERM
if [ "${{@: -1}}" = wait ]; then sleep 60 & fi
echo begun
if [ "${{@: -1}}" = wait ]; then wait; fi
exit 3
"""
"""Stands in for training that fails, or waits until it is told to save and to end with 75."""

RAY = f"""#!/usr/bin/env bash
for argument; do
    case $argument in
        --port=*) exec {sys.executable} -m http.server --bind 127.0.0.1 "${{argument#*=}}" ;;
    esac
done
sleep 60
"""
"""Stands in for Ray, which answers at its head's port."""

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    missing = missing_daemons()
    if missing:
        pytest.skip(f"{', '.join(missing)} not found: Debian's packages slurm-wlm and munge")
    with running_cluster() as cluster:
        yield cluster


def submit(cluster: Cluster, outputs: Path, *arguments: str) -> str:
    options = [f"--chdir={JOBS.parents[1]}", f"--output={outputs}/%x-%j.out", "--cpus-per-task=1"]
    return cluster.submit(*options, *arguments)


def test_an_array_ingests_what_one_process_does(cluster: Cluster, tmp_path: Path) -> None:
    """Two categories, one of them called dog's house, are shared out to three tasks."""
    config = make_config(write_drawings(tmp_path / "bucket"), tmp_path)
    make_data(config)
    by_array = replace(config, data_dir=str(tmp_path / "array"))
    overrides = command_line(by_array)
    ingest = submit(cluster, tmp_path, "--array=1-3", f"{JOBS}/ingest.sbatch", *overrides)
    after = f"--dependency=afterok:{ingest}"
    prepare = submit(cluster, tmp_path, after, f"{JOBS}/stage.sbatch", "prepare", *overrides)
    cluster.wait_for(prepare, "COMPLETED")
    assert by_array.manifest_path.read_bytes() == config.manifest_path.read_bytes()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_requeued_job_ends_as_one_that_was_not(cluster: Cluster, tmp_path: Path) -> None:
    """A task on each of the nodes, which another job takes, undisturbed, when they are free."""
    config = make_config(write_drawings(tmp_path / "bucket"), tmp_path, **LONG)
    make_data(config)
    config = changed(config, "trainer", num_nodes=0, num_processes=0)
    requeued, alone = (
        replace(config, runs_dir=str(tmp_path / name / "runs"), results_dir=str(tmp_path / name))
        for name in ("requeued", "alone")
    )
    job, other_job = (
        submit(cluster, tmp_path, "--nodes=2", f"{JOBS}/train.sbatch", *command_line(each))
        for each in (requeued, alone)
    )
    cluster.wait_for(job, "RUNNING", lambda: last_step(requeued) > 0)
    cluster.run("scancel", "--signal=USR1", job)  # as Slurm does before a time limit
    assert cluster.wait_for(job, "PENDING")["Restarts"] == "1"
    assert last_step(requeued) < config.train.max_steps, "it was finished before it was stopped"
    for each in (job, other_job):
        cluster.wait_for(each, "COMPLETED")
    assert_equal(requeued, alone)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_search_trains_on_the_nodes_of_a_job(cluster: Cluster, tmp_path: Path) -> None:
    config = make_config(write_drawings(tmp_path / "bucket"), tmp_path, max_steps=2)
    make_data(config)
    search = ["search.algorithm=random", "search.num_trials=2"]
    overrides = [*command_line(config), *search]
    job = submit(cluster, tmp_path, "--nodes=2", f"{JOBS}/search.sbatch", *overrides)
    cluster.wait_for(job, "COMPLETED")
    trials = read_csv(Path(config.results_dir) / "search" / "rate_distortion" / "trials.csv")
    assert [trial["status"] for trial in trials] == ["finished", "finished"]


def submit_stand_in(cluster: Cluster, folder: Path, script: str, argument: str) -> str:
    """A job that has begun, with `PYTHON` and `RAY` in the place of what it runs."""
    for name, content in {"python": PYTHON, "ray": RAY}.items():
        (folder / name).write_text(content)
        (folder / name).chmod(0o755)
    path = f"--export=ALL,PATH={folder}:{cluster.environment['PATH']}"
    node = f"--nodelist={NODES[0]}"
    job = submit(cluster, folder, path, node, f"{JOBS}/{script}.sbatch", argument)

    def has_begun() -> bool:
        return any("begun" in output.read_text() for output in folder.glob(f"*-{job}.out"))

    wait_until(has_begun, timeout_s=60)
    return job


@pytest.mark.parametrize("script", ["train", "search"])
def test_what_fails_or_is_cancelled_is_not_requeued(
    cluster: Cluster, tmp_path: Path, script: str
) -> None:
    failing, waiting = (
        submit_stand_in(cluster, tmp_path, script, what) for what in ("fail", "wait")
    )
    cluster.run("scancel", waiting)
    ends = cluster.wait_for(failing, "FAILED"), cluster.wait_for(waiting, "CANCELLED")
    assert [end["ExitCode"] for end in ends] == ["3:0", "75:0"]
    assert [end["Restarts"] for end in ends] == ["0", "0"]


@pytest.mark.parametrize("script", ["train", "search"])
def test_a_preempted_job_is_requeued(cluster: Cluster, tmp_path: Path, script: str) -> None:
    """Within the time of grace, in which only the tasks are told."""
    job = submit_stand_in(cluster, tmp_path, script, "wait")
    submit(cluster, tmp_path, "--partition=urgent", "--nodes=2", "--wrap=true")
    assert cluster.wait_for(job, "PENDING")["Restarts"] == "1"
    cluster.run("scancel", job)


def test_a_job_that_is_requeued_by_hand_is_requeued_once(cluster: Cluster, tmp_path: Path) -> None:
    job = submit_stand_in(cluster, tmp_path, "train", "wait")
    cluster.run("scontrol", "requeue", job)
    assert cluster.wait_for(job, "PENDING")["Restarts"] == "1"
    cluster.run("scancel", job)


def last_step(config: Config) -> int:
    """The step of a run's last checkpoint, 0 if it has none."""
    for path in Path(config.runs_dir).glob("*/last.ckpt"):
        return int(torch.load(path, weights_only=True)["global_step"])
    return 0


def assert_equal(config: Config, expected: Config) -> None:
    assert config.curves_path.read_text() == expected.curves_path.read_text()
    weights, expected_weights = (
        torch.load(next(Path(each.runs_dir).glob("*/last.ckpt")), weights_only=True)["state_dict"]
        for each in (config, expected)
    )
    torch.testing.assert_close(weights, expected_weights, rtol=0, atol=0)
