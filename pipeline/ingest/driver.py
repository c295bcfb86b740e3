"""Ingest of categories: their parts, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline import storage
from pipeline.config import ALL_CATEGORIES, Config, IngestConfig, SourceConfig, check_category
from pipeline.ingest.category import CategoryPlan
from pipeline.ingest.engine import Workers
from pipeline.ingest.part import ingest_part, survey_part
from pipeline.ingest.source import open_categories
from pipeline.ingest.split import find_cuts, needs_ranks
from pipeline.manifest import CategoryManifest, PartManifest


@dataclass(frozen=True)
class Ingested:
    """A category that is now ingested, and whether it already was."""

    manifest: CategoryManifest
    unchanged: bool


@dataclass(frozen=True)
class Advance:
    """A part is finished; what a progress bar needs to know."""

    num_records: int
    size_bytes: int
    total_bytes: int
    """Of all parts that were not finished before, as far as they are read in one pass."""


Watch = Callable[[Advance], None]


def ingest(config: Config, watch: Watch = lambda advance: None) -> Iterator[Ingested]:
    """Ingests the categories of a config, as its `engine` says, and gives each when it is whole."""
    workers = Workers(config.engine, config.num_workers, config.ray_address)
    return ingest_categories(
        config.categories, config.source, config.ingest, config.shards_location, workers, watch
    )


def ingest_category(
    category: str, source: SourceConfig, config: IngestConfig, shards_dir: str
) -> Ingested:
    """Ingests one category in this process."""
    (done,) = ingest_categories([check_category(category)], source, config, shards_dir)
    return done


def ingest_categories(
    categories: Iterable[str],
    source: SourceConfig,
    config: IngestConfig,
    shards_dir: str,
    workers: Workers = Workers(),  # noqa: B008  # frozen
    watch: Watch = lambda advance: None,
) -> Iterator[Ingested]:
    """Makes `<shards_dir>/<category>/` with parts, rejects.jsonl and category.json, for each.

    Does nothing for a category that was made from the same files with the same config. What was
    made with another config stays until the new is complete.

    Args:
        categories: their names, or ALL_CATEGORIES.
        source: what to read.
        config: what to keep, and how to split it.
        shards_dir: location on a disk or in a bucket.
        workers: what the parts are shared out to; shards do not depend on it.
        watch: called when a part is finished.

    Raises:
        UserError: if the source has no such category or no usable drawing of it, if more than
            `max_reject_share` of its records cannot be read, or if the disk is full.
    """
    categories = list(categories)
    if categories != ALL_CATEGORIES:
        for category in categories:
            check_category(category)
    plans = []
    for name, parts in open_categories(source, categories, config.part_bytes).items():
        folder = storage.join(str(shards_dir), check_category(name))
        plan = CategoryPlan(name, parts, source, config, folder)
        finished = plan.read_finished()
        if finished is not None:
            plan.prune()
            yield Ingested(finished, unchanged=True)
        else:
            plans.append(plan)
    _survey(plans, workers)
    yield from _ingest(plans, workers, watch)


def _survey(plans: list[CategoryPlan], workers: Workers) -> None:
    """Finds the cuts of those categories that need a first pass over their drawings."""
    surveyed = [plan for plan in plans if needs_ranks(plan.config) and not plan.read_cuts()]
    tasks = [(plan, task) for plan in surveyed for task in plan.tasks()]
    hashes: dict[str, list[NDArray[np.uint64]]] = {plan.category: [] for plan in surveyed}
    for index, found in workers.run(survey_part, [task for _, task in tasks]):
        plan, of_plan = tasks[index][0], hashes[tasks[index][0].category]
        of_plan.append(found)
        if len(of_plan) == len(plan.parts):
            plan.write_cuts(find_cuts(np.concatenate(of_plan), plan.config))
            of_plan.clear()


def _ingest(plans: list[CategoryPlan], workers: Workers, watch: Watch) -> Iterator[Ingested]:
    done: dict[str, dict[int, PartManifest]] = {}
    tasks = []
    for plan in plans:
        done[plan.category] = plan.read_finished_parts()
        numbers = [n for n in range(len(plan.parts)) if n not in done[plan.category]]
        tasks += [(plan, number) for number in numbers]
        if not numbers:
            yield Ingested(plan.finish(done.pop(plan.category)), unchanged=False)
    total_bytes = sum(plan.parts[number].size_bytes for plan, number in tasks)
    for index, manifest in workers.run(ingest_part, [plan.tasks()[n] for plan, n in tasks]):
        plan, number = tasks[index]
        done[plan.category][number] = manifest
        watch(Advance(manifest.counts.lines, plan.parts[number].size_bytes, total_bytes))
        if len(done[plan.category]) == len(plan.parts):
            yield Ingested(plan.finish(done.pop(plan.category)), unchanged=False)
