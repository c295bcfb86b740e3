"""The models of the studio, by the name that the page shows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.config import TrackingConfig, UserError
from pipeline.drawing.models import load_model
from sketch_model.model import SketchRNN
from sketch_model.weights import CONFIG_NAME

Models = dict[str, SketchRNN]
RESULTS = Path("results")


def read_models(addresses: Sequence[str], tracking: TrackingConfig | None = None) -> Models:
    """The models of these addresses, called by them; without any, those under `RESULTS`.

    Says what is read. One of those found that cannot be read is left out, and that is said.

    Raises:
        UserError: if an address has no model, or none is found.
    """
    if addresses:
        return {address: _read(address, address, tracking) for address in addresses}
    models = Models()
    for name, folder in find_models(RESULTS).items():
        try:
            models[name] = _read(name, str(folder), tracking)
        except UserError as error:
            print(f"left out: {error}")
    if not models:
        raise UserError(
            f"there is no model under {RESULTS}/: train one (`make run`), or give some:"
            " python -m pipeline.studio MODEL ..."
        )
    return models


def find_models(results: Path) -> dict[str, Path]:
    """Folders of models in a folder of results, by source and experiment."""
    found = sorted(path.parent for path in results.rglob(f"model/{CONFIG_NAME}"))
    return {folder.parent.relative_to(results).as_posix(): folder for folder in found}


def _read(name: str, address: str, tracking: TrackingConfig | None) -> SketchRNN:
    begin_s = time.perf_counter()
    model = load_model(address, tracking).model
    print(f"model {name}: {time.perf_counter() - begin_s:.1f} s", flush=True)
    return model
