"""The folder of one training run: what identifies it, and what resuming needs."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config import NOT_IDENTITY, Config, UserError
from pipeline.identity import fingerprint, flatten, to_dict
from pipeline.manifest import Manifest
from pipeline.training.checkpoint_files import BEST, LAST, newest_checkpoint

FORMAT_VERSION = 2
_ROOT = Path(__file__).parents[2]
_CODE = (
    "sketch_model/**/*.py",
    "pipeline/data/*.py",
    "pipeline/training/*.py",
    "pipeline/permutation.py",
)


def identity(config: Config, manifest: Manifest) -> dict[str, Any]:
    """What defines a run's result: model, loss, optimiser, data, seed, weights it begins with."""
    content = to_dict(config)
    train = {key: v for key, v in content["train"].items() if key not in NOT_IDENTITY}
    begins_with = {}
    if config.init_from:
        from pipeline.training import initial_weights  # torch: no need of a search's driver

        begins_with = {"init_from": initial_weights.fingerprint(config.init_from)}
    return {
        "data": manifest.fingerprint,
        "model": content["model"],
        "loss": content["loss"],
        "train": train,
    } | begins_with


def code_fingerprint() -> str:
    """SHA-256 over the sources that a trained model depends on."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in _CODE for path in _ROOT.glob(pattern)):
        digest.update(f"{path.relative_to(_ROOT).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


@dataclass
class Run:
    """A run's folder and the state in its run.json, which is rewritten whole at each change."""

    folder: Path
    identity: dict[str, Any]
    code: str
    mlflow_run_id: str | None = None
    num_steps: int = 0
    """Steps trained when it last finished; 0 while it never has."""
    stopped_early_at_patience: int | None = None
    format_version: int = field(default=FORMAT_VERSION)

    @property
    def last_checkpoint(self) -> Path:
        """Model, optimiser and positions at the last save."""
        return self.folder / LAST

    @property
    def best_checkpoint(self) -> Path:
        """The same at the best validation."""
        return self.folder / BEST

    @property
    def curves(self) -> Path:
        """CSV: one line of figures per validation."""
        return self.folder / "curves.csv"

    def is_finished(self, config: Config) -> bool:
        """Whether nothing is left to do for this config."""
        stopped_early = (
            self.stopped_early_at_patience is not None
            and self.stopped_early_at_patience == config.train.patience
        )
        return stopped_early or self.num_steps >= config.train.max_steps

    def save(self) -> None:
        """Writes run.json whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = asdict(self)
        del content["folder"]
        temporary = self.folder / ".run.json.partial"
        temporary.write_text(json.dumps(content, indent=1) + "\n")
        os.replace(temporary, self.folder / "run.json")


def open_run(config: Config, manifest: Manifest) -> Run:
    """The run of this config: a new one, or the one to go on with.

    Raises:
        UserError: if the folder holds a run of another config, or cannot be read.
    """
    wanted, code = identity(config, manifest), code_fingerprint()
    folder = Path(config.runs_dir) / f"{config.name}-{fingerprint(wanted)[:10]}"
    if not (folder / "run.json").exists():
        return Run(folder, wanted, code)
    run = _read(folder)
    if run.identity != wanted:
        raise UserError(
            f"{folder} holds a run of another config: {differences(run.identity, wanted)}."
            " Move the folder away, or choose another runs_dir"
        )
    if run.code != code:
        if config.restart_if_code_changed:
            _set_aside(folder)
            return Run(folder, wanted, code)
        print(
            f"note: the code has changed since {folder} was begun; going on with its checkpoint."
            " restart_if_code_changed=true trains anew and keeps the old run aside"
        )
    return run


def checkpoint_of(run: Run) -> Path | None:
    """The checkpoint that a run goes on from; None if it has none yet.

    Raises:
        UserError: if none is whole, or it is of another config: with both sides.
    """
    newest = newest_checkpoint(run.folder)
    if newest is None:
        return None
    path, content = newest
    if content.get("identity") != run.identity:
        raise UserError(
            f"{path} is of another config: {differences(content.get('identity', {}), run.identity)}"
            f". Move {run.folder} away to train anew"
        )
    return path


def differences(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The fields in which two identities differ, both sides printed."""
    before, after = flatten(old), flatten(new)
    return ", ".join(
        f"{key} was {before.get(key)!r} and is {after.get(key)!r}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    )


def _read(folder: Path) -> Run:
    path = folder / "run.json"
    try:
        content = json.loads(path.read_text())
        if content["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format version {content['format_version']}, not {FORMAT_VERSION}")
        return Run(folder, **content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read: {error}. Move {folder} away to train anew"
        ) from error


def _set_aside(folder: Path) -> None:
    names = (folder.with_name(f"{folder.name}.replaced-{n}") for n in itertools.count(1))
    target = next(name for name in names if not name.exists())
    os.replace(folder, target)
    print(f"note: the code has changed; training anew, the run before is kept in {target}")
