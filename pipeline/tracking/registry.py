"""A run's models in MLflow: each is stored once, and is one version of a registered model.

Every request may be repeated: what was made before an answer was lost is found again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.tracking.journal import Record

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run

_DIGEST = "tracking.digest"
_VERSIONS = "mlflow.modelVersions"
_MLMODEL = "MLmodel"
_NOT_IN_NAMES = str.maketrans("/:.%\"'", "______")
"""What MLflow does not accept in a logged model's name, and accepts in a registered one's."""


def newest_model(client: MlflowClient, run_id: str) -> str | None:
    """The id of the model that a run has stored last; None if there is none."""
    models = _search(client, client.get_run(run_id), "")
    if not models:
        return None
    return str(max(models, key=lambda model: model.creation_timestamp).model_id)


def register(client: MlflowClient, run_id: str, item: Record, moved: Callable[[], object]) -> None:
    """Stores a model's folder, and gives the alias to the version that it is.

    Args:
        client: of the store.
        run_id: of the run that made the model.
        item: a record of kind "model".
        moved: called now and then, as a file has arrived: there are dozens.
    """
    run, folder, name = client.get_run(run_id), Path(item["path"]), item["name"]
    digest = _digest(folder)
    found = _search(client, run, f" AND tags.`{_DIGEST}` = '{digest}'")
    model = found[0] if found else _create(client, run, name, digest)
    moved()
    if str(model.status) != "READY":
        _store(client, run, model, item, moved)
        moved()
    version = _version(client, name, model)
    # Without this tag the model's page says "not registered".
    known = [{"name": name, "version": version}]
    client.set_logged_model_tags(model.model_id, {_VERSIONS: json.dumps(known)})
    client.set_registered_model_alias(name, item["alias"], version)


def _search(client: MlflowClient, run: Run, condition: str) -> list[LoggedModel]:
    return list(
        client.search_logged_models(
            [run.info.experiment_id], f"source_run_id = '{run.info.run_id}'{condition}"
        )
    )


def _create(client: MlflowClient, run: Run, name: str, digest: str) -> LoggedModel:
    return client.create_logged_model(
        run.info.experiment_id,
        name.translate(_NOT_IN_NAMES),
        source_run_id=run.info.run_id,
        tags={_DIGEST: digest},
        params=run.data.params,
    )


def _store(
    client: MlflowClient, run: Run, model: LoggedModel, item: Record, moved: Callable[[], object]
) -> None:
    """Files, figures, and last that the model is ready, so that it is so only as a whole."""
    from mlflow.entities import LoggedModelOutput, Metric
    from mlflow.models import Model

    run_id, model_id, folder = run.info.run_id, model.model_id, Path(item["path"])
    description: Any = Model.load(str(folder / _MLMODEL))
    description.run_id, description.model_id, description.model_uuid = run_id, model_id, model_id
    description.save(str(folder / _MLMODEL))
    for path in _files(folder):
        inside = path.parent.relative_to(folder).as_posix()
        client.log_model_artifact(model_id, str(path), None if inside == "." else inside)
        moved()
    outputs = run.outputs.model_outputs if run.outputs else []
    if model_id not in [output.model_id for output in outputs]:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, item["step"])])
    of: dict[str, Any] = {"model_id": model_id}
    for trained_on in run.inputs.dataset_inputs[:1] if run.inputs else []:
        of |= {
            "dataset_name": trained_on.dataset.name,
            "dataset_digest": trained_on.dataset.digest,
        }
    client.log_batch(
        run_id,
        metrics=[
            Metric(name, value, item["time_ms"], item["step"], **of)
            for name, value in item["values"].items()
        ],
    )
    client.finalize_logged_model(model_id, "READY")


def _version(client: MlflowClient, name: str, model: LoggedModel) -> str:
    from mlflow.exceptions import MlflowException
    from mlflow.tracking._tracking_service.utils import _use_tracking_uri

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source, run_id = f"models:/{model.model_id}", model.source_run_id
    for version in client.search_model_versions(f"name = '{name}' AND run_id = '{run_id}'"):
        if version.source == source:
            return str(version.version)
    # MLflow's SQL registry looks for the model in the process's store, whatever the client's is.
    with _use_tracking_uri(client.tracking_uri):
        made = client.create_model_version(name, source, run_id, model_id=model.model_id)
    return str(made.version)


def _digest(folder: Path) -> str:
    """SHA-256 of every file but the one that says when the folder was made."""
    digest = hashlib.sha256()
    for path in _files(folder):
        if path.name != _MLMODEL:
            digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
