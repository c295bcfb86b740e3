"""The drawings of a row of the table, with the paper's N_max."""

from __future__ import annotations

import tempfile
from dataclasses import replace

from pipeline.config import ALL_CATEGORIES, Config, UserError
from pipeline.identity import to_dict
from pipeline.ingest.driver import ingest
from pipeline.ingest.part import TOO_LONG
from pipeline.manifest import Manifest
from pipeline.reproduction.cells import DataSet


def settle_N_max(data: DataSet) -> DataSet:
    """The same with N_max just above the longest drawing that its own N_max admits.

    L_R is divided by N_max, and w_KL weighs N_max / N_z nats, so that both compare with the paper's
    only if N_max is the longest drawing's, as there (Ha & Eck 2017, section 3.3); ours is larger by
    the row of the end token.

    Raises:
        UserError: as ingest.
    """
    known = _known_N_max(data.config)
    return data.with_N_max(known or _find_longest(data.config) + 1)


def _known_N_max(config: Config) -> int | None:
    """Of the manifest that is there, if it was settled for the same config."""
    try:
        manifest = Manifest.read(config.manifest_path)
    except UserError:  # none yet, or none that can be read
        return None
    is_same = (
        config.categories in (ALL_CATEGORIES, manifest.categories)
        and manifest.source == to_dict(config.source)
        and manifest.ingest | {"N_max": None} == to_dict(config.ingest) | {"N_max": None}
    )
    is_whole = not any(counts.filtered.get(TOO_LONG) for counts in manifest.counts.values())
    is_settled = manifest.longest + 1 == manifest.N_max <= config.ingest.N_max
    return manifest.N_max if is_same and is_whole and is_settled else None


def _find_longest(config: Config) -> int:
    """Points of the longest drawing; ingests into a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        found = ingest(replace(config, shards_dir=folder))
        return max(each.manifest.longest for each in found)
