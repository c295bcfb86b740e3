"""A model of the registry, or of a run, as a folder that `sketch_model.load` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.config import TrackingConfig, UserError
from pipeline.tracking.address import database, is_local, redact, tracking_uri
from pipeline.tracking.store import connect

WEIGHTS = "artifacts/model"
"""Where a model's own folder is in that of MLflow."""
_FORMS = "models:/NAME@ALIAS, models:/NAME/VERSION or runs:/RUN_ID/NAME"


def download_model(uri: str, folder: Path, config: TrackingConfig) -> Path:
    """Fetches a model that this project has logged.

    Args:
        uri: models:/NAME@ALIAS, models:/NAME/VERSION, or runs:/RUN_ID/NAME.
        folder: is made if it is not there.
        config: which store has it.

    Returns:
        The folder with its weights, inside `folder`.

    Raises:
        UserError: if there is no such model, or nothing reaches the store, or it is another
            project's.
    """
    if not uri.startswith(("models:/", "runs:/")):
        raise UserError(f"{uri!r} is no model of MLflow's: it must be {_FORMS}")
    address = redact(tracking_uri(config))
    if is_local(config) and not database(config).exists():
        raise UserError(f"there is no store {address}: give another one as tracking.uri")
    try:
        return Path(_download(f"{uri.rstrip('/')}/{WEIGHTS}", folder, config))
    except Exception as error:  # MLflow's, SQLAlchemy's, of the file system or the network
        reason = redact(str(error)).partition("\n")[0]
        raise UserError(
            f"{address} does not give the model {uri} ({reason:.300}). It must be {_FORMS}, of a"
            " model that this project has logged"
        ) from error


def _download(uri: str, folder: Path, config: TrackingConfig) -> Any:
    connect(config)
    import mlflow
    from mlflow.tracking._tracking_service.utils import _use_tracking_uri

    folder.mkdir(parents=True, exist_ok=True)
    with _use_tracking_uri(tracking_uri(config)):  # what finds an alias takes no address
        return mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder))
