"""What the models along a front draw: the only way to choose w_KL is to look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.report.page import Markup, absent, missing, row, section, tile
from pipeline.search.outcome import Trial
from pipeline.search.report.terms import name_of, short, show
from sketch_model import weights
from sketch_model.config import Condition
from sketch_model.model import SketchRNN
from sketch_model.svg import sketch_to_svg

Sketch = NDArray[Any]

MAX_MODELS = 8
NUM_RECONSTRUCTED = NUM_SAMPLED = 4
TEMPERATURE = 0.25
_TITLE = "Drawings"
_REDRAWN = (
    f"The same validation drawings, read into a latent vector and redrawn by each model (left"
    f" {NUM_RECONSTRUCTED}, the first line on a phone), and new drawings from z of N(0, I) (right"
    f" {NUM_SAMPLED}, the second line). Redrawing gets better with the rate; new drawings get worse"
    " when z is no longer like N(0, I)."
)
_NEW_ALONE = "New drawings of each model."


def label_of(trial: Trial, figures: Sequence[str]) -> str:
    """A trial in a line: its values, and what it reached."""
    values = ", ".join(f"{short(field)} = {show(value)}" for field, value in trial.values.items())
    reached = ", ".join(f"{name_of(name)} {show(trial.figures[name])}" for name in figures)
    return f"trial {trial.number}: {values}; {reached}"


def spread(front: Sequence[Trial], winner: Trial | None, num: int = MAX_MODELS) -> list[Trial]:
    """At most `num` trials of a front, as far apart as it allows; both ends and the winner."""
    if len(front) <= num:
        return list(front)
    chosen = np.linspace(0, len(front) - 1, num).round().astype(int)
    places = [index for index, trial in enumerate(front) if trial is winner]
    for place in places:
        chosen[np.abs(chosen - place).argmin()] = place
    return [front[index] for index in chosen]


def drawings(
    shown: Sequence[Trial],
    figures: Sequence[str],
    sketches: Sequence[Sketch],
    categories: Sequence[str],
    *,
    seed: int,
) -> Markup:
    """A row per trial: the same drawings as each model redraws them, and new ones.

    Args:
        shown: finished trials, in the order of the page.
        figures: named beside each.
        sketches: stroke-3 drawings of the validation split in drawing units; a few are shown, of
            different categories if there are.
        categories: theirs.
        seed: of all that is drawn.
    """
    if not shown or not sketches:
        reason = "No trial has finished." if not shown else "The validation split has no drawings."
        return absent(_TITLE, reason)
    chosen = _of_all_kinds(categories, NUM_RECONSTRUCTED)
    originals, categories = [sketches[i] for i in chosen], [categories[i] for i in chosen]
    rows, num_redrawn = [], 0
    for trial in shown:
        label = label_of(trial, figures)
        try:
            model = weights.load(trial.model_dir)
        except ValueError as error:
            rows.append(Markup(row([], label) + missing(str(error))))
            continue
        redrawn, new = _draw(model, originals, categories, seed)
        num_redrawn += len(redrawn)
        rows.append(row(_tiles(redrawn, "redrawn") + _tiles(new, "new"), label))
    if num_redrawn:
        tiles = [
            tile(sketch_to_svg(sketch, title="validation drawing"), category, original=True)
            for sketch, category in zip(originals, categories, strict=True)
        ]
        rows.insert(0, row(tiles, "originals"))
    caption = f"Mean of the posterior as z, τ = {TEMPERATURE}, seed {seed}."
    text = _REDRAWN if num_redrawn else _NEW_ALONE
    return section(_TITLE, text, caption, *rows)


def _tiles(sketches: Sequence[Sketch], caption: str) -> list[Markup]:
    return [tile(sketch_to_svg(sketch, title=caption), caption) for sketch in sketches]


def _draw(
    model: SketchRNN, originals: Sequence[Sketch], categories: Sequence[str], seed: int
) -> tuple[list[Sketch], list[Sketch]]:
    """The originals again, if the model has an encoder to read them with, and new drawings."""
    told = list(categories) if model.config.condition is Condition.category else None
    redrawn: list[Sketch] = []
    if model.config.conditional:
        z = model.encode(originals)
        redrawn = list(model.sample(z=z, temperature=TEMPERATURE, seed=seed, category=told))
    if told:
        told = [told[index % len(told)] for index in range(NUM_SAMPLED)]
    new = model.sample(NUM_SAMPLED, temperature=TEMPERATURE, seed=seed, category=told)
    return redrawn, list(new)


def _of_all_kinds(categories: Sequence[str], num: int) -> list[int]:
    """Indices of the first of each category, then of the second of each."""
    seen: Counter[str] = Counter()
    turns = []
    for index, category in enumerate(categories):
        turns.append((seen[category], index))
        seen[category] += 1
    return [index for _, index in sorted(turns)[:num]]
