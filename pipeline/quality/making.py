"""The recogniser of a config: trained, unless it is there."""

from __future__ import annotations

from pathlib import Path

from pipeline.config import Config, UserError
from pipeline.data.dataset import ShardedSketches
from pipeline.manifest import Manifest
from pipeline.quality.recogniser import RecogniserFacts, load, save
from pipeline.quality.training import accuracies, read_drawings, train_recogniser


def make_recogniser(config: Config) -> RecogniserFacts:
    """Trains the recogniser of the config, unless it is there, and gives what it knows.

    Raises:
        UserError: if there are not two categories to tell apart, or no drawing to test it on.
    """
    train, test = (
        ShardedSketches(config.manifest_path, split, config.cache) for split in ("train", "test")
    )
    manifest = train.manifest
    _check(manifest)
    folder = config.recogniser_dir
    training = {
        "num_steps": config.quality.num_steps,
        "drawings_per_category": config.quality.drawings_per_category,
        "seed": config.train.seed,
    }
    if (there := _already_there(folder, manifest, training)) is not None:
        return there
    num, seed = config.quality.drawings_per_category, config.train.seed
    network = train_recogniser(
        *read_drawings(train, num, seed),
        len(manifest.categories),
        num_steps=config.quality.num_steps,
        seed=seed,
    )
    pixels, categories = read_drawings(test, num, seed)
    by_category = accuracies(network, pixels, categories, manifest.categories)
    facts = RecogniserFacts(
        categories=manifest.categories,
        data_fingerprint=manifest.fingerprint,
        generated=manifest.generated,
        ingest=manifest.ingest,
        training=training,
        accuracy=sum(by_category.values()) / len(by_category),
        accuracy_by_category=by_category,
    )
    save(network, facts, folder)
    return facts


def _check(manifest: Manifest) -> None:
    counts = {name: manifest.counts[name].drawings for name in manifest.categories}
    lacking = [name for name, drawings in counts.items() if not drawings["train"]]
    if len(counts) < 2 or lacking:
        raise UserError(
            f"{manifest.name} has the categories {', '.join(counts)}"
            + (f", without a drawing to train on of {', '.join(lacking)}" if lacking else "")
            + ": a recogniser learns to tell at least 2 apart; take +experiment=recogniser, or"
            " give others with 'categories=[...]', and ingest and prepare them"
        )
    if not any(drawings["test"] for drawings in counts.values()):
        raise UserError(
            f"the test split of {manifest.name} is empty: use more drawings, or a larger third"
            " share in ingest.fractions"
        )


def _already_there(
    folder: Path, manifest: Manifest, training: dict[str, int]
) -> RecogniserFacts | None:
    """Of the same drawings and the same training: another would only have another fingerprint."""
    try:
        _, facts = load(folder)
    except (FileNotFoundError, UserError):
        return None
    is_same = facts.data_fingerprint == manifest.fingerprint and facts.training == training
    return facts if is_same else None
