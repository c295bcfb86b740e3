"""What a model draws when the page asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from pipeline.drawing.artist import Artist
from pipeline.drawing.operations import Latent
from pipeline.report.page import credits_of, source_of
from pipeline.studio import paper
from pipeline.studio.models import Models
from pipeline.studio.questions import Between, Complete, Sample
from sketch_model import latent
from sketch_model.magenta import GOOGLE
from sketch_model.model import SketchRNN


@dataclass(frozen=True)
class Drawn:
    """The answer; the page gets it as JSON.

    Attributes:
        drawings: the lines of each that the model drew, in units of the page.
        given: of what was given, the lines that the model has read.
        remarks: on what was done to that before.
    """

    drawings: list[paper.Lines]
    given: paper.Lines = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def describe(models: Models) -> list[dict[str, Any]]:
    """What the page says of each model, and offers for it."""
    return [_describe(Artist(model, name, 1.0, 0)) for name, model in models.items()]


def _describe(artist: Artist) -> dict[str, Any]:
    data = artist.model.data
    return {
        "name": artist.address,
        "categories": list(data.categories),
        "source": "Quick, Draw! drawings by Google" if data.source == GOOGLE else source_of(data),
        "credits": " ".join(credits_of(data, "Training drawings")),
        "is_told": artist.is_told,
        "has_encoder": artist.model.encoder is not None,
    }


def sample(artist: Artist, question: Sample) -> Drawn:
    """What the model draws by itself."""
    drawn = artist.draw(question.num, category=question.category)
    return Drawn([paper.fill(sketch) for sketch in drawn])


def complete(artist: Artist, question: Complete) -> Drawn:
    """Several endings of what is on the paper."""
    z, room = None, artist.model.data.N_max - 1
    begun = paper.read_begun(question.strokes, room, is_pen_down=question.is_pen_down)
    if question.z is Latent.prior:
        artist.require_encoder("z from N(0, I)")
        z = latent.draw_prior(question.num, artist.model.config.N_z, seed=question.seed)
    drawn = artist.draw(question.num, z=z, category=question.category, prefix=begun.given.sketch)
    placed = [paper.place(begun, sketch) for sketch in drawn]
    return Drawn([added for _, added in placed], placed[0][0], begun.given.remarks)


def between(artist: Artist, question: Between) -> Drawn:
    """What lies so far on the way from one drawing to another, along the great arc."""
    artist.require_encoder("the way between two drawings")
    room = artist.model.data.N_max
    ends = [
        paper.read_whole(strokes, room, name)
        for strokes, name in ((question.first, "drawing A"), (question.second, "drawing B"))
    ]
    first, second = artist.encode([end.sketch for end in ends])
    z = latent.slerp(first, second, torch.tensor([question.share]))[0]
    drawn = artist.draw(question.num, z=z, category=question.category)
    remarks = [f"{end.name} {remark}" for end in ends for remark in end.remarks]
    return Drawn([paper.fill(sketch) for sketch in drawn], remarks=remarks)


def rehearse(model: SketchRNN) -> None:
    """Draws once, which compiles what is compiled, so that nobody waits for it."""
    told = model.data.categories[0] if Artist(model, "", 1.0, 0).is_told else None
    line = [[(100.0, 100.0), (900.0, 150.0)]]
    question = Complete(visitor="studio", model="", strokes=line, num=2, category=told)
    complete(Artist(model, "", question.temperature, question.seed), question)
