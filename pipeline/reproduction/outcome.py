"""What became of a cell, kept beside its model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.atomic import replacing_file
from pipeline.config import Config
from pipeline.identity import fingerprint, to_dict
from pipeline.manifest import Manifest
from pipeline.reproduction.cells import Cell
from pipeline.results import TRAINING_NAME
from pipeline.training.run import identity

_NAME = "cell.json"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Figures of a cell's model on its test split, and where they come from."""

    fingerprint: str
    """Of model, data, steps and evaluation: the same again needs no training."""
    L_R: float
    L_KL: float
    bound_nats: float
    num_steps: int
    best_step: int
    """At which the model was that the figures are of."""
    run_folder: str
    mlflow_run_id: str | None


def read_outcome(cell: Cell) -> Outcome | None:
    """What came of the cell; None if it is not finished, or was another one."""
    path = _path(cell)
    if not path.exists() or not cell.config.manifest_path.exists():
        return None
    outcome = Outcome(**json.loads(path.read_text()))
    return outcome if outcome.fingerprint == _fingerprint(cell.config) else None


def collect_outcome(cell: Cell) -> Outcome:
    """Takes together what train and evaluate have written of the cell."""
    training = json.loads((cell.config.model_dir / TRAINING_NAME).read_text())
    metrics = json.loads(cell.config.metrics_path.read_text())
    return Outcome(
        fingerprint=_fingerprint(cell.config),
        **{name: metrics[name] for name in ("L_R", "L_KL", "bound_nats")},
        **{
            name: training[name]
            for name in ("num_steps", "best_step", "run_folder", "mlflow_run_id")
        },
    )


def record_outcome(cell: Cell, outcome: Outcome) -> None:
    """Keeps it: the cell is finished."""
    with replacing_file(_path(cell)) as path:
        path.write_text(json.dumps(asdict(outcome), indent=1) + "\n")


def _path(cell: Cell) -> Path:
    return Path(cell.config.results_dir) / _NAME


def _fingerprint(config: Config) -> str:
    content = to_dict(config)
    steps = {name: content["train"][name] for name in ("max_steps", "validate_every", "patience")}
    whole = identity(config, Manifest.read(config.manifest_path))
    return fingerprint(whole | {"steps": steps, "evaluate": content["evaluate"]})
