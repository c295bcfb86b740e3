"""A recogniser that has learnt nothing: its figures mean nothing, and are the same each time."""

from __future__ import annotations

import torch

from pipeline.config import Config
from pipeline.manifest import Manifest
from pipeline.quality import recogniser


def save_untrained(config: Config, categories: list[str] | None = None) -> None:
    """Of the config's own categories, or of these."""
    manifest = Manifest.read(config.manifest_path)
    known = manifest.categories if categories is None else categories
    facts = recogniser.RecogniserFacts(
        categories=known,
        data_fingerprint=manifest.fingerprint,
        generated=manifest.generated,
        ingest=manifest.ingest,
        training={},
        accuracy=0.5,
        accuracy_by_category={},
    )
    torch.manual_seed(0)
    recogniser.save(recogniser.Recogniser(len(known)), facts, config.recogniser_dir)
