from __future__ import annotations

from benchmarks import drawing
from pipeline.drawing.artist import Artist
from tests.sketch_model.sketches import small_model


def test_both_draw() -> None:
    artist = Artist(small_model(), "small", 0.4, seed=0)
    rates = {name: rate() for name, rate in drawing.make_contenders(artist, 100).items()}
    assert min(rates.values()) > 0


def test_the_table_has_the_ratio() -> None:
    table = drawing.format_table({drawing.TOGETHER: 900.0, drawing.ONE_BY_ONE: 60.0}, 10_000, 8.25)
    assert "| ratio | 15.0 |" in table
    assert "| the command, 10,000 drawings to npz | 8.2 s |" in table
