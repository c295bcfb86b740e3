"""Cells are trained once, by the ordinary commands, and the table has what they say."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline import reproduce
from pipeline.config import UserError
from pipeline.entry import compose
from pipeline.ingest.driver import ingest
from pipeline.prepare import prepare
from pipeline.reproduction import data, driver, process
from pipeline.reproduction.cells import data_set
from pipeline.reproduction.paper import Column
from pipeline.training.interruption import Interrupted
from tests.experiments import new_store, read_csv, runs
from tests.integration.test_gcs import upload
from tests.pipeline import buckets
from tests.pipeline.ingest.formats.test_npz import objects
from tests.pipeline.reproduction.rows import OFFICIAL

TINY = [
    "source.num_drawings=60",
    "train.max_steps=2",
    "train.validate_every=1",
    "trainer.num_threads=1",
    "num_workers=1",
    "evaluate.latent_samples=1",
]
OUT = Path("results/doodles/reproduction")


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is run, in this process, which is faster; it begins in an empty folder."""
    done: list[str] = []

    def run_here(name: str, overrides: Sequence[str]) -> None:
        done.append(name)
        module = importlib.import_module(
            f"pipeline.{name}" + (".__main__" if name == "ingest" else "")
        )
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", [name, *overrides])
            module.main()

    monkeypatch.setattr(driver, "run_command", run_here)
    monkeypatch.chdir(tmp_path)
    return done


@pytest.fixture
def trainings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Trainings that end at once, by their columns; in an empty folder."""
    done: list[str] = []
    monkeypatch.chdir(tmp_path)

    def pretend(name: str, overrides: Sequence[str]) -> None:
        if name == "ingest":
            return
        if name == "prepare":
            config = compose(list(overrides))
            list(ingest(config))
            prepare(config)
            return
        (folder,) = (Path(o[12:]) for o in overrides if o.startswith("results_dir="))
        if name == "train":
            done.append(folder.name)
            (folder / "model").mkdir(parents=True, exist_ok=True)
            training = {"num_steps": 2, "best_step": 1, "run_folder": "x", "mlflow_run_id": None}
            (folder / "model" / "training.json").write_text(json.dumps(training))
        else:
            metrics = {"L_R": 0.5, "L_KL": 0.25, "bound_nats": 40.0}
            (folder / "metrics.json").write_text(json.dumps(metrics))

    monkeypatch.setattr(driver, "run_command", pretend)
    return done


def reproduce_smoke(*arguments: str, tracking: str = "tracking.enabled=false") -> None:
    reproduce.main(["--experiments", "smoke", *arguments, tracking, *TINY])


def test_a_cell_has_the_figures_of_the_ordinary_commands(
    commands: list[str], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    uri = new_store(tmp_path, tmp_path_factory)
    reproduce_smoke("--columns", "0.25", tracking=f"tracking.uri={uri}")
    assert commands == ["ingest", "prepare", "train", "evaluate"]
    (row,) = read_csv(OUT / "table1.csv")
    folder = OUT / "smoke" / "0.25"
    metrics = json.loads((folder / "metrics.json").read_text())
    training = json.loads((folder / "model" / "training.json").read_text())
    assert (float(row["L_R"]), float(row["L_KL"])) == (metrics["L_R"], metrics["L_KL"])
    assert training["config"]["loss"]["w_KL"] == 0.25
    assert int(row["num_steps"]) == training["num_steps"] == 2
    assert metrics["N_max"] == int(row["N_max"]) < 250

    records = {run.info.run_id: run for run in runs(uri)}
    child = records.pop(row["mlflow_run_id"])
    (parent,) = records.values()
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.data.metrics["L_R/smoke/0.25"] == pytest.approx(metrics["L_R"])
    assert parent.info.status == "FINISHED"
    found = {path.name for path in (tmp_path / "mlruns").rglob(f"{parent.info.run_id}/*/*")}
    assert {"table1.md", "table1.csv", "figure4.png"} <= found


def test_what_is_finished_is_not_trained_again(
    trainings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reproduce_smoke("--columns", "1.00,decoder_only")
    assert trainings == ["1.00", "decoder_only"]
    before = (OUT / "table1.csv").read_bytes()
    monkeypatch.setattr(data, "ingest", lambda config: pytest.fail("N_max was known"))
    reproduce_smoke("--columns", "1.00,decoder_only")
    assert (OUT / "table1.csv").read_bytes() == before
    reproduce_smoke("--columns", "1.00,0.50")
    assert trainings == ["1.00", "decoder_only", "0.50"]
    reproduce_smoke("--columns", "1.00", "loss.KL_min=0")
    assert trainings[3:] == ["1.00"], "with another floor it is another cell"


def test_what_is_finished_stays_when_a_later_command_fails(
    trainings: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend = driver.run_command

    def fail_at_the_second(name: str, overrides: Sequence[str]) -> None:
        if name == "train" and trainings:
            raise process.CommandFailed(7, "python -m pipeline.train x")
        pretend(name, overrides)

    monkeypatch.setattr(driver, "run_command", fail_at_the_second)
    with pytest.raises(SystemExit) as failure:
        reproduce_smoke("--columns", "1.00,0.50")
    assert failure.value.code == 7
    assert "`python -m pipeline.train x` ended with exit code 7" in capsys.readouterr().err
    assert [row["column"] for row in read_csv(OUT / "table1.csv")] == ["1.00"]
    monkeypatch.setattr(driver, "run_command", pretend)
    reproduce_smoke("--columns", "1.00,0.50")
    assert trainings == ["1.00", "0.50"]


MISTAKES = {
    "--columns=0.3": "there are 1.00, 0.50, 0.25, decoder_only",
    "loss.w_KL=0.3": "--columns",
    "categories=[cat]": "--experiments",
    "results_dir=x": "--out",
    "shards_dir=x": "use data_dir",
    "loss.w_KLL=1": "did you mean loss.w_KL",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_said_before_anything_begins(
    mistake: str, commands: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        reproduce_smoke(mistake)
    assert MISTAKES[mistake] in capsys.readouterr().err
    assert commands == []
    assert list(Path().iterdir()) == []


def test_an_experiment_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(UserError, match=r"no experiment 'cats'; there are aaron_sheep, .*table1_"):
        data_set("cats", [])


def test_the_official_data_give_the_paper_s_cells() -> None:
    given = [*OFFICIAL, "model=paper", "recipe=paper"]
    cell = data_set("table1_cat_pig", given).cell(Column.w_KL_025, Path("out"))
    config = cell.config
    assert config.source.root == "gs://quickdraw_dataset"
    assert (config.categories, config.loss.w_KL, config.loss.KL_min) == (["cat", "pig"], 0.25, 0.2)
    assert config.model.decoder_size == 2048
    given += ["loss.KL_min=0", "model.N_z=32"]  # which a decoder alone does not read
    alone = data_set("table1_cat", given).cell(Column.decoder_only, Path("out")).config
    assert not alone.model.conditional
    assert alone.loss.KL_min == 0.2


def test_N_max_is_the_longest_drawing_of_the_bucket_s_npz(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = {"train": [5, 31, 8], "valid": [12], "test": [9]}
    splits = {
        name: objects([np.ones((length, 3), np.int16) for length in found])
        for name, found in lengths.items()
    }
    np.savez(tmp_path / "cat.npz", **splits)
    monkeypatch.chdir(tmp_path)
    with buckets.serving_bucket() as bucket:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", bucket.url)
        upload(bucket, "sketchrnn/cat.npz", (tmp_path / "cat.npz").read_bytes())
        given = [*OFFICIAL, f"source.root=gs://{buckets.NAME}", f"source.endpoint_url={bucket.url}"]
        rows = data_set("table1_cat", [*given, "num_workers=1"])
        assert data.settle_N_max(rows).config.ingest.N_max == 32
        rows = data_set("table1_cat", [*given, "num_workers=1", "ingest.N_max=20"])
        settled = data.settle_N_max(rows)
    assert settled.config.ingest.N_max == 13, "what is filtered is not the longest"
    assert [o for o in settled.overrides if "N_max" in o] == ["ingest.N_max=13"]


def test_what_stops_this_process_stops_its_command_and_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "python"
    script.write_text(
        "#!/bin/sh\ntrap 'sleep 0.2; touch saved; exit 75' TERM\ntouch begun\n"
        "while true; do sleep 0.02; done\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.chdir(tmp_path)

    def stop() -> None:
        while not Path("begun").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(Interrupted) as end:
        process.run_command("train", [])
    assert end.value.code == 75
    assert Path("saved").exists()


def test_a_command_that_fails_gives_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(process.CommandFailed, match="3") as end:
        process.run_command("train", ["+experiment=smoke"])
    assert end.value.code == 3
    assert end.value.command == "python -m pipeline.train +experiment=smoke"
