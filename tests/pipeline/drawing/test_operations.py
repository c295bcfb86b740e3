"""Each operation draws from the latent vectors that it says, and puts drawings where it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from pipeline.config import UserError
from pipeline.drawing import operations
from pipeline.drawing.artist import GOOGLE_UNITS_PER_PIXEL, Artist
from pipeline.drawing.inputs import Given
from pipeline.drawing.sheet import Sheet, Tile
from sketch_model.config import Condition
from sketch_model.magenta import load_google_json, save_google_json

MakeArtist = Callable[..., Artist]
TOLD = {"condition": Condition.category, "categories": ("cat", "sun")}


def expect(tiles: list[Tile], artist: Artist, z: Any, **options: Any) -> None:
    """They are what the model draws from z."""
    drawn = artist.model.sample(len(tiles), z=z, temperature=0.5, seed=3, **options)
    for tile, sketch in zip(tiles, drawn, strict=True):
        assert_allclose(tile.sketch, sketch, rtol=1e-5)


def encode(artist: Artist, given: list[Given]) -> torch.Tensor:
    return artist.model.encode([each.sketch for each in given])


def drawn_in(sheet: Sheet) -> list[Tile]:
    return list(sheet.drawn())


def test_samples_are_the_models_own_and_fill_a_square(make_artist: MakeArtist) -> None:
    artist = make_artist()
    sheet = operations.sample(artist, 8, [])
    assert [len(row) for row in sheet.rows] == [3, 3, 2]
    expect(drawn_in(sheet), artist, None)
    assert sheet.title == "sample · a/model · temperature 0.5 · seed 3"
    with pytest.raises(UserError, match="category='cat': this model is not told"):
        operations.sample(artist, 1, ["cat"])


def test_a_model_that_is_told_samples_every_category(make_artist: MakeArtist) -> None:
    artist = make_artist(**TOLD)
    sheet = operations.sample(artist, 3, [])
    assert sheet.row_captions == ["cat", "sun"]
    assert [tile.word for tile in drawn_in(sheet)] == ["cat"] * 3 + ["sun"] * 3
    expect(drawn_in(sheet), artist, None, category=["cat"] * 3 + ["sun"] * 3)
    with pytest.raises(UserError, match="category='pig' is not one that was trained"):
        operations.sample(artist, 1, ["pig"])


def test_reconstructions_stand_beside_their_originals(
    make_artist: MakeArtist, given: list[Given]
) -> None:
    artist = make_artist()
    sheet = operations.reconstruct(artist, given[:2], 3, None)
    assert all(
        row[0].sketch is each.sketch for row, each in zip(sheet.rows, given[:2], strict=True)
    )
    assert [row[0].num_given for row in sheet.rows] == [6, 7]
    expect(drawn_in(sheet), artist, encode(artist, given[:2]).repeat_interleave(3, 0))


def test_a_told_model_is_told_what_the_drawing_is_of(
    make_artist: MakeArtist, given: list[Given]
) -> None:
    artist = make_artist(**TOLD)
    sheet = operations.reconstruct(artist, given[1:3], 1, None)
    assert [tile.word for tile in drawn_in(sheet)] == ["sun", "cat"]
    sheet = operations.reconstruct(artist, given[1:3], 1, "cat")
    assert [tile.word for tile in drawn_in(sheet)] == ["cat", "cat"]
    with pytest.raises(UserError, match="give category="):
        operations.reconstruct(artist, [Given(given[0].sketch, "unknown")], 1, None)
    with pytest.raises(UserError, match="of cat, sun, and the model is told one"):
        operations.interpolate(artist, given[1:3], 3, "slerp", None)


def test_without_spread_a_drawing_is_reconstructed(
    make_artist: MakeArtist, given: list[Given]
) -> None:
    artist = make_artist()
    still = operations.vary(artist, given[:1], 7, 0.0, None)
    assert [len(row) for row in still.rows] == [4, 4, 2]
    expect(drawn_in(still), artist, encode(artist, given[:1]).expand(7, -1))
    moved = drawn_in(operations.vary(artist, given[:1], 7, 0.5, None))
    assert len({tile.sketch.tobytes() for tile in moved}) == 7


@pytest.mark.parametrize("path", ["slerp", "lerp"])
def test_a_path_begins_and_ends_with_reconstructions(
    make_artist: MakeArtist, given: list[Given], path: str
) -> None:
    artist = make_artist()
    sheet = operations.interpolate(artist, given[:2], 3, path, None)
    (row,) = sheet.rows
    assert [row[0].sketch is given[0].sketch, row[-1].sketch is given[1].sketch] == [True, True]
    assert sheet.column_captions == ["from", "0.00", "0.50", "1.00", "to"]
    ends = encode(artist, given[:2])
    middle = ends.mean(0)
    if path == "slerp":
        cosine = torch.cosine_similarity(*ends, dim=0)
        middle = ends.sum(0) / torch.sqrt(2 * (1 + cosine))
    expect(drawn_in(sheet), artist, torch.stack([ends[0], middle, ends[1]]))


def test_a_grid_has_its_four_drawings_at_its_corners(
    make_artist: MakeArtist, given: list[Given]
) -> None:
    artist = make_artist()
    sheet = operations.interpolate(artist, given, 3, "lerp", None)
    assert [len(row) for row in sheet.rows] == [5, 5, 5]
    shown = [sheet.rows[row][column].sketch for row in (0, -1) for column in (0, -1)]
    assert all(one is each.sketch for one, each in zip(shown, given, strict=True))
    a, b, c, d = encode(artist, given)
    z = [a, (a + b) / 2, b, (a + c) / 2, (a + b + c + d) / 4, (b + d) / 2, c, (c + d) / 2, d]
    expect(drawn_in(sheet), artist, torch.stack(z))


def test_an_analogy_is_drawn_from_a_plus_b_minus_c(
    make_artist: MakeArtist, given: list[Given]
) -> None:
    artist = make_artist()
    a, b, c = encode(artist, given[:3])
    sheet = operations.analogy(artist, given[:3], 2, None)
    assert len(sheet.rows[0]) == 5
    expect(drawn_in(sheet), artist, a + b - c)


def test_endings_begin_with_what_was_given(make_artist: MakeArtist, given: list[Given]) -> None:
    artist = make_artist()
    sheets = {
        source: operations.complete(artist, given[:1], 4, source, None)
        for source in (None, *operations.Latent)
    }
    for sheet in sheets.values():
        for tile in drawn_in(sheet):
            assert tile.num_given == 6
            assert_allclose(tile.sketch[:6], given[0].sketch, atol=1e-4)
    assert "z of the given part" in sheets[None].title
    assert "z from N(0, I)" in sheets[operations.Latent.prior].title
    prefix = given[0].sketch
    expect(drawn_in(sheets[None]), artist, encode(artist, given[:1]).expand(4, -1), prefix=prefix)
    assert sheets[None].rows[0][1].sketch.tolist() != (
        sheets[operations.Latent.prior].rows[0][1].sketch.tolist()
    )


def test_a_decoder_alone_completes_and_says_what_it_cannot_do(
    make_artist: MakeArtist, given: list[Given]
) -> None:
    artist = make_artist(conditional=False)
    sheet = operations.complete(artist, given[:1], 2, None, None)
    assert "decoder only" in sheet.title
    assert_allclose(drawn_in(sheet)[0].sketch[:6], given[0].sketch, atol=1e-4)
    for attempt in (
        lambda: operations.complete(artist, given[:1], 2, operations.Latent.given, None),
        lambda: operations.reconstruct(artist, given, 2, None),
        lambda: operations.vary(artist, given, 2, 0.1, None),
        lambda: operations.cross(artist, given, 2, []),
        lambda: operations.interpolate(artist, given, 2, "slerp", None),
        lambda: operations.analogy(artist, given[:3], 2, None),
    ):
        with pytest.raises(UserError, match=r"a/model has a decoder only.*model.conditional=true"):
            attempt()


def test_crossing_draws_a_foreign_thing_as_everything_that_is_known(
    make_artist: MakeArtist, given: list[Given]
) -> None:
    chair = [Given(given[0].sketch, "a chair", "chair"), *given[1:2]]
    artist = make_artist(**TOLD)
    sheet = operations.cross(artist, chair, 2, [])
    assert sheet.column_captions == ["given", "cat", "cat", "sun", "sun"]
    words = ["cat", "cat", "sun", "sun"] * 2
    expect(drawn_in(sheet), artist, encode(artist, chair).repeat_interleave(4, 0), category=words)
    untold = operations.cross(make_artist(), chair, 2, [])
    assert [len(row) for row in untold.rows] == [3, 3]


@pytest.mark.parametrize(
    ("num_given", "num", "message"),
    [(3, 4, "2 drawings, or 4 .* got 3"), (2, 1, "--num 1 must be at least 2")],
)
def test_paths_need_ends(
    make_artist: MakeArtist, given: list[Given], num_given: int, num: int, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        operations.interpolate(make_artist(), given[:num_given], num, "slerp", None)


def test_more_drawings_than_fit_in_memory_are_refused(make_artist: MakeArtist) -> None:
    with pytest.raises(UserError, match=r"200,000 drawings are more than 100,000.*--seed"):
        operations.sample(make_artist(**TOLD), 100_000, [])


@pytest.mark.parametrize("is_googles", [True, False])
def test_googles_decoders_alone_are_given_larger_drawings_and_theirs_are_brought_back(
    make_artist: MakeArtist, given: list[Given], tmp_path: Path, is_googles: bool
) -> None:
    """What is exported here in Google's format says that it was trained on pixels."""
    path = tmp_path / "cat.gen.json"
    save_google_json(make_artist(conditional=False, M=20).model, path)
    if is_googles:
        info, *rest = json.loads(path.read_text())
        del info["source"], info["categories"]
        path.write_text(json.dumps([info, *rest]))
    artist = Artist(load_google_json(path), "cat", temperature=0.5, seed=3)
    factor = GOOGLE_UNITS_PER_PIXEL if is_googles else 1.0
    (tile,) = drawn_in(operations.complete(artist, given[:1], 1, None, None))
    larger = given[0].sketch * [factor, factor, 1]
    (expected,) = artist.model.sample(1, prefix=larger, temperature=0.5, seed=3)
    assert_allclose(tile.sketch[:, :2] * factor, expected[:, :2], rtol=1e-5)
    assert np.array_equal(tile.sketch[:, 2], expected[:, 2])
