"""How well a trial's model draws, for a search that looks for it: measured once, at its end."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pipeline.atomic import replacing_file
from pipeline.config import QUALITY, Config, UserError
from pipeline.loading import with_values
from pipeline.manifest import Manifest
from pipeline.search.space import Space, grid

_MEASURED = "quality.json"
"""In a trial's results, so that nothing is measured again."""
_SPLIT = "valid"
"""As of every figure of a search: what is chosen by the test split is no longer tested by it."""
_DECIDES_NAMES = ("model.conditional", "model.condition")


def is_wanted(config: Config) -> bool:
    """Whether the search is for a figure of this kind."""
    return bool(_wanted(config))


def check(config: Config, space: Space) -> None:
    """Makes sure that every trial can be judged.

    Raises:
        UserError: if a figure has another name, or not every trial would have it; if there is no
            recogniser, or it does not know the categories.
    """
    from pipeline.data.dataset import ShardedSketches  # here as below: torch
    from pipeline.quality.assessment import chart_names, find_recogniser

    manifest = Manifest.read(config.manifest_path)
    varied = {path: domain for path, domain in space.items() if path in _DECIDES_NAMES}
    names = [chart_names(with_values(config, v), manifest.categories) for v in grid(varied)]
    of_all = [name for name in names[0] if all(name in others for others in names)]
    for name in _wanted(config):
        if name not in of_all:
            raise UserError(
                f"search.minimize or maximize names {name!r}, which not every trial has: of"
                f" {QUALITY} there are {_listed(of_all)}"
            )
    find_recogniser(config, ShardedSketches(config.manifest_path, _SPLIT, config.cache))


def identity(config: Config) -> dict[str, Any]:
    """What else decides what trials report."""
    from pipeline.quality.recogniser import fingerprint_of

    return {
        "recogniser": fingerprint_of(config.recogniser_dir),
        "num_drawings": config.quality.num_drawings,
        "num_neighbours": config.quality.num_neighbours,
        "temperatures": list(config.quality.temperatures),
    }


def measure(config: Config) -> dict[str, float]:
    """Figures of a trial's published model, which its run in MLflow is told too.

    Raises:
        UserError: if the recogniser is gone.
    """
    import torch

    from pipeline.data.dataset import ShardedSketches
    from pipeline.quality.assessment import LEFT_OUT, quality_of, tags_of, tracked
    from pipeline.results import load_published, reopen_run
    from sketch_model.weights import WEIGHTS_NAME

    path = config.model_dir.with_name(_MEASURED)
    weights = hashlib.sha256((config.model_dir / WEIGHTS_NAME).read_bytes()).hexdigest()
    if path.exists() and (found := json.loads(path.read_text()))["weights"] == weights:
        return dict(found["figures"])
    torch.set_num_threads(max(1, config.trainer.num_threads))
    torch.set_flush_denormal(True)
    model, training = load_published(config)
    quality = quality_of(model, config, ShardedSketches(config.manifest_path, _SPLIT, config.cache))
    if LEFT_OUT in quality:
        raise UserError(f"no figure of {QUALITY}: {quality[LEFT_OUT]}")
    figures = tracked(quality)
    tracker = reopen_run(config, training)
    tracker.log_metrics(figures, training["best_step"])
    tracker.set_tags(tags_of(quality) | {"quality.split": _SPLIT})
    tracker.finish()
    with replacing_file(path) as writing:
        writing.write_text(json.dumps({"weights": weights, "figures": figures}, indent=1) + "\n")
    return figures


def _listed(names: list[str]) -> str:
    """With braces, as a shell expands them: there are dozens."""
    by_drawings: dict[str, list[str]] = {}
    for name in names:
        _, drawings, chart = name.split("/")
        by_drawings.setdefault(drawings, []).append(chart)
    by_charts: dict[str, list[str]] = {}
    for drawings, charts in by_drawings.items():
        by_charts.setdefault(",".join(charts), []).append(drawings)
    return " and ".join(f"{{{','.join(ds)}}}/{{{charts}}}" for charts, ds in by_charts.items())


def _wanted(config: Config) -> list[str]:
    names = [*config.search.minimize, *config.search.maximize]
    return [name for name in names if name.startswith(QUALITY)]
