"""What a recogniser sees of a drawing."""

from __future__ import annotations

import numpy as np

from pipeline.quality.pixels import SIZE, rasterize
from sketch_model.raster import draw

CROSS = np.array([[80, 0, 1], [-40, -40, 0], [0, 80, 1]])


def test_a_drawing_fills_its_square_wherever_and_however_large_it_is() -> None:
    moved = np.concatenate([[[500, -300, 1]], CROSS])[1:]  # the first point is the origin
    pictures = rasterize([CROSS, moved, CROSS * [0.01, 0.01, 1], CROSS * [7, 7, 1]])
    assert pictures.shape == (4, SIZE, SIZE)
    assert (pictures == pictures[0]).all()
    ink = np.argwhere(pictures[0].numpy() > 0)
    assert ink.min(axis=0).tolist() == [2, 2]
    assert ink.max(axis=0).tolist() == [SIZE - 3, SIZE - 3]
    middle = slice(SIZE // 2 - 1, SIZE // 2 + 1)
    rest = pictures[0].clone()
    rest[middle], rest[:, middle] = 0, 0
    assert (rest == 0).all()


def test_it_is_the_picture_that_people_are_shown() -> None:
    random = np.random.default_rng(0)
    sketches = random.integers(-40, 41, (20, 30, 3))
    sketches[:, :, 2] = random.random((20, 30)) < 0.2
    sketches[:, -1, 2] = 1
    seen = rasterize(list(sketches)).flatten(1).numpy()
    shown = [np.asarray(draw(sketch, SIZE).convert("L")).ravel() for sketch in sketches]
    alike = -np.corrcoef(seen, shown)[:20, 20:]  # ink is bright in one and dark in the other
    assert (alike.argmax(axis=1) == np.arange(20)).all()
    assert alike.diagonal().min() > 0.8  # lines are a little thicker there
    assert (alike - np.diag(alike.diagonal())).max() < 0.5


def test_nothing_and_a_dot() -> None:
    nothing, dot = rasterize([np.zeros((0, 3)), np.array([[0, 0, 1]])])
    assert (nothing == 0).all()
    assert 0 < (dot > 0).sum() <= 4
