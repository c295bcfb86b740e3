"""What a model draws, as one page: the counterparts of the paper's figures 3, 5, 6, 7 and 8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.report import figures
from pipeline.report.figures import Exhibit, Original, Sketch
from pipeline.report.page import (
    Markup,
    absent,
    categories_of,
    credits_of,
    footer,
    page,
    source_of,
)
from sketch_model.config import Condition
from sketch_model.model import SketchRNN

_NO_ENCODER = (
    "Left out (figures 5, 6 and 8 of Ha & Eck 2017): this model has a decoder only, so there is no"
    " encoder to read a drawing with and no latent vector to draw from. A model trained with"
    " model.conditional=true has both."
)


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


def gallery_html(
    model: SketchRNN,
    test_sketches: Sequence[Sketch],
    categories: Sequence[str],
    *,
    seed: int,
    facts: RunFacts,
    quality: Markup | None = None,
) -> str:
    """One HTML document without external resources; the same arguments give the same page.

    Args:
        model: on any device.
        test_sketches: stroke-3 drawings in drawing units. The page shows a few of them, picked by
            `seed` and not by their looks.
        categories: what each of them is of.
        seed: of the picking and of all that is drawn.
        facts: about the run.
        quality: a section on how well the model draws.

    Raises:
        ValueError: if there are fewer than two test drawings, or categories are missing.
    """
    if len(test_sketches) < 2:
        raise ValueError(
            f"a gallery needs at least 2 test drawings, got {len(test_sketches)}; ingest more"
        )
    originals = [Original(*pair) for pair in zip(test_sketches, categories, strict=True)]
    order = np.random.default_rng(seed).permutation(len(originals))
    exhibit = Exhibit(model, [originals[index] for index in order], seed)
    sections = [figures.samples(exhibit)]
    if model.config.conditional:
        sections += [
            figures.reconstructions(exhibit),
            figures.other_things(exhibit),
            figures.interpolations(exhibit),
            figures.between_four(exhibit),
            figures.analogies(exhibit),
        ]
    sections.append(figures.completions(exhibit))
    if model.config.conditional:
        sections.append(figures.variations(exhibit))
    else:
        sections.append(
            absent("Reconstructions, interpolations, analogies and variations", _NO_ENCODER)
        )
    if quality is not None:
        sections.append(quality)
    return page(
        facts.name.replace("_", " "),
        eyebrow="Sketch-RNN gallery",
        lede=_lede(exhibit, facts),
        facts=_facts(exhibit, facts),
        body=Markup("".join([*sections, footer(_small_print(model))])),
    )


def _lede(exhibit: Exhibit, facts: RunFacts) -> str:
    return (
        f"Drawn by a {exhibit.kind.lower()} Sketch-RNN after {facts.num_steps:,} steps of training "
        f"on {source_of(exhibit.model.data)} of {categories_of(exhibit.model.data)}."
    )


def _facts(exhibit: Exhibit, facts: RunFacts) -> dict[str, str]:
    model = exhibit.model
    config, data, source = model.config, model.data, source_of(model.data)
    encoder = ""
    if config.conditional:
        encoder = f"encoder {config.encoder_cell} {config.encoder_size} each way, "
    latent = f", N_z = {config.N_z}" if config.conditional else ""
    if config.condition is Condition.category:
        latent += f", told the category in {config.category_embedding_size} numbers"
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    shown = {
        "Model": f"{exhibit.kind}: {encoder}decoder {config.decoder_cell} {config.decoder_size}, "
        f"M = {config.M}{latent}; {num_parameters:,} parameters",
        "Data": f"{source[0].upper()}{source[1:]}: {categories_of(data)}; N_max = {data.N_max}",
        "Training": f"{facts.num_steps:,} steps",
    }
    if facts.metrics:
        values = ", ".join(f"{name} = {value:.3f}" for name, value in facts.metrics.items())
        shown["Test split"] = f"{values} (a negative L_R is usual: it is the log of a density)"
    return {term: value.replace(" = ", "\u00a0=\u00a0") for term, value in shown.items()}


def _small_print(model: SketchRNN) -> list[str]:
    return [
        "Temperature τ divides all logits and multiplies all variances, as in Ha & Eck, A Neural "
        "Representation of Sketch Drawings (2017). Every drawing is scaled to fill its tile.",
        *credits_of(model.data, "Test drawings"),
    ]
