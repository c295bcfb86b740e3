"""Recording of runs: the only module that knows MLflow.

`open_tracker` gives rank zero an `MlflowTracker` and everybody else a plain `Tracker`, which
records nothing, so that callers log unconditionally and nothing is logged twice.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import TrackingConfig, UserError

if TYPE_CHECKING:
    from PIL.Image import Image

_SQLITE = "sqlite:///"
_NOT_IN_NAMES = re.compile(r"[^\w.\- :/]")
"""What MLflow does not accept in a metric's name, and a category may have."""


class Tracker:
    """Where a run's figures, pictures and files go; this one lets them go."""

    run_id: str | None = None

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Records the resolved config, one entry per field."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Records figures at a step."""

    def log_image(self, image: Image, key: str, step: int) -> None:
        """Records a picture; those of one key make up a slider over the steps."""

    def log_file(self, path: Path, folder: str = "") -> None:
        """Stores a copy of a file, or of a folder's content, with the run."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Records what runs are searched by."""

    def finish(self, status: str) -> None:
        """Ends the run as FINISHED, FAILED or KILLED."""


class MlflowTracker(Tracker):
    """One MLflow run, new or continued, with the machine's load beside its own metrics."""

    def __init__(
        self, config: TrackingConfig, run_name: str, run_id: str | None, skip_sent: bool
    ) -> None:
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
        import mlflow

        self._mlflow = mlflow
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        mlflow.set_tracking_uri(tracking_uri(config))
        self._client = mlflow.MlflowClient()
        experiment_id = _experiment_id(config)
        if run_id is not None and not self._has_run(run_id):
            print(f"note: {tracking_uri(config)} has no run {run_id} any more; recording a new one")
            run_id = None
        run = mlflow.start_run(
            run_id,
            experiment_id,
            run_name=None if run_id else run_name or None,
            log_system_metrics=True,
        )
        self.run_id: str = run.info.run_id
        self._skip_sent = skip_sent
        self._last_steps: dict[str, int] = {}

    def _has_run(self, run_id: str) -> bool:
        try:
            run = self._client.get_run(run_id)
        except self._mlflow.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        return str(run.info.lifecycle_stage) == "active"

    def _is_new(self, name: str, step: int, sent: Callable[[str], Iterable[int]]) -> bool:
        """Whether `sent`, asked once what steps of a name there were at the start, goes less far.

        Asked for each name, because a process may die between two records of one step.
        """
        if not self._skip_sent:
            return True
        if name not in self._last_steps:
            self._last_steps[name] = max(sent(name), default=-1)
        return step > self._last_steps[name]

    def _metric_steps(self, name: str) -> list[int]:
        return [entry.step for entry in self._client.get_metric_history(self.run_id, name)]

    def _image_steps(self, key: str) -> list[int]:
        paths = [file.path for file in self._client.list_artifacts(self.run_id, "images")]
        name = re.escape(key.replace("/", "~"))  # as MLflow names the files
        names = [re.fullmatch(rf"images/{name}\+step\+(\d+)\+.*\.png", p) for p in paths]
        return [int(name[1]) for name in names if name]

    def log_params(self, params: Mapping[str, Any]) -> None:
        """As `Tracker.log_params`; a continued run may only repeat or add values."""
        known = self._mlflow.get_run(self.run_id).data.params
        self._mlflow.log_params({key: v for key, v in params.items() if key not in known})

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """As `Tracker.log_metrics`, in one request."""
        named = {_NOT_IN_NAMES.sub("_", name): value for name, value in metrics.items()}
        new = {n: value for n, value in named.items() if self._is_new(n, step, self._metric_steps)}
        if new:
            self._mlflow.log_metrics(new, step=step)

    def log_image(self, image: Image, key: str, step: int) -> None:
        """As `Tracker.log_image`; it is stored when this returns."""
        if self._is_new(f"image {key}", step, lambda _: self._image_steps(key)):
            self._mlflow.log_image(image, key=key, step=step, synchronous=True)

    def log_file(self, path: Path, folder: str = "") -> None:
        """As `Tracker.log_file`."""
        store = self._mlflow.log_artifacts if path.is_dir() else self._mlflow.log_artifact
        store(str(path), folder or None)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """As `Tracker.set_tags`."""
        self._mlflow.set_tags(dict(tags))

    def finish(self, status: str) -> None:
        """As `Tracker.finish`."""
        self._mlflow.end_run(status)


def open_tracker(
    config: TrackingConfig,
    *,
    rank: int = 0,
    run_name: str = "",
    run_id: str | None = None,
    skip_sent: bool = False,
) -> Tracker:
    """Starts a run, or goes on with the run `run_id`.

    Args:
        config: where to.
        rank: of this process; only rank zero tracks.
        run_name: of a new run.
        run_id: of the run to go on with.
        skip_sent: leave out figures and pictures of steps that the run has already, because
            training goes on from an older checkpoint.

    Raises:
        UserError: if a local store cannot be written, before anything else has begun.
    """
    if rank > 0 or not config.enabled:
        return Tracker()
    _check_writable(config)
    return MlflowTracker(config, run_name, run_id, skip_sent)


def reopen_tracker(config: TrackingConfig, run_id: str | None) -> Tracker:
    """The tracker of a run that has ended; records nothing if it was not tracked."""
    return open_tracker(config, run_id=run_id) if run_id else Tracker()


def tracking_uri(config: TrackingConfig) -> str:
    """The store's address, with the path of a local one made absolute."""
    if not config.uri.startswith(_SQLITE):
        return config.uri
    return f"{_SQLITE}{_database(config)}"


def git_tags() -> dict[str, str]:
    """The commit that the code is at, and whether files differ from it; empty outside git."""
    try:
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"mlflow.source.git.commit": commit, "git.dirty": str(bool(changed)).lower()}


def _git(*arguments: str) -> str:
    folder = Path(__file__).parent
    result = subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return result.stdout.strip()


def _database(config: TrackingConfig) -> Path:
    return Path(config.uri.removeprefix(_SQLITE)).absolute()


def _experiment_id(config: TrackingConfig) -> str:
    import mlflow

    experiment = mlflow.get_experiment_by_name(config.experiment)
    if experiment is not None:
        return str(experiment.experiment_id)
    artifacts = None
    if config.uri.startswith(_SQLITE):  # or pictures would land in whatever folder is current
        artifacts = _database(config).with_name("mlruns").as_uri()
    return str(mlflow.create_experiment(config.experiment, artifact_location=artifacts))


def _check_writable(config: TrackingConfig) -> None:
    if not config.uri.startswith(_SQLITE):
        return
    database = _database(config)
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(database, timeout=10)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE write_check (x)")
            connection.rollback()
        finally:
            connection.close()
    except (OSError, sqlite3.Error) as error:
        raise UserError(
            f"the tracking store {tracking_uri(config)} cannot be written: {error}."
            " Point tracking.uri elsewhere (tracking.uri=sqlite:///FILE), or train without"
            " tracking (tracking.enabled=false)"
        ) from error
