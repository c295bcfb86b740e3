"""G14: kill -9 between a request and the note that it was sent, and at random; then a resume."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.config import TrackingConfig
from pipeline.tracking import open_tracker
from pipeline.tracking.journal import Journal, State
from pipeline.tracking.sender import Sender
from tests.experiments import image_steps, new_store, runs, steps_of

NUM_STEPS = 60
CHECKPOINT_EVERY = 10
TRAINING = """
import json, os, signal, sys, threading, time
from pathlib import Path
from PIL import Image
import mlflow.store.tracking.sqlalchemy_store  # before it is forked
from pipeline.config import TrackingConfig
from pipeline.tracking import open_tracker, sender
from pipeline.tracking.journal import State
from pipeline.tracking.store import Store

uri, folder, checkpoint_every, deaths = json.loads(sys.argv[1])
sender.GATHER_S = 0.01
checkpoint = Path(folder, "checkpoint")

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def kill_after(owner, name, number):
    original, calls = getattr(owner, name), []
    def method(*arguments):
        result = original(*arguments)
        calls.append(1)
        if len(calls) == number:
            kill()
        return result
    setattr(owner, name, method)

def train(place, number, last_step):
    if place == "request":
        kill_after(Store, "send", number)
    elif place == "note":
        kill_after(State, "save", number)
    elif place == "picture":
        kill_after(Store, "_send_image", number)

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

for death in deaths:
    if not (process := os.fork()):
        train(*death)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
"""
"""Trains once for each of `deaths`, each time in a new process that is killed after the `number`th
call of something, or so many ms. They are forked because MLflow takes seconds to import."""


def test_kills_lose_and_double_nothing(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One run that dies five times, each time some steps behind a checkpoint."""
    config = TrackingConfig(uri=new_store(tmp_path, tmp_path_factory))
    folder = tmp_path / "run"
    after_ms = random.randrange(1000)
    places = [("request", 3), ("note", 2), ("picture", 1), ("request", 4), ("time", after_ms)]
    deaths = [(*place, 12 * number) for number, place in enumerate(places, start=1)]
    orders = json.dumps([config.uri, str(folder), CHECKPOINT_EVERY, [*deaths, ("", 0, NUM_STEPS)]])
    command = [sys.executable, "-c", TRAINING, orders]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert result.stdout.split() == ["-9"] * 5 + ["0"], result.stderr
    (run,) = runs(config.uri)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"a": "1"}
    steps = list(range(1, NUM_STEPS + 1))
    assert steps_of(config.uri, run) == {"train/loss": steps, "train/w": steps}, after_ms
    history = MlflowClient(config.uri).get_metric_history(run.info.run_id, "train/loss")
    assert {entry.step: entry.value for entry in history} == {step: 1 / step for step in steps}
    assert image_steps(config.uri, run) == [10, 20, 30, 40, 50, 60], after_ms
    assert not list(folder.glob("0*")), "what was sent is not kept"


def test_what_was_sent_before_a_kill_is_not_kept_either(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment was sent and its process killed; the next one has ended when it begins to send."""
    send = Sender._run

    def send_late(sender: Sender) -> None:
        sender._ending.wait()
        send(sender)

    monkeypatch.setattr(Sender, "_run", send_late)
    config, folder = TrackingConfig(uri=new_store(tmp_path, tmp_path_factory)), tmp_path / "run"
    open_tracker(config, folder=folder, run_name="first").finish("RUNNING")
    journal = Journal(folder)
    journal.append({"kind": "params", "name": "a", "value": "1"})
    journal.close()
    (segment,) = journal.segments()
    state = State.read(folder)
    assert state is not None
    state.offsets[segment] = (folder / segment / "records.jsonl").stat().st_size
    state.save(folder)
    open_tracker(config, folder=folder, run_name="first").finish("FINISHED")
    assert journal.segments() == []
