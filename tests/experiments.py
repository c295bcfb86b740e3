"""An experiment small enough to train many times: its drawings, its configs and its records."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun
from numpy.typing import NDArray

from pipeline.config import (
    Config,
    EvaluateConfig,
    IngestConfig,
    LossConfig,
    Source,
    SourceConfig,
    TrackingConfig,
    TrainConfig,
    TrainerConfig,
)
from pipeline.ingest.driver import ingest_category
from pipeline.prepare import prepare
from sketch_model.config import ModelConfig
from sketch_model.model import SketchRNN
from tests.numerics.sketch_rnn_numpy import Array, kl_nats, sketch_nats, to_stroke5
from tests.numerics.torch_weights import decode_numpy, encode_numpy

NUM_DRAWINGS = {"cat": 60, "dog's house": 36}
"""Categories of different sizes, one with a name that few systems like."""


def _random_drawing(random: np.random.Generator) -> list[list[list[int]]]:
    """One to five strokes of up to twelve points, as Quick, Draw! has them."""
    strokes = []
    for _ in range(random.integers(1, 6)):
        walk = random.integers(0, 256, 2) + random.integers(-40, 41, (random.integers(1, 13), 2))
        strokes.append(np.clip(walk, 0, 255).T.tolist())
    return strokes


def write_drawings(root: Path) -> SourceConfig:
    """A folder laid out like the public bucket, with lines that have nothing but a drawing."""
    random = np.random.default_rng(0)
    for category, num in NUM_DRAWINGS.items():
        path = root / "partial" / "simplified" / f"{category}.ndjson"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"drawing": _random_drawing(random)}) + "\n" for _ in range(num)]
        path.write_text("".join(lines))
    return SourceConfig(name=Source.local, root=str(root))


def make_config(source: SourceConfig, folder: Path, **train: Any) -> Config:
    """A config that trains eight steps and validates every two; nothing is tracked."""
    return Config(
        name="tiny",
        categories=list(NUM_DRAWINGS),
        source=source,
        ingest=IngestConfig(N_max=64, fractions=[0.6, 0.2, 0.2]),
        model=ModelConfig(encoder_size=6, decoder_size=8, N_z=4, M=3),
        loss=LossConfig(KL_min=0.01, R=0.9),
        train=TrainConfig(
            **{"batch_size": 10, "pool": 2, "pad_every": 2, "max_steps": 8, "validate_every": 2}
            | {"decay": 0.9, "learning_rate": 0.01}
            | train
        ),
        trainer=TrainerConfig(num_threads=1),
        evaluate=EvaluateConfig(batch_size=7, latent_samples=2),
        tracking=TrackingConfig(enabled=False, log_every=1),
        data_dir=str(Path(source.root).parent / "data"),
        runs_dir=str(folder / "runs"),
        results_dir=str(folder / "results"),
    )


def make_data(config: Config) -> None:
    """Ingest and prepare."""
    for category in config.categories:
        ingest_category(category, config.source, config.ingest, config.shards_location)
    prepare(config)


def changed(config: Config, group: str, **changes: Any) -> Config:
    """The same config with other values in one group."""
    return replace(config, **{group: replace(getattr(config, group), **changes)})


def tracked(config: Config, uri: str) -> Config:
    """The same config, recorded in a store."""
    return changed(config, "tracking", enabled=True, uri=uri)


def command_line(config: Config) -> list[str]:
    """The overrides that compose to a tiny config."""
    values = {
        "name": config.name,
        "categories": '[cat,"dog\'s house"]',
        "source": "local",
        "source.root": config.source.root,
        "data_dir": config.data_dir,
        "runs_dir": config.runs_dir,
        "results_dir": config.results_dir,
    }
    for group in ("ingest", "model", "loss", "train", "trainer", "evaluate", "tracking"):
        for field, value in vars(getattr(config, group)).items():
            # How many processes there are is left to trainer=ddp where it is given.
            if field != "augmentation" and (
                group != "trainer" or value != getattr(TrainerConfig(), field)
            ):
                values[f"{group}.{field}"] = str(value)
    return [f"{key}={value}" for key, value in values.items()]


@cache
def _empty_store(folder: Path) -> Path:
    database = folder / "empty.db"
    MlflowClient(f"sqlite:///{database}").search_experiments()
    return database


def new_store(folder: Path, factory: pytest.TempPathFactory) -> str:
    """A store of its own, copied because MLflow takes seconds to make its tables."""
    shutil.copyfile(_empty_store(factory.getbasetemp()), folder / "mlflow.db")
    return f"sqlite:///{folder}/mlflow.db"


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def runs(uri: str, experiment: str = "sketch-rnn") -> list[MlflowRun]:
    """Every run of a store's experiment."""
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id])) if found else []


def steps_of(uri: str, run: MlflowRun) -> Mapping[str, list[int]]:
    """Steps at which each metric of a run was recorded, but for the machine's own load."""
    client = MlflowClient(uri)
    return {
        name: sorted(entry.step for entry in client.get_metric_history(run.info.run_id, name))
        for name in run.data.metrics
        if not name.startswith("system/")
    }


def image_steps(uri: str, run: MlflowRun) -> list[int]:
    """Steps whose picture a run has."""
    names = [file.path for file in MlflowClient(uri).list_artifacts(run.info.run_id, "images")]
    return sorted(int(name.split("+")[2]) for name in names if name.endswith(".png"))


def score_in_numpy(
    model: SketchRNN,
    sketch: NDArray[np.int16],
    noise: Array | None,
    width: int | None = None,
    category: int | None = None,
    **options: Any,
) -> dict[str, float]:
    """Nats of one drawing, from the program that shares nothing with the package.

    `noise` draws z, and is None for a decoder-only model; `width` is of the padding, N_max if None;
    `category` is for a model with condition=category; `options` are those of `sketch_nats`.
    """
    rows = to_stroke5(sketch / [*2 * [model.data.offset_scale], 1.0], width or model.data.N_max)
    z, kl = None, 0.0
    if noise is not None:
        mean, log_variance = encode_numpy(model, rows[1 : len(sketch) + 1])
        z = mean + np.exp(log_variance / 2) * noise
        kl = kl_nats(mean, log_variance)
    nats = sketch_nats(decode_numpy(model, rows[:-1], z, category), rows[1:], **options)
    return asdict(nats) | {"kl": kl, "num_points": len(sketch)}
