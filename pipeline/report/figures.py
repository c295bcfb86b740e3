"""The sections of the gallery: the counterparts of figures 3 and 5 to 8 of Ha & Eck (2017).

| figure | shows | here |
|---|---|---|
| 3 | drawings of a decoder's own at several temperatures | `samples` |
| 5 | drawings and their reconstructions, also of other things | `reconstructions`, `other_things` |
| 6 | ways between drawings; a + (b - c) | `interpolations`, `between_four`, `analogies` |
| 7 | endings of what was begun | `completions` |
| 8 | similar but unique drawings | `variations` |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
import torch
from numpy.typing import NDArray

from pipeline.doodles import CATEGORIES, generate
from pipeline.report.page import (
    NUM_COLUMNS,
    Markup,
    absent,
    categories_of,
    enumerate_names,
    row,
    section,
    source_of,
    tile,
)
from sketch_model import latent
from sketch_model.config import Condition
from sketch_model.model import SketchRNN
from sketch_model.strokes import polylines_to_stroke3, stroke3_to_polylines
from sketch_model.svg import sketch_to_svg

Sketch = NDArray[Any]

TEMPERATURES: Final = (0.01, 0.1, 0.25, 0.5, 0.75, 1.0)
LATENT_TEMPERATURE: Final = 0.1
"""Low, where what a latent vector says is to be seen."""
VARIATION_TEMPERATURE: Final = 0.25
COMPLETION_TEMPERATURE: Final = 0.5
SPREAD: Final = 0.3
"""Of variations: how far z is moved towards another one."""

_NUM_RECONSTRUCTED = 6
_NUM_OTHER_THINGS = 4
_NUM_INTERPOLATIONS = 4
_NUM_GRID_ROWS = 5
_NUM_ANALOGIES = 3
_NUM_COMPLETED = 5
_NUM_VARIED = 2
_NUM_VARIATIONS = 2 * NUM_COLUMNS - 1
_NUM_BETWEEN = NUM_COLUMNS - 2  # the drawings at both ends take a column each

_TOO_FEW = "Left out: it takes {num} test drawings{of_one}, and there are not as many."
_NO_OTHERS = (
    "Left out: the model knows every kind of doodle that this project generates, or none is short"
    " enough for it."
)
_OF_ONE = " of one category, as the model is told which"
_CORNERS = ("top left", "top right", "bottom left", "bottom right")


@dataclass(frozen=True)
class Original:
    """A test drawing, in drawing units, and what it is of."""

    sketch: Sketch
    category: str


@dataclass(frozen=True)
class Exhibit:
    """What the sections show.

    Attributes:
        model: on any device.
        originals: test drawings in the order in which they are shown.
        seed: of all that is drawn.
    """

    model: SketchRNN
    originals: Sequence[Original]
    seed: int

    @property
    def kind(self) -> str:
        """Of model."""
        return "Conditional" if self.model.config.conditional else "Decoder-only"

    @property
    def is_told(self) -> bool:
        """Whether the model is told the category of what it draws."""
        return self.model.config.condition is Condition.category

    def draw(
        self,
        num: int | None = None,
        *,
        temperature: float,
        of: Sequence[str],
        z: torch.Tensor | None = None,
        prefix: Sketch | None = None,
    ) -> list[Sketch]:
        """Drawings; `of` says their categories, all alike if it is one, to a model that is told."""
        told = (of[0] if len(of) == 1 else list(of)) if self.is_told else None
        return self.model.sample(
            num, temperature=temperature, seed=self.seed, category=told, z=z, prefix=prefix
        )

    def encode(self, originals: Sequence[Original]) -> torch.Tensor:
        """Their latent vectors, the means of the posteriors."""
        return self.model.encode([original.sketch for original in originals])

    def caption(self, figure: int, how: str) -> str:
        """How a section came about, and which figure of the paper shows the like."""
        data = self.model.data
        return (
            f"{self.kind} model of {source_of(data)} of {categories_of(data)}; {how}, seed"
            f" {self.seed}. Counterpart of Figure {figure} of Ha & Eck (2017)."
        )

    def groups(self, pattern: Sequence[int], num: int) -> list[list[Original]]:
        """Test drawings that are shown together, each in one group only.

        Drawings of one category where the model is told which. Otherwise the places of `pattern`
        with the same number are of one category, and those with others of others, if there are.
        """
        waiting: dict[str, list[Original]] = {}
        for original in self.originals:
            waiting.setdefault(original.category, []).append(original)
        names, groups = list(waiting), list[list[Original]]()
        for turn in range(num * len(names)):
            places = [turn + (0 if self.is_told else place) for place in pattern]
            wanted = [names[place % len(names)] for place in places]
            if len(groups) < num and all(wanted.count(n) <= len(waiting[n]) for n in wanted):
                groups.append([waiting[name].pop(0) for name in wanted])
        return groups

    def label(self, originals: Sequence[Original]) -> str:
        """What they are of, which goes without saying if the model knows one category."""
        if len(self.model.data.categories) == 1:
            return ""
        return enumerate_names(list(dict.fromkeys(each.category for each in originals)))

    def too_few(self, num: int) -> str:
        """Why there is no group of so many."""
        return _TOO_FEW.format(num=num, of_one=_OF_ONE if self.is_told else "")


def samples(exhibit: Exhibit) -> Markup:
    """Drawings of the model's own, a row for each temperature."""
    names = exhibit.model.data.categories
    of = [names[column % len(names)] for column in range(NUM_COLUMNS)]
    rows: list[Markup] = []
    for temperature in TEMPERATURES:
        drawn = exhibit.draw(NUM_COLUMNS, temperature=temperature, of=of)
        title = f"sample at temperature {temperature}"
        captions = of if exhibit.is_told and not rows else NUM_COLUMNS * [""]
        tiles = [
            tile(sketch_to_svg(sketch, title=title), caption)
            for sketch, caption in zip(drawn, captions, strict=True)
        ]
        rows.append(row(tiles, f"temperature τ = {temperature}"))
    text = "New drawings, from the safest to the most adventurous. "
    if exhibit.is_told:
        text += "Each column is told the category above it. "
    if exhibit.model.config.conditional:
        text += "A column shares one latent vector, drawn from N(0, I); only the temperature rises."
    else:
        text += "At the lowest temperature only the likeliest drawing is left, so all look alike."
    caption = exhibit.caption(3, _temperatures())
    return section("Samples", text, caption, *rows, style="samples")


def reconstructions(exhibit: Exhibit) -> Markup:
    """Test drawings, and what the model makes of them at each temperature."""
    originals = exhibit.originals[:_NUM_RECONSTRUCTED]
    rows = _redrawn(exhibit, originals, [original.category for original in originals])
    text = (
        "Test drawings, which the model was not trained on, and what it draws after reading them "
        "into a latent vector. It redraws what it has understood, not the lines it was shown."
    )
    caption = exhibit.caption(5, f"z is the mean of the posterior, {_temperatures()}")
    return section("Reconstructions", text, caption, *rows, style="aside")


def other_things(exhibit: Exhibit) -> Markup:
    """Drawings of what the model does not know, which it redraws as what it knows."""
    names, title = exhibit.model.data.categories, "Other things"
    others = _doodles_of_others(exhibit)
    if not others:
        return absent(title, _NO_OTHERS)
    of = [names[index % len(names)] for index in range(len(others))]
    text = (
        "Drawings of things that the model has never seen, generated by a program, and what it "
        f"draws after reading them: it knows nothing but {categories_of(exhibit.model.data)}, and "
        "keeps of a drawing what it can."
    )
    caption = exhibit.caption(
        5, f"doodles as given, z is the mean of the posterior, {_temperatures()}"
    )
    return section(title, text, caption, *_redrawn(exhibit, others, of), style="aside")


def _redrawn(exhibit: Exhibit, originals: Sequence[Original], of: Sequence[str]) -> list[Markup]:
    """A row for each drawing: itself, and redrawn at each temperature as the category in `of`."""
    z = exhibit.encode(originals)
    by_temperature = [exhibit.draw(temperature=t, z=z, of=of) for t in TEMPERATURES]
    rows = []
    for index, original in enumerate(originals):
        tiles = [_given(original, "original")]
        for temperature, drawn in zip(TEMPERATURES, by_temperature, strict=True):
            title = f"redrawn at temperature {temperature}"
            tiles.append(tile(sketch_to_svg(drawn[index], title=title), f"τ = {temperature}"))
        is_other = original.category not in exhibit.model.data.categories
        told = f"{original.category}, told {of[index]}" if exhibit.is_told else original.category
        rows.append(row(tiles, told if is_other else exhibit.label([original])))
    return rows


def _doodles_of_others(exhibit: Exhibit) -> list[Original]:
    """As large as the test drawings, whatever their unit is."""
    data = exhibit.model.data
    side = float(np.median([_larger_side(original.sketch) for original in exhibit.originals]))
    others = [name for name in CATEGORIES if name not in data.categories]
    np.random.default_rng(exhibit.seed).shuffle(others)
    found: list[Original] = []
    for name in others:
        if len(found) == _NUM_OTHER_THINGS:
            break
        (line,) = generate(name, 1, exhibit.seed)
        strokes = [np.array(stroke).T for stroke in orjson.loads(line)["drawing"]]
        sketch = polylines_to_stroke3(strokes).astype(np.float32)
        sketch[:, :2] *= (side or 1.0) / _larger_side(sketch)
        if len(sketch) < data.N_max:
            found.append(Original(sketch, name))
    return found


def _larger_side(sketch: Sketch) -> float:
    points = np.concatenate(stroke3_to_polylines(sketch))
    return float(np.ptp(points, axis=0).max())


def interpolations(exhibit: Exhibit) -> Markup:
    """From one test drawing to another."""
    title, pairs = "Interpolations", exhibit.groups((0, 1), _NUM_INTERPOLATIONS)
    if not pairs:
        return absent(title, exhibit.too_few(2))
    rows = []
    shares = torch.linspace(0, 1, _NUM_BETWEEN).tolist()
    for pair in pairs:
        first, last = exhibit.encode(pair)
        z = latent.interpolate(first, last, _NUM_BETWEEN)
        drawn = exhibit.draw(temperature=LATENT_TEMPERATURE, z=z, of=[pair[0].category])
        between = [
            tile(sketch_to_svg(sketch, title=f"interpolation, share {share:.1f}"), f"{share:.1f}")
            for share, sketch in zip(shares, drawn, strict=True)
        ]
        rows.append(
            row([_given(pair[0], "from"), *between, _given(pair[1], "to")], exhibit.label(pair))
        )
    text = (
        "From one test drawing to another along the great arc between their latent vectors. "
        "The drawings at both ends are the originals; 0.0 and 1.0 are their reconstructions."
    )
    caption = exhibit.caption(6, f"spherical interpolation of z, τ = {LATENT_TEMPERATURE}")
    return section(title, text, caption, *rows)


def between_four(exhibit: Exhibit) -> Markup:
    """A grid whose corners are four test drawings."""
    title, fours = "Between four", exhibit.groups((0, 1, 2, 3), 1)
    if not fours:
        return absent(title, exhibit.too_few(4))
    (corners,) = fours
    z = latent.interpolate_between_four(exhibit.encode(corners), _NUM_GRID_ROWS, NUM_COLUMNS)
    drawn = exhibit.draw(
        temperature=LATENT_TEMPERATURE, z=z.flatten(0, 1), of=[corners[0].category]
    )
    ends = [_given(*pair) for pair in zip(corners, _CORNERS, strict=True)]
    rows = [row(ends, exhibit.label(corners))]
    for first in range(0, len(drawn), NUM_COLUMNS):
        sketches = drawn[first : first + NUM_COLUMNS]
        rows.append(row(tile(sketch_to_svg(sketch, title="between four")) for sketch in sketches))
    text = (
        "A plane through the latent space, spanned by four test drawings. The reconstructions of "
        "the four are its corners; what lies between is drawn from the vectors between theirs."
    )
    caption = exhibit.caption(
        6,
        f"spherical interpolation of z down both sides and then across, τ = {LATENT_TEMPERATURE}",
    )
    return section(title, text, caption, *rows)


def analogies(exhibit: Exhibit) -> Markup:
    """a + (b - c) of three test drawings; b and c are of one category."""
    title, threes = "Analogies", exhibit.groups((0, 1, 1), _NUM_ANALOGIES)
    if not threes:
        return absent(title, exhibit.too_few(3))
    rows = []
    for three in threes:
        z = latent.analogy(*exhibit.encode(three))
        drawn = exhibit.draw(
            NUM_COLUMNS - 3, temperature=LATENT_TEMPERATURE, z=z, of=[three[0].category]
        )
        tiles = [_given(*pair) for pair in zip(three, ("a", "+ (b", "- c)"), strict=True)]
        tiles += [tile(sketch_to_svg(sketch, title="a + (b - c)"), "=") for sketch in drawn]
        rows.append(row(tiles, exhibit.label(three)))
    text = (
        "Arithmetic with drawings: to the first one's latent vector is added what tells the second "
        "from the third. These are picked by chance; the paper's are chosen by hand."
    )
    caption = exhibit.caption(6, f"z = a + (b - c), τ = {LATENT_TEMPERATURE}")
    return section(title, text, caption, *rows)


def completions(exhibit: Exhibit) -> Markup:
    """Several endings of the first half of test drawings."""
    rows = []
    for original in exhibit.originals[-_NUM_COMPLETED:]:
        num_given = max(1, len(original.sketch) // 2)
        given = original.sketch[:num_given]
        endings = exhibit.draw(
            NUM_COLUMNS - 2,
            temperature=COMPLETION_TEMPERATURE,
            of=[original.category],
            prefix=given,
        )
        given_svg = sketch_to_svg(given, split_after=num_given, title="the part given")
        tiles = [tile(given_svg, "given", original=True)]
        tiles += [
            tile(sketch_to_svg(ending, split_after=num_given, title="ending"), f"ending {number}")
            for number, ending in enumerate(endings, start=1)
        ]
        whole = sketch_to_svg(original.sketch, split_after=num_given, title="the whole original")
        tiles.append(tile(whole, "original", original=True))
        rows.append(row(tiles, exhibit.label([original])))
    text = (
        "The first half of a test drawing's points is given, in colour; the model goes on from "
        "there, several times."
    )
    if exhibit.model.config.conditional:
        text += (
            " Its latent vector is that of the given half, read as if it were a whole drawing; the"
            " paper completes with a decoder-only model, which has none."
        )
    caption = exhibit.caption(7, f"τ = {COMPLETION_TEMPERATURE}")
    return section("Completions", text, caption, *rows)


def variations(exhibit: Exhibit) -> Markup:
    """Many drawings similar to a test drawing, no two of them the same."""
    rows = []
    for original in exhibit.originals[:_NUM_VARIED]:
        (z,) = exhibit.encode([original])
        around = latent.vary(z, _NUM_VARIATIONS, spread=SPREAD, seed=exhibit.seed)
        drawn = exhibit.draw(temperature=VARIATION_TEMPERATURE, z=around, of=[original.category])
        tiles = [tile(sketch_to_svg(sketch, title="variation")) for sketch in drawn]
        first = [_given(original, ""), *tiles[: NUM_COLUMNS - 1]]
        rows += [row(first, exhibit.label([original])), row(tiles[NUM_COLUMNS - 1 :])]
    text = (
        "A test drawing, framed, and drawings like it: each from a latent vector of its own near"
        " that of the original."
    )
    caption = exhibit.caption(
        8,
        f"z moved at random by a spread of {SPREAD} (0 keeps it, 1 forgets it),"
        f" τ = {VARIATION_TEMPERATURE}",
    )
    return section("Variations", text, caption, *rows)


def _given(original: Original, caption: str) -> Markup:
    title = f"{original.category}, given"
    return tile(sketch_to_svg(original.sketch, title=title), caption, original=True)


def _temperatures() -> str:
    return f"τ = {TEMPERATURES[0]} to {TEMPERATURES[-1]}"
