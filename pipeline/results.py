"""What an experiment delivers: the trained model, its curves, and where they come from.

A run's folder is for going on; results are for using, and each is replaced as a whole.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from pipeline.atomic import replacing_file, replacing_folder
from pipeline.config import Config, UserError
from pipeline.identity import to_dict
from pipeline.manifest import Manifest
from pipeline.tracking import JOURNAL, Tracker, redact, reopen_tracker
from sketch_model import weights
from sketch_model.config import DataSpec
from sketch_model.model import SketchRNN

TRAINING_NAME = "training.json"
Training = dict[str, Any]


def data_spec(config: Config, manifest: Manifest) -> DataSpec:
    """What the numbers of a model trained on this data mean."""
    return DataSpec(
        offset_scale=manifest.offset_scale,
        N_max=manifest.N_max,
        categories=tuple(manifest.categories),
        source=config.source.name.value,
    )


def publish(config: Config, checkpoint: Path, curves: Path, origin: dict[str, Any]) -> Training:
    """Writes a checkpoint's model and the curves into the results of the experiment.

    Args:
        config: of the experiment.
        checkpoint: of the training module, as Lightning writes it.
        curves: CSV to copy.
        origin: what else training.json says: steps, run folder, MLflow run.

    Returns:
        What training.json says beside the weights.
    """
    content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    model = SketchRNN(config.model, data_spec(config, Manifest.read(config.manifest_path)))
    prefix = "model."
    model.load_state_dict(
        {name.removeprefix(prefix): tensor for name, tensor in content["state_dict"].items()}
    )
    training = {
        "best_step": content["global_step"],
        "validation": content["validation"],
        "data_fingerprint": content["identity"]["data"],
        **origin,
        "config": redact(to_dict(config)),
    }
    with replacing_folder(config.model_dir) as folder:
        weights.save(model, folder)
        (folder / TRAINING_NAME).write_text(json.dumps(training, indent=1) + "\n")
    with replacing_file(config.curves_path) as path:
        shutil.copyfile(curves, path)
    return training


def load_published(config: Config) -> tuple[SketchRNN, Training]:
    """The experiment's model and what training.json says of it.

    Raises:
        UserError: if it is not trained, or cannot be read, or is of other data than the manifest.
    """
    path = config.model_dir / TRAINING_NAME
    command = f"python -m pipeline.train +experiment={config.name} source={config.source.name}"
    if not path.exists():
        raise UserError(f"there is no trained model in {config.model_dir}: run `{command}`")
    try:
        model = weights.load(config.model_dir)
        training: Training = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{error}; run `{command}` to write it again") from error
    expected = data_spec(config, Manifest.read(config.manifest_path))
    if model.data != expected:
        raise UserError(
            f"the model in {config.model_dir} was trained on {model.data}, but"
            f" {config.manifest_path} is {expected}: run `{command}` to train on these data"
        )
    return model, training


def reopen_run(config: Config, training: Training) -> Tracker:
    """The tracker of the run that training.json speaks of; of none if it was not tracked.

    What its journal still has to send is sent by it too.
    """
    journal = Path(training["run_folder"]) / JOURNAL
    return reopen_tracker(config.tracking, journal, training["mlflow_run_id"])
