"""What a model can do with drawings: what Ha & Eck (2017) show in figures 3 to 8.

Each operation gives a page. Drawings that were given stand at the ends of its rows, in the colour
of what is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import torch

from pipeline.config import UserError
from pipeline.drawing.artist import Artist
from pipeline.drawing.inputs import Given
from pipeline.drawing.sheet import Sheet, Tile, beside, between_corners, wrap, wrap_squarely
from sketch_model import latent


class Latent(StrEnum):
    """Where z comes from when a drawing is completed."""

    given = "given"
    """The part that is given, read as if it were a whole drawing."""
    prior = "prior"
    """N(0, I), another one for each ending."""


def sample(artist: Artist, num: int, categories: Sequence[str]) -> Sheet:
    """New drawings, `num` in all, or of each category that the model is told."""
    title = artist.describe("sample")
    if not artist.is_told:
        tiles = _draw(artist, num, categories[0] if categories else None)
        return Sheet(rows=wrap_squarely(tiles), title=title)
    categories = categories or artist.model.data.categories
    tiles = _draw(artist, num * len(categories), [name for name in categories for _ in range(num)])
    if len(categories) == 1:
        return Sheet(rows=wrap_squarely(tiles), title=title)
    return Sheet(rows=wrap(tiles, num), title=title, row_captions=list(categories))


def reconstruct(artist: Artist, given: Sequence[Given], num: int, category: str | None) -> Sheet:
    """Each drawing, encoded and drawn again `num` times."""
    artist.require_encoder("reconstruct")
    z = artist.encode([each.sketch for each in given]).repeat_interleave(num, 0)
    told = _repeat(_told(artist, category, given), num)
    rows = beside(_tiles_of(given), _draw(artist, len(z), told, z=z))
    return Sheet(rows=rows, title=artist.describe("reconstruct"))


def vary(
    artist: Artist, given: Sequence[Given], num: int, spread: float, category: str | None
) -> Sheet:
    """Many drawings similar to each one and no two the same: z is moved by `spread` at random."""
    artist.require_encoder("vary")
    vectors = artist.encode([each.sketch for each in given])
    z = torch.cat([latent.vary(v, num, spread=spread, seed=artist.seed) for v in vectors])
    told = _repeat(_told(artist, category, given), num)
    rows = beside(_tiles_of(given), _draw(artist, len(z), told, z=z))
    return Sheet(rows=rows, title=artist.describe("vary", f"spread {spread:g}"))


def cross(artist: Artist, given: Sequence[Given], num: int, categories: Sequence[str]) -> Sheet:
    """What the model makes of drawings of other things: a chair, seen by a model of cats.

    A model that is told categories draws each drawing as every one of them.
    """
    artist.require_encoder("cross")
    if artist.is_told:
        categories = categories or artist.model.data.categories
    told = [name for name in categories for _ in range(num)]
    num = len(told) or num
    z = artist.encode([each.sketch for each in given]).repeat_interleave(num, 0)
    tiles = _draw(artist, len(z), told * len(given) or None, z=z)
    rows, columns = beside(_tiles_of(given), tiles), list[str]()
    if artist.is_told:
        pairs = zip(_tiles_of(given), wrap(tiles, num), strict=True)
        rows, columns = [[first, *row] for first, row in pairs], ["given", *told]
    return Sheet(rows=rows, title=artist.describe("cross"), column_captions=columns)


def interpolate(
    artist: Artist, given: Sequence[Given], num: int, path: str, category: str | None
) -> Sheet:
    """From one drawing to another in `num` steps, or a grid of as many each way between four."""
    artist.require_encoder("interpolate")
    if len(given) not in (2, 4):
        raise UserError(
            f"interpolate takes 2 drawings, or 4 for the corners of a grid, got {len(given)}"
        )
    if num < 2:
        raise UserError(f"--num {num} must be at least 2: both ends of a path are on it")
    ends, vectors = _tiles_of(given), artist.encode([each.sketch for each in given])
    walk = {"slerp": latent.slerp, "lerp": latent.lerp}[path]
    title, told = artist.describe("interpolate", path), _told_alike(artist, category, given)
    if len(given) == 4:
        z = latent.interpolate_between_four(vectors, num, num, walk).flatten(0, 1)
        rows = between_corners(ends, wrap(_draw(artist, len(z), told, z=z), num))
        return Sheet(rows=rows, title=title)
    shares = torch.linspace(0, 1, num)
    between = _draw(artist, num, told, z=walk(vectors[0], vectors[1], shares))
    columns = ["from", *(f"{share:.2f}" for share in shares.tolist()), "to"]
    return Sheet(rows=[[ends[0], *between, ends[1]]], title=title, column_captions=columns)


def analogy(artist: Artist, given: Sequence[Given], num: int, category: str | None) -> Sheet:
    """a + (b - c): what is to the first drawing as the second is to the third."""
    artist.require_encoder("analogy")
    if len(given) != 3:
        raise UserError(f"analogy takes 3 drawings, for a + (b - c), got {len(given)}")
    z = latent.analogy(*artist.encode([each.sketch for each in given]))
    drawn = _draw(artist, num, _told_alike(artist, category, given[:1]), z=z)
    return Sheet(
        rows=[[*_tiles_of(given), *drawn]],
        title=artist.describe("analogy"),
        column_captions=["a", "+ (b", "- c)", *["="] * num],
    )


def complete(
    artist: Artist, given: Sequence[Given], num: int, source: Latent | None, category: str | None
) -> Sheet:
    """`num` endings of each drawing that was begun.

    A decoder without encoder has no z and goes on from what it has read, as in the paper.
    """
    if source is not None:
        artist.require_encoder(f"complete --z {source}")
    z = None  # the model's own: that of what is given
    if source is Latent.prior:
        z = latent.draw_prior(num, artist.model.config.N_z, seed=artist.seed)
    tiles: list[Tile] = []
    for each, told in zip(given, _told(artist, category, given), strict=True):
        tiles += _draw(artist, num, told, z=z, begun=each)
    how = "no z: decoder only"
    if artist.model.encoder is not None:
        how = "z from N(0, I)" if source is Latent.prior else "z of the given part"
    return Sheet(rows=beside(_tiles_of(given), tiles), title=artist.describe("complete", how))


def _draw(
    artist: Artist,
    num: int,
    told: str | list[str] | None,
    *,
    z: torch.Tensor | None = None,
    begun: Given | None = None,
) -> list[Tile]:
    prefix = None if begun is None else begun.sketch
    drawn = artist.draw(num, z=z, category=told, prefix=prefix)
    words = told if isinstance(told, list) else [told or artist.all_words] * num
    given = 0 if begun is None else len(begun.sketch)
    return [Tile(sketch, given, word) for sketch, word in zip(drawn, words, strict=True)]


def _tiles_of(given: Sequence[Given]) -> list[Tile]:
    return [Tile(each.sketch, len(each.sketch), each.word, is_drawn=False) for each in given]


def _told(artist: Artist, category: str | None, given: Sequence[Given]) -> list[str | None]:
    """What the model is told of each: what the user says, or else what the drawing says it is."""
    known = artist.model.data.categories if artist.is_told else ()
    return [category or (each.word if each.word in known else None) for each in given]


def _told_alike(artist: Artist, category: str | None, given: Sequence[Given]) -> str | None:
    words = sorted({str(word) for word in _told(artist, category, given)})
    if len(words) > 1:
        raise UserError(
            f"these drawings are of {', '.join(words)}, and the model is told one category: say"
            " which with --category"
        )
    return _told(artist, category, given)[0]


def _repeat(words: Sequence[str | None], num: int) -> list[str] | None:
    told = [word for word in words if word is not None for _ in range(num)]
    return told or None
