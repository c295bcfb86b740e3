"""What a model draws, as one page: the counterparts of the paper's figures 3, 5, 6, 7 and 8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.report.page import NUM_COLUMNS, Markup, absent, footer, page, row, section, tile
from sketch_model.config import Condition
from sketch_model.latent import analogy, interpolate, interpolate_between_four
from sketch_model.model import SketchRNN
from sketch_model.svg import sketch_to_svg

Sketch = NDArray[Any]

TEMPERATURES: Final = (0.01, 0.1, 0.25, 0.5, 0.75, 1.0)
INTERPOLATION_TEMPERATURE: Final = 0.1
COMPLETION_TEMPERATURE: Final = 0.5

_NUM_RECONSTRUCTED = 6
_NUM_INTERPOLATIONS = 4
_NUM_GRID_ROWS = 5
_NUM_ANALOGIES = 3
_NUM_COMPLETED = 5
_NUM_BETWEEN = NUM_COLUMNS - 2  # the drawings at both ends take a column each
_MAX_CATEGORIES_NAMED = 8

_SOURCES = {
    "doodles": "generated doodles",
    "local": "local drawings",
    "quickdraw": "Quick, Draw! drawings",
}
_NO_ENCODER = (
    "Left out: this model has a decoder only, so there is no encoder to read a drawing with and no "
    "latent vector to draw from. A model trained with model.conditional=true has both."
)

_NO_PAIR = "Left out: the model is told categories, and no two of the test drawings are of one."
_TOO_FEW = (
    "Left out: it takes {num} test drawings (of one category, where the model is told which), and "
    "there are not as many."
)
_CORNERS = ("top left", "top right", "bottom left", "bottom right")


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What the page says of the run and cannot read from the model.

    Attributes:
        name: of the experiment.
        num_steps: optimizer steps trained.
        metrics: on the test split, by name, such as L_R and L_KL; may be empty.
    """

    name: str
    num_steps: int
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Original:
    """A test drawing."""

    sketch: Sketch
    category: str | None
    """None if the model is not told what it draws."""


def gallery_html(
    model: SketchRNN,
    test_sketches: Sequence[Sketch],
    *,
    seed: int,
    facts: RunFacts,
    categories: Sequence[str] | None = None,
    quality: Markup | None = None,
) -> str:
    """One HTML document without external resources; the same arguments give the same page.

    Args:
        model: on any device.
        test_sketches: stroke-3 drawings in drawing units. The page shows a few of them, picked by
            `seed` and not by their looks.
        seed: of the picking and of all that is drawn.
        facts: about the run.
        categories: names of the drawings' categories. A model with condition=category is told
            them, and needs them; the page of another one is the same without.
        quality: a section on how well the model draws.

    Raises:
        ValueError: if there are fewer than two test drawings, or names are missing.
    """
    if len(test_sketches) < 2:
        raise ValueError(
            f"a gallery needs at least 2 test drawings, got {len(test_sketches)}; ingest more"
        )
    order = np.random.default_rng(seed).permutation(len(test_sketches))
    all_originals = _originals(model, test_sketches, categories)
    originals = [all_originals[index] for index in order]
    sections = [_samples(model, seed)]
    if model.config.conditional:
        sections.append(_reconstructions(model, originals[:_NUM_RECONSTRUCTED], seed))
        pairs = _groups(originals, 2)[:_NUM_INTERPOLATIONS]
        sections.append(_interpolations(model, pairs, seed))
        sections.append(_between_four(model, _groups(originals, 4)[:1], seed))
        sections.append(_analogies(model, _groups(originals, 3)[:_NUM_ANALOGIES], seed))
    else:
        sections.append(absent("Reconstructions, interpolations and analogies", _NO_ENCODER))
    sections.append(_completions(model, originals[-_NUM_COMPLETED:], seed))
    if quality is not None:
        sections.append(quality)
    return page(
        facts.name.replace("_", " "),
        eyebrow="Sketch-RNN gallery",
        lede=_lede(model, facts),
        facts=_facts(model, facts),
        body=Markup("".join([*sections, footer(_small_print(model))])),
    )


def _originals(
    model: SketchRNN, sketches: Sequence[Sketch], categories: Sequence[str] | None
) -> list[_Original]:
    if model.config.condition is Condition.none:
        return [_Original(sketch, None) for sketch in sketches]
    if categories is None or len(categories) != len(sketches):
        raise ValueError(
            f"a model with condition=category is told what it draws: give the categories of all"
            f" {len(sketches)} test drawings, got {0 if categories is None else len(categories)}"
        )
    return [_Original(*pair) for pair in zip(sketches, categories, strict=True)]


def _groups(originals: Sequence[_Original], size: int) -> list[list[_Original]]:
    """Neighbours to go between; of one category where the model is told which."""
    waiting: dict[str | None, list[_Original]] = {}
    groups = []
    for original in originals:
        group = waiting.setdefault(original.category, [])
        group.append(original)
        if len(group) == size:
            groups.append(waiting.pop(original.category))
    return groups


def _samples(model: SketchRNN, seed: int) -> Markup:
    told = None
    if model.config.condition is Condition.category:
        names = model.data.categories
        told = [names[column % len(names)] for column in range(NUM_COLUMNS)]
    rows: list[Markup] = []
    for temperature in TEMPERATURES:
        drawn = model.sample(NUM_COLUMNS, temperature=temperature, seed=seed, category=told)
        title = f"sample at temperature {temperature}"
        captions = told if told and not rows else NUM_COLUMNS * [""]
        tiles = [
            tile(sketch_to_svg(sketch, title=title), caption)
            for sketch, caption in zip(drawn, captions, strict=True)
        ]
        rows.append(row(tiles, f"temperature τ = {temperature}"))
    text = "New drawings, from the safest to the most adventurous. "
    if told:
        text += "Each column is told the category above it. "
    if model.config.conditional:
        text += "A column shares one latent vector, drawn from N(0, I); only the temperature rises."
    else:
        text += "At the lowest temperature only the likeliest drawing is left, so all look alike."
    caption = f"{_kind(model)}, {_temperatures()}, seed {seed}."
    return section("Samples", text, caption, Markup("".join(rows)), style="samples")


def _reconstructions(model: SketchRNN, originals: Sequence[_Original], seed: int) -> Markup:
    z = model.encode([original.sketch for original in originals])
    told = [original.category for original in originals if original.category is not None] or None
    by_temperature = [
        model.sample(z=z, temperature=temperature, seed=seed, category=told)
        for temperature in TEMPERATURES
    ]
    rows = []
    for index, original in enumerate(originals):
        tiles = [_original(original, "original")]
        for temperature, drawn in zip(TEMPERATURES, by_temperature, strict=True):
            svg = sketch_to_svg(drawn[index], title=f"reconstruction at temperature {temperature}")
            tiles.append(tile(svg, f"τ = {temperature}"))
        rows.append(row(tiles, original.category or ""))
    text = (
        "Test drawings, which the model was not trained on, and what it draws after reading them "
        "into a latent vector. It redraws what it has understood, not the lines it was shown."
    )
    caption = f"{_kind(model)}, mean of the posterior as z, {_temperatures()}, seed {seed}."
    return section("Reconstructions", text, caption, Markup("".join(rows)), style="aside")


def _interpolations(model: SketchRNN, pairs: Sequence[Sequence[_Original]], seed: int) -> Markup:
    if not pairs:
        return absent("Interpolations", _NO_PAIR)
    rows = []
    for first, last in pairs:
        z_first, z_last = model.encode([first.sketch, last.sketch])
        z = interpolate(z_first, z_last, _NUM_BETWEEN)
        drawn = model.sample(
            z=z, temperature=INTERPOLATION_TEMPERATURE, seed=seed, category=first.category
        )
        shares = torch.linspace(0, 1, _NUM_BETWEEN).tolist()
        between = [
            tile(sketch_to_svg(sketch, title=f"interpolation, share {share:.1f}"), f"{share:.1f}")
            for share, sketch in zip(shares, drawn, strict=True)
        ]
        tiles = [_original(first, "from"), *between, _original(last, "to")]
        rows.append(row(tiles, first.category or ""))
    text = (
        "From one test drawing to another along the great arc between their latent vectors. "
        "The drawings at both ends are the originals; 0.0 and 1.0 are their reconstructions."
    )
    caption = (
        f"{_kind(model)}, spherical interpolation of z, "
        f"τ = {INTERPOLATION_TEMPERATURE}, seed {seed}."
    )
    return section("Interpolations", text, caption, Markup("".join(rows)))


def _between_four(model: SketchRNN, fours: Sequence[Sequence[_Original]], seed: int) -> Markup:
    title = "Between four"
    if not fours:
        return absent(title, _TOO_FEW.format(num=4))
    (corners,) = fours
    z = interpolate_between_four(
        model.encode([corner.sketch for corner in corners]), _NUM_GRID_ROWS, NUM_COLUMNS
    )
    drawn = model.sample(
        z=z.flatten(0, 1),
        temperature=INTERPOLATION_TEMPERATURE,
        seed=seed,
        category=corners[0].category,
    )
    ends = [_original(*pair) for pair in zip(corners, _CORNERS, strict=True)]
    rows = [row(ends, corners[0].category or "")]
    for first in range(0, len(drawn), NUM_COLUMNS):
        sketches = drawn[first : first + NUM_COLUMNS]
        rows.append(row(tile(sketch_to_svg(sketch, title="between four")) for sketch in sketches))
    text = (
        "A plane through the latent space, spanned by four test drawings. The reconstructions of "
        "the four are its corners; what lies between is drawn from the vectors between theirs."
    )
    caption = (
        f"{_kind(model)}, spherical interpolation of z down both sides and then across, "
        f"τ = {INTERPOLATION_TEMPERATURE}, seed {seed}."
    )
    return section(title, text, caption, Markup("".join(rows)))


def _analogies(model: SketchRNN, threes: Sequence[Sequence[_Original]], seed: int) -> Markup:
    if not threes:
        return absent("Analogies", _TOO_FEW.format(num=3))
    rows = []
    for three in threes:
        z = analogy(*model.encode([original.sketch for original in three]))
        drawn = model.sample(
            NUM_COLUMNS - 3,
            z=z,
            temperature=INTERPOLATION_TEMPERATURE,
            seed=seed,
            category=three[0].category,
        )
        tiles = [_original(*pair) for pair in zip(three, ("a", "+ (b", "- c)"), strict=True)]
        tiles += [tile(sketch_to_svg(sketch, title="a + (b - c)"), "=") for sketch in drawn]
        rows.append(row(tiles, three[0].category or ""))
    text = (
        "Arithmetic with drawings: to the first one's latent vector is added what tells the second "
        "from the third."
    )
    caption = f"{_kind(model)}, z = a + (b - c), τ = {INTERPOLATION_TEMPERATURE}, seed {seed}."
    return section("Analogies", text, caption, Markup("".join(rows)))


def _completions(model: SketchRNN, originals: Sequence[_Original], seed: int) -> Markup:
    rows = []
    for original in originals:
        num_given = max(1, len(original.sketch) // 2)
        given = original.sketch[:num_given]
        endings = model.sample(
            NUM_COLUMNS - 2,
            prefix=given,
            temperature=COMPLETION_TEMPERATURE,
            seed=seed,
            category=original.category,
        )
        given_svg = sketch_to_svg(given, split_after=num_given, title="the part given")
        tiles = [tile(given_svg, "given", original=True)]
        tiles += [
            tile(sketch_to_svg(ending, split_after=num_given, title="ending"), f"ending {number}")
            for number, ending in enumerate(endings, start=1)
        ]
        whole = sketch_to_svg(original.sketch, split_after=num_given, title="the whole original")
        tiles.append(tile(whole, "original", original=True))
        rows.append(row(tiles, original.category or ""))
    text = (
        "The first half of a test drawing's points is given, in colour; the model goes on from "
        "there, several times."
    )
    if model.config.conditional:
        text += " Its latent vector is that of the given half, read as if it were a whole drawing."
    caption = f"{_kind(model)}, τ = {COMPLETION_TEMPERATURE}, seed {seed}."
    return section("Completions", text, caption, Markup("".join(rows)))


def _original(original: _Original, caption: str) -> Markup:
    return tile(sketch_to_svg(original.sketch, title="test drawing"), caption, original=True)


def _lede(model: SketchRNN, facts: RunFacts) -> str:
    return (
        f"Drawn by a {_kind(model).lower()} Sketch-RNN after {facts.num_steps:,} steps of training "
        f"on {_source(model)} of {_categories(model)}."
    )


def _facts(model: SketchRNN, facts: RunFacts) -> dict[str, str]:
    config, data, source = model.config, model.data, _source(model)
    encoder = ""
    if config.conditional:
        encoder = f"encoder {config.encoder_cell} {config.encoder_size} each way, "
    latent = f", N_z = {config.N_z}" if config.conditional else ""
    if config.condition is Condition.category:
        latent += f", told the category in {config.category_embedding_size} numbers"
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    shown = {
        "Model": f"{_kind(model)}: {encoder}decoder {config.decoder_cell} {config.decoder_size}, "
        f"M = {config.M}{latent}; {num_parameters:,} parameters",
        "Data": f"{source[0].upper()}{source[1:]}: {_categories(model)}; N_max = {data.N_max}",
        "Training": f"{facts.num_steps:,} steps",
    }
    if facts.metrics:
        values = ", ".join(f"{name} = {value:.3f}" for name, value in facts.metrics.items())
        shown["Test split"] = f"{values} (a negative L_R is usual: it is the log of a density)"
    return {term: value.replace(" = ", "\u00a0=\u00a0") for term, value in shown.items()}


def _small_print(model: SketchRNN) -> list[str]:
    lines = [
        "Temperature τ divides all logits and multiplies all variances, as in Ha & Eck, A Neural "
        "Representation of Sketch Drawings (2017). Every drawing is scaled to fill its tile."
    ]
    if model.data.source == "doodles":
        lines.append("The training drawings were generated by a program; no person drew them.")
    if model.data.source == "quickdraw":
        lines.append("Test drawings: Quick, Draw! data by Google, licensed under CC BY 4.0.")
    return lines


def _kind(model: SketchRNN) -> str:
    return "Conditional" if model.config.conditional else "Decoder-only"


def _temperatures() -> str:
    return f"τ = {TEMPERATURES[0]} to {TEMPERATURES[-1]}"


def _source(model: SketchRNN) -> str:
    return _SOURCES.get(model.data.source, model.data.source)


def _categories(model: SketchRNN) -> str:
    """Names of the categories, the first few if there are many."""
    names = list(model.data.categories)
    if len(names) > _MAX_CATEGORIES_NAMED:
        hidden = len(names) - _MAX_CATEGORIES_NAMED
        names = [*names[:_MAX_CATEGORIES_NAMED], f"{hidden} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
