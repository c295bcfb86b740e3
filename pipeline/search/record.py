"""A search's folder, what identifies it, and its parent run in MLflow."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.atomic import replacing_file
from pipeline.config import NOT_IDENTITY, Config, UserError
from pipeline.identity import fingerprint, flatten, to_dict
from pipeline.manifest import Manifest
from pipeline.search import judgement
from pipeline.search.outcome import Status, Trial
from pipeline.tracking import (
    JOURNAL,
    Tracker,
    git_tags,
    open_tracker,
    redact,
    reopen_tracker,
    tracking_uri,
)
from pipeline.training.run import identity

_NOT_IDENTITY = (
    "num_trials",
    "max_concurrent",
    "cpus_per_process",
    "gpus_per_process",
    "max_failures",
    "retry_failed",
    "ray_address",
)
"""Fields of `search` that do not decide what its trials are."""
_PARENT = "mlflow.parentRunId"
_STATUS = {Status.stopped: "KILLED", Status.failed: "FAILED"}
_WAIT_S = 30.0


@dataclass(frozen=True)
class Folders:
    """Where a search keeps what going on needs, and where it puts what it found."""

    work: Path
    results: Path

    @property
    def trials(self) -> Path:
        """Holds a folder per trial."""
        return self.work / "trials"

    def tune(self, num_trials: int) -> Path:
        """Ray Tune's state; more trials are another search to it, and find the old ones done."""
        return self.work / f"tune-{num_trials}"


def settle_paths(config: Config) -> Config:
    """The same config with absolute paths: trials begin elsewhere."""

    def absolute(path: str) -> str:
        return path if "://" in path or not path else str(Path(path).absolute())

    return replace(
        config,
        tracking=replace(config.tracking, uri=tracking_uri(config.tracking)),
        cache=replace(config.cache, dir=absolute(config.cache.dir)),
        quality=replace(config.quality, recogniser=absolute(config.quality.recogniser)),
        init_from=absolute(config.init_from),
        data_dir=absolute(config.data_dir),
        shards_dir=absolute(config.shards_dir),
        runs_dir=absolute(config.runs_dir),
        results_dir=absolute(config.results_dir),
    )


def of_a_trial(config: Config) -> Config:
    """The config that trials begin with: their steps, one thread per core that they reserve.

    Raises:
        UserError: if the number of processes is left to a launcher, they would share a GPU, or the
            steps do not fit.
    """
    search, train, trainer = config.search, config.train, config.trainer
    if 0 in (trainer.num_nodes, trainer.num_processes):
        raise UserError(
            "a search starts the processes of its trials itself, so that trainer=ddp, which leaves"
            " their number to a launcher, has to say it: give trainer.num_processes and"
            " trainer.num_nodes"
        )
    if 0 < search.gpus_per_process < 1 < trainer.num_nodes * trainer.num_processes:
        raise UserError(
            f"search.gpus_per_process={search.gpus_per_process:g} must be 1 or 0 for trials of"
            f" several processes (trainer.num_processes={trainer.num_processes}): they exchange"
            " gradients by NCCL, which takes a GPU for each"
        )
    max_steps = search.max_steps or train.max_steps
    validate_every = search.validate_every or min(train.validate_every, max_steps)
    num_threads = trainer.num_threads or max(1, int(search.cpus_per_process))
    try:
        shorter = replace(train, max_steps=max_steps, validate_every=validate_every)
    except ValueError as error:
        raise UserError(f"of search.max_steps and search.validate_every: {error}") from error
    return replace(config, train=shorter, trainer=replace(trainer, num_threads=num_threads))


def find_folders(config: Config) -> Folders:
    """Of the search whose trials begin with a config of absolute paths.

    Raises:
        UserError: if there are no data, or no weights to begin with.
    """
    content = to_dict(config)
    whole = identity(config, Manifest.read(config.manifest_path)) | {
        "steps": {key: content["train"][key] for key in NOT_IDENTITY},
        "search": {key: v for key, v in content["search"].items() if key not in _NOT_IDENTITY},
    }
    if judgement.is_wanted(config):
        whole["quality"] = judgement.identity(config)
    name = f"search-{config.name}-{config.search.name}-{fingerprint(whole)[:10]}"
    work = Path(config.runs_dir) / name
    work.mkdir(parents=True, exist_ok=True)
    with replacing_file(work / "search.json") as path:
        path.write_text(json.dumps(redact(whole), indent=1) + "\n")
    return Folders(work, Path(config.results_dir) / "search" / config.search.name)


class ParentRun:
    """The search's run in MLflow, and what its children's own processes could not record."""

    def __init__(self, config: Config, folders: Folders, arguments: Sequence[str]) -> None:
        self._config, self.folders = config, folders
        self.tracker = open_tracker(
            config.tracking, folder=folders.work / JOURNAL, run_name=folders.work.name
        )
        self.tracker.log_params(flatten(to_dict(config.search)))
        command = shlex.join(["python", "-m", "pipeline.search", *arguments])
        self.tracker.set_tags({"command": redact(command), "search": config.search.name})
        self.tracker.set_tags(git_tags())
        self._known_at_start = self._wait_for_id()
        self._run_ids: dict[Path, str] = {}

    @property
    def tags(self) -> dict[str, str]:
        """Of the children, from their beginning."""
        parent = {_PARENT: self._known_at_start} if self._known_at_start else {}
        return {"search": self._config.search.name} | parent

    def settle(self, trials: Sequence[Trial]) -> None:
        """Has children end as their trials did: one that was stopped or killed could not say."""
        for trial in trials:
            if trial.status is not Status.finished or not self._known_at_start:
                self._settle(trial)

    def run_id(self, trial: Trial) -> str | None:
        """Of a child."""
        for path in trial.folder.glob("*/run.json"):
            run_id: str | None = json.loads(path.read_text())["mlflow_run_id"]
            return self._run_ids.get(trial.folder, run_id)
        return None

    def child(self, trial: Trial) -> Tracker:
        """Records to the run of a trial that has ended."""
        for journal in trial.folder.glob(f"*/{JOURNAL}"):
            return reopen_tracker(self._config.tracking, journal)
        return Tracker()

    def _wait_for_id(self) -> str | None:
        """A local store is there in seconds; children of one that is not are told at their end."""
        until_s = time.monotonic() + (_WAIT_S if self._config.tracking.enabled else 0)
        while self.tracker.run_id is None and time.monotonic() < until_s:
            time.sleep(0.05)
        return self.tracker.run_id

    def _settle(self, trial: Trial) -> None:
        child = self.child(trial)
        tags = {"search.status": trial.status.value}
        if self.tracker.run_id:
            tags[_PARENT] = self.tracker.run_id
        child.set_tags(tags)
        child.finish(_STATUS.get(trial.status, ""))
        if child.run_id:
            self._run_ids[trial.folder] = child.run_id
