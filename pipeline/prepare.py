"""`python -m pipeline.prepare`: the ingested categories of an experiment become one manifest."""

from __future__ import annotations

import json
import os
import shlex
from typing import Any

from pipeline import storage
from pipeline.config import ALL_CATEGORIES, Config, IngestConfig, SourceConfig, UserError
from pipeline.entry import command
from pipeline.identity import flatten, to_dict
from pipeline.manifest import SPLITS, CategoryManifest, Manifest, merge, write


def prepare(config: Config) -> Manifest:
    """Writes the manifest of `config.categories` and returns it.

    Raises:
        UserError: if a category is not ingested, or was ingested with another config.
    """
    parts = [_read_category(config, category) for category in _choose(config)]
    root = config.shards_location
    if not storage.is_remote(root):
        root = os.path.relpath(root, config.manifest_path.parent)
    manifest = merge(config.name, parts, root)
    write(manifest, config.manifest_path)
    return manifest


def ingest_command(config: Config, category: str) -> str:
    """The command line that ingests a category as `config` says."""
    overrides = [f"source={config.source.name}", f"name={config.name}", f"categories=[{category}]"]
    standard = {"source": SourceConfig(name=config.source.name), "ingest": IngestConfig()}
    for group, default in standard.items():
        for field, value in to_dict(getattr(config, group)).items():
            if value != to_dict(default)[field]:
                overrides.append(f"{group}.{field}={_hydra_value(value)}")
    if config.data_dir != f"data/{config.source.name}":
        overrides.append(f"data_dir={_hydra_value(config.data_dir)}")
    if config.shards_dir:
        overrides.append(f"shards_dir={_hydra_value(config.shards_dir)}")
    return shlex.join(["python", "-m", "pipeline.ingest", *overrides])


def _choose(config: Config) -> list[str]:
    if config.categories != ALL_CATEGORIES:
        return list(config.categories)
    names = storage.list_names(config.shards_location)
    ingested = [
        name
        for name in names
        if storage.size_bytes(storage.join(config.shards_location, name, "category.json"))
        is not None
    ]
    if not ingested:
        raise UserError(
            f"nothing is ingested in {config.shards_location}: run python -m pipeline.ingest"
        )
    return ingested


def _hydra_value(value: Any) -> str:
    """A value as Hydra's override grammar reads it: strings in quotes, the rest as in JSON."""
    return json.dumps(value, ensure_ascii=False)


def _read_category(config: Config, category: str) -> CategoryManifest:
    path = storage.join(config.shards_location, category, "category.json")
    remedy = f"run `{ingest_command(config, category)}`"
    try:
        part = CategoryManifest.parse(storage.read_bytes(path), path)
    except FileNotFoundError as error:
        raise UserError(
            f"category {category!r} is not ingested: {path} does not exist; {remedy}"
        ) from error
    found = flatten({"source": part.source, "ingest": part.ingest})
    wanted = flatten({"source": to_dict(config.source), "ingest": to_dict(config.ingest)})
    differences = [
        f"{field} is {found.get(field)!r} there and {wanted.get(field)!r} here"
        for field in sorted(found.keys() | wanted.keys())
        if found.get(field) != wanted.get(field)
    ]
    if differences:
        raise UserError(
            f"category {category!r} was ingested with another config ({path}):"
            f" {'; '.join(differences)}. Either {remedy}, or use the config it was ingested with"
        )
    return part


@command
def main(config: Config) -> None:
    """Prepares the manifest of the config's categories and says what it holds."""
    manifest = prepare(config)
    splits = ", ".join(f"{split} {manifest.num_drawings(split)}" for split in SPLITS)
    print(
        f"{config.manifest_path}: {len(manifest.categories)} categories, {splits},"
        f" offset scale {manifest.offset_scale:.4f}, longest {manifest.longest},"
        f" fingerprint {manifest.fingerprint[:12]}" + (" (generated)" if manifest.generated else "")
    )
    if manifest.empty_splits:
        print(f"without any drawing: {', '.join(manifest.empty_splits)}")


if __name__ == "__main__":
    main()
