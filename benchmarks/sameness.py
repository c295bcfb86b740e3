"""Whether two trainings came to the same: checkpoints, curves, the model and the MLflow record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.attempts import Training

_ITS_OWN = "train/sketches_per_s"
"""A figure of the time, which is at the same steps, but not the same."""
Record = dict[str, Any]


def differences(one: Training, two: Training) -> Iterator[str]:
    """What is not the same, bit for bit, after the command."""
    yield from differences_of_runs(one, two)
    for name in ("curves.csv", "model/model.safetensors"):
        results = [Path(each.config.results_dir) / name for each in (one, two)]
        if results[0].read_bytes() != results[1].read_bytes():
            yield f"the published {name}"
    yield from _record_differences(one, two)


def differences_of_runs(one: Training, two: Training) -> Iterator[str]:
    """What is not the same, bit for bit, in the runs' folders."""
    for name in ("last.ckpt", "best.ckpt"):
        checkpoints = _checkpoint(one, name), _checkpoint(two, name)
        yield from (f"{name}: {path}" for path in differing(*checkpoints))
    curves = [(each.run / "curves.csv").read_text() for each in (one, two)]
    if curves[0] != curves[1]:
        yield "curves.csv"


def weights_differ_by(one: Training, two: Training) -> float:
    """The largest difference of any two weights after the last step."""
    weights = [
        torch.load(each.run / "last.ckpt", weights_only=True)["state_dict"] for each in (one, two)
    ]
    return max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0])


def _checkpoint(training: Training, name: str) -> dict[str, Any]:
    """All but how often validations were begun: what was cut off is counted too."""
    content = dict(torch.load(training.run / name, weights_only=True))
    return content | {"loops": content["loops"]["fit_loop"]["state_dict"]}


def differing(one: Any, two: Any, path: str = "") -> Iterator[str]:
    """Paths within two nested values where they differ."""
    if isinstance(one, Mapping) and isinstance(two, Mapping) and one.keys() == two.keys():
        for key in one:
            yield from differing(one[key], two[key], f"{path}/{key}")
    elif isinstance(one, list | tuple) and isinstance(two, list | tuple) and len(one) == len(two):
        for index, pair in enumerate(zip(one, two, strict=True)):
            yield from differing(*pair, f"{path}/{index}")
    elif isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        if not torch.equal(one, two):
            yield path
    elif one != two:
        yield path


def _record_differences(one: Training, two: Training) -> Iterator[str]:
    records = read_record(one), read_record(two)
    yield from (f"MLflow: {path}" for path in differing(*records))
    train = one.config.train
    steps = {
        "train": list(range(1, train.max_steps + 1)),
        "valid": list(range(train.validate_every, train.max_steps + 1, train.validate_every)),
    }
    for name, entries in records[0]["figures"].items():
        group = name.partition("/")[0]
        if group in steps and [step for step, _ in entries] != steps[group]:
            yield f"MLflow: {name} is not at each step once"
    if records[0]["pictures"] != [0, *steps["valid"]]:
        yield "MLflow: there is not a picture of each validation"


def read_record(training: Training) -> Record:
    """The figures, pictures and status that MLflow has of a training, without the machine's load.

    Raises:
        RuntimeError: if there is not one run.
    """
    from mlflow import MlflowClient

    client = MlflowClient(training.config.tracking.uri)
    experiment = client.get_experiment_by_name(training.config.tracking.experiment)
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    if len(runs) != 1:
        raise RuntimeError(f"{training.config.tracking.uri} has {len(runs)} runs")
    (run,) = runs
    histories = {
        name: client.get_metric_history(run.info.run_id, name)
        for name in run.data.metrics
        if not name.startswith("system/")
    }
    pictures = [file.path for file in client.list_artifacts(run.info.run_id, "images")]
    return {
        "status": run.info.status,
        "figures": {
            name: sorted((e.step, 0.0 if name == _ITS_OWN else e.value) for e in entries)
            for name, entries in histories.items()
        },
        "pictures": sorted(int(name.split("+")[2]) for name in pictures if name.endswith(".png")),
    }
