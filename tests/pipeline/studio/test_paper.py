"""What a model reads of what is on the paper, and where what it draws is."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.config import UserError
from pipeline.drawing.inputs import larger_side
from pipeline.studio.paper import PAPER_PIXELS, SIDE, fill, place, read_begun, read_whole
from sketch_model.strokes import polylines_to_stroke3

UNITS = SIDE / PAPER_PIXELS
SLACK = 2.5 * UNITS * 255 / PAPER_PIXELS * 1.6  # epsilon of the simplification, and rounding
TURN = np.linspace(0, 2 * np.pi, 200)
CIRCLE = np.stack([500 + 200 * np.cos(TURN), 400 + 200 * np.sin(TURN)], axis=1).tolist()
LINE = [(100.0, 900.0), (300.0, 900.0)]


def test_a_beginning_keeps_its_size_and_its_place() -> None:
    begun = read_begun([CIRCLE, LINE], 100, is_pen_down=False)
    sketch = begun.given.sketch
    assert larger_side(sketch) == pytest.approx(700 / UNITS, rel=0.02)
    assert 10 < len(sketch) < 40
    assert sketch[-1, 2] == 1
    (circle, line), added = place(begun, sketch)
    assert added == []
    np.testing.assert_allclose(line, LINE, atol=SLACK)
    distances = np.hypot(*(np.array(circle) - (500, 400)).T)
    np.testing.assert_allclose(distances, 200, atol=SLACK)


def test_what_goes_beyond_the_paper_keeps_its_size_too() -> None:
    beyond = [(-500.0, 500.0), (1500.0, 500.0)]
    begun = read_begun([CIRCLE, beyond], 100, is_pen_down=False)
    (_, line), _ = place(begun, begun.given.sketch)
    np.testing.assert_allclose(line, beyond, atol=2 * SLACK)


def test_a_stroke_that_is_being_drawn_goes_on_where_the_pen_is() -> None:
    begun = read_begun([CIRCLE, LINE], 100, is_pen_down=True)
    assert begun.given.sketch[-1, 2] == 0
    further = np.array([[1, 0, 0], [0, 1, 1]])
    given, added = place(begun, np.concatenate([begun.given.sketch, further]))
    assert added[0][0] == given[-1][-1]
    assert len(given) == 2
    assert len(added) == 1


def test_dots_are_read() -> None:
    begun = read_begun([[(500.0, 500.0)]], 100, is_pen_down=False)
    assert begun.given.sketch.tolist() == [[0, 0, 1]]
    given, _ = place(begun, begun.given.sketch)
    np.testing.assert_allclose(given, [[[500, 500]]], atol=SLACK)


def test_too_long_a_beginning_is_thinned_and_that_is_said() -> None:
    begun = read_begun([CIRCLE, LINE], 8, is_pen_down=False)
    assert len(begun.given.sketch) <= 8
    assert "points, none farther than" in begun.given.remarks[0]
    with pytest.raises(UserError, match="your drawing has 2 strokes, which take 3 points"):
        read_begun([CIRCLE, LINE], 2, is_pen_down=False)


def test_a_finished_drawing_is_as_large_as_those_of_quick_draw() -> None:
    given = read_whole([CIRCLE, LINE], 100, "drawing A")
    assert larger_side(given.sketch) == 255


def test_a_drawing_of_the_models_own_fills_the_paper() -> None:
    lines = fill(polylines_to_stroke3([np.array([[0, 0], [10, 10]])]))
    assert lines == [[[70, 70], [930, 930]]]
    assert fill(np.zeros((0, 3))) == []
