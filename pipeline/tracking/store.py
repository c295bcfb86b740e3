"""Requests to MLflow. Its import takes seconds: only the threads do it."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import TrackingConfig
from pipeline.tracking import registry
from pipeline.tracking.address import SQLITE, database, is_local, redact, tracking_uri
from pipeline.tracking.journal import Record, State

if TYPE_CHECKING:
    from mlflow import MlflowClient

_TOKEN = "tracking.token"
_SETTINGS = {
    "GIT_PYTHON_REFRESH": "quiet",
    # The sender tries again itself, and says so; MLflow would be silent for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    # A slow server may take half a minute; one that hangs is not waited for much longer.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""Settings of MLflow's client, where the environment has none."""
_DIGEST_LENGTH = 36
"""What MLflow keeps of a data set's fingerprint."""
_REFUSING_STATUS = (400, 413, 422)
_NEVER = (PermissionError, FileNotFoundError, NotADirectoryError, ImportError)
"""Errors of an artifact store that do not pass: its folder is not here, its library is missing."""


class Refused(Exception):
    """The store will never take this."""


class RunIsGone(Exception):
    """The store does not have the run, or has it as deleted."""


class Store:
    """Requests, each of which may be repeated without recording anything twice.

    Every method raises what MLflow raises if the store does not answer. A figure with the same
    name, step, time and value is recorded once by MLflow's SQL store, whoever is in front of it.

    Args:
        config: which one.
        moved: called in the midst of long ones, to show that they go forward.
    """

    def __init__(self, config: TrackingConfig, moved: Callable[[], object]) -> None:
        self._config, self._moved = config, moved
        self._client = connect(config)

    def has_run(self, run_id: str) -> bool:
        """Whether there is such a run that is not deleted."""
        try:
            run = self._client.get_run(run_id)
        except Exception as error:
            if _code(error) == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise
        return str(run.info.lifecycle_stage) == "active"

    def find_or_create_run(self, state: State) -> str:
        """The id of the run with the state's token, which is created if there is none."""
        from mlflow.tracking.context.registry import resolve_tags

        experiment_id = self._experiment_id()
        found = self._client.search_runs([experiment_id], f"tags.`{_TOKEN}` = '{state.token}'")
        if found:
            return str(found[0].info.run_id)
        run = self._client.create_run(
            experiment_id,
            start_time=state.started_ms,
            tags=resolve_tags({_TOKEN: state.token}),
            run_name=state.run_name or None,
        )
        return str(run.info.run_id)

    def send(self, run_id: str, items: Sequence[Record]) -> None:
        """Records items of one kind.

        Raises:
            Refused: if at least one of them will never be taken.
            RunIsGone: if the run was deleted.
        """
        try:
            self._send(run_id, items)
        except Exception as error:
            is_refusal = _is_refusal(error) or _is_unknown(error) or _is_denied(error, items[0])
            if _code(error) != "RESOURCE_DOES_NOT_EXIST" and not is_refusal:
                raise
            if not self.has_run(run_id):  # MLflow itself answers, and not a proxy
                raise RunIsGone from error
            if not is_refusal:
                raise
            raise Refused(redact(str(error))) from error

    def _send(self, run_id: str, items: Sequence[Record]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        item = items[0]
        match item["kind"]:
            case "metric":
                of_model = [bool(i.get("of_model")) for i in items]
                model_id = self._newest_model(run_id) if any(of_model) else None
                rows = [
                    Metric(
                        i["name"],
                        i["value"],
                        i["time_ms"],
                        i["step"],
                        model_id=model_id if of else None,
                    )
                    for i, of in zip(items, of_model, strict=True)
                ]
                self._client.log_batch(run_id, metrics=rows)
            case "param":  # a continued run may add values, and keeps those that it has
                known = self._client.get_run(run_id).data.params
                new = [Param(i["name"], i["value"]) for i in items if i["name"] not in known]
                self._client.log_batch(run_id, params=new)
            case "tag":
                tags = [RunTag(i["name"], i["value"]) for i in items]
                self._client.log_batch(run_id, tags=tags)
            case "image":
                self._send_image(run_id, Path(item["path"]))
            case "file":
                self._send_file(run_id, item)
            case "model":
                registry.register(self._client, run_id, item, self._moved)
            case "dataset":
                self._send_dataset(run_id, item)
            case "status" if item["name"] == "RUNNING":
                self._client.update_run(run_id, "RUNNING")
            case "status":
                self._client.set_terminated(run_id, item["name"], item["time_ms"])
            case _:
                raise Refused("it is not understood")

    def _send_image(self, run_id: str, path: Path) -> None:
        """As `MlflowClient.log_image`, which would give the picture another name each time."""
        from mlflow.tracking.multimedia import compress_image_size
        from PIL import Image

        self._client.log_artifact(run_id, str(path), "images")
        with tempfile.TemporaryDirectory() as folder:
            compressed = Path(folder) / f"{path.stem}+compressed.webp"
            with Image.open(path) as image:
                compress_image_size(image).save(compressed)
            self._client.log_artifact(run_id, str(compressed), "images")
        self._client.set_tag(run_id, "mlflow.loggedImages", True)

    def _send_file(self, run_id: str, item: Record) -> None:
        path, folder = Path(item["path"]), item["folder"] or None
        store = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        store(run_id, str(path), folder)
        model_id = self._newest_model(run_id) if item.get("of_model") else None
        if model_id is not None:
            self._client.log_model_artifact(model_id, str(path), folder)
        self._client.get_run(run_id)  # uploads take any answer for a yes, also a proxy's page

    def _send_dataset(self, run_id: str, item: Record) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=item["name"],
            digest=item["digest"][:_DIGEST_LENGTH],
            source_type=item["source"].partition("://")[0] if "://" in item["source"] else "local",
            source=json.dumps({"uri": item["source"]}),
            profile=item["profile"],
        )
        used_for = InputTag("mlflow.data.context", "training")
        self._client.log_inputs(run_id, [DatasetInput(dataset, [used_for])])

    def _newest_model(self, run_id: str) -> str | None:
        try:
            return registry.newest_model(self._client, run_id)
        except Exception as error:
            if _is_unknown(error):
                return None
            raise

    def _experiment_id(self) -> str:
        name = self._config.experiment
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)
        artifacts = None
        if is_local(self._config):  # or pictures would land in whatever folder is current
            artifacts = database(self._config).with_name("mlruns").as_uri()
        return str(self._client.create_experiment(name, artifact_location=artifacts))


def connect(config: TrackingConfig) -> MlflowClient:
    """MLflow's client, quiet and impatient; makes a local store that is new."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    # With it MLflow would print addresses with the credentials in them.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # errors are raised as well
    _make_tables(config)
    return mlflow.MlflowClient(tracking_uri(config))


def _make_tables(config: TrackingConfig) -> None:
    """Makes a local store that is new: whole or not at all.

    MLflow makes its tables in many steps, and takes no store whose maker was killed in between.
    """
    import mlflow

    if not is_local(config):
        return
    file = database(config)
    with file.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # others, and other threads, are about to make it too
        if file.stat().st_size > 0:
            return
        making = file.with_name(f".{file.name}.partial")
        making.unlink(missing_ok=True)
        mlflow.MlflowClient(f"{SQLITE}{making}").search_experiments()
        os.replace(making, file)


def record_load(
    log: Callable[[dict[str, float]], None], stopped: threading.Event, config: TrackingConfig
) -> None:
    """Logs the machine's load as MLflow's own monitor names and measures it, until `stopped`.

    MLflow's thread asks the server before each record, and ends at the first that fails.
    """
    try:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        _make_tables(config)  # the monitor opens the store as well
        logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # of a missing GPU, for example
        monitor: Any = SystemMetricsMonitor(  # type: ignore[no-untyped-call]
            "", tracking_uri=tracking_uri(config)
        )
        prefix = "system/" + (f"{monitor.node_id}/" if monitor.node_id else "")
        monitor.collect_metrics()  # the first is of no interval
        while True:
            for part in monitor.monitors:
                part.clear_metrics()
            for _ in range(monitor.samples_before_logging):
                if stopped.wait(monitor.sampling_interval):
                    return
                monitor.collect_metrics()
            figures = monitor.aggregate_metrics()
            log({prefix + name: value for name, value in figures.items()})
    except Exception as error:
        print(f"note: the machine's load is not recorded: {redact(str(error))}", flush=True)


def _code(error: Exception) -> Any:
    return getattr(error, "error_code", None)


def _is_unknown(error: Exception) -> bool:
    """Whether there is no such request: models are logged by MLflow 3."""
    return bool(_code(error) == "ENDPOINT_NOT_FOUND")


def _is_denied(error: Exception, item: Record) -> bool:
    """Whether who may record runs may not register models."""
    return bool(item["kind"] == "model" and _code(error) == "PERMISSION_DENIED")


def _is_refusal(error: Exception) -> bool:
    """Whether it is about this record, and the same record would meet it again.

    A proxy's page has no error code in it, and is no answer of MLflow's.
    """
    from mlflow.exceptions import MlflowException, RestException
    from requests import HTTPError

    if isinstance(error, RestException):
        return _code(error) in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
    if isinstance(error, MlflowException):
        return bool(_code(error) == "INVALID_PARAMETER_VALUE")
    if isinstance(error, HTTPError):
        return error.response is not None and error.response.status_code in _REFUSING_STATUS
    return isinstance(error, (Refused, *_NEVER))
