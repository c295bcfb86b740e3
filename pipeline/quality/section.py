"""A model's figures, and its samples beside what they come nearest to, as a part of its page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pipeline.data.dataset import ShardedSketches
from pipeline.quality.assessment import LEFT_OUT, nearest_samples, sets_of
from pipeline.report.page import (
    Cell,
    Markup,
    absent,
    credits_of,
    row,
    section,
    show,
    table,
    tile,
)
from sketch_model.model import SketchRNN
from sketch_model.svg import sketch_to_svg

_TITLE: Final = "Quality"
_HEADER: Final = (
    "drawings",
    "recognised",
    "diversity",
    "Fréchet distance",
    "from training",
    "near",
)


def quality_section(
    model: SketchRNN,
    quality: Mapping[str, Any] | None,
    test: ShardedSketches,
    train: ShardedSketches,
) -> Markup:
    """The figures of metrics.json as a table; if they are left out, why.

    Args:
        model: that they are of.
        quality: as metrics.json has it; None if an older evaluate wrote that.
        test: the split that they are of.
        train: the split that the model was trained on.
    """
    if quality is None:
        return absent(_TITLE, "Left out: metrics.json has no such figures; evaluate writes them.")
    if LEFT_OUT in quality:
        return absent(_TITLE, f"Left out: {quality[LEFT_OUT]}.")
    caption = [*_caption(quality)]
    rows = [table(_HEADER, [_cells(name, figures) for name, figures in sets_of(quality)])]
    if quality["nearest_samples"]["samples"]:
        samples, known = nearest_samples(model, quality, test, train)
        temperature = quality["nearest_samples"]["temperature"]
        pictures = [sketch_to_svg(sketch, title="sample") for sketch in samples]
        label = f"The samples at τ = {temperature} that come nearest to a training drawing"
        rows.append(row(map(tile, pictures), label))
        pictures = [sketch_to_svg(sketch, title="training drawing") for sketch in known]
        tiles = [tile(picture, original=True) for picture in pictures]
        rows.append(row(tiles, "The training drawing nearest to each"))
        caption += credits_of(model.data, "Training drawings")
    return section(_TITLE, _text(quality), " ".join(caption), *rows)


def _cells(name: str, figures: Mapping[str, Any]) -> list[Cell]:
    kind, _, temperature = name.partition(" ")
    told = figures["recognised"]
    share = figures["recognised_as_any"] if told is None else told
    return [
        f"{kind}, τ = {temperature}" if temperature else "test drawings",
        f"{share:.1%}" + ("*" if told is None else ""),
        *(round(figures[chart], 1) for chart in ("diversity", "frechet", "nearest_median")),
        f"{figures['near']:.1%}",
    ]


def _text(quality: Mapping[str, Any]) -> str:
    num = len(quality["recogniser"]["categories"])
    return (
        f"How a small network judges the model's drawings that has learnt to tell {num} categories"
        f" apart and has never seen a drawing by a model. It looks at {quality['num_drawings']:,}"
        " drawings of each kind; what it says of test drawings is what a model can hope for."
    )


def _caption(quality: Mapping[str, Any]) -> Iterator[str]:
    recogniser, people = quality["recogniser"], quality["people"]
    yield "Recognised: the share that it takes for what it should be."
    if any(figures["recognised"] is None for _, figures in sets_of(quality)):
        yield (
            "* This model is not told what to draw: the share taken for one of its categories, as"
            f" {people['recognised_as_any']:.1%} of test drawings are."
        )
    yield (
        "Diversity: mean distance between two drawings in the network's embedding; repetition"
        " lowers it, straying raises it."
    )
    by_num = [
        f"{show(round(distance, 1))} of {int(num):,}"
        for num, distance in people["frechet_by_num"].items()
    ]
    yield (
        "Fréchet distance: to as many other test drawings; the fewer, the greater it is (between"
        f" test drawings {', '.join(by_num)})."
    )
    yield (
        "From training: median distance, in what the network sees, to the nearest of"
        f" {quality['num_neighbours']:,} of {quality['num_train']:,} training drawings; near is the"
        " share closer than the closest twentieth of test drawings, and a model that copies would"
        " have many."
    )
    yield (
        f"Recogniser {recogniser['fingerprint'][:12]}, right about {recogniser['accuracy']:.1%} of"
        f" test drawings of all its categories; figures by another do not compare."
        f" Seed {quality['seed']}."
    )
