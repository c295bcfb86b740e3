"""A small model that knows nothing, as an artist, and drawings for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pipeline.drawing.artist import Artist
from pipeline.drawing.inputs import Given
from tests.sketch_model.sketches import random_drawing, small_model

MakeArtist = Callable[..., Artist]


@pytest.fixture(scope="session")
def make_artist() -> MakeArtist:
    def make(**changes: Any) -> Artist:
        return Artist(small_model(**changes), "a/model", temperature=0.5, seed=3)

    return make


@pytest.fixture(scope="session")
def given() -> list[Given]:
    """Four drawings of 6 to 9 points: two suns and two cats."""
    words = ("sun", "sun", "cat", "cat")
    return [Given(random_drawing(n, 6 + n), f"drawing {n}", word) for n, word in enumerate(words)]
