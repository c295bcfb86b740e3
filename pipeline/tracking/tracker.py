"""What callers record with."""

from __future__ import annotations

import functools
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import TrackingConfig
from pipeline.tracking.address import check_store, redact
from pipeline.tracking.journal import Journal, State, copy_into
from pipeline.tracking.sender import Sender
from pipeline.tracking.store import record_load

if TYPE_CHECKING:
    from PIL.Image import Image

JOURNAL = "tracking"
"""The journal's folder in that of the run."""

_NOT_IN_NAMES = re.compile(r"[^\w.\- :/]")
"""What MLflow does not accept in a metric's name, and a category may have."""


class Tracker:
    """Where a run's figures, pictures and files go; this one lets them go."""

    run_id: str | None = None

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Records the resolved config, one entry per field."""

    def log_dataset(self, name: str, digest: str, source: str, profile: Mapping[str, Any]) -> None:
        """Records what a run was trained on: where it is, its fingerprint, its counts."""

    def log_metrics(
        self, metrics: Mapping[str, float], step: int | None, *, of_model: bool = False
    ) -> None:
        """Records figures at a step; at the next one of each name if it is None.

        With `of_model` they are also figures of the run's newest model.
        """

    def log_image(self, image: Image, key: str, step: int) -> None:
        """Records a picture; those of one key make up a slider over the steps."""

    def log_file(self, path: Path, folder: str = "", *, of_model: bool = False) -> None:
        """Stores a copy of a file, or of a folder's content, with the run.

        With `of_model` also among the files of the run's newest model.
        """

    def log_model(
        self,
        write: Callable[[Path], object],
        *,
        name: str,
        alias: str,
        step: int,
        metrics: Mapping[str, float],
    ) -> None:
        """Stores a model of the run, and registers it.

        The same content again is neither a second model nor a second version.

        Args:
            write: makes an MLflow model folder; not called if nothing is recorded.
            name: of the registered model, which is made if it is not there.
            alias: that the new version gets, and an older one loses.
            step: of the run that the weights are of.
            metrics: figures of the model, and of the run at that step.
        """

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Records what runs are searched by."""

    def finish(self, status: str = "") -> None:
        """Ends recording; the run as FINISHED, FAILED or KILLED, or as it was without a status."""


class JournaledTracker(Tracker):
    """One MLflow run, new or continued.

    Each record is on disk when its method returns, without credentials, and sent afterwards.

    Args:
        config: where to.
        folder: of the journal.
        run_name: of the MLflow run, if it is not made yet.
        run_id: of the MLflow run, if the journal is new and the run is not.
        repeats: whether figures and pictures of steps that were recorded are recorded again.
    """

    def __init__(
        self, config: TrackingConfig, folder: Path, run_name: str, run_id: str | None, repeats: bool
    ) -> None:
        state = State.read(folder)
        if state is None:
            state = State(run_name, _now_ms(), run_id)
            state.save(folder)
        self._journal = Journal(folder)
        self._sender = Sender(config, self._journal, state)
        self._repeats = repeats
        self._ended = threading.Event()

    @property
    def run_id(self) -> str | None:  # type: ignore[override]
        """The MLflow run's; None until the store has answered for the first time."""
        return self._sender.run_id

    def log_params(self, params: Mapping[str, Any]) -> None:
        """As `Tracker.log_params`; a continued run may only repeat or add values."""
        values = {name: str(redact(value)) for name, value in params.items()}
        self._journal.append({"kind": "params", "values": values})

    def log_dataset(self, name: str, digest: str, source: str, profile: Mapping[str, Any]) -> None:
        """As `Tracker.log_dataset`."""
        record = {"kind": "dataset", "name": name, "digest": digest, "source": redact(source)}
        self._journal.append(record | {"profile": json.dumps(redact(dict(profile)))})

    def log_metrics(
        self, metrics: Mapping[str, float], step: int | None, *, of_model: bool = False
    ) -> None:
        """As `Tracker.log_metrics`, with the time of the call."""
        record = {"kind": "metrics", "values": _values(metrics), "of_model": of_model}
        self._journal.append(record | self._at(step))

    def log_image(self, image: Image, key: str, step: int) -> None:
        """As `Tracker.log_image`."""
        key = _NOT_IN_NAMES.sub("_", key)
        at = self._at(step)
        # MLflow's page finds pictures, and their steps, by names of this form.
        name = f"{key.replace('/', '~')}+step+{step}+timestamp+{at['time_ms']}+{uuid.uuid4()}.png"
        record = {"kind": "image", "name": name, "key": key, **at}
        self._journal.append(record, functools.partial(image.save, format="PNG"))

    def log_file(self, path: Path, folder: str = "", *, of_model: bool = False) -> None:
        """As `Tracker.log_file`; it may change or go when this returns."""
        record = {"kind": "file", "name": path.name, "folder": folder, "of_model": of_model}
        self._journal.append(record, lambda target: copy_into(target, path))

    def log_model(
        self,
        write: Callable[[Path], object],
        *,
        name: str,
        alias: str,
        step: int,
        metrics: Mapping[str, float],
    ) -> None:
        """As `Tracker.log_model`."""
        record = {"kind": "model", "name": name, "alias": alias, "values": _values(metrics)}
        self._journal.append(record | {"step": step, "time_ms": _now_ms()}, write)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """As `Tracker.set_tags`."""
        values = {name: redact(value) for name, value in tags.items()}
        self._journal.append({"kind": "tags", "values": values})

    def begin(self, config: TrackingConfig) -> None:
        """Records that the run is running, and from now on the load of the machine."""
        self._set_status("RUNNING")
        threading.Thread(
            target=record_load,
            args=(functools.partial(self.log_metrics, step=None), self._ended, config),
            name="load",
            daemon=True,
        ).start()

    def finish(self, status: str = "") -> None:
        """As `Tracker.finish`; what does not reach the store in time is sent another time."""
        self._ended.set()
        if status:
            self._set_status(status)
        self._journal.close()
        self._sender.finish()

    def _set_status(self, status: str) -> None:
        self._journal.append({"kind": "status", "name": status, "time_ms": _now_ms()})

    def _at(self, step: int | None) -> dict[str, Any]:
        return {"step": step, "time_ms": _now_ms(), "repeats": self._repeats}


def open_tracker(
    config: TrackingConfig,
    *,
    folder: Path,
    rank: int = 0,
    run_name: str = "",
    run_id: str | None = None,
) -> Tracker:
    """Starts to record a training, or goes on with the one in `folder`, and sends what waits there.

    Figures and pictures of steps that the run has already are left out: training goes on from an
    older checkpoint.

    Args:
        config: where to.
        folder: of the journal, within the run's.
        rank: of this process; only rank zero tracks.
        run_name: of a new run.
        run_id: of the MLflow run to go on with where `folder` does not know it.

    Raises:
        UserError: if a local store or the journal cannot be written, before anything has begun.
    """
    if rank > 0 or not config.enabled:
        return Tracker()
    check_store(config)
    tracker = JournaledTracker(config, folder, run_name, run_id, repeats=False)
    tracker.begin(config)
    return tracker


def reopen_tracker(config: TrackingConfig, folder: Path, run_id: str | None = None) -> Tracker:
    """The tracker of a training that has ended, which sends what waits in `folder` too.

    Records nothing if the training was not tracked. What is recorded again is there again, beside
    what was.

    Args:
        config: where to.
        folder: of the journal, within the run's.
        run_id: of the MLflow run where `folder` is not there any more, as with results that came
            from elsewhere.

    Raises:
        UserError: as `open_tracker`.
    """
    if not config.enabled or (run_id is None and State.read(folder) is None):
        return Tracker()
    check_store(config)
    return JournaledTracker(config, folder, "", run_id, repeats=True)


def _values(metrics: Mapping[str, float]) -> dict[str, float]:
    return {_NOT_IN_NAMES.sub("_", name): float(value) for name, value in metrics.items()}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
