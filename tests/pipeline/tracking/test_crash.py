"""G14: kill -9 between a request and the note that it was sent, and at random; then a resume."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.config import TrackingConfig
from tests.experiments import image_steps, new_store, runs, steps_of

NUM_STEPS = 60
CHECKPOINT_EVERY = 10
TRAINING = """
import os, signal, sys, threading, time
from pathlib import Path
from PIL import Image
from pipeline.config import TrackingConfig
from pipeline.tracking import open_tracker, sender
from pipeline.tracking.journal import State
from pipeline.tracking.store import Store

uri, folder, place = sys.argv[1:4]
number, checkpoint_every, last_step = map(int, sys.argv[4:])
sender.GATHER_S = 0.01
checkpoint = Path(folder, "checkpoint")

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def kill_after(owner, name):
    original, calls = getattr(owner, name), []
    def method(*arguments):
        result = original(*arguments)
        calls.append(1)
        if len(calls) == number:
            kill()
        return result
    setattr(owner, name, method)

if place == "request":
    kill_after(Store, "send")
elif place == "note":
    kill_after(State, "save")
elif place == "picture":
    kill_after(Store, "_send_image")

begin = int(checkpoint.read_text()) if checkpoint.exists() else 0
tracker = open_tracker(TrackingConfig(uri=uri), folder=Path(folder), run_name="first")
tracker.log_params({"a": 1})
while tracker.run_id is None:
    time.sleep(0.01)
if place == "time":
    threading.Timer(number / 1000, kill).start()
for step in range(begin + 1, last_step + 1):
    tracker.log_metrics({"train/loss": 1 / step, "train/w": float(step % 2)}, step)
    if step % checkpoint_every == 0:
        tracker.log_image(Image.new("L", (4, 4), step), "drawings/seen", step)
        checkpoint.write_text(str(step))
    time.sleep(0.02)
if place:
    time.sleep(60)  # until it is killed
tracker.finish("FINISHED")
"""


def train(config: TrackingConfig, folder: Path, place: str, number: int, last_step: int) -> int:
    """Trains in another process, which is killed after the `number`th call, or so many ms."""
    numbers = map(str, (number, CHECKPOINT_EVERY, last_step))
    command = [sys.executable, "-c", TRAINING, config.uri, str(folder), place, *numbers]
    return subprocess.run(command, timeout=200, check=False).returncode


def test_kills_lose_and_double_nothing(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One run that dies five times, each time some steps behind a checkpoint."""
    config = TrackingConfig(uri=new_store(tmp_path, tmp_path_factory))
    folder = tmp_path / "run"
    after_ms = random.randrange(1000)
    deaths = [("request", 3), ("note", 2), ("picture", 1), ("request", 4), ("time", after_ms)]
    for number, (place, calls) in enumerate(deaths, start=1):
        assert train(config, folder, place, calls, last_step=12 * number) == -9
    assert train(config, folder, "", 0, NUM_STEPS) == 0
    (run,) = runs(config.uri)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"a": "1"}
    steps = list(range(1, NUM_STEPS + 1))
    assert steps_of(config.uri, run) == {"train/loss": steps, "train/w": steps}, after_ms
    history = MlflowClient(config.uri).get_metric_history(run.info.run_id, "train/loss")
    assert {entry.step: entry.value for entry in history} == {step: 1 / step for step in steps}
    assert image_steps(config.uri, run) == [10, 20, 30, 40, 50, 60], after_ms
    assert not list(folder.glob("0*")), "what was sent is not kept"
