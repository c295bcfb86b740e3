"""`python -m pipeline.prepare`: the ingested categories of an experiment become one manifest."""

from __future__ import annotations

import json
import os
import shlex
from typing import Any

from pipeline.config import Config, IngestConfig, SourceConfig, UserError, flatten, to_dict
from pipeline.entry import command
from pipeline.manifest import SPLITS, CategoryManifest, Manifest, merge, write


def prepare(config: Config) -> Manifest:
    """Writes the manifest of `config.categories` and returns it.

    Raises:
        UserError: if a category is not ingested, or was ingested with another config.
    """
    parts = [_read_category(config, category) for category in config.categories]
    shards = os.path.relpath(config.shards_dir, config.manifest_path.parent)
    manifest = merge(config.name, parts, [f"{shards}/{name}" for name in config.categories])
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
    return shlex.join(["python", "-m", "pipeline.ingest", *overrides])


def _hydra_value(value: Any) -> str:
    """A value as Hydra's override grammar reads it: strings in quotes, the rest as in JSON."""
    return json.dumps(value, ensure_ascii=False)


def _read_category(config: Config, category: str) -> CategoryManifest:
    path = config.shards_dir / category / "category.json"
    remedy = f"run `{ingest_command(config, category)}`"
    if not path.exists():
        raise UserError(f"category {category!r} is not ingested: {path} does not exist; {remedy}")
    part = CategoryManifest.read(path)
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
