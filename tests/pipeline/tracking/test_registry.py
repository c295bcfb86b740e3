"""Models of a run: stored once, registered once, whatever is lost on the way."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model

from pipeline.config import TrackingConfig, UserError
from pipeline.tracking import (
    Tracker,
    download_model,
    open_tracker,
    registry,
    reopen_tracker,
    sender,
)
from pipeline.tracking.address import is_local
from sketch_model import weights
from sketch_model.config import DataSpec, ModelConfig
from sketch_model.model import SketchRNN
from tests.experiments import new_store, runs
from tests.pipeline.tracking.mlflow_server import Proxy
from tests.pipeline.tracking.test_outages import wait_until


@pytest.fixture(params=["file", "server"])
def config(
    request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> TrackingConfig:
    name = f"{request.node.name}".translate(str.maketrans("[]", "--"))
    if request.param == "file":
        return TrackingConfig(uri=new_store(tmp_path, tmp_path_factory), experiment=name)
    return TrackingConfig(uri=request.getfixturevalue("server"), experiment=name)


def write_model(folder: Path, content: str = "weights") -> None:
    """What counts of an MLflow model folder; the times in it differ each time."""
    (folder / "artifacts" / "model").mkdir(parents=True)
    (folder / "artifacts" / "model" / "config.json").write_text(content)
    Model().save(str(folder / "MLmodel"))


def log(tracker: Tracker, name: str, step: int = 5, content: str = "weights") -> None:
    write = functools.partial(write_model, content=content)
    metrics = {"best/objective": step / 10}
    tracker.log_model(write, name=name, alias="challenger", step=step, metrics=metrics)


def models_of(config: TrackingConfig, run_id: str | None) -> list[LoggedModel]:
    client = MlflowClient(config.uri)
    experiment = client.get_run(str(run_id)).info.experiment_id
    found = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
    return sorted(found, key=lambda model: model.creation_timestamp)


def versions_of(config: TrackingConfig, name: str) -> list[ModelVersion]:
    found = MlflowClient(config.uri).search_model_versions(f"name = '{name}'")
    return sorted(found, key=lambda version: version.version)


def assert_registered_once(config: TrackingConfig, name: str, run_id: str | None) -> None:
    client = MlflowClient(config.uri)
    (model,) = models_of(config, run_id)
    (version,) = versions_of(config, name)
    assert (model.status, version.source) == ("READY", model.model_uri)
    assert client.get_model_version_by_alias(name, "challenger").version == version.version
    known = json.loads(model.tags["mlflow.modelVersions"])
    assert known == [{"name": name, "version": str(version.version)}]
    (output,) = client.get_run(str(run_id)).outputs.model_outputs
    assert (output.model_id, output.step) == (model.model_id, 5)
    assert {metric.key: metric.value for metric in model.metrics} == {"best/objective": 0.5}
    assert client.get_run(str(run_id)).data.metrics == {"best/objective": 0.5}


def test_a_model_has_its_run_its_data_its_figures_and_its_files(
    config: TrackingConfig, tmp_path: Path
) -> None:
    """Also what is recorded of it after it was logged."""
    page = tmp_path / "gallery.html"
    page.write_text("<p>drawings</p>")
    tracker = open_tracker(config, folder=tmp_path / "run")
    tracker.log_params({"model.M": 20})
    tracker.log_dataset("cats", "0123456789abcdef" * 4, "gs://u:secret@b/shards", {"train": 7})
    log(tracker, config.experiment)
    tracker.finish("FINISHED")
    again = reopen_tracker(config, tmp_path / "run")
    again.log_metrics({"test/L_R": 0.25}, 5, of_model=True)
    again.log_metrics({"other": 1.0}, 5)
    again.log_file(page, of_model=True)
    again.finish()

    client = MlflowClient(config.uri)
    (run,) = runs(config.uri, config.experiment)
    (model,) = models_of(config, run.info.run_id)
    assert model.params == {"model.M": "20"}
    figures = {metric.key: metric.value for metric in model.metrics}
    assert figures == {"best/objective": 0.5, "test/L_R": 0.25}
    assert run.data.metrics == figures | {"other": 1.0}
    (trained_on,) = run.inputs.dataset_inputs
    assert trained_on.dataset.name == "cats"
    assert trained_on.dataset.digest == "0123456789abcdef0123456789abcdef0123"
    assert trained_on.dataset.source == '{"uri": "gs://***@b/shards"}'
    assert {metric.dataset_name for metric in model.metrics} == {"cats", None}
    files = {file.path for file in client.list_logged_model_artifacts(model.model_id)}
    assert files == {"MLmodel", "artifacts", "gallery.html"}
    if is_local(config):
        (stored,) = (tmp_path / "mlruns").rglob("MLmodel")
        description = Model.load(str(stored))
        assert (description.run_id, description.model_id) == (run.info.run_id, model.model_id)


@pytest.mark.parametrize("config", ["file"], indirect=True)
def test_the_same_model_again_is_no_other_version(config: TrackingConfig, tmp_path: Path) -> None:
    """As when training is called again; another model is, and takes the alias over."""
    name = f"{config.experiment}.x"
    for _ in range(2):
        tracker = open_tracker(config, folder=tmp_path / "run")
        log(tracker, name)
        tracker.finish("FINISHED")
    assert_registered_once(config, name, tracker.run_id)
    tracker = reopen_tracker(config, tmp_path / "run")
    log(tracker, name, step=9, content="other weights")
    tracker.finish()
    first, second = models_of(config, tracker.run_id)
    assert [version.source for version in versions_of(config, name)] == [
        first.model_uri,
        second.model_uri,
    ]
    newest = MlflowClient(config.uri).get_model_version_by_alias(name, "challenger")
    assert newest.source == second.model_uri
    assert registry.newest_model(MlflowClient(config.uri), str(tracker.run_id)) == second.model_id


class Dying:
    """A client whose process ends after so many requests, the last of which was carried out."""

    def __init__(self, client: MlflowClient, num_requests: int) -> None:
        self._client, self.num_left = client, num_requests

    @property
    def tracking_uri(self) -> str:
        return str(self._client.tracking_uri)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def request(*arguments: Any, **options: Any) -> Any:
            try:
                return getattr(self._client, name)(*arguments, **options)
            finally:
                self.num_left -= 1
                if self.num_left == 0:
                    raise SystemExit

        return request


@pytest.mark.parametrize("config", ["file"], indirect=True)
def test_whatever_request_was_the_last_the_model_is_registered_once(
    config: TrackingConfig, tmp_path: Path
) -> None:
    client = MlflowClient(config.uri)
    experiment = client.create_experiment("crashes", (tmp_path / "artifacts").as_uri())
    num_requests = 0
    while True:
        num_requests += 1
        name, folder = f"model-{num_requests}", tmp_path / str(num_requests)
        write_model(folder)
        run_id = client.create_run(experiment).info.run_id
        item = {"path": str(folder), "name": name, "alias": "challenger", "step": 5, "time_ms": 1}
        item["values"] = {"best/objective": 0.5}
        dying: Any = Dying(client, num_requests)
        try:
            registry.register(dying, run_id, item, int)
        except SystemExit:
            registry.register(client, run_id, item, int)
        assert_registered_once(config, name, run_id)
        if dying.num_left > 0:
            break
    assert num_requests > 9, "each of them was the last one once"


@pytest.mark.parametrize("mode", ["lose", "refuse"])
def test_an_outage_registers_nothing_twice_and_loses_nothing(
    mode: str, server: str, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrackingConfig(uri=proxy.address, experiment=f"models-{mode}")
    proxy.mode = mode
    tracker = open_tracker(config, folder=tmp_path)
    log(tracker, mode)
    with monkeypatch.context() as patch:
        patch.setattr(sender, "PATIENCE_S", 10 if mode == "lose" else 0.5)
        tracker.finish("FINISHED")
    if mode == "refuse":
        assert tracker.run_id is None
        proxy.mode = "pass"
        tracker = reopen_tracker(config, tmp_path)
        tracker.finish()
    else:
        lost = {path.rpartition("/mlflow/")[2] for path in proxy.lost}
        assert {"logged-models", "registered-models/create", "model-versions/create"} <= lost
    assert_registered_once(TrackingConfig(uri=server), mode, tracker.run_id)


def test_the_end_of_a_run_waits_for_a_model_whose_files_arrive(
    proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take longer than a run waits for a server that takes nothing."""
    config = TrackingConfig(uri=proxy.address, experiment="models-slow")
    tracker = open_tracker(config, folder=tmp_path)
    wait_until(lambda: tracker.run_id is not None)
    proxy.mode, proxy.delay_s = "slow", 0.1
    monkeypatch.setattr(sender, "PATIENCE_S", 3)

    def write(folder: Path) -> None:
        write_model(folder)
        for number in range(40):
            (folder / f"{number}.py").write_text("pass")

    tracker.log_model(write, name="slow", alias="challenger", step=5, metrics={})
    tracker.finish("FINISHED")
    proxy.mode = "pass"
    (model,) = models_of(config, tracker.run_id)
    assert model.status == "READY"
    assert len(versions_of(config, "slow")) == 1


@pytest.mark.parametrize("mode", ["old", "denied"])
def test_a_server_that_takes_no_models_gets_everything_else(
    mode: str, server: str, proxy: Proxy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = TrackingConfig(uri=proxy.address, experiment=f"models-{mode}")
    proxy.mode = mode
    tracker = open_tracker(config, folder=tmp_path / "run")
    log(tracker, mode)
    tracker.log_metrics({"test/L_R": 0.25}, 5, of_model=True)
    tracker.log_file(Path(__file__), of_model=True)
    tracker.finish("FINISHED")
    (run,) = runs(server, config.experiment)
    assert run.data.metrics["test/L_R"] == 0.25
    files = [file.path for file in MlflowClient(server).list_artifacts(run.info.run_id)]
    assert files == [Path(__file__).name]
    assert f"does not take the 'model {mode}'" in capsys.readouterr().out
    assert (tmp_path / "run" / "refused" / mode / "MLmodel").exists()


def test_a_registered_model_comes_back(config: TrackingConfig, tmp_path: Path) -> None:
    torch_model = SketchRNN(
        ModelConfig(encoder_size=3, decoder_size=4, N_z=2, M=1),
        DataSpec(offset_scale=2.0, N_max=9, categories=("cat",), source="local"),
    )

    def write(folder: Path) -> None:
        weights.save(torch_model, folder / "artifacts" / "model")
        Model().save(str(folder / "MLmodel"))

    name = config.experiment
    tracker = open_tracker(config, folder=tmp_path / "run")
    tracker.log_model(write, name=name, alias="challenger", step=1, metrics={})
    tracker.finish("FINISHED")
    for number, uri in enumerate(
        (f"models:/{name}@challenger", f"models:/{name}/1", f"runs:/{tracker.run_id}/{name}")
    ):
        found = weights.load(download_model(uri, tmp_path / str(number), config))
        assert found.data == torch_model.data
    for uri, reason in (
        (f"models:/{name}@nobody", "alias nobody not found"),
        (f"models:/{name}/7", "version=7"),
        ("models:/nothing/1", "nothing"),
        (f"runs:/{tracker.run_id}/other", "Failed to download"),
        ("somewhere/model", "is no model of MLflow's"),
    ):
        with pytest.raises(UserError, match=reason) as caught:
            download_model(uri, tmp_path / "x", config)
        assert "models:/NAME@ALIAS" in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [("sqlite:////nowhere/mlflow.db", "there is no store"), ("http://a:secret@127.0.0.1:9", "9")],
)
def test_a_store_that_is_not_there_has_no_models(uri: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        download_model("models:/cat/1", tmp_path, TrackingConfig(uri=uri))
    assert "secret" not in str(caught.value)
